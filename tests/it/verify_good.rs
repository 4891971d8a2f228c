//! What the verifier says of archives in which nothing is wrong, however they are cut, classed and read.

use crate::archive_fixture::{Ledger, MemoryArchive, keys};
use ledgerline::ledger::verify::{NotEstablished, Options, Report, Verdict, verify};

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
