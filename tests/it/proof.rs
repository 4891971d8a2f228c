//! Proof files: made by `ledgerline proof` from a small archive, checked by `ledgerline verify-proof` and by the library.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ledgerline::ledger::chain::{EMPTY_HEAD, Head, Heads, entry_hash};
use ledgerline::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::ledger::merkle::leaf_hash;
use ledgerline::ledger::partition::partition_of;
use ledgerline::ledger::proof::{PROOF_BYTES_MAX, ProofError, TlogProof, check_proof};
use ledgerline::ledger::tile::TileBuilder;
use ledgerline::ledger::{jwks, names, segment};
use ledgerline::signing::Signer as _;
use ledgerline::signing::local::{LocalSigner, LocalSignerOptions};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

const LOG: &str = "ledger.example.com/audit";
const PARTITIONS: u32 = 2;
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// So many that a partition fills a tile.
const ENTRIES_A_TENANT: u64 = 200;
const CUT_EVERY: u64 = 100;

struct Archive {
    temp: TempDir,
    keys: Vec<PublicKey>,
}

impl Archive {
    fn path(&self) -> PathBuf {
        self.temp.path().join("archive")
    }

    /// A copy to damage.
    fn copy(&self) -> (TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("archive");
        let status = Command::new("cp")
            .arg("-r")
            .arg(self.path())
            .arg(&to)
            .status()
            .unwrap();
        assert!(status.success());
        (temp, to)
    }
}

fn event(tenant: &str, sequence: u64) -> String {
    format!(
        r#"{{"action":"login","actor":{{"id":"u-{sequence}","type":"user"}},"event_id":"{sequence}","occurred_at":"2026-11-22T10:00:00Z","tenant_id":"{tenant}"}}"#
    )
}

fn archive() -> &'static Archive {
    static ARCHIVE: OnceLock<Archive> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let temp = tempfile::tempdir().unwrap();
        let signer =
            LocalSigner::open_or_create(&temp.path().join("keys"), &LocalSignerOptions::default()).unwrap();
        let keys: Vec<PublicKey> = signer.keys().into_iter().map(|held| held.key).collect();
        let archive = Archive { temp, keys };
        put(&archive.path(), &names::jwks(2), &jwks::write(&archive.keys));
        fs::write(archive.temp.path().join("jwks.json"), jwks::write(&archive.keys)).unwrap();
        for partition in 0..PARTITIONS {
            Partition::new(partition, &archive, &signer).seal_all();
        }
        archive
    })
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes one partition of the archive as docs/FORMAT.md section 6 says.
struct Partition<'a> {
    number: u32,
    origin: String,
    root: PathBuf,
    keys: &'a [PublicKey],
    signer: &'a LocalSigner,
    index: u64,
    from: u64,
    lines: Vec<u8>,
    heads: Heads,
    tiles: TileBuilder,
}

impl<'a> Partition<'a> {
    fn new(number: u32, archive: &'a Archive, signer: &'a LocalSigner) -> Self {
        Self {
            number,
            origin: names::origin(LOG, number),
            root: archive.path(),
            keys: &archive.keys,
            signer,
            index: 0,
            from: 0,
            lines: Vec::new(),
            heads: Heads::default(),
            tiles: TileBuilder::new(),
        }
    }

    fn seal_all(mut self) {
        let keys = self.keys.to_vec();
        let ledger = "0123456789abcdef0123456789abcdef";
        let partitions = u64::from(PARTITIONS);
        self.append(
            Body::Genesis {
                keys,
                ledger,
                partitions,
            },
            None,
        );
        let source = format!("audit.events/{}", self.number);
        self.append(
            Body::Source {
                from: 0,
                incarnation: 1,
                source: &source,
            },
            None,
        );
        for sequence in 1..=ENTRIES_A_TENANT {
            for tenant in TENANTS {
                if partition_of(tenant, PARTITIONS) == self.number {
                    self.entry(tenant, sequence);
                }
            }
            if sequence % CUT_EVERY == 0 {
                self.cut();
            }
        }
    }

    fn entry(&mut self, tenant: &str, sequence: u64) {
        let event = event(tenant, sequence);
        let source = format!("audit.events/{}@{}", self.number, self.index);
        let Head { hash: prev, .. } = if sequence == 1 {
            EMPTY_HEAD
        } else {
            self.heads.get(tenant)
        };
        let digest = Sha256::digest(&event).into();
        let body = Body::Entry {
            event: digest,
            prev,
            sequence,
            source: &source,
            tenant,
        };
        let leaf = self.append(body, Some(event.as_bytes()));
        self.heads
            .advance(tenant, sequence, &prev, entry_hash(&leaf))
            .unwrap();
    }

    fn append(&mut self, body: Body<'_>, event: Option<&[u8]>) -> Vec<u8> {
        let leaf = Leaf {
            index: self.index,
            origin: &self.origin,
            sealed_at: 1_795_374_000_000_000,
            body,
        };
        let leaf = leaf.to_bytes();
        segment::write_line(&mut self.lines, &leaf, event, None);
        let mut full = Vec::new();
        self.tiles.push(leaf_hash(&leaf), &mut full);
        for (name, bytes) in full {
            put(&self.root, &format!("{}/{}", self.origin, name.path()), &bytes);
        }
        self.index += 1;
        leaf
    }

    fn cut(&mut self) {
        let (first, last) = (self.from, self.index);
        self.append(Body::Cut { from: first }, None);
        let name = names::segment(&self.origin, "default", 1_795_374_000_000_000, first, last);
        put(&self.root, &name, &segment::compress(&self.lines).unwrap());
        self.lines.clear();
        self.from = self.index;
        for (name, bytes) in self.tiles.partials() {
            put(&self.root, &format!("{}/{}", self.origin, name.path()), &bytes);
        }
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: self.index,
            root: self.tiles.root(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = checkpoint.text();
        let sign = |key: &'a PublicKey| {
            (
                key,
                runtime
                    .block_on(self.signer.sign(&key.kid, text.as_bytes()))
                    .unwrap(),
            )
        };
        let signed = SignedCheckpoint::new(checkpoint, self.keys.iter().map(sign).collect());
        put(
            &self.root,
            &names::checkpoint(&self.origin, self.index),
            &signed.format(),
        );
    }
}

fn ledgerline(args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    for arg in args {
        command.arg(arg.as_ref());
    }
    command.output().unwrap()
}

fn make_proof(root: &Path, tenant: &str, sequence: u64) -> Output {
    let sequence = sequence.to_string();
    ledgerline(&[&"proof", &root, &"--tenant", &tenant, &"--sequence", &sequence])
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One entry's proof, and the files that `verify-proof` is given.
struct Case {
    dir: TempDir,
    proof: Vec<u8>,
}

impl Case {
    fn new(tenant: &str, sequence: u64) -> Self {
        let made = make_proof(&archive().path(), tenant, sequence);
        assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("event.json"), event(tenant, sequence)).unwrap();
        fs::copy(
            archive().temp.path().join("jwks.json"),
            dir.path().join("jwks.json"),
        )
        .unwrap();
        fs::write(dir.path().join("proof"), &made.stdout).unwrap();
        let proof = made.stdout;
        Self { dir, proof }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn check(&self, more: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
        let path = |name: &str| self.dir.path().join(name);
        let (proof, event, jwks) = (path("proof"), path("event.json"), path("jwks.json"));
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"verify-proof", &proof, &"--event", &event, &"--jwks", &jwks];
        args.extend(more);
        ledgerline(&args)
    }
}

#[test]
fn entries_all_over_the_archive_are_proven_with_nothing_but_event_and_keys() {
    for tenant in TENANTS {
        for sequence in [1, 2, 99, 100, 101, 137, ENTRIES_A_TENANT] {
            let case = Case::new(tenant, sequence);
            let outcome = case.check(&[]);
            assert_eq!(outcome.status.code(), Some(0), "{}", stderr(&outcome));
            let shown = String::from_utf8(outcome.stdout).unwrap();
            assert!(shown.starts_with(&format!(
                "valid: entry {sequence} of tenant {tenant} was sealed at 2026-11-22T"
            )));
        }
    }
}

#[test]
fn the_event_may_be_spelled_in_any_way_and_the_outcome_be_json() {
    let case = Case::new("acme", 7);
    let spelled: serde_json::Value = serde_json::from_str(&event("acme", 7)).unwrap();
    case.write("event.json", format!("\n{spelled:#}\n"));
    let outcome = case.check(&[&"--json"]);
    assert_eq!(outcome.status.code(), Some(0), "{}", stderr(&outcome));
    let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(report["verdict"], "valid");
    assert_eq!(
        (&report["tenant"], &report["sequence"]),
        (&"acme".into(), &7.into())
    );
    assert_eq!(
        report["origin"],
        names::origin(LOG, partition_of("acme", PARTITIONS))
    );

    case.write("event.json", event("acme", 8));
    let outcome = case.check(&[&"--json"]);
    assert_eq!(outcome.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(report["verdict"], "invalid");
    assert!(report["reason"].as_str().unwrap().contains("another event"));
}

#[test]
fn what_does_not_hold_is_refused_with_the_reason_and_its_exit_status() {
    let case = Case::new("acme", 7);
    let refused = |name: &str, bytes: &[u8], exit: i32, reason: &str| {
        let good = fs::read(case.dir.path().join(name)).unwrap();
        case.write(name, bytes);
        let outcome = case.check(&[]);
        case.write(name, good);
        assert_eq!(outcome.status.code(), Some(exit), "{reason}");
        assert!(
            stderr(&outcome).contains(reason),
            "{reason}: {}",
            stderr(&outcome)
        );
    };
    refused(
        "event.json",
        b"{\"a\":1.00000000000000000000001}",
        1,
        "number_not_exact",
    );
    refused("event.json", event("acme", 8).as_bytes(), 1, "another event");
    refused("jwks.json", b"{}", 2, "array `keys`");
    let foreign = PublicKey::from_ed25519("foreign", archive().keys[1].spki[..32].try_into().unwrap());
    refused(
        "jwks.json",
        &jwks::write(&[foreign]),
        1,
        "none of its signatures is by a known key",
    );
    refused("proof", b"", 1, "no empty line");
    refused("proof", &vec![b'a'; 1 << 20], 1, "larger than");
    fs::remove_file(case.dir.path().join("event.json")).unwrap();
    let outcome = case.check(&[]);
    assert_eq!(outcome.status.code(), Some(3));
    assert!(stderr(&outcome).contains("event.json"));
}

#[test]
fn what_the_archive_does_not_hold_or_cannot_show_is_said() {
    let root = archive().path();
    let missing = make_proof(&root, "acme", ENTRIES_A_TENANT + 1);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("no entry 201 of tenant acme"),
        "{}",
        stderr(&missing)
    );
    assert_eq!(make_proof(&root, "no tenant", 1).status.code(), Some(2));
    assert_eq!(make_proof(&root, "acme", 0).status.code(), Some(2));
    assert_eq!(make_proof(&root.join("none"), "acme", 1).status.code(), Some(3));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(make_proof(empty.path(), "acme", 1).status.code(), Some(1));
}

/// What is done to a copy, and the exit status that follows.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path), i32);

#[test]
fn a_damaged_archive_gives_no_proof() {
    let origin = names::origin(LOG, partition_of("acme", PARTITIONS));
    let newest = fs::read_dir(archive().path().join(&origin).join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .max()
        .unwrap();
    let damage: [Damage; 5] = [
        (
            "a flipped bit in a tile",
            &|root| flip(&root.join(&origin).join("tile/0/000")),
            1,
        ),
        (
            "a short tile",
            &|root| fs::write(root.join(&origin).join("tile/0/000"), [0; 64]).unwrap(),
            1,
        ),
        (
            "a missing tile",
            &|root| fs::remove_file(root.join(&origin).join("tile/0/000")).unwrap(),
            1,
        ),
        (
            "a flipped bit in a checkpoint",
            &|root| flip(&root.join(&origin).join("checkpoints").join(&newest)),
            1,
        ),
        (
            "no keys",
            &|root| fs::remove_file(root.join("keys/jwks-2.json")).unwrap(),
            1,
        ),
    ];
    for (what, damage, exit) in damage {
        let (_temp, root) = archive().copy();
        assert_eq!(make_proof(&root, "acme", 3).status.code(), Some(0));
        damage(&root);
        let outcome = make_proof(&root, "acme", 3);
        assert_eq!(outcome.status.code(), Some(exit), "{what}: {}", stderr(&outcome));
        assert!(outcome.stdout.is_empty(), "{what}");
    }
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A proof with one signature, so that each of its bits counts, what it proves, and its key.
fn bare_proof() -> (TlogProof, [u8; 32], PublicKey) {
    let ed25519 = archive().keys[1].clone();
    let mut proof = TlogProof::parse(&Case::new("globex", 5).proof).unwrap();
    let origin = proof.checkpoint.checkpoint.origin.clone();
    proof
        .checkpoint
        .signatures
        .retain(|line| line.is_by(&ed25519, &origin));
    (proof, Sha256::digest(event("globex", 5)).into(), ed25519)
}

#[test]
fn every_bit_and_every_line_of_a_proof_file_counts() {
    let (proof, digest, key) = bare_proof();
    let keys = [key];
    let holds =
        |bytes: &[u8]| TlogProof::parse(bytes).is_ok_and(|proof| check_proof(&proof, &digest, &keys).is_ok());
    let good = proof.format();
    assert!(holds(&good));
    for bit in 0..good.len() * 8 {
        let mut other = good.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&other), "bit {bit} of {}", String::from_utf8_lossy(&good));
    }
    for length in 0..good.len() {
        assert!(!holds(&good[..length]), "cut to {length}");
    }
    let lines: Vec<&[u8]> = good.split_inclusive(|b| *b == b'\n').collect();
    for at in 0..lines.len() {
        let without = [&lines[..at], &lines[at + 1..]].concat().concat();
        assert!(!holds(&without), "without line {at}");
    }
}

#[test]
fn a_proof_is_for_its_leaf_at_its_place_in_its_tree() {
    let (good, digest, key) = bare_proof();
    let refused = |change: &dyn Fn(&mut TlogProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        check_proof(&proof, &digest, std::slice::from_ref(&key)).unwrap_err()
    };
    assert!(matches!(refused(&|p| p.index += 1), ProofError::Index { .. }));
    assert_eq!(refused(&|p| p.hashes.truncate(1)), ProofError::NotIncluded);
    assert!(matches!(
        refused(&|p| p.checkpoint.checkpoint.size += 1),
        ProofError::Checkpoint(_)
    ));
    assert!(matches!(refused(&|p| p.extra.truncate(9)), ProofError::Leaf(_)));
    assert_eq!(
        check_proof(&good, &[0; 32], std::slice::from_ref(&key)),
        Err(ProofError::OtherEvent)
    );
    // A cut is in the tree as well, and is nobody's event.
    let cut = Leaf {
        index: good.index,
        origin: &good.checkpoint.checkpoint.origin,
        sealed_at: 0,
        body: Body::Cut { from: 0 },
    };
    let mut proof = good.clone();
    proof.extra = cut.to_bytes();
    assert_eq!(
        check_proof(&proof, &digest, std::slice::from_ref(&key)),
        Err(ProofError::NotIncluded)
    );
    let elsewhere = Leaf {
        origin: "ledger.example.com/other/0",
        ..cut
    };
    proof.extra = elsewhere.to_bytes();
    assert!(matches!(
        check_proof(&proof, &digest, &[key]),
        Err(ProofError::Origin { .. })
    ));
}

#[test]
fn a_leaf_that_is_no_entry_proves_no_event() {
    let (mut proof, digest, key) = bare_proof();
    let signer = LocalSigner::open(&archive().temp.path().join("keys")).unwrap();
    let origin = proof.checkpoint.checkpoint.origin.clone();
    let cut = Leaf {
        index: 0,
        origin: &origin,
        sealed_at: 0,
        body: Body::Cut { from: 0 },
    };
    // A tree of this one leaf, signed by the trusted key.
    proof.extra = cut.to_bytes();
    let root = leaf_hash(&proof.extra);
    let checkpoint = Checkpoint {
        origin: origin.clone(),
        size: 1,
        root,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signature = runtime
        .block_on(signer.sign(&key.kid, checkpoint.text().as_bytes()))
        .unwrap();
    proof.checkpoint = SignedCheckpoint::new(checkpoint, vec![(&key, signature)]);
    (proof.index, proof.hashes) = (0, Vec::new());
    let outcome = check_proof(&proof, &digest, std::slice::from_ref(&key));
    assert_eq!(outcome, Err(ProofError::NotAnEntry("cut")));
}

#[test]
fn limits_hold_for_what_is_read() {
    let (good, ..) = bare_proof();
    let many = |count| {
        TlogProof {
            hashes: vec![[0; 32]; count],
            ..good.clone()
        }
        .format()
    };
    assert!(TlogProof::parse(&many(63)).is_ok());
    assert!(matches!(TlogProof::parse(&many(64)), Err(ProofError::Syntax(_))));
    let large = TlogProof {
        extra: vec![b'x'; 4_097],
        ..good.clone()
    };
    assert!(matches!(
        TlogProof::parse(&large.format()),
        Err(ProofError::Syntax(_))
    ));
    let longest = TlogProof {
        extra: vec![b'x'; 4_096],
        ..good.clone()
    };
    assert!(TlogProof::parse(&longest.format()).is_ok());
    for (bytes, too_large) in [(PROOF_BYTES_MAX, false), (PROOF_BYTES_MAX + 1, true)] {
        let found = TlogProof::parse(&vec![b'x'; bytes]);
        assert_eq!(found == Err(ProofError::TooLarge), too_large, "{bytes}");
    }
    let none = TlogProof {
        extra: Vec::new(),
        ..good
    };
    assert!(matches!(
        TlogProof::parse(&none.format()),
        Err(ProofError::Syntax(_))
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_and_what_is_read_is_written_the_same(
        bytes: Vec<u8>, at: prop::sample::Index, byte: u8,
    ) {
        static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
        let good = GOOD.get_or_init(|| bare_proof().0.format());
        let mut spliced = good.clone();
        let at = at.index(good.len());
        spliced[at] = byte;
        spliced.splice(at..at, bytes.iter().copied().take(usize::from(byte) % 4));
        for bytes in [&bytes, &spliced] {
            if let Ok(proof) = TlogProof::parse(bytes) {
                prop_assert_eq!(&proof.format(), bytes);
            }
        }
    }
}
