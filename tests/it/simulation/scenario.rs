//! What is put in: tenants, events and what is no event, and the keys that sign.

use crate::sim::Random;
use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::ledger::names;
use ledgerline::ledger::partition::partition_of;
use ledgerline::signing::{HeldKey, SignError, Signer};
use ledgerline::stages::archive::Classes;
use ledgerline::stages::notarize::NotarizeConfig;
use ledgerline::stages::restore::PartitionConfig;
use ledgerline::stages::seal::SealConfig;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

pub const LOG_NAME: &str = "sim.example/ledger";
const TENANTS: [&str; 6] = ["acme", "globex", "initech", "umbrella", "stark", "wayne"];

/// What an input is, known from how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Event {
        tenant: String,
        id: String,
        canonical: Vec<u8>,
    },
    Refused(RejectCode),
}

/// Which stages run, and with how many visits of a second sealer.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each thing that may be left out"
)]
pub struct Scenario {
    pub partitions: u32,
    /// What each partition of `audit.events` is given, in order.
    pub inputs: Vec<Vec<Vec<u8>>>,
    pub what: HashMap<Vec<u8>, What>,
    /// How many inputs of each partition are there from the start; the others come while the stages run.
    pub inputs_at_once: usize,
    pub seal: bool,
    pub notarize: bool,
    pub archive: bool,
    /// Whether segments get Parquet twins.
    pub twins: bool,
    /// The classes that are held in the end, where any is held or released; archivers then tell all of that.
    pub held: Option<&'static [&'static str]>,
    /// Writers of dead letters at once, of each partition.
    pub letter_writers: usize,
    /// Steps that the second sealer of a partition makes before it leaves.
    pub visitor_steps: u32,
    /// The clock moves by up to this much at each step of an owner.
    pub clock_step_micros: u64,
    pub segment_bytes_max: u64,
    pub snapshot_bytes: u64,
    pub checkpoint_interval_micros: i64,
    pub window_entries_max: usize,
    pub signer: Arc<SimKeys>,
    /// What the owners of partition 1 sign with, where it is another one: as where its instance has other settings.
    pub signer_of_1: Option<Arc<SimKeys>>,
    /// The second key comes after this many steps.
    pub second_key_after: Option<u64>,
    /// An end is orderly: it waits for keys that wait.
    pub ends_orderly: bool,
}

impl Scenario {
    /// The smallest with something of everything.
    pub fn short(partitions: u32, kinds: &[&str]) -> Self {
        let mut making = Making::new(partitions, Random::new(1));
        for kind in kinds {
            making.add(kind, 0);
        }
        Self {
            partitions,
            inputs: making.inputs,
            what: making.what,
            inputs_at_once: usize::MAX,
            seal: true,
            notarize: true,
            archive: true,
            twins: false,
            held: None,
            letter_writers: 2,
            visitor_steps: 2,
            clock_step_micros: 1,
            segment_bytes_max: 1 << 20,
            snapshot_bytes: 1,
            checkpoint_interval_micros: i64::MAX,
            window_entries_max: 100,
            signer: Arc::new(SimKeys::new(1)),
            signer_of_1: None,
            second_key_after: None,
            ends_orderly: false,
        }
    }

    /// Many inputs of all kinds, by a seed; several cuts and snapshots; a second key on the way.
    pub fn long(seed: u64, count: usize) -> Self {
        let mut making = Making::new(2, Random::new(seed));
        for _ in 0..count {
            let partition = making.below(2);
            let kind = [
                "event",
                "event",
                "event",
                "event",
                "repeat",
                "conflict",
                "invalid",
                "misrouted",
            ];
            let kind = kind[making.below(kind.len())];
            making.add(kind, partition);
        }
        Self {
            inputs: making.inputs,
            what: making.what,
            inputs_at_once: 4,
            visitor_steps: 60,
            clock_step_micros: 400_000,
            twins: seed % 4 > 1,
            segment_bytes_max: 4_000,
            snapshot_bytes: 6_000,
            checkpoint_interval_micros: 1_000_000,
            // Every other seed forgets soon: then what was forwarded twice is known by its position alone.
            window_entries_max: if seed.is_multiple_of(2) { 1_000 } else { 3 },
            // For some seeds before, for some between the partitions' genesis leaves, for most after them.
            second_key_after: Some(40 + seed % 8 * 120),
            ..Self::short(2, &[])
        }
    }

    /// The dead letters alone, of a ledger that is there, by so many writers at once.
    #[must_use]
    pub fn dead_letters_by(mut self, writers: usize) -> Self {
        self = self.stages(false, false, false);
        self.letter_writers = writers;
        self
    }

    #[must_use]
    pub fn stages(mut self, seal: bool, notarize: bool, archive: bool) -> Self {
        (self.seal, self.notarize, self.archive) = (seal, notarize, archive);
        self.letter_writers = 0;
        self
    }

    /// The same ledger, to which nothing more is sent.
    #[must_use]
    pub fn without_inputs(mut self) -> Self {
        self.inputs = vec![Vec::new(); self.partitions as usize];
        self
    }

    pub fn partition(&self, partition: u32) -> PartitionConfig {
        PartitionConfig {
            origin: names::origin(LOG_NAME, partition),
            partition,
            limits: Limits::default(),
            window_entries_max: self.window_entries_max,
            archived: None,
        }
    }

    /// What a partition's owners sign with.
    pub fn signer_of(&self, partition: u32) -> Arc<SimKeys> {
        let other = self.signer_of_1.as_ref().filter(|_| partition == 1);
        Arc::clone(other.unwrap_or(&self.signer))
    }

    pub fn seal_config(&self) -> SealConfig {
        SealConfig {
            segment_bytes_max: self.segment_bytes_max,
            // Faults move the clock by hours, and it adds up.
            clock_ahead_micros_max: i64::MAX,
            ..SealConfig::default()
        }
    }

    pub fn notarize_config(&self) -> NotarizeConfig {
        NotarizeConfig {
            checkpoint_interval_micros: self.checkpoint_interval_micros,
            snapshot_bytes: self.snapshot_bytes,
            ..NotarizeConfig::default()
        }
    }

    pub fn classes() -> Classes {
        Classes::new(BTreeMap::from([(
            "globex".to_owned(),
            Self::class_of(Some("globex")).to_owned(),
        )]))
        .unwrap()
    }

    pub fn class_of(tenant: Option<&str>) -> &'static str {
        if tenant == Some("globex") {
            "long"
        } else {
            "default"
        }
    }
}

/// Inputs in the making.
struct Making {
    partitions: u32,
    random: Random,
    inputs: Vec<Vec<Vec<u8>>>,
    what: HashMap<Vec<u8>, What>,
    events: u64,
}

impl Making {
    fn new(partitions: u32, random: Random) -> Self {
        let inputs = vec![Vec::new(); partitions as usize];
        Self {
            partitions,
            random,
            inputs,
            what: HashMap::new(),
            events: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn add(&mut self, kind: &str, partition: usize) {
        let raw = match kind {
            "event" => self.event(partition),
            "misrouted" => self.event((partition + 1) % self.partitions as usize),
            "repeat" | "conflict" => match self.earlier_event(partition) {
                None => self.event(partition),
                Some(raw) if kind == "repeat" => raw,
                Some(raw) => self.conflict_with(&raw),
            },
            "invalid" => self.invalid(),
            other => panic!("no kind {other}"),
        };
        self.inputs[partition].push(raw);
    }

    fn event(&mut self, partition: usize) -> Vec<u8> {
        let of_partition = |tenant: &&str| partition_of(tenant, self.partitions) as usize == partition;
        let tenants: Vec<&str> = TENANTS.into_iter().filter(of_partition).collect();
        let tenant = tenants[self.below(tenants.len())].to_owned();
        self.events += 1;
        let id = format!("e-{}", self.events);
        self.spell(&tenant, &id, "1.50")
    }

    /// One event in a spelling that is not canonical.
    fn spell(&mut self, tenant: &str, id: &str, number: &str) -> Vec<u8> {
        let raw = format!(
            r#"{{ "tenant_id":"{tenant}", "event_id":"{id}","occurred_at":"2026-11-22T00:00:00Z","action":"caf\u00e9.open",
               "actor":{{"type":"user","id":"u-1"}}, "data":{{"n":{number},"b":[1,2.0],"a":"x/y"}}}}"#
        )
        .into_bytes();
        let value: serde_json::Value = serde_json::from_slice(&raw).unwrap();
        let what = What::Event {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            canonical: serde_json_canonicalizer::to_vec(&value).unwrap(),
        };
        self.what.insert(raw.clone(), what);
        raw
    }

    fn earlier_event(&mut self, partition: usize) -> Option<Vec<u8>> {
        let is_event = |raw: &&Vec<u8>| matches!(self.what[*raw], What::Event { .. });
        let events: Vec<Vec<u8>> = self.inputs[partition].iter().filter(is_event).cloned().collect();
        let at = self.below(events.len().max(1));
        events.get(at).cloned()
    }

    fn conflict_with(&mut self, raw: &[u8]) -> Vec<u8> {
        let What::Event { tenant, id, .. } = self.what[raw].clone() else {
            unreachable!("events only")
        };
        let number = 2 + self.below(1_000);
        self.spell(&tenant, &id, &number.to_string())
    }

    fn invalid(&mut self) -> Vec<u8> {
        let kinds = [
            (&b"{\"tenant_id\":"[..], RejectCode::InvalidJson),
            (b"", RejectCode::Empty),
            (b"[1]", RejectCode::NotAnObject),
            (b"{\"a\":9007199254740993}", RejectCode::NumberNotExact),
            (b"\xff", RejectCode::InvalidUtf8),
        ];
        let (raw, code) = kinds[self.below(kinds.len())];
        self.what.insert(raw.to_vec(), What::Refused(code));
        raw.to_vec()
    }
}

/// Ed25519 keys from fixed seeds: the same signatures in every run.
pub struct SimKeys {
    keys: Vec<(PublicKey, Ed25519KeyPair)>,
    /// Which of them.
    shown: Mutex<Vec<usize>>,
    retired: Mutex<Vec<usize>>,
    /// Nothing can be signed with these.
    disabled: Mutex<Vec<usize>>,
    /// Made before: the same message has the same signature, and runs repeat each other.
    made: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl std::fmt::Debug for SimKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimKeys({:?} shown)", self.shown.lock().unwrap())
    }
}

impl SimKeys {
    pub fn new(shown: usize) -> Self {
        let make = |n: u8| {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
            let point: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
            (PublicKey::from_ed25519(format!("sim-{n}"), &point), pair)
        };
        Self {
            keys: (1..=3).map(make).collect(),
            shown: Mutex::new((0..shown).collect()),
            retired: Mutex::default(),
            disabled: Mutex::default(),
            made: Mutex::default(),
        }
    }

    pub fn public(&self) -> Vec<PublicKey> {
        self.keys.iter().map(|(key, _)| key.clone()).collect()
    }

    pub fn show(&self, count: usize) {
        self.show_only(&(0..count).collect::<Vec<_>>());
    }

    /// The keys at these places, in that order.
    pub fn show_only(&self, places: &[usize]) {
        places.clone_into(&mut self.shown.lock().unwrap());
    }

    pub fn retire(&self, places: &[usize]) {
        places.clone_into(&mut self.retired.lock().unwrap());
    }

    pub fn disable(&self, places: &[usize]) {
        places.clone_into(&mut self.disabled.lock().unwrap());
    }
}

#[async_trait]
impl Signer for SimKeys {
    fn keys(&self) -> Vec<HeldKey> {
        let retired = self.retired.lock().unwrap();
        let held = |place: &usize| HeldKey {
            key: self.keys[*place].0.clone(),
            retired: retired.contains(place),
        };
        self.shown.lock().unwrap().iter().map(held).collect()
    }

    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match (0..).zip(&self.keys).find(|(_, (key, _))| key.kid == kid) {
            Some((place, _)) if self.disabled.lock().unwrap().contains(&place) => Err(SignError::Retry {
                what: format!("the key {kid} is disabled"),
                source: None,
            }),
            Some((_, (_, pair))) => {
                let mut made = self.made.lock().unwrap();
                let named = [kid.as_bytes(), b"\n", message].concat();
                Ok(made
                    .entry(named)
                    .or_insert_with(|| pair.sign(message).as_ref().to_vec())
                    .clone())
            }
            None => Err(SignError::Fatal {
                what: format!("no key {kid}"),
                source: None,
            }),
        }
    }
}
