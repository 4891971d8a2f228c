//! Whole archives in memory, written straight from the ledger's functions by docs/FORMAT.md: no stage has a hand in them. What is
//! written can be made wrong on purpose at any place and signed all the same.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use ledgerline::clock::UnixMicros;
use ledgerline::ledger::chain::{Heads, entry_hash};
use ledgerline::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use ledgerline::ledger::key::{Alg, PublicKey};
use ledgerline::ledger::keyring::KeyRing;
use ledgerline::ledger::leaf::{Body, KeyAction, Leaf, RejectCode, key_proof_message};
use ledgerline::ledger::merkle::leaf_hash;
use ledgerline::ledger::partition::partition_of;
use ledgerline::ledger::tile::TileBuilder;
use ledgerline::ledger::verify::{ArchiveSource, Names, ObjectReader, SourceError};
use ledgerline::ledger::{Digest, jwks, names, segment};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

pub const LOG_NAME: &str = "acme/audit";
pub const LEDGER: &str = "00112233445566778899aabbccddeeff";
/// 2026-11-22T23:59:40Z: the second cut of a small archive lies on the next day.
pub const START: UnixMicros = 1_795_391_980_000_000;

/// A key with its private half.
pub struct TestKey {
    pub public: PublicKey,
    private: Private,
}

enum Private {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl TestKey {
    fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
        Self {
            public: PublicKey {
                alg: Alg::Ps256,
                kid: kid.to_owned(),
                spki,
            },
            private: Private::Rsa(pair),
        }
    }

    fn ed25519(kid: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let point = pair.public_key().as_ref().try_into().unwrap();
        Self {
            public: PublicKey::from_ed25519(kid, point),
            private: Private::Ed25519(pair),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// Made once: RSA keys are slow to make.
pub struct Keys {
    pub rsa_1: TestKey,
    pub rsa_2: TestKey,
    pub ed25519: TestKey,
    pub foreign_rsa: TestKey,
    pub foreign_rsa_2: TestKey,
    pub foreign_ed25519: TestKey,
}

impl Keys {
    pub fn all(&self) -> [&TestKey; 6] {
        [
            &self.rsa_1,
            &self.rsa_2,
            &self.ed25519,
            &self.foreign_rsa,
            &self.foreign_rsa_2,
            &self.foreign_ed25519,
        ]
    }

    pub fn holder_of(&self, key: &PublicKey) -> &TestKey {
        let mut all = self.all().into_iter();
        all.find(|held| held.public.is_same_key(key)).unwrap()
    }
}

pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        rsa_1: TestKey::rsa("rsa-1"),
        rsa_2: TestKey::rsa("rsa-2"),
        ed25519: TestKey::ed25519("ed-1", 1),
        foreign_rsa: TestKey::rsa("foreign-rsa"),
        foreign_rsa_2: TestKey::rsa("foreign-rsa-2"),
        foreign_ed25519: TestKey::ed25519("foreign-ed", 2),
    })
}

/// One leaf with what stands beside it.
#[derive(Clone)]
pub struct Record {
    pub leaf: Vec<u8>,
    pub event: Option<Vec<u8>>,
    pub raw: Option<Vec<u8>>,
    pub class: String,
    pub is_cut: bool,
}

impl Record {
    /// Replaces text in the leaf; it must be there.
    pub fn edit(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.leaf.clone()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.leaf = text.replacen(from, to, 1).into_bytes();
    }

    pub fn kind_is(&self, kind: &str) -> bool {
        String::from_utf8_lossy(&self.leaf).contains(&format!("\"kind\":\"{kind}\""))
    }
}

/// The records of one partition, and the state that makes the next one right.
#[derive(Clone)]
pub struct PartitionRecords {
    pub partition: u32,
    pub partitions: u32,
    pub records: Vec<Record>,
    origin: String,
    now: UnixMicros,
    chains: Heads,
    cut_from: u64,
    offset: u64,
}

impl PartitionRecords {
    pub fn new(partition: u32, partitions: u32, genesis_keys: &[&TestKey]) -> Self {
        let mut records = Self {
            partition,
            partitions,
            records: Vec::new(),
            origin: names::origin(LOG_NAME, partition),
            now: START,
            chains: Heads::default(),
            cut_from: 0,
            offset: 0,
        };
        let keys = genesis_keys.iter().map(|key| key.public.clone()).collect();
        records.push(
            Body::Genesis {
                keys,
                ledger: LEDGER,
                partitions: partitions.into(),
            },
            None,
            None,
        );
        records.source(1);
        records
    }

    fn index(&self) -> u64 {
        self.records.len() as u64
    }

    fn push(&mut self, body: Body<'_>, event: Option<Vec<u8>>, raw: Option<Vec<u8>>) {
        self.now += 1_000_000;
        let class = class_of(body.tenant()).to_owned();
        let is_cut = matches!(body, Body::Cut { .. });
        let leaf = Leaf {
            index: self.index(),
            origin: &self.origin.clone(),
            sealed_at: self.now,
            body,
        };
        self.records.push(Record {
            leaf: leaf.to_bytes(),
            event,
            raw,
            class,
            is_cut,
        });
    }

    fn next_position(&mut self) -> String {
        self.offset += 2;
        format!("audit.events/{}@{}", self.partition, self.offset)
    }

    pub fn source(&mut self, incarnation: u64) {
        self.offset = 0;
        let source = format!("audit.events/{}", self.partition);
        self.push(
            Body::Source {
                from: 0,
                incarnation,
                source: &source,
            },
            None,
            None,
        );
    }

    pub fn entry(&mut self, tenant: &str, data: &str) {
        let head = self.chains.get(tenant);
        let event = event(tenant, self.index(), data);
        let source = self.next_position();
        self.push(
            Body::Entry {
                event: sha256(&event),
                prev: head.hash,
                sequence: head.sequence + 1,
                source: &source,
                tenant,
            },
            Some(event),
            None,
        );
        let hash = entry_hash(&self.records.last().unwrap().leaf);
        self.chains
            .advance(tenant, head.sequence + 1, &head.hash, hash)
            .unwrap();
    }

    pub fn duplicate(&mut self, tenant: &str, of: u64) {
        let source = self.next_position();
        let source = source.as_str();
        let tenant = Some(tenant);
        self.push(Body::Duplicate { of, source, tenant }, None, None);
    }

    pub fn rejected(&mut self, tenant: Option<&str>, raw: &[u8]) {
        let source = self.next_position();
        let body = Body::Rejected {
            code: RejectCode::MissingMember,
            raw: sha256(raw),
            raw_bytes: raw.len() as u64,
            source: &source,
            tenant,
        };
        self.push(body, None, Some(raw.to_vec()));
    }

    pub fn rerouted(&mut self, tenant: &str) {
        let source = self.next_position();
        let body = Body::Rerouted {
            partition: partition_of(tenant, self.partitions).into(),
            source: &source,
            tenant,
        };
        self.push(body, None, None);
    }

    pub fn key(&mut self, action: KeyAction, key: &TestKey, prover: &TestKey) {
        let message = key_proof_message(&self.origin, action, &key.public);
        let body = Body::Key {
            action,
            key: key.public.clone(),
            proof: prover.sign(&message),
        };
        self.push(body, None, None);
    }

    pub fn hold(&mut self, class: &str, on: bool) {
        self.push(Body::Hold { class, on }, None, None);
    }

    pub fn cut(&mut self) {
        let from = self.cut_from;
        self.cut_from = self.index() + 1;
        self.push(Body::Cut { from }, None, None);
    }

    /// Makes the records before `end` whole cuts of an archive, under this origin.
    fn write(
        &self,
        objects: &mut BTreeMap<String, Vec<u8>>,
        signer_of: &dyn Fn(&PublicKey) -> &'static TestKey,
    ) {
        let mut tree = TileBuilder::new();
        let mut tiles = Vec::new();
        let mut ring = KeyRing::default();
        let mut from = 0;
        for (index, record) in self.records.iter().enumerate() {
            tree.push(leaf_hash(&record.leaf), &mut tiles);
            apply_keys(&mut ring, &self.origin, &record.leaf);
            if !record.is_cut {
                continue;
            }
            self.write_segments(objects, from, index);
            from = index + 1;
            tiles.extend(tree.partials());
            for (tile, bytes) in tiles.drain(..) {
                objects.insert(format!("{}/{}", self.origin, tile.path()), bytes);
            }
            let checkpoint = Checkpoint {
                origin: self.origin.clone(),
                size: tree.size(),
                root: tree.root(),
            };
            let signed = sign(checkpoint, &ring.signers(), signer_of);
            objects.insert(names::checkpoint(&self.origin, tree.size()), signed.format());
        }
    }

    fn write_segments(&self, objects: &mut BTreeMap<String, Vec<u8>>, first: usize, last: usize) {
        let mut by_class: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for record in &self.records[first..=last] {
            let lines = by_class.entry(&record.class).or_default();
            segment::write_line(
                lines,
                &record.leaf,
                record.event.as_deref(),
                record.raw.as_deref(),
            );
        }
        let cut_at = Leaf::parse(&self.records[last].leaf).map_or(self.now, |leaf| leaf.sealed_at);
        for (class, lines) in by_class {
            let name = names::segment(&self.origin, class, cut_at, first as u64, last as u64);
            objects.insert(name, segment::compress(&lines).unwrap());
        }
    }
}

fn apply_keys(ring: &mut KeyRing, origin: &str, leaf: &[u8]) {
    // A leaf that was made wrong declares nothing.
    if let Ok(leaf) = Leaf::parse(leaf) {
        match &leaf.body {
            Body::Genesis { keys, .. } => *ring = KeyRing::genesis(keys).unwrap_or_default(),
            Body::Key { action, key, proof } => {
                drop(ring.apply(origin, leaf.index, *action, key, proof));
            }
            _ => {}
        }
    }
}

pub fn sign(
    checkpoint: Checkpoint,
    signers: &[&PublicKey],
    signer_of: &dyn Fn(&PublicKey) -> &'static TestKey,
) -> SignedCheckpoint {
    let text = checkpoint.text();
    let signatures = signers
        .iter()
        .map(|key| {
            let signer = signer_of(key);
            (&signer.public, signer.sign(text.as_bytes()))
        })
        .collect();
    SignedCheckpoint::new(checkpoint, signatures)
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Tenants whose name begins with `gold` have an archive class of their own.
pub fn class_of(tenant: Option<&str>) -> &'static str {
    match tenant {
        Some(tenant) if tenant.starts_with("gold") => "long",
        _ => names::DEFAULT_CLASS,
    }
}

pub fn event(tenant: &str, number: u64, data: &str) -> Vec<u8> {
    format!(
        r#"{{"action":"login","actor":{{"id":"u","type":"user"}},"data":{{"n":{number},"text":"{data}"}},"event_id":"e{number}","occurred_at":"2026-11-22T10:00:00Z","tenant_id":"{tenant}"}}"#
    )
    .into_bytes()
}

/// The first tenant named `<stem><n>` of a partition.
pub fn tenant_in(partition: u32, partitions: u32, stem: &str) -> String {
    (0..1_000)
        .map(|n| format!("{stem}{n}"))
        .find(|tenant| partition_of(tenant, partitions) == partition)
        .unwrap()
}

/// A whole ledger before it is written.
#[derive(Clone)]
pub struct Ledger {
    pub partitions: Vec<PartitionRecords>,
}

impl Ledger {
    /// Two partitions of two cuts each: three tenants or more, two classes, a key rotation, every kind of leaf.
    pub fn small() -> Self {
        Self::small_by([&keys().rsa_1, &keys().rsa_2, &keys().ed25519])
    }

    /// The same by other keys: two PS256 keys, of which the first is retired, and an Ed25519 key.
    pub fn small_by([rsa_1, rsa_2, ed25519]: [&'static TestKey; 3]) -> Self {
        let partitions = (0..2)
            .map(|partition| {
                let mut p = PartitionRecords::new(partition, 2, &[rsa_1, ed25519]);
                let plain = tenant_in(partition, 2, "t");
                let gold = tenant_in(partition, 2, "gold");
                p.entry(&plain, "first");
                p.entry(&gold, "kept long");
                p.duplicate(&plain, 2);
                p.rejected(Some(&gold), br#"{"a":1}"#);
                p.cut();
                p.key(KeyAction::Add, rsa_2, rsa_2);
                p.key(KeyAction::Retire, rsa_1, rsa_2);
                p.source(2);
                p.entry(&plain, "second");
                p.entry(&gold, "also kept long");
                p.rerouted(&tenant_in(1 - partition, 2, "t"));
                p.rejected(None, b"");
                p.hold("long", true);
                p.cut();
                p
            })
            .collect();
        Self { partitions }
    }

    /// One partition whose cuts hold `leaves` entries each, in two classes.
    pub fn large(leaves_per_cut: &[usize], tenants: usize) -> Self {
        let keys = keys();
        let mut p = PartitionRecords::new(0, 1, &[&keys.rsa_1, &keys.ed25519]);
        let mut entry = 0_usize;
        for leaves in leaves_per_cut {
            for _ in 0..*leaves {
                let stem = if entry.is_multiple_of(5) { "gold" } else { "t" };
                p.entry(&format!("{stem}{}", entry % tenants), "x");
                entry += 1;
            }
            p.cut();
        }
        Self { partitions: vec![p] }
    }

    pub fn write(&self) -> MemoryArchive {
        self.write_signed_by(&|key| keys().holder_of(key))
    }

    /// Writes it with checkpoints that another key than the declared one may sign.
    pub fn write_signed_by(&self, signer_of: &dyn Fn(&PublicKey) -> &'static TestKey) -> MemoryArchive {
        let mut objects = BTreeMap::new();
        let mut declared: Vec<PublicKey> = Vec::new();
        let mut genesis_keys = 0;
        for partition in &self.partitions {
            partition.write(&mut objects, signer_of);
            let mut ring = KeyRing::default();
            for record in &partition.records {
                apply_keys(&mut ring, &partition.origin, &record.leaf);
                if record.kind_is("genesis") {
                    genesis_keys = ring.declared().len();
                }
            }
            if ring.declared().len() > declared.len() {
                declared = ring.declared().to_vec();
            }
        }
        for count in genesis_keys..=declared.len() {
            objects.insert(names::jwks(count), jwks::write(&declared[..count]));
        }
        MemoryArchive { objects }
    }
}

/// An archive that costs no I/O.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MemoryArchive {
    pub objects: BTreeMap<String, Vec<u8>>,
}

impl ArchiveSource for MemoryArchive {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let prefix = prefix.to_owned();
        let names = self.objects.keys().filter(move |name| name.starts_with(&prefix));
        Ok(Box::new(names.cloned().map(Ok)))
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        Ok(self
            .objects
            .get(name)
            .map(|bytes| Box::new(&bytes[..]) as ObjectReader<'s>))
    }
}

/// An archive in which one object has other bytes.
pub struct Changed<'a> {
    pub archive: &'a MemoryArchive,
    pub name: &'a str,
    pub bytes: &'a [u8],
}

impl ArchiveSource for Changed<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        self.archive.list(prefix)
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        if name == self.name {
            Ok(Some(Box::new(self.bytes)))
        } else {
            self.archive.read(name)
        }
    }
}
