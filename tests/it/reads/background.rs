//! The background check: what the tables beside `leaves` say is held against the rows, and what is found is counted.

use super::Ledger;
use super::verify::Saved;
use crate::index::{audit, ingest_lines};
use crate::process::{LOG_NAME, Service};
use crate::sealed::drain;
use ledgerline::ledger::tile::TILE_WIDTH;
use ledgerline::store::Role;
use ledgerline::store::audit::{Audit, Found};

const EVENTS: u64 = 300;

const TARGETS: &str = "its rows in targets are not the targets of its event";
const KEYS: &str = "its row in key_leaves is not the leaf";
const PARTITION_MONTHS: &str = "what partition_months says is not what the rows say";
const TENANT_MONTH: &str = "what tenant_months says of acme in ";
const MISSING: &str = "the row is missing";

/// What is done, and with what all that is found begins.
fn changes(part: &str) -> Vec<(&'static [&'static str], Vec<String>)> {
    let targets = part.replace("leaves_", "targets_");
    let ninth = "WHERE tenant_id = 'acme' AND sequence = 9";
    let month = |set: &str| format!("UPDATE ledgerline.tenant_months SET {set} WHERE tenant_id = 'acme'");
    let of_its_partition = |what: &str| {
        format!(
            "{what} partition = (SELECT partition FROM ledgerline.tenant_months WHERE tenant_id = 'acme')"
        )
    };
    let set_back = month(&format!(
        "last_sequence = 290, last_hash = (SELECT entry_hash FROM {part} WHERE tenant_id = 'acme' AND sequence = 290)"
    ));
    let gone = format!("DELETE FROM {part} WHERE tenant_id = 'acme' AND sequence > 290");
    vec![
        (&[TARGETS], vec![format!("DELETE FROM {targets} {ninth}")]),
        (
            &[TARGETS],
            vec![format!("UPDATE {targets} SET target_id = 'd-x' {ninth}")],
        ),
        (
            &[TARGETS],
            vec![format!(
                "INSERT INTO {targets} SELECT month, tenant_id, 'd-x', sequence FROM {targets} {ninth}"
            )],
        ),
        (&[TENANT_MONTH], vec![set_back.clone()]),
        (&[TENANT_MONTH], vec![month("last_hash = ''")]),
        (&[TENANT_MONTH], vec![month("last_sequence = 301")]),
        (&[TENANT_MONTH], vec![month("first_sequence = 2")]),
        (&[TENANT_MONTH], vec![month("partition = 77")]),
        (
            &[TENANT_MONTH],
            vec!["DELETE FROM ledgerline.tenant_months WHERE tenant_id = 'acme'".to_owned()],
        ),
        (&[MISSING], vec![gone, set_back]),
        (
            &[PARTITION_MONTHS, MISSING],
            vec![of_its_partition(
                "UPDATE ledgerline.partition_months SET last_index = last_index - 1 WHERE",
            )],
        ),
        (
            &[PARTITION_MONTHS, MISSING],
            vec![of_its_partition("DELETE FROM ledgerline.partition_months WHERE")],
        ),
        (
            &[KEYS],
            vec![of_its_partition("DELETE FROM ledgerline.key_leaves WHERE")],
        ),
        (
            &[KEYS],
            vec![of_its_partition(
                "UPDATE ledgerline.key_leaves SET leaf = '{}' WHERE",
            )],
        ),
        (
            &[KEYS],
            vec![of_its_partition(&format!(
                "INSERT INTO ledgerline.key_leaves SELECT partition, leaf_index, leaf FROM {part} WHERE leaf_index = 1 AND"
            ))],
        ),
    ]
}

#[test]
fn a_pass_finds_what_the_tables_beside_the_rows_say_wrongly() {
    let ledger = Ledger::of(EVENTS);
    let saved = Saved::of(&ledger);
    for (due, statements) in changes(&ledger.part()) {
        assert_eq!(
            audit(&ledger.database),
            Vec::<String>::new(),
            "before {statements:?}"
        );
        for statement in &statements {
            assert!(ledger.database.execute(statement).unwrap() > 0, "{statement}");
        }
        let found = audit(&ledger.database);
        assert!(!found.is_empty(), "{statements:?}");
        for what in &found {
            let is_due = due.iter().any(|due| what.starts_with(due));
            assert!(is_due, "{statements:?}: {found:?}");
        }
        saved.restore();
    }
    assert_eq!(audit(&ledger.database), Vec::<String>::new());
}

#[test]
fn what_a_pass_finds_is_counted_for_whoever_watches() {
    let ledger = Ledger::of(20);
    let partition = ledger
        .database
        .number("SELECT partition::bigint FROM ledgerline.tenant_months WHERE tenant_id = 'acme'");
    let counted = |findings: u64| {
        let database = format!("--database={}", ledger.database.url);
        let service = Service::start(ledger.dir.path(), &[&database]).unwrap();
        let due = format!("ledgerline_read_model_findings{{partition=\"{partition}\"}} {findings}\n");
        service.wait_for("/metrics", |metrics| metrics.contains(&due));
        service.signal("TERM");
        assert!(service.wait().0.success());
    };
    counted(0);
    let targets = ledger.part().replace("leaves_", "targets_");
    let gone = format!("DELETE FROM {targets} WHERE tenant_id = 'acme' AND sequence IN (3, 9)");
    assert!(ledger.database.execute(&gone).unwrap() > 0);
    counted(2);
}

/// Events of one tenant, each of nearly 1 MiB.
const LARGE: usize = 12;
/// Of 2 MiB, and the one that goes beyond it, behind the two leaves that come before all entries.
const LARGE_AT_ONCE: u64 = 2 + 3;

fn of_large_events() -> Ledger {
    let mut ledger = Ledger::empty();
    ledger.settings.event_bytes_max = Some((1 << 20).to_string());
    // No cut between two of them.
    ledger.settings.segment_bytes_max = None;
    let data = "x".repeat(900_000);
    let lines: Vec<String> = (0..LARGE)
        .map(|id| {
            format!(
                r#"{{"event_id":"{id}","tenant_id":"acme","occurred_at":"2026-11-28T10:00:00Z","action":"a","actor":{{"type":"user","id":"u"}},"targets":[{{"type":"document","id":"d-{id}"}}],"data":"{data}"}}"#
            )
        })
        .collect();
    ingest_lines(&ledger.settings, &lines);
    drain(&ledger.settings);
    ledger
}

/// A pass over the partition of acme: how many rows each step looked at, and what was found.
fn steps(ledger: &Ledger) -> (Vec<u64>, Vec<Found>) {
    let partition = ledger
        .database
        .number("SELECT partition::bigint FROM ledgerline.tenant_months WHERE tenant_id = 'acme'");
    let partition = u32::try_from(partition).unwrap();
    let pool = ledger.database.pool(Role::Auditor);
    ledger.database.runtime.block_on(async {
        let begun = Audit::begin(pool, partition, &format!("{LOG_NAME}/{partition}")).await;
        let mut audit = begun.unwrap().expect("a checkpoint");
        let (mut steps, mut found, mut before) = (Vec::new(), Vec::new(), 0);
        while let Some(more) = audit.step().await.unwrap() {
            steps.push(audit.checked() - before);
            before = audit.checked();
            found.extend(more);
        }
        found.extend(audit.finish(&[]).await.unwrap());
        (steps, found)
    })
}

#[test]
fn a_step_looks_at_no_more_large_rows_than_it_has_memory_for_and_passes_over_none() {
    let ledger = of_large_events();
    let (looked, found) = steps(&ledger);
    assert_eq!(found, []);
    assert!(looked.iter().all(|rows| *rows <= LARGE_AT_ONCE), "{looked:?}");
    assert!(looked.iter().sum::<u64>() > LARGE as u64, "{looked:?}");
    let small = Ledger::of(300);
    assert_eq!(steps(&small).0[0], TILE_WIDTH, "a tile of small ones at once");
    drop(small);
    let saved = Saved::of(&ledger);
    for sequence in 1..=LARGE {
        let at = format!("WHERE tenant_id = 'acme' AND sequence = {sequence}");
        let index = format!("SELECT leaf_index FROM {} {at}", ledger.part());
        let index = ledger.database.number(&index).unsigned_abs();
        for (change, due) in [
            (format!("DELETE FROM {} {at}", ledger.part()), MISSING),
            (
                format!("UPDATE {} SET action = 'b' {at}", ledger.part()),
                "its action is not what its leaf and its event say",
            ),
        ] {
            assert_eq!(ledger.database.execute(&change).unwrap(), 1);
            let found = steps(&ledger).1;
            let of_leaves: Vec<&Found> = found.iter().filter(|found| found.leaf_index.is_some()).collect();
            assert_eq!(of_leaves.len(), 1, "{change}: {found:?}");
            assert_eq!(of_leaves[0].leaf_index, Some(index), "{change}");
            assert_eq!(of_leaves[0].what.to_string(), due, "{change}");
            saved.restore();
        }
    }
}
