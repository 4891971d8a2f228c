//! What an operator can get wrong: a log from a backup, a lost log, other keys, keys under a new name.

use crate::process::{ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings, try_drain, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::verify::Verdict;
use std::fs;
use std::path::Path;

fn ingest(dir: &Path, ids: std::ops::Range<u32>) {
    let line = |n| {
        format!(
            "{{\"event_id\":\"e-{n}\",\"tenant_id\":\"t-{}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a\",\"actor\":{{\"type\":\"u\",\"id\":\"i\"}}}}\n",
            n % 7
        )
    };
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let output = ledgerline_with_input(
        &["ingest", &log, "-"],
        ids.map(line).collect::<String>().as_bytes(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

/// The database and what belongs to it.
fn log_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("ledger.db")
        })
        .collect()
}

#[test]
fn a_log_restored_from_an_older_copy_is_not_written_to() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ingest(dir.path(), 0..40);
    drain(&settings(dir.path()));
    for file in log_files(dir.path()) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    ingest(dir.path(), 40..50);
    drain(&settings(dir.path()));
    let archived = read_archive(&dir.path().join("archive"));
    for file in log_files(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    for file in log_files(copy.path()) {
        fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    ingest(dir.path(), 90..93);
    let stopped = try_drain(&settings(dir.path())).unwrap_err();
    assert!(stopped.contains("the end of the log is lost"), "{stopped}");
    assert_eq!(read_archive(&dir.path().join("archive")).events, archived.events);
}

#[test]
fn a_new_log_beside_an_old_archive_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..20);
    drain(&settings(dir.path()));
    for file in log_files(dir.path()) {
        fs::remove_file(file).unwrap();
    }
    ingest(dir.path(), 0..5);
    let stopped = try_drain(&settings(dir.path())).unwrap_err();
    assert!(
        stopped.contains("the end of the log is lost") && stopped.contains("--log-name"),
        "{stopped}"
    );
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 20);
}

#[test]
fn keys_that_are_not_the_ledgers_do_not_sign_it() {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..20);
    drain(&settings(dir.path()));
    fs::rename(dir.path().join("keys"), dir.path().join("away")).unwrap();
    ingest(dir.path(), 20..25);
    let stopped = try_drain(&settings(dir.path())).unwrap_err();
    assert!(
        stopped.contains("none of the signer's keys is one of this ledger's"),
        "{stopped}"
    );
    fs::remove_dir_all(dir.path().join("keys")).unwrap();
    fs::rename(dir.path().join("away"), dir.path().join("keys")).unwrap();
    drain(&settings(dir.path()));
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 25);
}

#[test]
fn a_new_issuer_kid_names_the_newest_key_file_and_old_signatures_still_verify() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let signer = format!("--signer=file:{}", made.display());
    // Any command that opens the directory makes the first keys; a second pair is added.
    ingest(dir.path(), 0..1);
    let first = Settings {
        signer: Some(format!("file:{}", made.display())),
        ..settings(dir.path())
    };
    let scratch = tempfile::tempdir().unwrap();
    let elsewhere = settings(scratch.path());
    ingest(scratch.path(), 0..1);
    drain(&Settings {
        signer: first.signer,
        ..elsewhere
    });
    let added = ledgerline(&["keys", "add", &signer]);
    assert!(added.status.success(), "{}", stderr(&added));
    let key = |n: u32| made.join(format!("key-{n:04}.pem")).display().to_string();
    let by_files = |paths: &str, kid: &str| Settings {
        signer: None,
        signing_key_provider: Some("local".to_owned()),
        signing_key_path: Some(paths.to_owned()),
        issuer_kid: Some(kid.to_owned()),
        ..settings(dir.path())
    };
    drain(&by_files(&format!("{},{}", key(1), key(2)), "k-2025"));
    ingest(dir.path(), 1..9);
    drain(&by_files(
        &format!("{},{},{},{}", key(1), key(2), key(3), key(4)),
        "k-2026",
    ));
    let archive = dir.path().join("archive");
    assert_eq!(verify_pinned(&archive).verdict, Verdict::Valid);
    assert_eq!(read_archive(&archive).count("entry"), 9);
    let keys = fs::read_to_string(archive.join("keys/jwks-4.json")).unwrap();
    assert!(
        keys.contains("\"k-2025\"") && keys.contains("\"k-2026\""),
        "{keys}"
    );
}
