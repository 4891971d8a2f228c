//! A log that is lost is made anew from its archive, and every chain goes on.

mod faults;
mod unsigned;

use crate::archive_fixture::Ledger;
use crate::process::{ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::verify::Verdict;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Puts events into the log of `dir`, and so makes it where it is not there.
fn ingest(dir: &Path, numbers: std::ops::Range<u32>) {
    let line = |n| {
        format!(
            "{{\"event_id\":\"e-{n}\",\"tenant_id\":\"t-{}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a\",\"actor\":{{\"type\":\"u\",\"id\":\"i\"}}}}\n",
            n % 7
        )
    };
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let lines: String = numbers.map(line).collect();
    let output = ledgerline_with_input(&["ingest", &log, "-"], lines.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
}

fn lose_log(dir: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(dir.join(format!("ledger.db{suffix}"))));
    }
}

/// `restore` of the archive in `dir` into its log, by the archive's own newest keys.
fn restore(dir: &Path, more: &[&str]) -> Output {
    let from = format!("--from={}", dir.join("archive").display());
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let jwks = format!("--jwks={}", newest_jwks(dir).display());
    let arguments: Vec<&str> = ["restore", &from, &log, &jwks]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    ledgerline(&arguments)
}

fn newest_jwks(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("archive/keys")).unwrap();
    entries.map(|entry| entry.unwrap().path()).max().unwrap()
}

fn objects(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(at: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&dir.join("archive"), &mut found);
    found
}

/// A ledger of 60 events that was drained, and whose log is lost.
fn lost() -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..60);
    let settings = settings(dir.path());
    drain(&settings);
    lose_log(dir.path());
    (dir, settings)
}

#[test]
fn a_lost_log_is_made_anew_and_every_chain_goes_on() {
    let (dir, settings) = lost();
    let before = objects(dir.path());
    let output = restore(dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("60 entries of 7 tenants restored in "), "{told}");
    assert!(
        told.contains(" entries/s, 1,000,000 in ") && told.contains(" s at that rate"),
        "{told}"
    );
    // Five that were sealed before, sent again to topics that are new; then thirty more.
    ingest(dir.path(), 55..90);
    drain(&settings);
    assert_eq!(verify_pinned(&dir.path().join("archive")).verdict, Verdict::Valid);
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!((sealed.count("entry"), sealed.count("duplicate")), (90, 5));
    let after = objects(dir.path());
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    // A start that finds everything done says so, and does nothing.
    let again = restore(dir.path(), &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("`ledgerline run` goes on"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn source_topics_that_still_hold_what_was_sealed_are_read_on_behind_it() {
    let (dir, settings) = lost();
    // The producers' topics are there, with ten events more than the archive knows.
    ingest(dir.path(), 0..70);
    let output = restore(dir.path(), &["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for partition in told["partitions"].as_array().unwrap() {
        assert_eq!(partition["adopted"], serde_json::json!([]), "{partition}");
    }
    // Of the same time, and rounded by nobody.
    let number = |name: &str| told[name].as_f64().unwrap();
    assert!((number("entries_per_second") * number("seconds") - 60.0).abs() < 1e-6);
    assert!((number("seconds_per_million_entries") * number("entries_per_second") - 1e6).abs() < 1e-3);
    drain(&settings);
    assert_eq!(verify_pinned(&dir.path().join("archive")).verdict, Verdict::Valid);
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!((sealed.count("entry"), sealed.count("duplicate")), (70, 0));
}

#[test]
fn a_restore_that_was_done_before_the_service_began_is_found_whole() {
    let (dir, settings) = lost();
    assert!(restore(dir.path(), &[]).status.success());
    let again = restore(dir.path(), &["--json"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let told: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    for partition in told["partitions"].as_array().unwrap() {
        assert_eq!(partition["state"], "was restored before");
    }
    let told = String::from_utf8(restore(dir.path(), &[]).stdout).unwrap();
    assert!(
        told.contains("60 entries of 7 tenants are there already") && told.contains("Nothing was written"),
        "{told}"
    );
    ingest(dir.path(), 60..61);
    drain(&settings);
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 61);
}

#[test]
fn a_log_that_holds_a_ledger_is_not_restored_into() {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..20);
    drain(&settings(dir.path()));
    let whole = restore(dir.path(), &[]);
    assert_eq!(whole.status.code(), Some(1));
    assert!(stderr(&whole).contains("is not empty"), "{}", stderr(&whole));
    // Another ledger's.
    let other = tempfile::tempdir().unwrap();
    ingest(other.path(), 0..20);
    let named = Settings {
        log_name: Some("other.example/audit".to_owned()),
        ..settings(other.path())
    };
    drain(&named);
    lose_log(dir.path());
    fs::copy(other.path().join("ledger.db"), dir.path().join("ledger.db")).unwrap();
    let refused = restore(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
}

/// Copies the archive, or the log, of one ledger's directory to another.
fn copy(what: &str, from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([from.join(what), to.join(what)])
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_log_that_is_ahead_of_the_archive_or_behind_it_or_the_same_is_left_with_what_to_do() {
    let newer = tempfile::tempdir().unwrap();
    ingest(newer.path(), 0..20);
    drain(&settings(newer.path()));
    let (ahead, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy("archive", newer.path(), ahead.path());
    copy("ledger.db", newer.path(), behind.path());
    ingest(newer.path(), 20..40);
    drain(&settings(newer.path()));
    copy("ledger.db", newer.path(), ahead.path());
    copy("archive", newer.path(), behind.path());
    for (dir, wanted) in [
        (&newer, "Both are the same: `ledgerline run` goes on"),
        (
            &ahead,
            "The log is ahead of the archive: nothing is lost, `ledgerline run` goes on",
        ),
        (&behind, "The log is behind the archive"),
    ] {
        let log = fs::read(dir.path().join("ledger.db")).unwrap();
        let refused = restore(dir.path(), &[]);
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(wanted), "{}", stderr(&refused));
        assert!(
            log == fs::read(dir.path().join("ledger.db")).unwrap(),
            "{wanted}: the log was written to"
        );
    }
}

#[test]
fn an_archive_that_is_not_good_leaves_the_log_as_it_was() {
    let (dir, _) = lost();
    let (path, mut bytes) = objects(dir.path())
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|extension| extension == "zst"))
        .unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let refused = restore(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("the archive is invalid, nothing was restored"),
        "{}",
        stderr(&refused)
    );
    assert!(!dir.path().join("ledger.db").exists());
}

#[test]
fn an_archive_that_ends_before_what_somebody_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..20);
    drain(&settings(dir.path()));
    let old = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(dir.path().join("archive"))
        .arg(old.path())
        .status();
    assert!(copied.unwrap().success());
    ingest(dir.path(), 20..40);
    drain(&settings(dir.path()));
    let newest = objects(dir.path())
        .into_keys()
        .filter(|path| path.parent().unwrap().ends_with("0/checkpoints"))
        .max()
        .unwrap();
    let head = format!("--expect-head={}", newest.display());
    let refused = restore(old.path(), &[&head]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(!old.path().join("ledger.db").exists());
}

#[test]
fn whose_keys_are_meant_has_to_be_said() {
    let (dir, _) = lost();
    let from = format!("--from={}", dir.path().join("archive").display());
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let refused = ledgerline(&["restore", &from, &log]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(
        said.contains("--jwks") && said.contains("--trust-archive-keys"),
        "{said}"
    );
    // Those of another ledger.
    let (other, _) = lost();
    let jwks = format!("--jwks={}", newest_jwks(other.path()).display());
    let refused = ledgerline(&["restore", &from, &log, &jwks]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(
        said.contains("untrusted_key") && said.contains("--trust-archive-keys"),
        "{said}"
    );
    let tried = ledgerline(&["restore", &from, &log, "--trust-archive-keys", "--dry-run"]);
    assert!(tried.status.success(), "{}", stderr(&tried));
    assert!(!dir.path().join("ledger.db").exists());
    assert!(
        ledgerline(&["restore", &from, &log, "--trust-archive-keys"])
            .status
            .success()
    );
}

#[test]
fn a_log_of_another_number_of_partitions_is_refused() {
    let (dir, _) = lost();
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let made = ledgerline_with_input(&["ingest", &log, "--partitions=2", "-"], b"");
    assert!(made.status.success(), "{}", stderr(&made));
    let refused = restore(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("partitions"), "{}", stderr(&refused));
}

/// Every kind of leaf, two classes, keys that came and went.
#[test]
fn every_kind_of_leaf_is_replayed() {
    let archive = Ledger::small().write();
    for partition in 0..2 {
        let replayed = faults::replay_fixture(&archive, partition);
        assert_eq!(replayed.size(), replayed.state.order.next_index);
        assert!(replayed.state.heads.iter().count() >= 2);
        assert_eq!(replayed.state.keys.signers().len(), 2);
        assert_eq!(replayed.state.order.cut_from, replayed.size());
    }
}
