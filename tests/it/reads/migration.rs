//! A read model that an earlier version filled: brought up to this one, and read.

use super::Ledger;
use crate::sealed::drain;
use ledgerline::store::{Role, SCHEMA, months, schema};

/// As the first version left it: its tables, with the rows that were written.
fn back_to_the_first_version(ledger: &Ledger) {
    let pool = ledger.database.pool(Role::Owner);
    let rows = [
        "INSERT INTO ledgerline.positions SELECT * FROM filled.positions",
        "INSERT INTO ledgerline.tiles SELECT * FROM filled.tiles",
        "INSERT INTO ledgerline.checkpoints SELECT * FROM filled.checkpoints",
        "INSERT INTO ledgerline.tenant_months SELECT * FROM filled.tenant_months",
        "INSERT INTO ledgerline.partition_months SELECT * FROM filled.partition_months",
    ];
    let part = ledger.part().replace("ledgerline.leaves_", "");
    let month = months::Month::parse(&part.replace('_', "-")).unwrap();
    ledger
        .database
        .execute("ALTER SCHEMA ledgerline RENAME TO filled")
        .unwrap();
    ledger.database.runtime.block_on(async {
        schema::migrate(&pool, SCHEMA, 1).await.unwrap();
        months::ensure(&pool, month).await.unwrap();
    });
    for sql in rows {
        ledger.database.execute(sql).unwrap();
    }
    for table in ["leaves", "targets"] {
        let sql = format!("INSERT INTO ledgerline.{table}_{part} SELECT * FROM filled.{table}_{part}");
        assert!(ledger.database.execute(&sql).unwrap() > 0);
    }
    ledger.database.execute("DROP SCHEMA filled CASCADE").unwrap();
}

#[test]
fn a_read_model_that_the_first_version_filled_is_brought_up_and_read_and_goes_on() {
    let ledger = Ledger::of(50);
    back_to_the_first_version(&ledger);
    let version = "SELECT max(version) FROM ledgerline._sqlx_migrations";
    assert_eq!(ledger.database.number(version), 1);
    let indexes = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname LIKE 'leaves_2%' AND pg_get_indexdef(indexrelid) LIKE '%genesis%'";
    assert_eq!(ledger.database.number(indexes), 0);
    let served = ledger.serve();
    let lines = served.lines("acme", "/v1/events");
    let events: Vec<&str> = lines.text().lines().map(super::event_of).collect();
    assert_eq!(events, ledger.sealed().events["acme"]);
    assert_eq!(served.verify("")["checked"], 50);
    assert_eq!(ledger.database.number(version), schema::VERSION);
    assert_eq!(
        ledger.database.number(indexes),
        1,
        "also of months that were there before"
    );
    drop(served);
    crate::index::ingest(&ledger.settings, 50..60);
    drain(&ledger.settings);
    let served = ledger.serve();
    assert_eq!(served.verify("")["checked"], 60);
}
