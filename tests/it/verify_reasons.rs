//! Verify the verifier: for each of its checks an archive in which that one thing is wrong, and all else is right and signed. Where a
//! check is taken out, its row fails.

use crate::archive_fixture::{
    LOG_NAME, Ledger, MemoryArchive, PartitionRecords, TestKey, event, keys, sha256, sign, tenant_in,
};
use data_encoding::HEXLOWER;
use ledgerline::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, KeyAction, Leaf};
use ledgerline::ledger::names;
use ledgerline::ledger::segment::{LineReader, SEGMENT_BYTES_MAX, compress};
use ledgerline::ledger::verify::{FirstBad, Options, Reason, verify};
use std::collections::BTreeSet;

/// What is looked at: an archive, and what it is held against.
pub struct Case {
    pub archive: MemoryArchive,
    pub options: Options,
}

type Row = (&'static str, Reason, fn() -> Case);

/// The small ledger with other records, written and signed.
pub fn records(change: impl FnOnce(&mut Ledger)) -> Case {
    let mut ledger = Ledger::small();
    change(&mut ledger);
    objects_of(&ledger, |_| {})
}

/// One leaf of partition 0 with other text.
pub fn leaf(index: usize, from: &str, to: &str) -> Case {
    records(|ledger| ledger.partitions[0].records[index].edit(from, to))
}

/// The first partition with more records and one more cut.
pub fn more(add: impl FnOnce(&mut PartitionRecords)) -> Case {
    records(|ledger| {
        add(&mut ledger.partitions[0]);
        ledger.partitions[0].cut();
    })
}

/// The small archive with other objects.
pub fn objects(change: impl FnOnce(&mut MemoryArchive)) -> Case {
    objects_of(&Ledger::small(), change)
}

fn objects_of(ledger: &Ledger, change: impl FnOnce(&mut MemoryArchive)) -> Case {
    let mut archive = ledger.write();
    change(&mut archive);
    Case {
        archive,
        options: Options::default(),
    }
}

/// The small archive, held against something.
pub fn held_against(options: Options) -> Case {
    Case {
        options,
        ..objects(|_| {})
    }
}

fn with_head(head: SignedCheckpoint) -> Case {
    held_against(Options {
        expected_heads: vec![head],
        ..Options::default()
    })
}

pub fn origin() -> String {
    names::origin(LOG_NAME, 0)
}

/// The name of the only object whose name holds both texts.
pub fn name(archive: &MemoryArchive, holds: &str, and: &str) -> String {
    let mut found = archive
        .objects
        .keys()
        .filter(|name| name.contains(holds) && name.contains(and));
    let name = found.next().unwrap().clone();
    assert_eq!(found.next(), None);
    name
}

/// The default segment of partition 0's first cut.
pub fn first_segment(archive: &MemoryArchive) -> String {
    name(archive, "audit/0/class=default", "00-00000000000000000006")
}

pub fn bytes<'a>(archive: &'a mut MemoryArchive, name: &str) -> &'a mut Vec<u8> {
    archive.objects.get_mut(name).unwrap()
}

/// The lines of a segment, changed and compressed again.
pub fn edit_lines(archive: &mut MemoryArchive, name: &str, from: &str, to: &str) {
    let object = bytes(archive, name);
    let mut reader = LineReader::open(&object[..]).unwrap();
    let mut text = String::new();
    while let Some(line) = reader.next_line().unwrap() {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    assert!(text.contains(from));
    *object = compress(text.replacen(from, to, 1).as_bytes()).unwrap();
}

pub fn recompress(archive: &mut MemoryArchive, lines: &[u8], checksum: bool, content_size: bool) {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    compressor.include_checksum(checksum).unwrap();
    compressor.include_contentsize(content_size).unwrap();
    let name = first_segment(archive);
    *bytes(archive, &name) = compressor.compress(lines).unwrap();
}

pub fn checkpoint(archive: &MemoryArchive, size: u64) -> SignedCheckpoint {
    SignedCheckpoint::parse(&archive.objects[&names::checkpoint(&origin(), size)]).unwrap()
}

/// The checkpoint of partition 0 at size 7, changed and signed by the right keys.
pub fn checkpoint_of(change: impl FnOnce(&mut Checkpoint)) -> SignedCheckpoint {
    let mut changed = checkpoint(&Ledger::small().write(), 7).checkpoint;
    change(&mut changed);
    let signers = [&keys().rsa_1.public, &keys().ed25519.public];
    sign(changed, &signers, &|key| keys().holder_of(key))
}

pub fn at_size_7(note: Vec<u8>) -> Case {
    objects(|archive| *bytes(archive, &names::checkpoint(&origin(), 7)) = note)
}

fn foreign(key: &PublicKey) -> &'static TestKey {
    match key.alg {
        ledgerline::ledger::key::Alg::Ps256 => &keys().foreign_rsa,
        ledgerline::ledger::key::Alg::Ed25519 => &keys().foreign_ed25519,
    }
}

/// The first entry of partition 0 with another event that its leaf does name.
fn sealed_event(event: Vec<u8>) -> Case {
    records(|ledger| {
        let record = &mut ledger.partitions[0].records[2];
        let sealed = sha256(record.event.as_deref().unwrap());
        record.edit(&HEXLOWER.encode(&sealed), &HEXLOWER.encode(&sha256(&event)));
        record.event = Some(event);
    })
}

fn prev_of(ledger: &Ledger, index: usize) -> String {
    match Leaf::parse(&ledger.partitions[0].records[index].leaf)
        .unwrap()
        .body
    {
        Body::Entry { prev, .. } => HEXLOWER.encode(&prev),
        _ => panic!("no entry"),
    }
}

const ROWS: &[Row] = &[
    ("only keys", Reason::NoPartition, || {
        objects(|archive| archive.objects.retain(|name, _| name.starts_with("keys/")))
    }),
    ("nothing at all", Reason::NoPartition, || {
        objects(|archive| archive.objects.clear())
    }),
    ("an object of another log", Reason::TwoLogs, || {
        objects(|archive| {
            let bytes = checkpoint(archive, 7).format();
            archive
                .objects
                .insert(names::checkpoint("acme/audit2/0", 7), bytes);
        })
    }),
    ("the last partition is gone", Reason::MissingPartition, || {
        objects(|archive| {
            archive
                .objects
                .retain(|name, _| !name.starts_with("acme/audit/1/"));
        })
    }),
    ("the first partition is gone", Reason::MissingPartition, || {
        objects(|archive| {
            archive
                .objects
                .retain(|name, _| !name.starts_with("acme/audit/0/"));
        })
    }),
    ("the first segment is gone", Reason::MissingObject, || {
        objects(|archive| drop(archive.objects.remove(&first_segment(archive))))
    }),
    ("the first cut is gone", Reason::MissingObject, || {
        objects(|archive| {
            archive
                .objects
                .retain(|name, _| !name.contains("00-00000000000000000006"));
        })
    }),
    ("a checkpoint is gone", Reason::MissingObject, || {
        objects(|archive| drop(archive.objects.remove(&names::checkpoint(&origin(), 7))))
    }),
    ("a tile is gone", Reason::MissingObject, || {
        objects(|archive| drop(archive.objects.remove("acme/audit/0/tile/0/000.p/7")))
    }),
    ("a key set is gone", Reason::MissingObject, || {
        objects(|archive| drop(archive.objects.remove("keys/jwks-2.json")))
    }),
    ("a stranger at the top", Reason::UnknownObject, || {
        objects(|archive| drop(archive.objects.insert("README".to_owned(), vec![])))
    }),
    ("a stranger within a partition", Reason::UnknownObject, || {
        objects(|archive| drop(archive.objects.insert("acme/audit/0/x".to_owned(), vec![])))
    }),
    ("a checkpoint without a cut", Reason::UnknownObject, || {
        objects(|archive| {
            let bytes = checkpoint(archive, 7).format();
            archive.objects.insert(names::checkpoint(&origin(), 8), bytes);
        })
    }),
    ("a partial tile without a cut", Reason::UnknownObject, || {
        objects(|archive| {
            drop(
                archive
                    .objects
                    .insert("acme/audit/0/tile/0/000.p/8".to_owned(), vec![0; 256]),
            );
        })
    }),
    ("a full tile that is not complete", Reason::UnknownObject, || {
        objects(|archive| {
            drop(
                archive
                    .objects
                    .insert("acme/audit/0/tile/0/000".to_owned(), vec![0; 8_192]),
            );
        })
    }),
    ("a segment over another", Reason::UnknownObject, || {
        objects(|archive| {
            let bytes = archive.objects[&first_segment(archive)].clone();
            let name = first_segment(archive).replace("0000000006.", "0000000007.");
            archive.objects.insert(name, bytes);
        })
    }),
    (
        "a key set of keys that are not declared",
        Reason::UnknownObject,
        || objects(|archive| drop(archive.objects.insert("keys/jwks-4.json".to_owned(), vec![]))),
    ),
    (
        "a key set of fewer keys than genesis declares",
        Reason::UnknownObject,
        || objects(|archive| drop(archive.objects.insert("keys/jwks-1.json".to_owned(), vec![]))),
    ),
    ("a frame without checksum", Reason::FrameForm, || {
        objects(|archive| recompress(archive, b"x\n", false, true))
    }),
    ("a frame without content size", Reason::FrameForm, || {
        objects(|archive| recompress(archive, b"x\n", true, false))
    }),
    ("no frame", Reason::FrameForm, || {
        objects(|archive| *bytes(archive, &first_segment(archive)) = b"{}\n".to_vec())
    }),
    ("something behind the frame", Reason::FrameForm, || {
        objects(|archive| bytes(archive, &first_segment(archive)).push(0))
    }),
    ("a frame cut short", Reason::FrameDamaged, || {
        objects(|archive| {
            let object = bytes(archive, &first_segment(archive));
            object.truncate(object.len() - 1);
        })
    }),
    ("a wrong checksum", Reason::FrameDamaged, || {
        objects(|archive| *bytes(archive, &first_segment(archive)).last_mut().unwrap() ^= 1)
    }),
    ("a segment too large", Reason::SegmentTooLarge, || {
        let lines = vec![b'\n'; usize::try_from(SEGMENT_BYTES_MAX).unwrap() + 1];
        objects(|archive| recompress(archive, &lines, true, true))
    }),
    (
        "a cut whose classes are too large together",
        Reason::SegmentTooLarge,
        || {
            more(|partition| {
                let (input, gold) = (vec![b'x'; 9 << 20], tenant_in(0, 2, "gold"));
                for tenant in [None, None, None, Some(gold.as_str()), Some(&gold), Some(&gold)] {
                    partition.rejected(tenant, &input);
                }
            })
        },
    ),
    ("a segment under another day", Reason::SegmentName, || {
        objects(|archive| {
            for class in ["audit/0/class=default", "audit/0/class=long"] {
                let name = name(archive, class, "00-00000000000000000006");
                let bytes = archive.objects.remove(&name).unwrap();
                archive
                    .objects
                    .insert(name.replace("date=2026-11-22", "date=2026-11-21"), bytes);
            }
        })
    }),
    ("a cut within a segment", Reason::SegmentName, || {
        records(|ledger| ledger.partitions[0].records[6].is_cut = false)
    }),
    ("a segment without its cut", Reason::SegmentName, || {
        records(|ledger| {
            ledger.partitions[0].records[14].is_cut = true;
            ledger.partitions[0].records[15].is_cut = false;
        })
    }),
    ("a leaf without tenant in a class", Reason::SegmentClass, || {
        records(|ledger| "long".clone_into(&mut ledger.partitions[0].records[14].class))
    }),
    ("an event beside a duplicate", Reason::LineForm, || {
        records(|ledger| ledger.partitions[0].records[4].event = Some(b"{}".to_vec()))
    }),
    ("an entry without event", Reason::LineForm, || {
        records(|ledger| ledger.partitions[0].records[2].event = None)
    }),
    ("a refusal without its input", Reason::LineForm, || {
        records(|ledger| ledger.partitions[0].records[5].raw = None)
    }),
    ("a space in a line", Reason::LineForm, || {
        objects(|archive| edit_lines(archive, &first_segment(archive), "\n{\"leaf\":", "\n{ \"leaf\":"))
    }),
    ("an empty line", Reason::LineForm, || {
        objects(|archive| edit_lines(archive, &first_segment(archive), "\n", "\n\n"))
    }),
    ("a last line without newline", Reason::LineForm, || {
        objects(|archive| recompress(archive, b"x", true, true))
    }),
    ("an unknown version", Reason::LeafForm, || {
        leaf(4, "\"v\":1", "\"v\":2")
    }),
    ("a leaf that is not canonical", Reason::LeafForm, || {
        leaf(4, "\"v\":1", "\"v\": 1")
    }),
    ("a member too many", Reason::LeafForm, || {
        leaf(4, "\"v\":1", "\"v\":1,\"w\":1")
    }),
    ("a leaf of another partition", Reason::LeafOrigin, || {
        leaf(4, "\"origin\":\"acme/audit/0\"", "\"origin\":\"acme/audit/1\"")
    }),
    ("an index passed over", Reason::LeafIndex, || {
        leaf(4, "\"index\":4", "\"index\":5")
    }),
    ("an index again", Reason::LeafIndex, || {
        leaf(4, "\"index\":4", "\"index\":2")
    }),
    ("a cut's other class is gone", Reason::LeafIndex, || {
        objects(|archive| {
            let name = name(archive, "audit/0/class=long", "00-00000000000000000006");
            archive.objects.remove(&name);
        })
    }),
    ("a second genesis", Reason::GenesisPlace, || {
        records(|ledger| {
            let records = &mut ledger.partitions[0].records;
            records[1] = records[0].clone();
            ledger.partitions[0].records[1].edit("\"index\":0", "\"index\":1");
        })
    }),
    ("no genesis", Reason::GenesisPlace, || {
        records(|ledger| {
            let records = &mut ledger.partitions[0].records;
            records[0] = records[1].clone();
            ledger.partitions[0].records[0].edit("\"index\":1", "\"index\":0");
        })
    }),
    ("partitions of two ledgers", Reason::LedgerDiffers, || {
        records(|ledger| ledger.partitions[1].records[0].edit("\"ledger\":\"00", "\"ledger\":\"ff"))
    }),
    ("partitions of another number", Reason::PartitionCount, || {
        records(|ledger| ledger.partitions[1].records[0].edit("\"partitions\":2", "\"partitions\":3"))
    }),
    ("a partition too many", Reason::PartitionCount, || {
        records(|ledger| ledger.partitions[1].records[0].edit("\"partitions\":2", "\"partitions\":1"))
    }),
    ("a step back in time", Reason::SealedAt, || {
        leaf(4, "\"sealed_at\":\"2026-", "\"sealed_at\":\"2025-")
    }),
    ("a source that was not declared", Reason::SourceUndeclared, || {
        leaf(4, "audit.events/0@", "audit.others/0@")
    }),
    ("a source offset again", Reason::SourceOffset, || {
        leaf(4, "audit.events/0@6", "audit.events/0@4")
    }),
    (
        "an offset below the incarnation's first",
        Reason::SourceOffset,
        || leaf(9, "{\"incarnation\":2", "{\"from\":1000,\"incarnation\":2"),
    ),
    ("an incarnation passed over", Reason::SourceIncarnation, || {
        leaf(9, "\"incarnation\":2", "\"incarnation\":3")
    }),
    ("a cut from another index", Reason::CutFrom, || {
        leaf(6, "\"from\":0", "\"from\":1")
    }),
    ("a duplicate of itself", Reason::DuplicateOf, || {
        leaf(4, "\"of\":2", "\"of\":4")
    }),
    ("an entry in the wrong partition", Reason::TenantPartition, || {
        more(|partition| partition.entry(&tenant_in(1, 2, "t"), "lost"))
    }),
    (
        "a duplicate in the wrong partition",
        Reason::TenantPartition,
        || more(|partition| partition.duplicate(&tenant_in(1, 2, "t"), 2)),
    ),
    (
        "rerouted to where it came from",
        Reason::ReroutedPartition,
        || leaf(12, "\"partition\":1", "\"partition\":0"),
    ),
    (
        "rerouted where its tenant is at home",
        Reason::ReroutedPartition,
        || more(|partition| partition.rerouted(&tenant_in(0, 2, "t"))),
    ),
    ("a key with another key's proof", Reason::KeyDeclaration, || {
        more(|partition| partition.key(KeyAction::Add, &keys().foreign_rsa, &keys().rsa_2))
    }),
    ("a key retired by a retired one", Reason::KeyDeclaration, || {
        more(|partition| partition.key(KeyAction::Retire, &keys().rsa_2, &keys().rsa_1))
    }),
    ("a key added twice", Reason::KeyDeclaration, || {
        more(|partition| partition.key(KeyAction::Add, &keys().rsa_2, &keys().rsa_2))
    }),
    ("other keys in another partition", Reason::KeysDiffer, || {
        records(|ledger| {
            let added = [&keys().foreign_rsa, &keys().foreign_ed25519];
            for (partition, key) in ledger.partitions.iter_mut().zip(added) {
                partition.key(KeyAction::Add, key, key);
                partition.cut();
            }
        })
    }),
    ("another event", Reason::EventDigest, || {
        records(|ledger| ledger.partitions[0].records[2].event = Some(b"{}".to_vec()))
    }),
    ("an event that is not canonical", Reason::EventForm, || {
        let spaced = event(&tenant_in(0, 2, "t"), 2, "x");
        sealed_event([b"{ ", &spaced[1..]].concat())
    }),
    ("an event without a required member", Reason::EventForm, || {
        sealed_event(br#"{"action":"a"}"#.to_vec())
    }),
    ("an event of another tenant", Reason::EventTenant, || {
        sealed_event(event("other", 2, "x"))
    }),
    ("an input that is no base64", Reason::RawForm, || {
        objects(|archive| {
            let name = name(archive, "audit/0/class=long", "00-00000000000000000006");
            edit_lines(archive, &name, "\"raw\":\"eyJhIjoxfQ==", "\"raw\":\"eyJhIjoxfR==");
        })
    }),
    ("an input cut short", Reason::RawLength, || {
        records(|ledger| ledger.partitions[0].records[5].raw.as_mut().unwrap().truncate(6))
    }),
    ("another input", Reason::RawDigest, || {
        records(|ledger| ledger.partitions[0].records[5].raw = Some(br#"{"a":2}"#.to_vec()))
    }),
    ("a sequence passed over", Reason::ChainSequence, || {
        leaf(10, "\"sequence\":2", "\"sequence\":3")
    }),
    ("another entry before", Reason::ChainPrev, || {
        records(|ledger| {
            let prev = prev_of(ledger, 10);
            ledger.partitions[0].records[10].edit(&prev, &"0".repeat(64));
        })
    }),
    ("another hash in a tile", Reason::TileDiffers, || {
        objects(|archive| bytes(archive, "acme/audit/0/tile/0/000.p/7")[40] ^= 1)
    }),
    ("a tile too long", Reason::TileDiffers, || {
        objects(|archive| bytes(archive, "acme/audit/0/tile/0/000.p/7").push(0))
    }),
    ("a checkpoint that is none", Reason::CheckpointForm, || {
        at_size_7(b"hello\n".to_vec())
    }),
    ("a checkpoint of another size", Reason::CheckpointPlace, || {
        at_size_7(checkpoint_of(|changed| changed.size = 8).format())
    }),
    (
        "a checkpoint of another partition",
        Reason::CheckpointPlace,
        || at_size_7(checkpoint_of(|changed| "acme/audit/1".clone_into(&mut changed.origin)).format()),
    ),
    ("a signed root of other leaves", Reason::CheckpointRoot, || {
        at_size_7(checkpoint_of(|changed| changed.root[0] ^= 1).format())
    }),
    ("a signature missing", Reason::CheckpointSignature, || {
        let mut signed = checkpoint_of(|_| {});
        signed.signatures.pop();
        at_size_7(signed.format())
    }),
    (
        "signatures in the other order",
        Reason::CheckpointSignature,
        || {
            let mut signed = checkpoint_of(|_| {});
            signed.signatures.reverse();
            at_size_7(signed.format())
        },
    ),
    ("a signature twice", Reason::CheckpointSignature, || {
        let mut signed = checkpoint_of(|_| {});
        signed.signatures.push(signed.signatures[1].clone());
        at_size_7(signed.format())
    }),
    (
        "a signature over another text",
        Reason::CheckpointSignature,
        || {
            let mut signed = checkpoint_of(|changed| changed.size = 8);
            signed.checkpoint.size = 7;
            at_size_7(signed.format())
        },
    ),
    (
        "a checkpoint signed by undeclared keys",
        Reason::CheckpointSignature,
        || Case {
            archive: Ledger::small().write_signed_by(&foreign),
            options: Options::default(),
        },
    ),
    ("another key set", Reason::JwksDiffers, || {
        objects(|archive| {
            let three = archive.objects["keys/jwks-3.json"].clone();
            archive.objects.insert("keys/jwks-2.json".to_owned(), three);
        })
    }),
    ("no trusted key signed", Reason::UntrustedKey, || {
        held_against(Options {
            trusted: Some(vec![keys().foreign_rsa.public.clone()]),
            ..Options::default()
        })
    }),
    ("a trusted key signed only at first", Reason::UntrustedKey, || {
        held_against(Options {
            trusted: Some(vec![keys().rsa_1.public.clone()]),
            ..Options::default()
        })
    }),
    ("a head of an absent partition", Reason::HeadOrigin, || {
        with_head(checkpoint_of(|head| "acme/audit/7".clone_into(&mut head.origin)))
    }),
    ("a head beyond the end", Reason::HeadBeyond, || {
        with_head(checkpoint_of(|head| head.size = 17))
    }),
    ("a head of another tree", Reason::HeadRoot, || {
        with_head(checkpoint_of(|head| head.root[0] ^= 1))
    }),
    ("a head of another tree between cuts", Reason::HeadRoot, || {
        with_head(checkpoint_of(|head| head.size = 9))
    }),
    ("a head of another empty tree", Reason::HeadRoot, || {
        with_head(checkpoint_of(|head| head.size = 0))
    }),
    ("a head that no known key signed", Reason::HeadSignature, || {
        let head = checkpoint(&Ledger::small().write(), 7).checkpoint;
        let signer = &keys().foreign_ed25519.public;
        with_head(sign(head, &[signer], &|key| keys().holder_of(key)))
    }),
    (
        "a head of another tree that no known key signed",
        Reason::HeadSignature,
        || {
            let mut head = checkpoint(&Ledger::small().write(), 7).checkpoint;
            head.root[0] ^= 1;
            let signer = &keys().foreign_ed25519.public;
            with_head(sign(head, &[signer], &|key| keys().holder_of(key)))
        },
    ),
    ("a last cut too old", Reason::NotBefore, || {
        held_against(Options {
            not_before: Some(i64::MAX),
            ..Options::default()
        })
    }),
];

pub fn first_bad(case: &Case, threads: usize) -> Option<FirstBad> {
    let options = Options {
        threads,
        ..case.options.clone()
    };
    verify(&case.archive, &options, &mut |_| {}).unwrap().first_bad
}

#[test]
fn each_check_finds_what_it_is_for_whatever_the_threads() {
    let mut wrong = Vec::new();
    for (what, due, case) in ROWS {
        let case = case();
        let found = first_bad(&case, 1);
        if found.as_ref().map(|bad| bad.reason) != Some(*due) {
            wrong.push(format!("{what}: due {due}, found {found:?}"));
        }
        assert_eq!(first_bad(&case, 3), found, "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_has_a_row() {
    let rows: BTreeSet<Reason> = ROWS.iter().map(|(_, reason, _)| *reason).collect();
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !rows.contains(reason))
        .collect();
    assert_eq!(missing, Vec::<&Reason>::new());
}

#[test]
fn a_changed_event_is_named_by_tenant_sequence_and_index() {
    let case = records(|ledger| {
        let event = ledger.partitions[0].records[10].event.as_mut().unwrap();
        *event.last_mut().unwrap() = b'"';
    });
    let bad = first_bad(&case, 2).unwrap();
    assert_eq!(bad.reason, Reason::EventDigest);
    assert_eq!(
        (bad.tenant, bad.sequence, bad.index),
        (Some(tenant_in(0, 2, "t")), Some(2), Some(10))
    );
    assert_eq!(bad.partition, Some(0));
    assert!(bad.object.unwrap().contains("/class=default/"));
}
