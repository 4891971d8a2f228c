//! What an operator can get wrong: a log from a backup, a lost log, other keys, keys under a new name.

use crate::process::{LOG_NAME, Service, ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings, try_drain, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::verify::Verdict;
use std::fs;
use std::path::{Path, PathBuf};

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
fn log_files(dir: &Path) -> Vec<PathBuf> {
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
    ingest(dir.path(), 0..1);
    let keys = four_key_files(dir.path());
    drain(&by_files(dir.path(), &keys[..2], "k-2025"));
    ingest(dir.path(), 1..9);
    drain(&by_files(dir.path(), &keys, "k-2026"));
    let archive = dir.path().join("archive");
    assert_eq!(verify_pinned(&archive).verdict, Verdict::Valid);
    assert_eq!(read_archive(&archive).count("entry"), 9);
    let keys = fs::read_to_string(archive.join("keys/jwks-4.json")).unwrap();
    assert!(
        keys.contains("\"k-2025\"") && keys.contains("\"k-2026\""),
        "{keys}"
    );
}

/// PEM files of two RSA and two Ed25519 keys, in order of age.
fn four_key_files(dir: &Path) -> Vec<String> {
    let made = dir.join("made");
    let signer = format!("file:{}", made.display());
    // Any run makes the first keys of a directory; a second pair is added.
    let scratch = tempfile::tempdir().unwrap();
    ingest(scratch.path(), 0..1);
    drain(&Settings {
        signer: Some(signer.clone()),
        ..settings(scratch.path())
    });
    let added = ledgerline(&["keys", "add", &format!("--signer={signer}")]);
    assert!(added.status.success(), "{}", stderr(&added));
    let file = |n: u32| made.join(format!("key-{n:04}.pem")).display().to_string();
    (1..=4).map(file).collect()
}

fn by_files(dir: &Path, keys: &[String], kid: &str) -> Settings {
    Settings {
        signer: None,
        signing_key_provider: Some("local".to_owned()),
        signing_key_path: Some(keys.join(",")),
        issuer_kid: Some(kid.to_owned()),
        ..settings(dir)
    }
}

#[test]
fn a_key_whose_private_half_is_gone_is_served_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    ingest(dir.path(), 0..5);
    let keys = four_key_files(dir.path());
    drain(&by_files(dir.path(), &keys[..2], "k-2025"));
    ingest(dir.path(), 5..9);
    drain(&by_files(dir.path(), &keys, "k-2026"));
    let at = |name: &str| dir.path().join(name).display().to_string();
    let service = Service::start_at(&[
        format!("--log=sqlite:{}", at("ledger.db")),
        format!("--archive=file:{}", at("archive")),
        format!("--log-name={LOG_NAME}"),
        "--signing-key-provider=local".to_owned(),
        format!("--signing-key-path={}", keys[2..].join(",")),
        "--issuer-kid=k-2026".to_owned(),
    ])
    .unwrap_or_else(|logs| panic!("it does not start:\n{logs}"));
    let served = service.wait_for("/v1/keys/jwks.json", |body| body.matches("\"kid\"").count() == 4);
    drop(service);
    fs::write(dir.path().join("served.json"), served).unwrap();
    let verified = ledgerline(&["verify", &at("archive"), "--jwks", &at("served.json"), "--json"]);
    let report = String::from_utf8_lossy(&verified.stdout);
    assert!(report.contains("\"verdict\": \"valid\""), "{report}");
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn the_archive_of_another_ledger_gets_no_object() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ingest(one.path(), 0..20);
    drain(&settings(one.path()));
    let archive = one.path().join("archive");
    let before = files(&archive);
    ingest(two.path(), 0..20);
    let to_the_wrong_place = Settings {
        archive: settings(one.path()).archive,
        ..settings(two.path())
    };
    // Of another name, with keys of its own or with the same; and of the same name with keys of its own.
    let other_name = Some("other.example/log".to_owned());
    for (log_name, signer, why) in [
        (other_name.clone(), to_the_wrong_place.signer.clone(), "holds"),
        (other_name, settings(one.path()).signer, "holds"),
        (
            to_the_wrong_place.log_name.clone(),
            to_the_wrong_place.signer.clone(),
            "the end of the log is lost",
        ),
    ] {
        let stopped = try_drain(&Settings {
            log_name,
            signer,
            ..to_the_wrong_place.clone()
        })
        .unwrap_err();
        assert!(stopped.contains(why), "{stopped}");
        assert_eq!(files(&archive), before);
        for file in log_files(two.path()) {
            fs::remove_file(file).unwrap();
        }
        ingest(two.path(), 0..20);
    }
}
