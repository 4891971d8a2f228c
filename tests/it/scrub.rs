//! `ledgerline scrub` of a directory: names and content, and what a directory cannot show. Of buckets: `s3/scrub.rs`.

use crate::archive_fixture::Ledger;
use crate::process::{program, stderr};
use crate::vault_conformance::KEEP;
use ledgerline::log::embedded::EmbeddedLog;
use ledgerline::log::{Committed, Log as _, topic};
use ledgerline::vault::Vault as _;
use ledgerline::vault::directory::DirectoryVault;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn stored() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let vault = DirectoryVault::create(dir.path().join("archive")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, bytes) in &Ledger::small().write().objects {
        runtime.block_on(vault.put_new(name, bytes, KEEP)).unwrap();
    }
    dir
}

fn scrub(dir: &Path, more: &[&str]) -> Output {
    program()
        .args(["scrub", "--archive=file:archive"])
        .args(more)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// What was found, with the exit status held against it.
fn found(dir: &Path) -> Vec<(String, String)> {
    found_with(dir, &[])
}

fn found_with(dir: &Path, more: &[&str]) -> Vec<(String, String)> {
    let output = scrub(dir, &[&["--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (text(&finding["kind"]), text(&finding["key"])))
        .collect();
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())));
    found
}

#[test]
fn a_good_directory_has_no_findings_and_it_is_said_what_it_cannot_show() {
    let dir = stored();
    assert_eq!(found(dir.path()), []);
    let output = scrub(dir.path(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("nothing is wrong"), "{text}");
    for missing in ["keeps no versions", "locks nothing", "--jwks"] {
        assert!(text.contains(missing), "{missing}: {text}");
    }
}

#[test]
fn every_foreign_file_is_named_and_changed_content_is_found() {
    let dir = stored();
    let archive = dir.path().join("archive");
    for name in ["notes.txt", "acme/audit/0/notes", "acme/audit/1/notes"] {
        fs::write(archive.join(name), b"mine").unwrap();
    }
    let unknown = |name: &str| ("unknown-key".to_owned(), name.to_owned());
    let mut names = found(dir.path());
    names.sort();
    assert_eq!(
        names,
        ["acme/audit/0/notes", "acme/audit/1/notes", "notes.txt"].map(unknown)
    );
    let text = String::from_utf8(scrub(dir.path(), &[]).stdout).unwrap();
    assert!(text.contains("move it out"), "{text}");
    for name in ["notes.txt", "acme/audit/0/notes", "acme/audit/1/notes"] {
        fs::remove_file(archive.join(name)).unwrap();
    }
    assert_eq!(found(dir.path()), []);

    let tile = archive.join("acme/audit/0/tile/0/000.p/7");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&tile).unwrap();
    fs::write(&tile, bytes).unwrap();
    assert_eq!(
        found(dir.path()),
        [("content".to_owned(), "acme/audit/0/tile/0/000.p/7".to_owned())]
    );
}

/// What a service that is running stores is looked at once it is whole.
#[test]
fn what_no_checkpoint_covers_yet_is_no_finding() {
    let dir = stored();
    let checkpoints = dir.path().join("archive/acme/audit/1/checkpoints");
    let mut names: Vec<_> = fs::read_dir(&checkpoints)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    fs::remove_file(names.pop().unwrap()).unwrap();
    assert_eq!(found(dir.path()), []);
    // But one of no cut is.
    let stray = checkpoints.join("00000000000000000099");
    fs::copy(names.pop().unwrap(), &stray).unwrap();
    let found = found(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "content");
    assert!(found[0].1.ends_with("00000000000000000099"));
}

#[test]
fn more_foreign_files_than_a_report_holds_are_counted() {
    let dir = stored();
    for n in 0..1_005 {
        fs::write(dir.path().join(format!("archive/note-{n}")), b"mine").unwrap();
    }
    let output = scrub(dir.path(), &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["counts"]["unknown-key"], 1_005);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1_000);
}

/// With the log at hand, which says how much was archived.
#[test]
fn newest_cuts_and_whole_partitions_that_are_gone_are_missed_where_a_log_is_at_hand() {
    let dir = stored();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let checkpoints = dir.path().join("archive/acme/audit/1/checkpoints");
    let mut names: Vec<_> = fs::read_dir(&checkpoints)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let last = names.pop().unwrap();
    let size: u64 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    runtime.block_on(async {
        let log = EmbeddedLog::open(&dir.path().join("ledger.db"), 2).await.unwrap();
        let archived = Committed {
            offset: 0,
            metadata: size.to_string(),
        };
        log.commit("ledgerline-archive", topic::LEDGER_CHECKPOINTS, 1, archived)
            .await
            .unwrap();
        log.close().await.unwrap();
    });
    let log = "--log=sqlite:ledger.db";
    assert_eq!(found_with(dir.path(), &[log]), []);
    let missing = [("missing".to_owned(), "acme/audit/1".to_owned())];
    fs::remove_file(&last).unwrap();
    assert_eq!(found_with(dir.path(), &[log]), missing);
    // Nothing says so without it.
    assert_eq!(found(dir.path()), []);
    let text = String::from_utf8(scrub(dir.path(), &[]).stdout).unwrap();
    assert!(text.contains("newest cuts"), "{text}");

    fs::remove_dir_all(dir.path().join("archive/acme/audit/1")).unwrap();
    let whole = found_with(dir.path(), &[log]);
    assert!(whole.contains(&missing[0]), "{whole:?}");
}

#[test]
fn files_of_a_partition_that_the_ledger_does_not_have_are_named_as_verify_refuses_them() {
    let dir = stored();
    for name in [
        "acme/audit/9/tile/0/000",
        "b/audit/0/tile/0/000",
        "acme/audit/99999999999/tile/0/000",
    ] {
        let path = dir.path().join("archive").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"mine").unwrap();
        let verified = program()
            .args(["verify", "archive"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(verified.status.code(), Some(1), "{name}");
        assert_eq!(found(dir.path()), [("unknown-key".to_owned(), name.to_owned())]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_cannot_be_read_or_is_set_wrong_is_told_apart_from_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let output = scrub(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    for wrong in [
        "--archive-lock=compliance",
        "--calls-per-second=0",
        "--archive=ftp:x",
        "--log=x",
    ] {
        let output = program()
            .args(["scrub", "--archive=file:archive", wrong])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn the_help_says_which_of_its_settings_run_has() {
    let help = |command: &str| {
        let output = program().args([command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for flag in ["--scrub-interval-ms", "--scrub-calls-per-second"] {
        assert!(
            help("scrub").contains(flag) && help("run").contains(flag),
            "{flag}"
        );
    }
    assert!(help("run").contains("that command has --jwks"), "{}", help("run"));
}
