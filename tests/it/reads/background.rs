//! The background check: what the tables beside `leaves` say is held against the rows, and what is found is counted.

use super::Ledger;
use super::verify::Saved;
use crate::index::audit;
use crate::process::Service;

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
