//! What concerns the archive as a whole: the ledger's identity, the key sets, trusted keys, expected heads, and the report.

use super::super::chain::Heads;
use super::super::jwks;
use super::super::key::PublicKey;
use super::super::names;
use super::super::order::{Genesis, Order};
use super::super::partition::partition_of;
use super::completeness::Completeness;
use super::fold::Stop;
use super::plan::Census;
use super::report::{FirstBad, NotEstablished, Report, Verdict};
use super::{ArchiveSource, Options, Progress, Reason, SourceError};
use std::io::Read as _;

/// What an archive that is not whole behind a checkpoint may be without any tampering.
const UNFINISHED_CUT: &str = ". No checkpoint comes behind it: a service that is still running, or was killed within a cut, leaves \
                              exactly this, and finishes the cut when it next runs";

pub struct Whole<'v> {
    pub source: &'v dyn ArchiveSource,
    pub options: &'v Options,
    pub report: Report,
    pub has_refusals: bool,
    /// Where only one partition is looked at.
    pub only: Option<u32>,
    /// The size of the last checkpoint of the partition that is read now, where it has any object.
    pub last_checkpoint: Option<u64>,
    census: &'v Census,
    on_progress: &'v mut (dyn FnMut(&Progress) + Send),
    genesis: Option<Genesis>,
    /// The keys that every genesis leaf declares.
    genesis_keys: Vec<PublicKey>,
    /// The longest declaration so far; every other one is a beginning of it.
    keys: Vec<PublicKey>,
}

/// What expected heads establish: of each partition, its history up to the head's size.
enum HeadReach {
    /// Every partition up to its end.
    Ends,
    /// Something of every partition.
    All,
    /// Something of a partition.
    Some,
    None,
}

impl<'v> Whole<'v> {
    pub fn new(
        source: &'v dyn ArchiveSource,
        options: &'v Options,
        census: &'v Census,
        only: Option<u32>,
        on_progress: &'v mut (dyn FnMut(&Progress) + Send),
    ) -> Self {
        Self {
            source,
            options,
            report: Report {
                completeness: options.completeness.then(Completeness::default),
                ..Report::empty()
            },
            has_refusals: false,
            only,
            last_checkpoint: None,
            census,
            on_progress,
            genesis: None,
            genesis_keys: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Holds a partition's genesis against those before it.
    pub fn begin_partition(&mut self, order: &Order, keys: &[PublicKey]) -> Result<(), (Reason, String)> {
        self.report.partitions += 1;
        self.check_choice(order)?;
        match (&self.genesis, &order.genesis) {
            (None, found) => {
                self.genesis.clone_from(found);
                keys.clone_into(&mut self.genesis_keys);
            }
            (Some(known), Some(found)) => {
                if known.ledger != found.ledger {
                    let detail = format!("it is of ledger {}, not {}", found.ledger, known.ledger);
                    return Err((Reason::LedgerDiffers, detail));
                }
                if known.partitions != found.partitions {
                    let detail = format!(
                        "it declares {} partitions, not {}",
                        found.partitions, known.partitions
                    );
                    return Err((Reason::PartitionCount, detail));
                }
                if self.genesis_keys != keys {
                    let detail = "its genesis declares other keys than the partitions before it".to_owned();
                    return Err((Reason::KeysDiffer, detail));
                }
            }
            (Some(_), None) => {}
        }
        Ok(())
    }

    /// Which partition is the asked tenant's was taken from a genesis leaf that nothing had verified: the one that was looked
    /// at, and is verified, must say the same.
    fn check_choice(&self, order: &Order) -> Result<(), (Reason, String)> {
        let (Some(only), Some(tenant), Some(genesis)) = (self.only, &self.options.tenant, &order.genesis)
        else {
            return Ok(());
        };
        let home = partition_of(tenant, genesis.partitions);
        if home == only {
            return Ok(());
        }
        let detail = format!(
            "by its {} partitions {tenant} belongs to partition {home}, by another partition's genesis to {only}",
            genesis.partitions
        );
        Err((Reason::PartitionCount, detail))
    }

    pub fn count_entry(&mut self, tenant: &str, sequence: u64) {
        match &self.options.tenant {
            None => self.report.entries += 1,
            Some(asked) if asked == tenant => self.report.entries = sequence,
            Some(_) => {}
        }
    }

    /// Holds a partition's keys against those before it; says in what they differ.
    pub fn end_partition(&mut self, declared: &[PublicKey], chains: &Heads) -> Result<(), String> {
        if let Some((known, found)) = self.keys.iter().zip(declared).find(|(a, b)| a != b) {
            return Err(format!(
                "it declares {} where another partition declares {}",
                found.kid, known.kid
            ));
        }
        if declared.len() > self.keys.len() {
            self.keys = declared.to_vec();
        }
        self.report.tenants += match &self.options.tenant {
            None => chains.len() as u64,
            Some(asked) => u64::from(chains.get(asked).sequence > 0),
        };
        Ok(())
    }

    /// Without trusted keys everything is trusted, and the verdict says so.
    pub fn trusts_one_of(&self, signers: &[&PublicKey]) -> bool {
        self.options.trusted.as_ref().is_none_or(|trusted| {
            signers
                .iter()
                .any(|signer| trusted.iter().any(|key| key.is_same_key(signer)))
        })
    }

    /// An object that is held in memory: at most one byte more than `bytes_max` of it, so that a longer one is seen to be.
    pub fn read_small(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(object) = self.source.read(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(bytes_max.min(8_192) + 1);
        object
            .take(bytes_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| SourceError {
                object: name.to_owned(),
                source,
            })?;
        self.report.objects += 1;
        self.report.bytes += bytes.len() as u64;
        Ok(Some(bytes))
    }

    pub fn progress(&mut self) {
        let report = &self.report;
        (self.on_progress)(&Progress {
            objects: report.objects,
            objects_total: self.census.objects,
            entries: report.entries,
            bytes: report.bytes,
            line_bytes: report.line_bytes,
        });
    }

    /// After the last partition.
    pub fn finish(&mut self) -> Result<(), Stop> {
        self.check_partition_count()?;
        self.check_jwks()?;
        if let Some(name) = &self.census.stranger {
            let bad = FirstBad::new(Reason::UnknownObject, "no object of an archive has such a name");
            return Err(bad.object(name).into());
        }
        self.check_heads()?;
        self.report.keys = self.keys.len() as u64;
        self.report.twins = self.census.twins;
        self.progress();
        Ok(())
    }

    fn check_partition_count(&self) -> Result<(), FirstBad> {
        let declared = self.genesis.as_ref().map_or(0, |genesis| genesis.partitions);
        if self.only.is_some() {
            return Ok(());
        }
        match u32::try_from(self.report.partitions) {
            Ok(found) if found < declared => {
                let detail = format!("the ledger has {declared} partitions, the archive {found}");
                Err(FirstBad::new(Reason::MissingPartition, detail).partition(found))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn check_jwks(&mut self) -> Result<(), Stop> {
        let keys = std::mem::take(&mut self.keys);
        let due = self.genesis_keys.len()..=keys.len();
        for (count, set) in (1..).zip(1..=keys.len()).filter(|(count, _)| due.contains(count)) {
            let name = names::jwks(count);
            let expected = jwks::write(keys.get(..set).unwrap_or_default());
            let bad = |reason, detail: &str| FirstBad::new(reason, detail).object(&name);
            match self.read_small(&name, expected.len())? {
                None => return Err(bad(Reason::MissingObject, "there is no such object").into()),
                Some(found) if found != expected => {
                    let detail = "it is not the RFC 8785 form of the keys in the order of their leaves";
                    return Err(bad(Reason::JwksDiffers, detail).into());
                }
                Some(_) => {}
            }
        }
        // Another partition may have declared more keys than the one that was looked at.
        let judged = |count: u64| self.only.is_none() || count <= keys.len() as u64;
        let too_many = self.census.jwks.iter().find(|count| {
            judged(**count) && usize::try_from(**count).map_or(true, |count| !due.contains(&count))
        });
        if let Some(count) = too_many {
            let mut bad = FirstBad::new(Reason::UnknownObject, "the leaves declare no such number of keys");
            // Key sets are stored before the checkpoint of the cut that declares them.
            if *count > keys.len() as u64 {
                bad.detail.push_str(UNFINISHED_CUT);
            }
            return Err(bad.object(format!("keys/jwks-{count}.json")).into());
        }
        self.keys = keys;
        Ok(())
    }

    fn check_heads(&self) -> Result<(), FirstBad> {
        let known = self.options.trusted.as_ref().unwrap_or(&self.keys);
        for head in &self.options.expected_heads {
            let origin = &head.checkpoint.origin;
            if !self.report.heads.iter().any(|found| found.origin == *origin) {
                let detail = format!("it is of {origin}, which was not found or not looked at");
                return Err(FirstBad::new(Reason::HeadOrigin, detail));
            }
            head.verify_by_known(known).map_err(|error| {
                FirstBad::new(Reason::HeadSignature, format!("the head of {origin}: {error}"))
            })?;
        }
        Ok(())
    }

    /// The report of an archive in which nothing, or this, is wrong.
    pub fn into_report(mut self, mut first_bad: Option<FirstBad>) -> Report {
        if let Some(bad) = &mut first_bad
            && self.may_be_unfinished(bad)
        {
            bad.detail.push_str(UNFINISHED_CUT);
        }
        self.report.verdict = match (&first_bad, &self.options.trusted) {
            (Some(_), _) => Verdict::Invalid,
            (None, Some(_)) => Verdict::Valid,
            (None, None) => Verdict::Consistent,
        };
        self.report.not_established = self.not_established(first_bad.is_none());
        self.report.first_bad = first_bad;
        self.report
    }

    /// Whether what is missing, or too much, lies behind the partition's last checkpoint, which is the last object stored of a cut.
    fn may_be_unfinished(&self, bad: &FirstBad) -> bool {
        let of_objects = matches!(
            bad.reason,
            Reason::MissingObject | Reason::UnknownObject | Reason::MissingPartition | Reason::LeafIndex
        );
        let behind = |index| self.last_checkpoint.is_some_and(|size| index >= size);
        of_objects && bad.index.is_some_and(behind)
    }

    fn not_established(&self, all_was_read: bool) -> Vec<NotEstablished> {
        use NotEstablished as N;
        let options = self.options;
        let reach = if all_was_read {
            self.reach_of_heads()
        } else {
            HeadReach::None
        };
        let absent = all_was_read && options.tenant.is_some() && self.report.entries == 0;
        let (tail, keys) = match reach {
            // Up to the heads nothing is missing; whether there was more, they cannot say.
            HeadReach::Ends => (Some(N::LaterTail), None),
            HeadReach::All => (Some(N::LaterTail), Some(N::LaterStolenKeys)),
            HeadReach::Some => (Some(N::MissingTail), Some(N::LaterStolenKeys)),
            HeadReach::None => (Some(N::MissingTail), Some(N::StolenKeys)),
        };
        let tail = match tail {
            Some(N::MissingTail) if all_was_read && options.not_before.is_some() => Some(N::LaterTail),
            tail => tail,
        };
        let of_heads = [tail, keys].into_iter().flatten();
        let others = [
            (N::OtherPartitions, self.only.is_some()),
            (N::TenantAbsent, absent),
            (N::Refusals, self.has_refusals),
            (N::Classes, true),
            (N::Truth, true),
        ]
        .into_iter()
        .filter_map(|(what, open)| open.then_some(what));
        let origin = options.trusted.is_none().then_some(N::Origin);
        origin.into_iter().chain(of_heads).chain(others).collect()
    }

    /// How far the expected heads, which all hold, cover the partitions that were read.
    fn reach_of_heads(&self) -> HeadReach {
        let largest = |origin: &str| {
            let heads = self.options.expected_heads.iter().map(|head| &head.checkpoint);
            let sizes = heads.filter(|head| head.origin == origin).map(|head| head.size);
            sizes.max().unwrap_or(0)
        };
        let reached: Vec<_> = self
            .report
            .heads
            .iter()
            .map(|found| (largest(&found.origin), found.size))
            .collect();
        if reached.iter().all(|(head, size)| head == size) {
            HeadReach::Ends
        } else if reached.iter().all(|(head, _)| *head > 0) {
            HeadReach::All
        } else if reached.iter().any(|(head, _)| *head > 0) {
            HeadReach::Some
        } else {
            HeadReach::None
        }
    }
}
