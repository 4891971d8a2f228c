//! Where a verifier could be led astray without a single byte that it looks at being wrong: by an unverified leaf, by links and pipes,
//! by what it is held against; and what it may claim afterwards.

use crate::archive_fixture::{
    Changed, Ledger, MemoryArchive, PartitionRecords, START, TestKey, keys, tenant_in,
};
use crate::vault_conformance::KEEP;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::jwks::{self, JWKS_BYTES_MAX};
use ledgerline::ledger::note::NOTE_BYTES_MAX;
use ledgerline::ledger::segment::{LineReader, compress};
use ledgerline::ledger::verify::{
    ArchiveSource, FirstBad, NotEstablished, Options, Reason, Report, Verdict, verify,
};
use ledgerline::vault::Vault as _;
use ledgerline::vault::directory::DirectoryVault;
use ledgerline::vault::source::DirectorySource;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn report(archive: &dyn ArchiveSource, options: &Options) -> Report {
    verify(archive, options, &mut |_| {}).unwrap()
}

fn first_bad(archive: &dyn ArchiveSource) -> FirstBad {
    report(archive, &Options::default()).first_bad.unwrap()
}

fn of_tenant(tenant: &str) -> Options {
    Options {
        trusted: Some(vec![keys().ed25519.public.clone()]),
        tenant: Some(tenant.to_owned()),
        ..Options::default()
    }
}

/// `partitions` partitions of one cut, each with an entry of a tenant of its own.
fn one_cut_each(partitions: u32, genesis_keys: impl Fn(u32) -> Vec<&'static TestKey>) -> Ledger {
    let records = |partition| {
        let mut records = PartitionRecords::new(partition, partitions, &genesis_keys(partition));
        records.entry(&tenant_in(partition, partitions, "t"), "x");
        records.cut();
        records
    };
    Ledger {
        partitions: (0..partitions).map(records).collect(),
    }
}

/// Other text in the only segment whose name begins so.
fn edit_segment(archive: &mut MemoryArchive, prefix: &str, from: &str, to: &str) {
    let mut names = archive.objects.keys();
    let name = names.find(|name| name.starts_with(prefix)).unwrap().clone();
    let mut text = String::new();
    let mut reader = LineReader::open(&archive.objects[&name][..]).unwrap();
    while let Some(line) = reader.next_line().unwrap() {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    assert!(text.contains(from));
    let changed = compress(text.replacen(from, to, 1).as_bytes()).unwrap();
    archive.objects.insert(name, changed);
}

#[test]
fn an_unverified_number_of_partitions_does_not_lead_to_another_partition() {
    let good = one_cut_each(4, |_| vec![&keys().ed25519]).write();
    // Of two partitions, tenants of 2 and 3 belong to 0 or 1.
    for partition in [2, 3] {
        let options = of_tenant(&tenant_in(partition, 4, "t"));
        let found = report(&good, &options);
        assert_eq!((found.verdict, found.entries), (Verdict::Valid, 1));
        let mut changed = good.clone();
        edit_segment(
            &mut changed,
            "acme/audit/0/class=default",
            "\"partitions\":4",
            "\"partitions\":2",
        );
        let found = report(&changed, &options);
        assert_eq!(found.verdict, Verdict::Invalid, "{partition}");
        assert_eq!(found.entries, 0);
    }
}

#[test]
fn with_a_tenant_a_flipped_bit_is_found_or_changes_nothing_of_the_report() {
    let archive = Ledger::small().write();
    for partition in [0, 1] {
        let options = of_tenant(&tenant_in(partition, 2, "gold"));
        let good = report(&archive, &options);
        assert_eq!((good.verdict, good.entries), (Verdict::Valid, 2));
        let own = format!("acme/audit/{partition}/");
        for (name, bytes) in &archive.objects {
            let mut changed = bytes.clone();
            for byte in (0..bytes.len()).step_by(7) {
                changed[byte] ^= 1 << (byte % 8);
                let tampered = Changed {
                    archive: &archive,
                    name,
                    bytes: &changed,
                };
                let found = report(&tampered, &options);
                assert!(
                    found.verdict == Verdict::Invalid || found == good,
                    "{name} byte {byte}"
                );
                // A frame may differ and decode to the same lines.
                let must_be_found = name.starts_with(&own) && !name.contains("/class=");
                assert!(
                    found.verdict == Verdict::Invalid || !must_be_found,
                    "{name} byte {byte}"
                );
                changed[byte] ^= 1 << (byte % 8);
            }
        }
    }
}

#[test]
fn every_partition_declares_the_same_keys_in_genesis() {
    let (first, second) = (&keys().ed25519, &keys().rsa_1);
    let same = one_cut_each(2, |_| vec![first, second]).write();
    assert_eq!(report(&same, &Options::default()).first_bad, None);
    let more = one_cut_each(2, |partition| match partition {
        0 => vec![first],
        _ => vec![first, second],
    });
    let mut archive = more.write();
    let both = [first.public.clone(), second.public.clone()];
    archive
        .objects
        .insert("keys/jwks-1.json".to_owned(), jwks::write(&both[..1]));
    let bad = first_bad(&archive);
    assert_eq!(
        (bad.reason, bad.partition, bad.index),
        (Reason::KeysDiffer, Some(1), Some(0))
    );
}

/// Expected heads by partition and size, a time, and what stays open.
type Reach = (&'static [(u32, u64)], Option<i64>, &'static [NotEstablished]);

fn head(archive: &MemoryArchive, partition: u32, size: u64) -> SignedCheckpoint {
    SignedCheckpoint::parse(&archive.objects[&format!("acme/audit/{partition}/checkpoints/{size:020}")])
        .unwrap()
}

#[test]
fn heads_and_times_establish_no_more_than_they_reach() {
    use NotEstablished as N;
    let archive = Ledger::small().write();
    let open = |heads: &[(u32, u64)], not_before| {
        let options = Options {
            expected_heads: heads
                .iter()
                .map(|(partition, size)| head(&archive, *partition, *size))
                .collect(),
            not_before,
            ..Options::default()
        };
        let found = report(&archive, &options);
        assert_eq!(found.first_bad, None);
        let of_interest = [N::MissingTail, N::LaterTail, N::StolenKeys, N::LaterStolenKeys];
        let open = found.not_established.into_iter();
        open.filter(|what| of_interest.contains(what))
            .collect::<BTreeSet<_>>()
    };
    let rows: &[Reach] = &[
        (&[], None, &[N::MissingTail, N::StolenKeys]),
        (&[], Some(0), &[N::LaterTail, N::StolenKeys]),
        (&[], Some(START), &[N::LaterTail, N::StolenKeys]),
        (&[(0, 16)], None, &[N::MissingTail, N::LaterStolenKeys]),
        (&[(0, 16)], Some(0), &[N::LaterTail, N::LaterStolenKeys]),
        (&[(0, 7), (1, 7)], None, &[N::LaterTail, N::LaterStolenKeys]),
        (&[(0, 16), (1, 7)], None, &[N::LaterTail, N::LaterStolenKeys]),
        // A head at the archive's end proves the past of it, not that nothing came after.
        (&[(0, 16), (1, 16), (1, 7)], None, &[N::LaterTail]),
    ];
    for (heads, not_before, due) in rows {
        let due: BTreeSet<_> = due.iter().copied().collect();
        assert_eq!(open(heads, *not_before), due, "{heads:?} {not_before:?}");
    }
}

#[test]
fn nothing_is_established_of_an_archive_that_is_bad_in_its_first_partition() {
    let mut archive = Ledger::small().write();
    let heads = [head(&archive, 0, 16), head(&archive, 1, 16)];
    archive
        .objects
        .remove("acme/audit/0/checkpoints/00000000000000000007");
    let options = Options {
        expected_heads: heads.to_vec(),
        ..Options::default()
    };
    let found = report(&archive, &options);
    assert_eq!(found.verdict, Verdict::Invalid);
    assert!(found.not_established.contains(&NotEstablished::MissingTail));
    assert!(found.not_established.contains(&NotEstablished::StolenKeys));
}

const UNFINISHED: &str = "was killed within a cut";

/// The objects of partition 1's second cut in the order in which the archiver stores them.
fn second_cut(archive: &MemoryArchive) -> Vec<String> {
    let of = |part: &str, end: &str| {
        let names = archive.objects.keys();
        let found = names.filter(|name| name.starts_with("acme/audit/1/"));
        let found = found.filter(|name| name.contains(part) && name.ends_with(end));
        found.cloned().collect::<Vec<_>>()
    };
    let names = [
        of("tile/0", "/16"),
        of("class=", "0015.ndjson.zst"),
        of("checkpoints", "16"),
    ]
    .concat();
    assert_eq!(names.len(), 4);
    names
}

#[test]
fn a_cut_that_was_not_stored_whole_is_invalid_and_explained() {
    let archive = Ledger::small().write();
    let names = second_cut(&archive);
    for stored in 1..names.len() {
        let mut killed = archive.clone();
        killed.objects.retain(|name, _| !names[stored..].contains(name));
        let bad = first_bad(&killed);
        assert!(bad.detail.contains(UNFINISHED), "{stored}: {bad:?}");
        assert_eq!(bad.partition, Some(1));
    }
    // A key set that only the next cut of all declares.
    let mut killed = archive.clone();
    killed
        .objects
        .insert("keys/jwks-4.json".to_owned(), b"{}".to_vec());
    assert!(first_bad(&killed).detail.contains(UNFINISHED));
}

#[test]
fn what_lacks_before_the_last_checkpoint_is_not_explained_away() {
    let archive = Ledger::small().write();
    let names = second_cut(&archive);
    let (checkpoint, others) = names.split_last().unwrap();
    assert!(checkpoint.contains("checkpoints"));
    for name in others {
        let mut changed = archive.clone();
        changed.objects.remove(name);
        let bad = first_bad(&changed);
        assert!(!bad.detail.contains(UNFINISHED), "{name}: {bad:?}");
    }
    let mut changed = archive.clone();
    changed
        .objects
        .insert("acme/audit/1/tile/0/000.p/9".to_owned(), vec![0; 288]);
    assert!(!first_bad(&changed).detail.contains(UNFINISHED));
}

#[test]
fn more_threads_than_are_of_use_change_nothing() {
    let archive = Ledger::large(&[300, 5, 700], 9).write();
    let alone = report(&archive, &Options::default());
    let many = Options {
        threads: 100_000,
        ..Options::default()
    };
    assert_eq!(report(&archive, &many), alone);
}

fn stored(archive: &MemoryArchive) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let vault = DirectoryVault::create(dir.path().join("archive")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, bytes) in &archive.objects {
        runtime.block_on(vault.put_new(name, bytes, KEEP)).unwrap();
    }
    dir
}

fn ledgerline(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ledgerline"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Puts something else in the place of what lies there.
type Replace = fn(&Path);

const CHECKPOINT: &str = "acme/audit/0/checkpoints/00000000000000000016";

#[test]
fn what_is_no_regular_file_is_an_unknown_object_and_never_opened() {
    let places: [(&str, Replace); 3] = [
        (CHECKPOINT, |path| {
            let outside = path.ancestors().nth(5).unwrap().join("outside");
            fs::rename(path, &outside).unwrap();
            symlink(outside, path).unwrap();
        }),
        ("acme/audit/1", |path| {
            let outside = path.ancestors().nth(4).unwrap().join("outside");
            fs::rename(path, &outside).unwrap();
            symlink(outside, path).unwrap();
        }),
        (CHECKPOINT, |path| {
            fs::remove_file(path).unwrap();
            make_pipe(path);
        }),
    ];
    for (name, replace) in places {
        let dir = stored(&Ledger::small().write());
        let root = dir.path().join("archive");
        replace(&root.join(name));
        let source = DirectorySource::open(&root).unwrap();
        let bad = first_bad(&source);
        assert_eq!(
            (bad.reason, bad.object.as_deref()),
            (Reason::UnknownObject, Some(name))
        );
        assert!(source.read(name).unwrap().is_none());
        let below = format!("{name}/checkpoints/00000000000000000016");
        assert!(source.read(&below).unwrap().is_none());
        assert_eq!(source.list(&format!("{name}/")).unwrap().count(), 0);
        let found = ledgerline(dir.path(), &["verify", "archive"]);
        assert_eq!(found.status.code(), Some(1), "{name}");
    }
}

#[test]
fn proof_opens_no_pipe_and_no_link() {
    let tenant = tenant_in(0, 2, "t");
    let arguments = ["proof", "archive", "--tenant", &tenant, "--sequence", "1"];
    let dir = stored(&Ledger::small().write());
    assert_eq!(ledgerline(dir.path(), &arguments).status.code(), Some(0));
    let root = dir.path().join("archive");
    let archive = Ledger::small().write();
    let segment = archive
        .objects
        .keys()
        .find(|name| name.starts_with("acme/audit/0/class=default"))
        .unwrap();
    for name in [
        segment.as_str(),
        CHECKPOINT,
        "keys/jwks-3.json",
        "acme/audit/0/tile/0/000.p/16",
    ] {
        let (path, aside) = (root.join(name), dir.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        let linked = ledgerline(dir.path(), &arguments);
        fs::remove_file(&path).unwrap();
        make_pipe(&path);
        let piped = ledgerline(dir.path(), &arguments);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        for found in [linked, piped] {
            assert_eq!(found.status.code(), Some(1), "{name}");
            let stderr = String::from_utf8_lossy(&found.stderr).into_owned();
            assert!(stderr.contains("not a regular file"), "{name}: {stderr}");
        }
    }
}

#[test]
fn a_proof_is_written_whole_and_over_nothing() {
    let dir = stored(&Ledger::small().write());
    let tenant = tenant_in(0, 2, "t");
    let arguments = [
        "proof",
        "archive",
        "--tenant",
        &tenant,
        "--sequence",
        "1",
        "--out",
        "proof",
    ];
    let before = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(ledgerline(dir.path(), &arguments).status.code(), Some(0));
    let written = fs::read(dir.path().join("proof")).unwrap();
    assert!(written.starts_with(b"c2sp.org/tlog-proof@v1\n"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before + 1);
    fs::write(dir.path().join("proof"), b"mine").unwrap();
    let again = ledgerline(dir.path(), &arguments);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("proof"));
    assert_eq!(fs::read(dir.path().join("proof")).unwrap(), b"mine");
}

#[test]
fn arguments_have_limits_and_heads_are_of_the_tenants_partition() {
    let archive = Ledger::small().write();
    let dir = stored(&archive);
    let too_large = |name: &str, bytes| fs::write(dir.path().join(name), vec![b' '; bytes]).unwrap();
    too_large("jwks", JWKS_BYTES_MAX + 1);
    too_large("head", NOTE_BYTES_MAX + 1);
    for (flag, file) in [("--jwks", "jwks"), ("--expect-head", "head")] {
        let found = ledgerline(dir.path(), &["verify", "archive", flag, file]);
        assert_eq!(found.status.code(), Some(2), "{flag}");
        let stderr = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(stderr.contains("larger than"), "{stderr}");
        // What has no end is not read to it.
        let endless = ledgerline(dir.path(), &["verify", "archive", flag, "/dev/zero"]);
        assert_eq!(endless.status.code(), Some(2), "{flag}");
    }
    let tenant = tenant_in(1, 2, "t");
    for (partition, due) in [(0, 2), (1, 0)] {
        let head = format!("archive/acme/audit/{partition}/checkpoints/00000000000000000007");
        let arguments = ["verify", "archive", "--tenant", &tenant, "--expect-head", &head];
        let found = ledgerline(dir.path(), &arguments);
        assert_eq!(found.status.code(), Some(due), "{partition}");
        assert_eq!(found.stdout.is_empty(), due == 2);
    }
}
