//! `POST /v1/ledger/verify`: whatever of a row is changed by hand is found, at its sequence, by the check that is there for it.

use super::Ledger;
use crate::process::LOG_NAME;
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::jwks;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::merkle::leaf_hash;
use ledgerline::store::read::{Bounds, CheckFrom, KnownKeys, Outcome, Reads};
use ledgerline::store::{Role, parse_url};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;

pub const EVENTS: u64 = 100;

/// Of a call that is to reach the end.
pub const BOUNDS: Bounds = Bounds {
    rows: 1_000,
    time: Duration::from_mins(1),
};

/// What was sealed, put aside.
const SAVED: [&str; 7] = [
    "leaves",
    "targets",
    "tiles",
    "checkpoints",
    "tenant_months",
    "partition_months",
    "key_leaves",
];

/// The tables as they were, to be had again after each change.
pub struct Saved<'l> {
    ledger: &'l Ledger,
    part: String,
}

impl<'l> Saved<'l> {
    pub fn of(ledger: &'l Ledger) -> Self {
        let part = ledger.part();
        let saved = Self { ledger, part };
        for name in SAVED {
            let table = saved.table(name);
            let sql = format!("CREATE TABLE ledgerline.saved_{name} AS SELECT * FROM {table}");
            ledger.database.execute(&sql).unwrap();
        }
        saved
    }

    fn table(&self, name: &str) -> String {
        match name {
            "leaves" => self.part.clone(),
            "targets" => self.part.replace("leaves_", "targets_"),
            _ => format!("ledgerline.{name}"),
        }
    }

    pub fn restore(&self) {
        for name in SAVED {
            let table = self.table(name);
            let execute = |sql: String| self.ledger.database.execute(&sql).unwrap();
            execute(format!("DELETE FROM {table}"));
            execute(format!(
                "INSERT INTO {table} SELECT * FROM ledgerline.saved_{name}"
            ));
        }
    }
}

/// The keys that the archive says are the ledger's.
pub fn keys(ledger: &Ledger) -> Vec<PublicKey> {
    let names = std::fs::read_dir(ledger.dir.path().join("archive/keys")).unwrap();
    let newest = names.map(|name| name.unwrap().path()).max().unwrap();
    jwks::parse(&std::fs::read(newest).unwrap()).unwrap()
}

/// The read model as the API has it, without the API.
pub fn reads(ledger: &Ledger) -> Reads {
    let _inside = ledger.database.runtime.enter();
    let options = parse_url(&ledger.database.url).unwrap();
    Reads::new(&options, ledger.database.model(), 2, Duration::from_secs(30))
}

fn verify_by(ledger: &Ledger, from: CheckFrom, known: KnownKeys<'_>, bounds: Bounds) -> Outcome {
    let reads = reads(ledger);
    let asked = reads.verify_chain("acme", from, known, bounds);
    ledger.database.runtime.block_on(asked).unwrap()
}

/// Writes an entry of acme's anew, with all columns that follow from its leaf; where `with_tile`, its hash in the tree as well.
pub fn rewrite(ledger: &Ledger, sequence: i64, with_tile: bool, change: &dyn Fn(&str) -> String) {
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

pub fn other_prev(leaf: &str) -> String {
    let at = leaf.find("\"prev\":\"").unwrap() + 8;
    format!("{}{}{}", &leaf[..at], "f".repeat(64), &leaf[at + 64..])
}

pub fn other_source(leaf: &str) -> String {
    leaf.replace("\"source\":\"audit.events/", "\"source\":\"audit.evente/")
}

pub fn other_origin(leaf: &str) -> String {
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
        ("column", Some(9), vec![update("sealed_at = sealed_at + 1")]),
        ("column", Some(9), vec![update("occurred_at = occurred_at + 1")]),
        ("column", Some(9), vec![update("event_id = 'x'")]),
        ("column", Some(9), vec![update("actor_type = 'x'")]),
        ("column", Some(9), vec![update("actor_id = 'x'")]),
        (
            "column",
            Some(9),
            vec![update("leaf_index = leaf_index + 1000000")],
        ),
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

fn changes_of_the_tree() -> Vec<Case> {
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
            sql("UPDATE ledgerline.key_leaves SET leaf = '{}' WHERE leaf_index = 0"),
        ),
    ]
}

fn changes_of_other_tables(part: &str) -> Vec<Case> {
    let targets = part.replace("leaves_", "targets_");
    let ninth = "WHERE tenant_id = 'acme' AND sequence = 9";
    let sql = |statements: &[String]| statements.iter().cloned().map(Change::Sql).collect();
    let month = |set: &str| format!("UPDATE ledgerline.tenant_months SET {set} WHERE tenant_id = 'acme'");
    let set_back = month(&format!(
        "last_sequence = 90, last_hash = (SELECT entry_hash FROM {part} WHERE tenant_id = 'acme' AND sequence = 90)"
    ));
    let gone = format!("DELETE FROM {part} WHERE tenant_id = 'acme' AND sequence > 90");
    vec![
        (
            "targets",
            Some(9),
            sql(&[format!("DELETE FROM {targets} {ninth}")]),
        ),
        (
            "targets",
            Some(9),
            sql(&[format!("UPDATE {targets} SET target_id = 'd-x' {ninth}")]),
        ),
        (
            "targets",
            Some(9),
            sql(&[format!(
                "INSERT INTO {targets} SELECT month, tenant_id, 'd-x', sequence FROM {targets} {ninth}"
            )]),
        ),
        ("months", Some(91), sql(std::slice::from_ref(&set_back))),
        ("months", Some(1), sql(&[month("first_sequence = 2")])),
        (
            "head",
            Some(EVENTS),
            sql(&[month("last_sequence = 100, last_hash = '\\x00'")]),
        ),
        ("missing", Some(101), sql(&[month("last_sequence = 101")])),
        // The end of the chain, and what the months say of it.
        ("tail", Some(91), sql(&[gone, set_back])),
    ]
}

#[test]
fn what_was_changed_by_hand_is_found_at_its_sequence_by_the_check_that_is_there_for_it() {
    let ledger = Ledger::of(EVENTS);
    let served = ledger.serve();
    let part = ledger.part();
    let saved = Saved::of(&ledger);
    let cases = changes_of_rows(&part)
        .into_iter()
        .chain(changes_of_the_tree())
        .chain(changes_of_other_tables(&part));
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
        assert_eq!(outcome["next_index"], Value::Null);
        saved.restore();
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
    let (own, strange) = (keys(&ledger), keys(&stranger));
    let (own, strange) = (own.as_slice(), strange.as_slice());
    let none: &[PublicKey] = &[];
    let judge = |declared: &[PublicKey], own: &[PublicKey]| {
        let outcome = verify_by(&ledger, CheckFrom::First, KnownKeys { declared, own }, BOUNDS);
        outcome.error.map(|error| error.code())
    };
    // What was seen declared comes before all, what the stored leaves declare before what the process signs by.
    for (declared, by, due) in [
        (none, none, None),
        (own, none, None),
        (strange, none, Some("signature")),
        (strange, own, Some("signature")),
        (none, strange, None),
    ] {
        assert_eq!(judge(declared, by), due);
    }
    // Of a read model that an earlier version let the leaves go from: an instance without stages has its own.
    ledger
        .database
        .execute("DELETE FROM ledgerline.key_leaves")
        .unwrap();
    for (declared, by, due) in [
        (none, none, Some("keys_unknown")),
        (none, own, None),
        (none, strange, Some("signature")),
        (own, none, None),
    ] {
        assert_eq!(judge(declared, by), due);
    }
    assert_eq!(found(&ledger.serve().verify("")), (None, None));
}

#[test]
fn what_lies_behind_the_chain_is_looked_for_in_as_many_calls_as_it_takes() {
    let ledger = Ledger::of(EVENTS);
    let known = KnownKeys::default();
    let whole = verify_by(&ledger, CheckFrom::First, known, BOUNDS);
    assert_eq!((whole.error, whole.next_index), (None, None));
    let index = format!(
        "SELECT max(leaf_index) FROM {} WHERE tenant_id = 'acme' AND sequence = 90",
        ledger.part()
    );
    let behind = ledger.database.number(&index) as u64 + 1;
    let gone = format!(
        "DELETE FROM {} WHERE tenant_id = 'acme' AND sequence = 95",
        ledger.part()
    );
    ledger.database.execute(&gone).unwrap();
    let broken = verify_by(&ledger, CheckFrom::Leaf(behind), known, BOUNDS);
    assert_eq!(broken.error.map(|error| error.code()), Some("tail"));
    assert_eq!((broken.checked, broken.first_bad_sequence), (0, None));
    let beyond = verify_by(&ledger, CheckFrom::Leaf(u64::from(u32::MAX)), known, BOUNDS);
    assert_eq!((beyond.error, beyond.next_index), (None, None));
    let served = ledger.serve();
    assert_eq!(
        found(&served.verify(&format!("?from_index={behind}"))).0,
        Some("tail")
    );
    let key = format!("Bearer {}", super::key("acme"));
    let both = served.ask(
        "POST",
        "/v1/ledger/verify?from_index=1&from_sequence=1",
        &[("authorization", &key)],
    );
    assert_eq!((both.status, both.code().as_str()), (400, "invalid_parameter"));
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
