//! Months that were let go of: said, never passed over.

use super::Ledger;
use crate::index::ingest;
use crate::process::{ledgerline, stderr};
use crate::sealed::try_drain_by;
use ledgerline::clock::{Clock, UnixMicros};
use ledgerline::ledger::time::parse_occurred_at;
use ledgerline::store::read::{CheckFrom, KnownKeys};
use std::sync::Arc;

struct At(UnixMicros);

impl Clock for At {
    fn now(&self) -> UnixMicros {
        self.0
    }
}

fn seal(ledger: &Ledger, ids: std::ops::Range<u64>, at: &str) {
    ingest(&ledger.settings, ids);
    try_drain_by(&ledger.settings, Arc::new(At(parse_occurred_at(at).unwrap()))).unwrap();
}

/// Ten entries of each tenant in October, ten in November.
pub fn of_two_months() -> Ledger {
    let ledger = Ledger::empty();
    seal(&ledger, 0..10, "2026-10-31T20:00:00Z");
    seal(&ledger, 10..20, "2026-11-01T04:00:00Z");
    ledger
}

#[test]
fn a_question_goes_through_months_as_if_they_were_one() {
    let ledger = of_two_months();
    let (sealed, served) = (ledger.sealed(), ledger.serve());
    let lines = served.lines("acme", "/v1/events");
    let events: Vec<&str> = lines.text().lines().map(super::event_of).collect();
    assert_eq!(events, sealed.events["acme"]);
    let page = served.get("acme", "/v1/events?from_sequence=8&limit=5").json();
    let sequences: Vec<u64> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [8, 9, 10, 11, 12]);
    for (query, due) in [
        ("sealed_from=2026-11-01T00:00:00Z", 10),
        ("sealed_to=2026-11-01T00:00:00Z", 10),
        (
            "sealed_from=2026-10-31T20:00:00Z&sealed_to=2026-11-01T04:00:00Z",
            10,
        ),
        ("sealed_from=2026-10-31T20:00:00.000001Z", 10),
        ("sealed_to=2026-11-02T00:00:00Z", 20),
        // Times that are no more, or not yet, in a year that can be written.
        ("sealed_to=9999-12-31T23:59:59-23:59", 20),
        ("sealed_from=0000-01-01T00:00:00%2B23:59", 20),
        ("sealed_from=9999-12-31T23:59:59-23:59", 0),
        ("sealed_to=0000-01-01T00:00:00%2B23:59", 0),
    ] {
        let lines = served.lines("acme", &format!("/v1/events?{query}"));
        assert_eq!(lines.text().lines().count(), due, "{query}");
    }
    assert_eq!(served.verify("")["checked"], 20);
}

#[test]
fn what_was_let_go_of_is_told_and_what_is_left_is_answered() {
    let ledger = of_two_months();
    detach(
        &ledger,
        "2026-11",
        "leaves_2026_10 detached\ntargets_2026_10 detached\n",
    );
    let served = ledger.serve();
    let page = served.get("acme", "/v1/events").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 10);
    assert_eq!(
        (
            page["first_stored_sequence"].as_u64(),
            page["last_sequence"].as_u64()
        ),
        (Some(11), Some(20))
    );
    let lines = served.lines("acme", "/v1/events");
    assert_eq!(lines.headers["ledgerline-first-stored-sequence"], "11");
    assert_eq!(lines.text().lines().count(), 10);
    for path in [
        "/v1/events?from_sequence=10",
        "/v1/events?from_sequence=1&to_sequence=5",
        "/v1/ledger/entries/10",
        "/v1/ledger/entries/1/proof",
    ] {
        let gone = served.get("acme", path);
        assert_eq!((gone.status, gone.code().as_str()), (410, "detached"), "{path}");
        assert!(
            gone.json()["detail"].as_str().unwrap().contains("sequence 11"),
            "{path}"
        );
    }
    assert_eq!(served.lines("acme", "/v1/events?from_sequence=10").status, 410);
    for path in [
        "/v1/events?from_sequence=11",
        "/v1/ledger/entries/11",
        "/v1/ledger/entries/11/proof",
        "/v1/ledger/head",
    ] {
        assert_eq!(served.get("acme", path).status, 200, "{path}");
    }
    // The genesis leaf went with its month; what it declares of keys did not.
    let known = KnownKeys::default();
    let reads = super::verify::reads(&ledger);
    let asked = reads.verify_chain("acme", CheckFrom::First, known, super::verify::BOUNDS);
    let outcome = ledger.database.runtime.block_on(asked).unwrap();
    assert_eq!((outcome.error, outcome.checked), (None, 10));
    assert_eq!(crate::index::audit(&ledger.database), Vec::<String>::new());
    let bundle = served.get(
        "auditor",
        &format!(
            "/{}/tile/entries/000.p/1",
            served.get("acme", "/v1/ledger/head").json()["origin"]
                .as_str()
                .unwrap()
        ),
    );
    assert_eq!((bundle.status, bundle.code().as_str()), (410, "detached"));
    // Nothing of it is left.
    for table in ["leaves", "targets"] {
        ledger
            .database
            .execute(&format!(
                "ALTER TABLE ledgerline.{table} DETACH PARTITION ledgerline.{table}_2026_11"
            ))
            .unwrap();
    }
    let page = served.get("acme", "/v1/events").json();
    assert_eq!(page["first_stored_sequence"], 21);
    let head = served.get("acme", "/v1/ledger/head").json();
    assert_eq!(
        (head["sequence"].as_u64(), head["index"].as_u64()),
        (Some(20), None)
    );
}

#[test]
fn a_page_that_goes_on_in_a_month_that_was_let_go_of_meanwhile_says_so() {
    let ledger = of_two_months();
    let served = ledger.serve();
    let page = served.get("acme", "/v1/events?limit=4").json();
    let cursor = page["next_cursor"].as_str().unwrap();
    ledger
        .database
        .execute("ALTER TABLE ledgerline.leaves DETACH PARTITION ledgerline.leaves_2026_10")
        .unwrap();
    let gone = served.get("acme", &format!("/v1/events?limit=4&cursor={cursor}"));
    assert_eq!((gone.status, gone.code().as_str()), (410, "detached"));
}

#[test]
fn a_month_that_is_let_go_of_during_a_pass_is_not_missed() {
    let ledger = of_two_months();
    let begun = crate::index::begin_audits(&ledger.database);
    detach(
        &ledger,
        "2026-11",
        "leaves_2026_10 detached\ntargets_2026_10 detached\n",
    );
    assert_eq!(
        crate::index::end_audits(&ledger.database, begun),
        Vec::<String>::new()
    );
}

/// A new key of each kind that the oldest one has, which is retired: both are leaves of their own.
fn rotate(ledger: &Ledger) {
    let dir = ledger.dir.path().join("keys").display().to_string();
    let keys = |args: &[&str]| {
        let output = ledgerline(&[&["keys"], args, &["--json", "--keys", &dir]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let oldest = keys(&["list"])["keys"][0].clone();
    keys(&["add", "--alg", oldest["alg"].as_str().unwrap(), "--kid", "next"]);
    keys(&["retire", oldest["kid"].as_str().unwrap()]);
}

/// As a read model of the second version is brought up whose genesis leaf went with its month.
#[test]
fn a_key_that_is_declared_behind_a_genesis_leaf_that_was_dropped_is_no_finding() {
    let ledger = Ledger::empty();
    seal(&ledger, 0..10, "2026-10-31T20:00:00Z");
    rotate(&ledger);
    seal(&ledger, 10..20, "2026-11-01T04:00:00Z");
    let keys = "SELECT count(*) FROM ledgerline.key_leaves WHERE leaf_index > 0";
    assert!(ledger.database.number(keys) > 0);
    assert_eq!(crate::index::audit(&ledger.database), Vec::<String>::new());
    detach(
        &ledger,
        "2026-11",
        "leaves_2026_10 detached\ntargets_2026_10 detached\n",
    );
    let genesis = "DELETE FROM ledgerline.key_leaves WHERE leaf_index = 0";
    assert_eq!(ledger.database.execute(genesis).unwrap(), 4);
    assert_eq!(crate::index::audit(&ledger.database), Vec::<String>::new());
    // What is left is still held against the tree.
    let changed = "UPDATE ledgerline.key_leaves SET leaf = '{}' WHERE (partition, leaf_index) = \
         (SELECT partition, leaf_index FROM ledgerline.key_leaves ORDER BY partition, leaf_index LIMIT 1)";
    assert_eq!(ledger.database.execute(changed).unwrap(), 1);
    assert_eq!(
        crate::index::audit(&ledger.database),
        ["its row in key_leaves is not the leaf"]
    );
}

fn detach(ledger: &Ledger, before: &str, told: &str) {
    let output = ledgerline(&[
        "index",
        "detach",
        "--before",
        before,
        "--database",
        &ledger.database.url,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), told);
}

#[test]
fn months_are_let_go_of_by_a_command_that_keeps_what_is_still_written() {
    let ledger = of_two_months();
    detach(
        &ledger,
        "2026-10",
        "The read model has no month before 2026-10.\n",
    );
    for (before, told) in [
        ("2026-12", "still written"),
        ("2026-13", "must be a month"),
        ("november", "must be a month"),
    ] {
        let refused = ledgerline(&[
            "index",
            "detach",
            "--before",
            before,
            "--database",
            &ledger.database.url,
        ]);
        assert_eq!(refused.status.code(), Some(2), "{before}");
        assert!(stderr(&refused).contains(told), "{}", stderr(&refused));
    }
    // Begun by somebody and cut short between its two transactions.
    ledger
        .database
        .execute("UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'ledgerline.targets_2026_10'::regclass")
        .unwrap();
    let output = ledgerline(&[
        "index",
        "detach",
        "--drop",
        "--before",
        "2026-11",
        "--database",
        &ledger.database.url,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%_2026_10'";
    assert_eq!(ledger.database.number(left), 0);
    detach(
        &ledger,
        "2026-11",
        "The read model has no month before 2026-11.\n",
    );
    // What is sealed next is written as before.
    seal(&ledger, 20..30, "2026-11-01T12:00:00Z");
    let served = ledger.serve();
    assert_eq!(served.lines("acme", "/v1/events").text().lines().count(), 20);
}
