//! Dead letters over the embedded log: what the stage writes, and what the commands make of it.

use crate::cli::bad_inputs;
use crate::process::{ledgerline, stderr};
use crate::sealed::{drain, read_archive, settings, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::verify::Verdict;
use ledgerline::log::embedded::EmbeddedLog;
use ledgerline::log::{Log, NewRecord, Record, topic};
use ledgerline::stages::dead_letters::{Letter, REPLAY_OF};
use std::fs;
use std::path::Path;
use std::process::Output;

const ORIGIN_OF_0: &str = "test.example/audit/0";

fn event(id: &str, tenant: &str, action: &str) -> Vec<u8> {
    format!(
        "{{\"event_id\":\"{id}\",\"tenant_id\":\"{tenant}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"{action}\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}}}}"
    )
    .into_bytes()
}

/// Runs `work` on the log in `dir`, which has one partition.
fn on_log<T>(dir: &Path, work: impl AsyncFnOnce(&EmbeddedLog) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = EmbeddedLog::open(&dir.join("ledger.db"), 1).await.unwrap();
        let done = work(&log).await;
        log.close().await.unwrap();
        done
    })
}

fn put(dir: &Path, values: Vec<Vec<u8>>) {
    let records = values
        .into_iter()
        .map(|value| NewRecord {
            value,
            ..NewRecord::default()
        })
        .collect();
    on_log(dir, async |log| {
        log.append(topic::AUDIT_EVENTS, 0, records).await.unwrap();
    });
}

fn records(dir: &Path, topic: &str) -> Vec<Record> {
    on_log(dir, async |log| {
        let mut all: Vec<Record> = Vec::new();
        loop {
            let from = all.last().map_or(0, |last| last.offset + 1);
            let more = log.read(topic, 0, from, 1_000, 16 << 20).await.unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    })
}

/// Reason, source and input of every letter.
fn letters(dir: &Path) -> Vec<(String, String, Vec<u8>)> {
    let records = records(dir, topic::LEDGER_DEAD_LETTERS);
    let letter = |record: &Record| {
        let letter = Letter::parse(record).expect("a letter");
        (
            letter.reason.as_str().to_owned(),
            letter.source.to_owned(),
            letter.raw.to_vec(),
        )
    };
    records.iter().map(letter).collect()
}

fn command(dir: &Path, arguments: &[&str]) -> Output {
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    ledgerline(&[&["dead-letters"], arguments, &[&log]].concat())
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_kind_of_rejected_input_becomes_one_letter_with_its_reason_its_place_and_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let conflict = event("twice", "acme", "a.c");
    let mut inputs: Vec<Vec<u8>> = bad_inputs().into_iter().map(|(_, input)| input).collect();
    inputs.extend([event("twice", "acme", "a.b"), conflict.clone()]);
    put(dir.path(), inputs);
    drain(&settings(dir.path()));
    let rejected = bad_inputs().into_iter().zip(0..);
    let mut due: Vec<_> = rejected
        .map(|((code, input), offset)| (code.to_owned(), format!("audit.events/0@{offset}"), input))
        .collect();
    let offset = due.len() + 1;
    due.push((
        "conflict".to_owned(),
        format!("audit.events/0@{offset}"),
        conflict,
    ));
    assert_eq!(letters(dir.path()), due);
    // A restart finds them, whether or not anything came since.
    drain(&settings(dir.path()));
    put(dir.path(), vec![event("good", "acme", "a.b"), b"{".to_vec()]);
    drain(&settings(dir.path()));
    drain(&settings(dir.path()));
    due.push((
        "invalid_json".to_owned(),
        format!("audit.events/0@{}", offset + 2),
        b"{".to_vec(),
    ));
    assert_eq!(letters(dir.path()), due);
}

#[test]
fn where_nothing_was_stored_the_newest_letter_alone_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        vec![b"{".to_vec(), event("e-1", "acme", "a.b"), b"[".to_vec()],
    );
    drain(&settings(dir.path()));
    let before = letters(dir.path());
    // As a group's positions that have expired, or that somebody has set to what is none.
    on_log(dir.path(), async |log| {
        let nothing = ledgerline::log::Committed {
            offset: 0,
            metadata: String::new(),
        };
        log.commit("ledgerline-dead-letters", topic::LEDGER_ENTRIES, 0, nothing)
            .await
            .unwrap();
    });
    put(dir.path(), vec![b"]".to_vec()]);
    drain(&settings(dir.path()));
    let after = letters(dir.path());
    assert_eq!((before.len(), after.len()), (2, 3));
    assert_eq!(after[..2], before);
    assert_eq!(after[2].2, b"]");
}

#[test]
fn a_ledger_that_is_older_than_its_letters_and_no_longer_whole_begins_them_where_the_archive_ends() {
    let dir = tempfile::tempdir().unwrap();
    let without = Settings {
        stages: Some("seal,notarize,archive".to_owned()),
        // What the sealer restores from, once the beginning is gone.
        snapshot_bytes: Some("1".to_owned()),
        ..settings(dir.path())
    };
    put(dir.path(), vec![b"{".to_vec(), event("e-1", "acme", "a.b")]);
    drain(&without);
    assert_eq!(letters(dir.path()), []);
    on_log(dir.path(), async |log| {
        let archived = log
            .committed("ledgerline-archive", topic::LEDGER_ENTRIES, 0)
            .await
            .unwrap()
            .unwrap();
        log.trim(topic::LEDGER_ENTRIES, 0, archived.offset).await.unwrap();
        assert!(log.start(topic::LEDGER_ENTRIES, 0).await.unwrap() > 0);
    });
    put(dir.path(), vec![b"]".to_vec()]);
    drain(&settings(dir.path()));
    let raws: Vec<Vec<u8>> = letters(dir.path()).into_iter().map(|(_, _, raw)| raw).collect();
    assert_eq!(raws, [b"]"]);
}

#[test]
fn the_list_names_leaf_reason_source_and_tenant_and_shows_no_input_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let of_globex = String::from_utf8(event("e-2", "globex", "a.b"))
        .unwrap()
        .replace("2026-11-22T10", "hunter2");
    put(
        dir.path(),
        vec![
            b"{\"hunter2\":\x1b[2J".to_vec(),
            event("e-1", "acme", "a.b"),
            of_globex.clone().into_bytes(),
        ],
    );
    drain(&settings(dir.path()));
    let all = stdout(&command(dir.path(), &["list"]));
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 3, "{all}");
    assert!(lines[0].starts_with("LEAF"), "{all}");
    for part in [ORIGIN_OF_0, "invalid_json", "audit.events/0@0"] {
        assert!(lines[1].contains(part), "{all}");
    }
    for part in ["invalid_time", "audit.events/0@2", "globex"] {
        assert!(lines[2].contains(part), "{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
    // Shown, it cannot steer a terminal.
    let raw = stdout(&command(dir.path(), &["list", "--show-raw"]));
    assert!(raw.contains("hunter2") && raw.contains("\\x1b[2J") && !raw.contains('\x1b'));

    let count = |arguments: &[&str]| {
        let json = stdout(&command(dir.path(), &[&["list", "--json"], arguments].concat()));
        assert!(!json.contains("hunter2"));
        json.lines().count()
    };
    for (arguments, expected) in [
        (&[][..], 2),
        (&["--reason=invalid_time"], 1),
        (&["--reason=too_deep"], 0),
        (&["--tenant=globex"], 1),
        (&["--tenant=acme"], 0),
        (&["--limit=1"], 1),
        (&["--partition=0"], 2),
        (&["--since=2026-01-01T00:00:00Z"], 2),
        (&["--since=2999-01-01T00:00:00Z"], 0),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
    let json = stdout(&command(
        dir.path(),
        &["list", "--json", "--tenant=globex", "--show-raw"],
    ));
    let letter: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(letter["origin"], ORIGIN_OF_0);
    assert_eq!(letter["source"], "audit.events/0@2");
    assert_eq!(letter["bytes"], of_globex.len());
    let raw = data_encoding::BASE64
        .decode(letter["raw"].as_str().unwrap().as_bytes())
        .unwrap();
    assert_eq!(raw, of_globex.as_bytes());
}

#[test]
fn what_can_be_sealed_meanwhile_is_replayed_and_sealed_once() {
    let dir = tempfile::tempdir().unwrap();
    let large = event("large", "acme", &"x".repeat(200));
    put(dir.path(), vec![large.clone(), b"{".to_vec()]);
    let small = Settings {
        event_bytes_max: Some("256".to_owned()),
        ..settings(dir.path())
    };
    drain(&small);
    assert_eq!(letters(dir.path())[0].0, "too_large");
    let still = stdout(&command(
        dir.path(),
        &[
            "replay",
            "--reason=too_large",
            "--dry-run",
            "--event-bytes-max=256",
        ],
    ));
    assert!(
        still.contains("would be rejected again: too_large") && still.contains("1 letter would be sent"),
        "{still}"
    );
    let dry = stdout(&command(
        dir.path(),
        &["replay", "--reason=too_large", "--dry-run"],
    ));
    assert!(dry.contains("to audit.events/0: can be sealed"), "{dry}");
    assert_eq!(records(dir.path(), topic::AUDIT_EVENTS).len(), 2);

    let refused = command(dir.path(), &["replay", "--reason=too_large"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--yes"), "{}", stderr(&refused));
    let sent = stdout(&command(dir.path(), &["replay", "--reason=too_large", "--yes"]));
    assert!(sent.contains("1 letter sent to audit.events"), "{sent}");
    let inputs = records(dir.path(), topic::AUDIT_EVENTS);
    assert_eq!((inputs.len(), &inputs[2].value), (3, &large));
    assert_eq!(inputs[2].key, b"acme");
    let replay_of = format!("{ORIGIN_OF_0}/2").into_bytes();
    assert_eq!(inputs[2].headers, [(REPLAY_OF.to_owned(), replay_of)]);
    // The second time it is a duplicate.
    stdout(&command(dir.path(), &["replay", "--index=0/2"]));
    drain(&settings(dir.path()));
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!(
        (
            sealed.count("entry"),
            sealed.count("duplicate"),
            sealed.count("rejected")
        ),
        (1, 1, 2)
    );
    assert_eq!(verify_pinned(&dir.path().join("archive")).verdict, Verdict::Valid);
}

#[test]
fn a_corrected_form_is_sealed_and_what_is_still_wrong_is_rejected_with_a_new_leaf() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        vec![
            b"{\"event_id\":\"cut off".to_vec(),
            event("id", "acme", "a.b"),
            event("id", "acme", "a.c"),
        ],
    );
    drain(&settings(dir.path()));
    let corrected = dir.path().join("corrected.json");
    fs::write(&corrected, event("was-cut-off", "acme", "a.b")).unwrap();
    let from = format!("--from={}", corrected.display());
    let by_origin = format!("--index={ORIGIN_OF_0}/2");
    stdout(&command(dir.path(), &["replay", &by_origin, &from]));
    let both = ["replay", "--index=0/2", "--index=0/4"];
    let refused = command(dir.path(), &both);
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    assert!(
        told.contains("of 2 letters") && told.contains(": 1 invalid_json. Nothing was sent"),
        "{told}"
    );
    assert_eq!(records(dir.path(), topic::AUDIT_EVENTS).len(), 4);
    let again = stdout(&command(dir.path(), &[both.as_slice(), &["--force"]].concat()));
    assert!(
        again.contains("2 letters sent") && again.contains("(invalid_json)") && again.contains("(conflict)"),
        "{again}"
    );
    assert!(again.contains("another event_id"), "{again}");
    drain(&settings(dir.path()));
    let reasons: Vec<String> = letters(dir.path())
        .into_iter()
        .map(|(reason, _, _)| reason)
        .collect();
    assert_eq!(reasons, ["invalid_json", "conflict", "invalid_json", "conflict"]);
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!((sealed.count("entry"), sealed.count("rejected")), (2, 4));
    let json = stdout(&command(
        dir.path(),
        &["replay", "--reason=conflict", "--dry-run", "--json"],
    ));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["letters"], &json["rejected_again"]["conflict"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn wrong_arguments_are_all_named_and_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), vec![b"{".to_vec()]);
    drain(&settings(dir.path()));
    let wrong = command(
        dir.path(),
        &["list", "--reason=bad", "--since=yesterday", "--limit=0"],
    );
    assert_eq!(wrong.status.code(), Some(2));
    for flag in ["--reason: must be one of empty", "--since", "--limit"] {
        assert!(stderr(&wrong).contains(flag), "{}", stderr(&wrong));
    }
    let wrong = command(dir.path(), &["replay", "--index=x", "--index=0/1", "--from=f"]);
    assert_eq!(wrong.status.code(), Some(2));
    for flag in [
        "--index: \"x\" must be PARTITION/INDEX",
        "--from: takes the place of one letter",
    ] {
        assert!(stderr(&wrong).contains(flag), "{}", stderr(&wrong));
    }
    for (arguments, status, said) in [
        (&["replay"][..], 2, "--index or --reason"),
        (&["replay", "--index=7/1"], 2, "there is no partition 7"),
        (&["list", "--partition=7"], 2, "there is no partition 7"),
        (&["replay", "--index=0/99"], 1, "no letter 0/99"),
        (
            &["replay", "--index=other.example/0/2"],
            1,
            "no letter other.example/0/2",
        ),
        (&["replay", "--index=0/2", "--from=/nowhere"], 3, "/nowhere"),
    ] {
        let wrong = command(dir.path(), arguments);
        assert_eq!(
            wrong.status.code(),
            Some(status),
            "{arguments:?} {}",
            stderr(&wrong)
        );
        assert!(stderr(&wrong).contains(said), "{arguments:?} {}", stderr(&wrong));
    }
    let without = ledgerline(&["dead-letters", "list"]);
    assert_eq!(without.status.code(), Some(2));
    assert!(
        stderr(&without).contains("--log (or LEDGERLINE_LOG)"),
        "{}",
        stderr(&without)
    );
    let nowhere = ledgerline(&["dead-letters", "list", "--log=sqlite:/nowhere/ledger.db"]);
    assert!(
        stderr(&nowhere).contains("there is no log at /nowhere"),
        "{}",
        stderr(&nowhere)
    );
    assert_eq!(records(dir.path(), topic::AUDIT_EVENTS).len(), 1);
}
