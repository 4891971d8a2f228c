//! `ledgerline verify` as its user meets it: exit statuses, the report for people, the report as JSON.

use crate::archive_fixture::{Ledger, MemoryArchive, keys};
use crate::vault_conformance::KEEP;
use ledgerline::ledger::jwks;
use ledgerline::vault::Vault as _;
use ledgerline::vault::directory::DirectoryVault;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn stored(archive: &MemoryArchive) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let vault = DirectoryVault::create(dir.path().join("archive")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, bytes) in &archive.objects {
        runtime.block_on(vault.put_new(name, bytes, KEEP)).unwrap();
    }
    fs::write(dir.path().join("archive/.incoming/left"), b"over").unwrap();
    let trusted = [keys().ed25519.public.clone()];
    fs::write(dir.path().join("trusted.json"), jwks::write(&trusted)).unwrap();
    dir
}

fn verify(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ledgerline"))
        .arg("verify")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_good_archive_is_consistent_and_with_pinned_keys_valid() {
    let dir = stored(&Ledger::small().write());
    let found = verify(dir.path(), &["archive"]);
    assert_eq!(found.status.code(), Some(0));
    assert!(
        text(&found).contains("Archive archive is consistent"),
        "{}",
        text(&found)
    );
    assert!(!text(&found).contains('\x1b'));
    let found = verify(
        dir.path(),
        &[
            "file:archive",
            "--jwks",
            "trusted.json",
            "--json",
            "--threads",
            "2",
        ],
    );
    assert_eq!(found.status.code(), Some(0));
    let report = json(&found);
    assert_eq!(report["verdict"], "valid");
    assert_eq!(report["first_bad"], Value::Null);
    assert_eq!((&report["tenants"], &report["entries"]), (&4.into(), &8.into()));
    assert!(dir.path().join("archive/.incoming/left").exists());
}

#[test]
fn a_tenant_is_looked_at_alone() {
    let dir = stored(&Ledger::small().write());
    let tenant = crate::archive_fixture::tenant_in(1, 2, "t");
    let report = json(&verify(dir.path(), &["archive", "--json", "--tenant", &tenant]));
    assert_eq!((&report["tenants"], &report["entries"]), (&1.into(), &2.into()));
    assert_eq!(report["partitions"], 1);
    let found = verify(dir.path(), &["archive", "--json", "--tenant", "absent"]);
    assert_eq!(found.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&found.stderr).contains("--tenant absent: the archive has no entry"));
    let absent = json(&found);
    assert_eq!(
        (&absent["verdict"], &absent["entries"]),
        (&"consistent".into(), &0.into())
    );
    assert!(absent["not_established"].to_string().contains("tenant_absent"));
    let shown = text(&verify(dir.path(), &["archive", "--tenant", "absent"]));
    let second = shown.lines().nth(1).unwrap_or_default();
    assert!(
        second.contains("No entry of the tenant asked for was found"),
        "{shown}"
    );
    let there = verify(dir.path(), &["archive", "--tenant", &tenant]);
    assert_eq!(there.status.code(), Some(0));
    assert!(!text(&there).contains("No entry"));
}

#[test]
fn the_first_bad_place_is_named_and_the_exit_status_is_1() {
    let mut ledger = Ledger::small();
    ledger.partitions[1].records[10].event = Some(b"{}".to_vec());
    let dir = stored(&ledger.write());
    let found = verify(dir.path(), &["archive"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stderr.is_empty());
    let tenant = crate::archive_fixture::tenant_in(1, 2, "t");
    for due in [
        "INVALID",
        "event_digest",
        &tenant,
        "sequence    2",
        "index       10",
    ] {
        assert!(text(&found).contains(due), "{due} in {}", text(&found));
    }
    let report = json(&verify(dir.path(), &["archive", "--json"]));
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(report["first_bad"]["reason"], "event_digest");
    assert_eq!(report["first_bad"]["tenant"], tenant.as_str());
    assert_eq!(report["first_bad"]["sequence"], 2);
}

#[test]
fn a_missing_tail_is_found_by_head_and_by_time() {
    let ledger = Ledger::small();
    let dir = stored(&ledger.write());
    fs::copy(
        dir.path()
            .join("archive/acme/audit/0/checkpoints/00000000000000000007"),
        dir.path().join("head"),
    )
    .unwrap();
    let good = [
        "archive",
        "--expect-head",
        "head",
        "--not-before",
        "2026-11-22T23:59:56Z",
    ];
    assert_eq!(verify(dir.path(), &good).status.code(), Some(0));
    let late = ["archive", "--not-before", "2026-11-23T12:00:00Z", "--json"];
    let found = verify(dir.path(), &late);
    assert_eq!(found.status.code(), Some(1));
    let report = json(&found);
    assert_eq!(report["first_bad"]["reason"], "not_before");
    // What is there was checked, and is counted and shown.
    assert_ne!(report["tenants"], 0, "{report}");
    assert_eq!(report["heads"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn wrong_arguments_are_2_and_what_cannot_be_read_is_3() {
    let dir = stored(&Ledger::small().write());
    fs::write(dir.path().join("broken"), b"{").unwrap();
    fs::write(dir.path().join("empty"), b"{\"keys\":[]}").unwrap();
    for arguments in [
        &["archive", "--not-before", "yesterday"][..],
        &["archive", "--tenant", "a b"],
        &["archive", "--jwks", "broken"],
        &["archive", "--jwks", "empty"],
        &["archive", "--expect-head", "broken"],
        &["archive", "--threads", "0"],
        &["gs://bucket"],
        &["s3:bucket"],
        &["file:"],
        &[""],
        &["archive", "--unknown"],
        &[],
    ] {
        let found = verify(dir.path(), arguments);
        assert_eq!(found.status.code(), Some(2), "{arguments:?}");
        assert!(!found.stderr.is_empty() && found.stdout.is_empty());
    }
    for arguments in [&["absent"][..], &["head"], &["archive", "--jwks", "absent"]] {
        let found = verify(dir.path(), arguments);
        assert_eq!(found.status.code(), Some(3), "{arguments:?}");
        assert!(!found.stderr.is_empty() && found.stdout.is_empty());
    }
}

#[test]
fn all_wrong_arguments_are_said_at_once() {
    let dir = stored(&Ledger::small().write());
    let found = verify(
        dir.path(),
        &[
            "gs://bucket",
            "--tenant",
            "a b",
            "--threads",
            "none",
            "--not-before",
            "soon",
            "--jwks",
            "absent",
        ],
    );
    assert_eq!(found.status.code(), Some(2));
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    for wanted in [
        "5 arguments are wrong",
        "the archive \"gs://bucket\" must begin with file:",
        "--tenant \"a b\" must be a string of 1 to 128",
        "--threads: must be a whole number",
        "--not-before \"soon\"",
        "--jwks: cannot read absent",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
}

#[test]
fn a_directory_with_a_colon_in_its_name_is_reached_as_a_path() {
    let dir = stored(&Ledger::small().write());
    fs::rename(dir.path().join("archive"), dir.path().join("s3:copy")).unwrap();
    assert_eq!(verify(dir.path(), &["./s3:copy"]).status.code(), Some(0));
    assert_eq!(verify(dir.path(), &["file:s3:copy"]).status.code(), Some(0));
    assert_eq!(verify(dir.path(), &["s3:copy"]).status.code(), Some(2));
}
