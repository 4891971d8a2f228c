//! What the verifier says of archives in which nothing is wrong, however they are cut, classed and read.

use crate::archive_fixture::{Ledger, MemoryArchive, PartitionRecords, START, keys, tenant_in};
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::leaf::KeyAction;
use ledgerline::ledger::segment::{LineReader, SEGMENT_BYTES_MAX};
use ledgerline::ledger::verify::NotEstablished as N;
use ledgerline::ledger::verify::{
    NotEstablished, Options, PartitionHead, Progress, Reason, Report, Verdict, verify,
};

fn report(archive: &MemoryArchive, options: &Options) -> Report {
    verify(archive, options, &mut |_| {}).unwrap()
}

fn trusting() -> Options {
    Options {
        trusted: Some(vec![keys().ed25519.public.clone()]),
        ..Options::default()
    }
}

#[test]
fn a_small_archive_is_consistent_and_with_trusted_keys_valid() {
    let archive = Ledger::small().write();
    let found = report(&archive, &Options::default());
    assert_eq!(found.first_bad, None);
    assert_eq!(found.verdict, Verdict::Consistent);
    assert!(found.not_established.contains(&NotEstablished::Origin));
    let found = report(&archive, &trusting());
    assert_eq!(found.verdict, Verdict::Valid);
    assert!(!found.not_established.contains(&NotEstablished::Origin));
    assert_eq!(
        (found.tenants, found.entries, found.partitions, found.keys),
        (4, 8, 2, 3)
    );
    assert_eq!(
        (found.checkpoints, found.leaves, found.objects),
        (4, 32, archive.objects.len() as u64)
    );
    let stored: usize = archive.objects.values().map(Vec::len).sum();
    assert_eq!(found.bytes, stored as u64);
}

#[test]
fn the_report_does_not_depend_on_the_threads() {
    let archive = Ledger::large(&[700, 1, 0, 90, 3_000], 40).write();
    let alone = report(&archive, &trusting());
    assert_eq!(alone.first_bad, None);
    assert_eq!((alone.entries, alone.tenants), (3_791, 40));
    for threads in 2..6 {
        let options = Options {
            threads,
            ..trusting()
        };
        assert_eq!(report(&archive, &options), alone);
    }
}

#[test]
fn a_leaf_may_be_sealed_at_the_time_of_the_one_before_and_name_the_very_next_offset() {
    let mut ledger = Ledger::small();
    let duplicate = &mut ledger.partitions[0].records[4];
    duplicate.edit("23:59:45.000000Z", "23:59:44.000000Z");
    duplicate.edit("audit.events/0@6", "audit.events/0@5");
    assert_eq!(report(&ledger.write(), &trusting()).first_bad, None);
}

/// Bytes of the lines of all segments whose name holds `holds`.
fn line_bytes(archive: &MemoryArchive, holds: &str) -> u64 {
    let objects = archive.objects.iter();
    objects
        .filter(|(name, _)| name.ends_with(".ndjson.zst") && name.contains(holds))
        .map(|(_, bytes)| LineReader::open(&bytes[..]).unwrap().content_bytes())
        .sum()
}

#[test]
fn progress_ends_where_the_report_does() {
    let archive = Ledger::small().write();
    let mut seen: Vec<Progress> = Vec::new();
    let found = verify(&archive, &Options::default(), &mut |progress| {
        seen.push(*progress);
    })
    .unwrap();
    assert_eq!(found.line_bytes, line_bytes(&archive, ""));
    let total = archive.objects.len() as u64;
    // Two cuts in each of two partitions, and the end.
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by_key(|progress| progress.objects));
    assert!(seen.iter().all(|progress| progress.objects_total == total));
    let last = Progress {
        objects: total,
        objects_total: total,
        entries: found.entries,
        bytes: found.bytes,
        line_bytes: found.line_bytes,
    };
    assert_eq!(seen.last(), Some(&last));
}

#[test]
fn the_heads_of_the_report_are_the_last_checkpoints() {
    let archive = Ledger::small().write();
    let heads = report(&archive, &Options::default()).heads;
    for (partition, head) in heads.iter().enumerate() {
        let origin = format!("acme/audit/{partition}");
        let checkpoint = head_of(&archive, &origin, 16).checkpoint;
        let due = PartitionHead {
            origin,
            size: 16,
            root: checkpoint.root,
            cut_at: START + 16_000_000,
        };
        assert_eq!(*head, due);
    }
    assert_eq!(heads.len(), 2);
}

fn head_of(archive: &MemoryArchive, origin: &str, size: u64) -> SignedCheckpoint {
    let name = ledgerline::ledger::names::checkpoint(origin, size);
    SignedCheckpoint::parse(&archive.objects[&name]).unwrap()
}

fn of_tenant(tenant: &str) -> Options {
    Options {
        tenant: Some(tenant.to_owned()),
        ..Options::default()
    }
}

#[test]
fn of_a_tenant_only_its_partition_is_looked_at_and_only_its_entries_are_counted() {
    let mut ledger = Ledger::small();
    let busy = tenant_in(1, 2, "t");
    ledger.partitions[1].entry(&busy, "third");
    ledger.partitions[1].cut();
    let archive = ledger.write();
    for (partition, stem, entries, leaves) in [(0, "t", 2, 16), (1, "t", 3, 18), (1, "gold", 2, 18)] {
        let found = report(&archive, &of_tenant(&tenant_in(partition, 2, stem)));
        assert_eq!(found.first_bad, None);
        assert_eq!((found.tenants, found.entries, found.partitions), (1, entries, 1));
        assert_eq!((found.leaves, found.heads.len()), (leaves, 1));
        assert_eq!(found.heads[0].origin, format!("acme/audit/{partition}"));
        assert!(found.not_established.contains(&N::OtherPartitions));
        assert!(!found.not_established.contains(&N::TenantAbsent));
        let of_partition = format!("audit/{partition}/");
        assert_eq!(found.line_bytes, line_bytes(&archive, &of_partition));
    }
}

#[test]
fn of_a_tenant_whose_partition_lags_the_other_partitions_keys_are_none_too_many() {
    let mut ledger = Ledger::small();
    let partition = &mut ledger.partitions[1];
    partition.key(KeyAction::Add, &keys().foreign_rsa, &keys().foreign_rsa);
    partition.cut();
    let mut archive = ledger.write();
    let asked = of_tenant(&tenant_in(0, 2, "t"));
    assert_eq!(report(&archive, &asked).first_bad, None);
    assert_eq!(report(&archive, &Options::default()).first_bad, None);
    archive.objects.insert("keys/jwks-1.json".to_owned(), Vec::new());
    let found = report(&archive, &asked).first_bad.unwrap();
    assert_eq!(found.reason, Reason::UnknownObject);
    assert_eq!(found.object.as_deref(), Some("keys/jwks-1.json"));
}

#[test]
fn what_is_not_established_depends_on_what_was_given() {
    let archive = Ledger::small().write();
    let always = [N::Refusals, N::Classes, N::Truth];
    let open = |options: &Options| report(&archive, options).not_established;
    let with = |more: &[N]| [more, &always].concat();
    let bare = Options::default();
    assert_eq!(open(&bare), with(&[N::Origin, N::MissingTail, N::StolenKeys]));
    assert_eq!(open(&trusting()), with(&[N::MissingTail, N::StolenKeys]));
    let one_head = Options {
        expected_heads: vec![head_of(&archive, "acme/audit/0", 7)],
        ..trusting()
    };
    assert_eq!(open(&one_head), with(&[N::MissingTail, N::LaterStolenKeys]));
    let timed = Options {
        not_before: Some(START + 16_000_000),
        ..trusting()
    };
    assert_eq!(open(&timed), with(&[N::LaterTail, N::StolenKeys]));
    let both_heads = Options {
        expected_heads: vec![
            head_of(&archive, "acme/audit/1", 16),
            head_of(&archive, "acme/audit/0", 7),
            head_of(&archive, "acme/audit/0", 16),
        ],
        ..trusting()
    };
    assert_eq!(open(&both_heads), with(&[N::LaterTail]));
    let absent = of_tenant("absent");
    assert!(open(&absent).contains(&N::TenantAbsent));
    assert_eq!(report(&archive, &absent).tenants, 0);
    let mut plain = Ledger::large(&[3], 2);
    let found = report(&plain.write(), &trusting());
    assert_eq!(
        found.not_established,
        [N::MissingTail, N::StolenKeys, N::Classes, N::Truth]
    );
    let archive = plain.write();
    let its_head = Options {
        expected_heads: vec![head_of(&archive, "acme/audit/0", 6)],
        ..trusting()
    };
    let found = report(&archive, &its_head);
    assert_eq!(
        (found.first_bad, found.not_established),
        (None, vec![N::LaterTail, N::Classes, N::Truth])
    );
    plain.partitions[0].duplicate("t1", 3);
    plain.partitions[0].cut();
    let found = report(&plain.write(), &trusting());
    assert!(found.not_established.contains(&N::Refusals));
}

#[test]
fn nothing_is_said_of_a_tenants_absence_where_not_everything_was_read() {
    let mut archive = Ledger::small().write();
    archive.objects.remove("acme/audit/0/tile/0/000.p/7");
    let found = report(&archive, &of_tenant(&tenant_in(0, 2, "absent")));
    assert_eq!((found.verdict, found.entries), (Verdict::Invalid, 0));
    assert!(!found.not_established.contains(&N::TenantAbsent));
}

/// One cut of two classes that hold this many bytes of lines together.
fn cut_of(bytes: u64) -> MemoryArchive {
    let gold = tenant_in(0, 1, "gold");
    let written = |last: u64| {
        let mut partition = PartitionRecords::new(0, 1, &[&keys().ed25519]);
        for tenant in ["t0", "t1", &gold, &gold] {
            partition.entry(tenant, &"x".repeat(13 << 20));
        }
        partition.entry("t2", &"x".repeat(usize::try_from(last).unwrap()));
        partition.cut();
        Ledger {
            partitions: vec![partition],
        }
        .write()
    };
    let without = line_bytes(&written(0), "");
    written(bytes - without)
}

#[test]
fn the_objects_of_a_cut_may_hold_as_much_as_one_segment_and_no_byte_more() {
    let full = cut_of(SEGMENT_BYTES_MAX);
    assert_eq!(line_bytes(&full, ""), SEGMENT_BYTES_MAX);
    assert_eq!(report(&full, &trusting()).first_bad, None);
    let found = report(&cut_of(SEGMENT_BYTES_MAX + 1), &trusting())
        .first_bad
        .unwrap();
    assert_eq!(
        (found.reason, found.partition),
        (Reason::SegmentTooLarge, Some(0))
    );
}
