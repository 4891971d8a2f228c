//! The archive as docs/FORMAT.md section 6 calls for it, made again from the leaves, and compared.

use super::judge::{Ended, Kept, check_checkpoint};
use super::scenario::{LOG_NAME, Scenario};
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, KeyAction};
use ledgerline::ledger::merkle::{CompactRange, leaf_hash};
use ledgerline::ledger::tile::TileName;
use ledgerline::ledger::time::utc_day;
use ledgerline::ledger::verify::{ArchiveSource, Names, ObjectReader, Options, SourceError, Verdict, verify};
use ledgerline::ledger::{Digest, jwks, names, segment};
use ledgerline::twin;
use std::collections::{BTreeMap, BTreeSet};

/// The archive as the product's verifier reads it.
struct InMemory<'o>(&'o BTreeMap<String, Vec<u8>>);

impl ArchiveSource for InMemory<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let prefix = prefix.to_owned();
        let names = self.0.keys().filter(move |name| name.starts_with(&prefix));
        Ok(Box::new(names.cloned().map(Ok)))
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        Ok(self
            .0
            .get(name)
            .map(|bytes| Box::new(&bytes[..]) as ObjectReader<'s>))
    }
}

/// The verdict of `ledgerline verify` with the simulation's keys trusted must be `valid`.
pub fn verify_by_the_product(scenario: &Scenario, objects: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let options = Options {
        trusted: Some(scenario.signer.public()),
        threads: 1,
        ..Options::default()
    };
    let report = verify(&InMemory(objects), &options, &mut |_| {}).map_err(|error| error.to_string())?;
    if report.verdict == Verdict::Valid {
        return Ok(());
    }
    Err(format!(
        "the verifier says {}: {:?}",
        report.verdict.as_str(),
        report.first_bad
    ))
}

/// What an object must be.
enum Due {
    Bytes(Vec<u8>),
    /// A frame of these lines.
    Lines(Vec<u8>),
    /// The twin of these lines.
    Twin(Vec<u8>),
    /// A checkpoint of this partition, by its place among those that ended.
    Checkpoint(usize),
}

/// Every object is due and as it must be, and none is missing.
pub fn check_archive(
    ended: &[Ended],
    objects: &BTreeMap<String, Vec<u8>>,
    twins: bool,
) -> Result<(), String> {
    let mut due = BTreeMap::new();
    for (place, one) in ended.iter().enumerate() {
        due_of_partition(place, one, twins, &mut due)?;
    }
    due_keys(ended, &mut due)?;
    if let Some(missing) = due.keys().find(|name| !objects.contains_key(*name)) {
        return Err(format!("the archive has no {missing}"));
    }
    for (name, bytes) in objects {
        let due = due
            .get(name)
            .ok_or_else(|| format!("nothing calls for the archive's {name}"))?;
        check_object(ended, due, bytes).map_err(|what| format!("the archive's {name}: {what}"))?;
    }
    Ok(())
}

/// What is in one of these classes is held, and what every class needs where there is any; nothing else is.
pub fn check_holds(
    classes: &[&str],
    objects: &BTreeMap<String, Vec<u8>>,
    held: &BTreeSet<String>,
) -> Result<(), String> {
    for name in objects.keys() {
        let class = name.split('/').find_map(|part| part.strip_prefix("class="));
        let due = class.map_or(!classes.is_empty(), |class| classes.contains(&class));
        if held.contains(name) != due {
            let must = if due { "is not held" } else { "is held" };
            return Err(format!("the archive's {name} {must}, and {classes:?} are"));
        }
    }
    Ok(())
}

fn check_object(ended: &[Ended], due: &Due, bytes: &[u8]) -> Result<(), String> {
    let same = match due {
        Due::Bytes(due) => due == bytes,
        Due::Lines(lines) => segment::identity_of_frame(bytes) == Some(segment::identity(lines)),
        Due::Twin(lines) => twin::check(bytes.to_vec(), lines).is_ok_and(|difference| difference.is_none()),
        Due::Checkpoint(place) => {
            let one = &ended[*place];
            return check_checkpoint(bytes, &names::origin(LOG_NAME, one.partition), one).map(drop);
        }
    };
    if same {
        Ok(())
    } else {
        Err("it is not what the leaves give".to_owned())
    }
}

fn due_of_partition(
    place: usize,
    ended: &Ended,
    twins: bool,
    due: &mut BTreeMap<String, Due>,
) -> Result<(), String> {
    let origin = names::origin(LOG_NAME, ended.partition);
    let mut hashes = Vec::new();
    let mut lines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for kept in &ended.leaves {
        let leaf = kept.leaf()?;
        hashes.push(leaf_hash(&kept.leaf_bytes));
        write_line(
            lines.entry(Scenario::class_of(leaf.body.tenant())).or_default(),
            kept,
        );
        let Body::Cut { from } = leaf.body else { continue };
        let day = utc_day(leaf.sealed_at);
        for (class, lines) in std::mem::take(&mut lines) {
            let name = format!(
                "{origin}/class={class}/date={day}/{from:020}-{:020}.ndjson.zst",
                leaf.index
            );
            if twins {
                due.insert(name.replace(".ndjson.zst", ".parquet"), Due::Twin(lines.clone()));
            }
            due.insert(name, Due::Lines(lines));
        }
        due.insert(
            format!("{origin}/checkpoints/{:020}", hashes.len()),
            Due::Checkpoint(place),
        );
        due_tiles(&origin, &hashes, due);
    }
    Ok(())
}

fn write_line(out: &mut Vec<u8>, kept: &Kept) {
    let leaf = String::from_utf8_lossy(&kept.leaf_bytes);
    let line = match (&kept.event, &kept.raw) {
        (Some(event), _) => format!(
            "{{\"event\":{},\"leaf\":{leaf}}}\n",
            String::from_utf8_lossy(event)
        ),
        (None, Some(raw)) => {
            format!(
                "{{\"leaf\":{leaf},\"raw\":\"{}\"}}\n",
                data_encoding::BASE64.encode(raw)
            )
        }
        (None, None) => format!("{{\"leaf\":{leaf}}}\n"),
    };
    out.extend_from_slice(line.as_bytes());
}

/// All full tiles of a tree, and the partial ones of its size, level by level from all hashes.
fn due_tiles(origin: &str, leaves: &[Digest], due: &mut BTreeMap<String, Due>) {
    let mut hashes = leaves.to_vec();
    for level in 0.. {
        if hashes.is_empty() {
            return;
        }
        for (index, tile) in (0..).zip(hashes.chunks(256)) {
            let width = if tile.len() == 256 {
                None
            } else {
                Some(u8::try_from(tile.len()).unwrap())
            };
            let name = TileName { level, index, width };
            due.insert(format!("{origin}/{}", name.path()), Due::Bytes(tile.concat()));
        }
        let root = |tile: &[Digest]| {
            let mut range = CompactRange::new();
            for hash in tile {
                range.push(*hash);
            }
            range.root()
        };
        hashes = hashes.chunks_exact(256).map(root).collect();
    }
}

/// One key set for each number of keys from genesis on; all partitions declare the same keys in the same order.
fn due_keys(ended: &[Ended], due: &mut BTreeMap<String, Due>) -> Result<(), String> {
    let declared: Vec<&[PublicKey]> = ended.iter().map(|one| one.state.keys.declared()).collect();
    let longest = declared
        .iter()
        .max_by_key(|keys| keys.len())
        .copied()
        .unwrap_or_default();
    if let Some(place) = declared.iter().position(|keys| !longest.starts_with(keys)) {
        return Err(format!(
            "partition {place} declares other keys, or in another order"
        ));
    }
    let mut genesis = Vec::new();
    for one in ended {
        genesis.push(genesis_keys(one)?);
    }
    if genesis.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("the partitions' genesis leaves declare different keys".to_owned());
    }
    for count in genesis.first().copied().unwrap_or(0)..=longest.len() {
        due.insert(
            format!("keys/jwks-{count}.json"),
            Due::Bytes(jwks::write(&longest[..count])),
        );
    }
    Ok(())
}

fn genesis_keys(ended: &Ended) -> Result<usize, String> {
    let added = ended.leaves.iter().map(Kept::leaf);
    let mut count = 0;
    for leaf in added {
        if matches!(
            leaf?.body,
            Body::Key {
                action: KeyAction::Add,
                ..
            }
        ) {
            count += 1;
        }
    }
    Ok(ended.state.keys.declared().len() - count)
}
