//! `POST /v1/ledger/verify`: whatever of a row is changed by hand is found, at its sequence, by the check that is there for it.

use super::Ledger;
use crate::process::LOG_NAME;
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::jwks;
use ledgerline::ledger::merkle::leaf_hash;
use ledgerline::store::read::{Bounds, Reads};
use ledgerline::store::{Role, parse_url};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;

const EVENTS: u64 = 100;

/// What was sealed, put aside.
const SAVED: [&str; 4] = ["leaves", "tiles", "checkpoints", "tenant_months"];

fn table(ledger: &Ledger, name: &str) -> String {
    if name == "leaves" {
        ledger.part()
    } else {
        format!("ledgerline.{name}")
    }
}

fn save(ledger: &Ledger) {
    for name in SAVED {
        let sql = format!(
            "CREATE TABLE ledgerline.saved_{name} AS SELECT * FROM {}",
            table(ledger, name)
        );
        ledger.database.execute(&sql).unwrap();
    }
}

fn restore(ledger: &Ledger, part: &str) {
    for name in SAVED {
        let table = if name == "leaves" {
            part.to_owned()
        } else {
            format!("ledgerline.{name}")
        };
        ledger.database.execute(&format!("DELETE FROM {table}")).unwrap();
        ledger
            .database
            .execute(&format!(
                "INSERT INTO {table} SELECT * FROM ledgerline.saved_{name}"
            ))
            .unwrap();
    }
}

/// Writes an entry of acme's anew, with all columns that follow from its leaf; where `with_tile`, its hash in the tree as well.
fn rewrite(ledger: &Ledger, sequence: i64, with_tile: bool, change: &dyn Fn(&str) -> String) {
    let (part, pool) = (ledger.part(), ledger.database.pool(Role::Owner));
    ledger.database.runtime.block_on(async {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT partition, leaf_index, leaf FROM {part} WHERE tenant_id = 'acme' AND sequence = $1"
        )))
        .bind(sequence)
        .fetch_one(&pool)
        .await
        .unwrap();
        let (partition, index): (i32, i64) = (row.get(0), row.get(1));
        let leaf = String::from_utf8(row.get::<Vec<u8>, _>(2)).unwrap();
        let changed = change(&leaf);
        assert_ne!(leaf, changed);
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {part} SET leaf = $1, entry_hash = $2 WHERE partition = $3 AND leaf_index = $4"
        )))
        .bind(changed.as_bytes())
        .bind(&entry_hash(changed.as_bytes())[..])
        .bind(partition)
        .bind(index)
        .execute(&pool)
        .await
        .unwrap();
        if with_tile {
            let done = sqlx::query(
                "UPDATE tiles SET hashes = overlay(hashes PLACING $1 FROM $2) WHERE partition = $3 AND level = 0 AND tile_index = $4",
            )
            .bind(&leaf_hash(changed.as_bytes())[..])
            .bind((index % 256) as i32 * 32 + 1)
            .bind(partition)
            .bind(index / 256)
            .execute(&pool)
            .await
            .unwrap();
            assert_eq!(done.rows_affected(), 1);
        }
    });
}

fn other_prev(leaf: &str) -> String {
    let at = leaf.find("\"prev\":\"").unwrap() + 8;
    format!("{}{}{}", &leaf[..at], "f".repeat(64), &leaf[at + 64..])
}

fn other_source(leaf: &str) -> String {
    leaf.replace("\"source\":\"audit.events/", "\"source\":\"audit.evente/")
}

fn other_origin(leaf: &str) -> String {
    leaf.replace(LOG_NAME, "test.example/audif")
}

fn found(outcome: &Value) -> (Option<&str>, Option<u64>) {
    assert_eq!(outcome["valid"], outcome["error"].is_null());
    (outcome["error"].as_str(), outcome["first_bad_sequence"].as_u64())
}

#[test]
fn a_chain_that_nobody_touched_is_valid_in_whatever_steps_it_is_checked() {
    let ledger = Ledger::of(EVENTS);
    let served = ledger.serve();
    let whole = served.verify("");
    assert_eq!(found(&whole), (None, None), "{whole}");
    assert_eq!(
        (whole["checked"].as_u64(), whole["unsigned"].as_u64()),
        (Some(EVENTS), Some(0))
    );
    assert_eq!(whole["next_sequence"], Value::Null);
    assert!(whole["tree_size"].as_u64().unwrap() > EVENTS);
    for step in [1, 33, EVENTS] {
        let (mut next, mut checked) = (Some(1), 0);
        while let Some(from) = next {
            let part = served.verify(&format!("?from_sequence={from}&max_entries={step}"));
            assert_eq!(found(&part), (None, None), "{part}");
            checked += part["checked"].as_u64().unwrap();
            next = part["next_sequence"].as_u64();
        }
        assert_eq!(checked, EVENTS, "in steps of {step}");
    }
    let late = served.verify("?from_sequence=100");
    assert_eq!(late["checked"], 1);
    let beyond = served.ask(
        "POST",
        "/v1/ledger/verify?from_sequence=101",
        &[("authorization", &format!("Bearer {}", super::key("acme")))],
    );
    assert_eq!(beyond.status, 404);
}

/// What somebody does to the tables.
enum Change {
    Sql(String),
    Rewrite {
        sequence: i64,
        with_tile: bool,
        leaf: fn(&str) -> String,
    },
}

/// What is found, at which sequence, after which changes.
type Case = (&'static str, Option<u64>, Vec<Change>);

fn changes_of_rows(part: &str) -> Vec<Case> {
    let ninth = "WHERE tenant_id = 'acme' AND sequence = 9";
    let update = |set: &str| Change::Sql(format!("UPDATE {part} SET {set} {ninth}"));
    let delete = || Change::Sql(format!("DELETE FROM {part} {ninth}"));
    let tenth = format!("UPDATE {part} SET action = 'x' WHERE tenant_id = 'acme' AND sequence = 10");
    let tail = format!("DELETE FROM {part} WHERE tenant_id = 'acme' AND sequence > 90");
    let event = "canonical_event_json = convert_to(replace(convert_from(canonical_event_json, 'UTF8'), 'doc.read', 'doc.seen'), 'UTF8')";
    let zeros = "decode(repeat('00', 32), 'hex')";
    vec![
        ("leaf", Some(9), vec![update("leaf = '{}'")]),
        ("event", Some(9), vec![update(event)]),
        ("column", Some(9), vec![update("action = 'x'")]),
        ("column", Some(9), vec![update(&format!("entry_hash = {zeros}"))]),
        ("column", Some(9), vec![update("partition = 77")]),
        ("missing", Some(9), vec![delete()]),
        // What is missing comes before the next one that is wrong.
        ("missing", Some(9), vec![delete(), Change::Sql(tenth)]),
        ("missing", Some(9), vec![update("sequence = 1000")]),
        ("missing", Some(91), vec![Change::Sql(tail)]),
        (
            "head",
            Some(EVENTS),
            vec![Change::Sql(format!(
                "UPDATE ledgerline.tenant_months SET last_hash = {zeros} WHERE tenant_id = 'acme'"
            ))],
        ),
    ]
}

fn changes_of_the_tree(part: &str) -> Vec<Case> {
    let sql = |sql: &str| vec![Change::Sql(sql.to_owned())];
    let rewrite = |sequence: i64, with_tile: bool, leaf: fn(&str) -> String| {
        vec![Change::Rewrite {
            sequence,
            with_tile,
            leaf,
        }]
    };
    vec![
        ("chain", Some(9), rewrite(9, false, other_prev)),
        ("origin", Some(9), rewrite(9, false, other_origin)),
        ("tree", Some(9), rewrite(9, false, other_source)),
        // Two that fit one another: all leaves of their tile are in doubt.
        ("root", Some(1), rewrite(1, true, other_source)),
        (
            "tree",
            Some(1),
            sql(
                "UPDATE ledgerline.tiles SET hashes = substr(hashes, 1, 32) WHERE level = 0 AND tile_index = 0",
            ),
        ),
        // Its root.
        (
            "root",
            Some(1),
            sql(
                "UPDATE ledgerline.checkpoints SET note = overlay(note PLACING '\\x4242'::bytea FROM position('\\x0a0ae2'::bytea IN note) - 20)",
            ),
        ),
        // Its last signature.
        (
            "signature",
            None,
            sql(
                "UPDATE ledgerline.checkpoints SET note = overlay(note PLACING 'AAAA'::bytea FROM length(note) - 40)",
            ),
        ),
        // The leaf that declares the keys.
        (
            "signature",
            None,
            sql(&format!("UPDATE {part} SET leaf = '{{}}' WHERE leaf_index = 0")),
        ),
        (
            "keys_unknown",
            None,
            sql(&format!("DELETE FROM {part} WHERE leaf_index = 0")),
        ),
    ]
}

#[test]
fn what_was_changed_by_hand_is_found_at_its_sequence_by_the_check_that_is_there_for_it() {
    let ledger = Ledger::of(EVENTS);
    let served = ledger.serve();
    let part = ledger.part();
    save(&ledger);
    let cases = changes_of_rows(&part)
        .into_iter()
        .chain(changes_of_the_tree(&part));
    for (due, at, changes) in cases {
        assert_eq!(found(&served.verify("")), (None, None), "before {due}");
        for change in changes {
            match change {
                Change::Sql(sql) => assert!(ledger.database.execute(&sql).unwrap() > 0, "{sql}"),
                Change::Rewrite {
                    sequence,
                    with_tile,
                    leaf,
                } => rewrite(&ledger, sequence, with_tile, &leaf),
            }
        }
        let outcome = served.verify("");
        assert_eq!(found(&outcome), (Some(due), at), "{outcome}");
        assert!(
            outcome["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        if let Some(at) = at.filter(|_| due != "head") {
            assert_eq!(outcome["checked"], at - 1, "{due}");
        }
        assert_eq!(outcome["next_sequence"], Value::Null);
        restore(&ledger, &part);
    }
    assert_eq!(found(&served.verify("")), (None, None));
}

#[test]
fn a_break_where_one_request_ends_is_found_by_the_next() {
    let ledger = Ledger::of(EVENTS);
    let served = ledger.serve();
    rewrite(&ledger, 51, false, &other_prev);
    let first = served.verify("?max_entries=50");
    assert_eq!(
        (found(&first), first["next_sequence"].as_u64()),
        ((None, None), Some(51))
    );
    assert_eq!(
        found(&served.verify("?from_sequence=51")),
        (Some("chain"), Some(51))
    );
    let gone = format!(
        "DELETE FROM {} WHERE tenant_id = 'acme' AND sequence = 9",
        ledger.part()
    );
    ledger.database.execute(&gone).unwrap();
    assert_eq!(
        found(&served.verify("?from_sequence=10")),
        (Some("missing"), Some(9))
    );
}

#[test]
fn the_keys_that_the_process_has_seen_declared_decide_whose_signature_counts() {
    let ledger = Ledger::of(20);
    let stranger = Ledger::of(1);
    let keys = |ledger: &Ledger| {
        let names = std::fs::read_dir(ledger.dir.path().join("archive/keys")).unwrap();
        let newest = names.map(|name| name.unwrap().path()).max().unwrap();
        jwks::parse(&std::fs::read(newest).unwrap()).unwrap()
    };
    let reads = {
        let _inside = ledger.database.runtime.enter();
        Reads::new(
            &parse_url(&ledger.database.url).unwrap(),
            ledger.database.model(),
            2,
            Duration::from_secs(30),
        )
    };
    let bounds = Bounds {
        rows: 1_000,
        time: Duration::from_mins(1),
    };
    for (known, due) in [
        (Vec::new(), None),
        (keys(&ledger), None),
        (keys(&stranger), Some("signature")),
    ] {
        let outcome = ledger
            .database
            .runtime
            .block_on(reads.verify_chain("acme", None, &known, bounds))
            .unwrap();
        assert_eq!(outcome.error.map(|error| error.code()), due);
    }
}

#[test]
fn what_is_not_signed_yet_is_checked_by_its_chain_alone_and_counted() {
    let ledger = Ledger::of(30);
    let served = ledger.serve();
    ledger
        .database
        .execute("DELETE FROM ledgerline.checkpoints")
        .unwrap();
    let outcome = served.verify("");
    assert_eq!(found(&outcome), (None, None));
    assert_eq!(
        (outcome["unsigned"].as_u64(), outcome["tree_size"].as_u64()),
        (Some(30), Some(0))
    );
    let proof = served.get("acme", "/v1/ledger/entries/7/proof");
    assert_eq!((proof.status, proof.code().as_str()), (409, "not_signed"));
    assert!(proof.headers.contains_key("retry-after"));
    assert_eq!(
        served.get("acme", "/v1/ledger/head").json()["checkpoint"],
        Value::Null
    );
}
