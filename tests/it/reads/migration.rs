//! A read model that an earlier version filled: brought up to this one, and read.

use super::Ledger;
use crate::sealed::drain;
use ledgerline::store::{Role, SCHEMA, months, schema};
use sqlx::Executor as _;

/// As an earlier version left it: its tables, with the rows that were written.
fn back_to(ledger: &Ledger, version: i64) {
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
        schema::migrate(&pool, SCHEMA, version).await.unwrap();
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
    back_to(&ledger, 1);
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

#[test]
fn one_that_the_second_version_filled_is_brought_up_while_others_read_it() {
    let ledger = Ledger::of(50);
    back_to(&ledger, 2);
    let part = ledger.part();
    let declared = format!("SELECT count(*) FROM {part} WHERE kind IN ('genesis', 'key')");
    let declared = ledger.database.number(&declared);
    assert_eq!(declared, 4);
    // Of a month that was let go of and not dropped as well.
    let detach = format!("ALTER TABLE ledgerline.leaves DETACH PARTITION {part}");
    ledger.database.execute(&detach).unwrap();
    let (reader, model) = (ledger.database.pool(Role::Reader), ledger.database.model());
    ledger.database.runtime.block_on(async {
        let mut reading = reader.begin().await.unwrap();
        for table in ["SELECT count(*) FROM leaves", "SELECT count(*) FROM targets"] {
            reading.execute(table).await.unwrap();
        }
        // Whoever asked for more than he may while they are read would wait, and then give up.
        model.pool().await.unwrap();
        reading.execute("SELECT count(*) FROM leaves").await.unwrap();
        reading.commit().await.unwrap();
    });
    let version = "SELECT max(version) FROM ledgerline._sqlx_migrations";
    assert_eq!(ledger.database.number(version), schema::VERSION);
    let kept = "SELECT count(*) FROM ledgerline.key_leaves";
    assert_eq!(ledger.database.number(kept), declared);
    let month = part.replace("ledgerline.leaves_", "").replace('_', "-");
    ledger
        .database
        .execute(&format!(
            "ALTER TABLE ledgerline.leaves ATTACH PARTITION {part} \
             FOR VALUES FROM ('{month}-01') TO (('{month}-01'::date + interval '1 month')::date)"
        ))
        .unwrap();
    assert_eq!(crate::index::audit(&ledger.database), Vec::<String>::new());
    for shape in ["(tenant_id, actor_type, sequence)", "(tenant_id, sequence)"] {
        let indexes = format!(
            "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname ~ '^(leaves|targets)_2' AND pg_get_indexdef(indexrelid) LIKE '%{shape}%'"
        );
        assert_eq!(ledger.database.number(&indexes), 1, "{shape}");
    }
    crate::index::ingest(&ledger.settings, 50..60);
    drain(&ledger.settings);
    assert_eq!(ledger.serve().verify("")["checked"], 60);
}

#[test]
fn those_who_make_the_tables_at_the_same_time_all_find_them_made() {
    let ledger = Ledger::empty();
    let pools: Vec<_> = (0..4).map(|_| ledger.database.pool(Role::Owner)).collect();
    ledger.database.runtime.block_on(async {
        let makers: Vec<_> = pools
            .into_iter()
            .map(|pool| {
                tokio::spawn(async move {
                    for _ in 0..50 {
                        schema::migrate(&pool, SCHEMA, schema::VERSION).await.unwrap();
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.unwrap();
        }
    });
}
