//! A user of the database as applications have one: it may make roles, and is no superuser.

use super::Ledger;
use crate::index::{audit, ingest};
use crate::sealed::drain;
use ledgerline::store::{self, Role, SCHEMA};
use sqlx::Executor as _;

fn assert_is_read(ledger: &Ledger) {
    let served = ledger.serve();
    let lines = served.lines("acme", "/v1/events");
    let events: Vec<&str> = lines.text().lines().map(super::event_of).collect();
    assert_eq!(events, ledger.sealed().events["acme"]);
    assert_eq!(served.verify("")["checked"], events.len());
    let head = served.get("auditor", "/v1/ledger/head?tenant_id=acme");
    assert_eq!(head.status, 200, "{head:?}");
}

#[test]
fn a_user_that_may_make_roles_and_is_no_superuser_makes_the_read_model_fills_it_and_reads_it() {
    let mut ledger = Ledger::empty();
    let login = ledger.database.login();
    ledger.settings.database = Some(login.clone());
    ingest(&ledger.settings, 0..50);
    drain(&ledger.settings);
    let owner = "SELECT count(*) FROM pg_namespace JOIN pg_roles ON nspowner = pg_roles.oid WHERE nspname = 'ledgerline' AND NOT rolsuper";
    assert_eq!(ledger.database.number(owner), 1);
    assert_is_read(&ledger);
    assert_eq!(audit(&ledger.database), Vec::<String>::new());
    // As PostgreSQL leaves whoever made the roles, from 16 on.
    ledger.database.runtime.block_on(async {
        let pool = store::pool(&store::parse_url(&login).unwrap(), SCHEMA, Role::Owner, 1);
        let revoke = "REVOKE ledgerline_reader, ledgerline_auditor FROM CURRENT_USER";
        pool.execute(revoke).await.unwrap();
    });
    assert_is_read(&ledger);
    ingest(&ledger.settings, 50..60);
    drain(&ledger.settings);
    assert_is_read(&ledger);
}
