//! Requests with an Idempotency-Key, on a real PostgreSQL.

use super::client::{Answer, Request};
use super::{Server, event, key, members, sealed};
use crate::index::Database;
use ledgerline::store::idempotency::{Begun, Idempotency, Request as Row};
use ledgerline::store::{self, Role, parse_url, schema};
use sqlx::{Connection as _, Executor as _};
use std::time::Duration;

/// Without ids: the service makes them.
const BARE: &str = r#"{"occurred_at":"2026-11-28T10:00:00Z","action":"a","actor":{"type":"user","id":"u"}}"#;

fn once(server: &Server, id: &str, key: &str, body: &str) -> Answer {
    server
        .request("POST", "/v1/events", id)
        .header("Idempotency-Key", key)
        .json(body)
        .send()
}

#[test]
fn the_same_request_is_taken_once_and_another_body_or_tenant_is_another_request() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let server = Server::start(dir.path(), &[&url]);
    let batch = format!("[{BARE},{BARE}]");
    let first = once(&server, "acme-writer", "k1", &batch);
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = once(&server, "acme-writer", "k1", &batch);
    assert_eq!(again.ids(), first.ids());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let reused = once(&server, "acme-writer", "k1", BARE);
    assert_eq!(
        (reused.status, &*reused.problem()),
        (422, "idempotency_key_reused")
    );
    let others = once(&server, "globex-writer", "k1", &batch);
    assert_ne!(others.ids(), first.ids());

    // A refused one leaves the key free.
    assert_eq!(
        once(&server, "acme-writer", "k2", "{}").problem(),
        "refused_events"
    );
    once(&server, "acme-writer", "k2", &event("acme", "e1")).ids();

    // A day later, the key stands for nothing.
    database
        .execute("UPDATE ledgerline_api.idempotency SET created_ms = created_ms - 86400000 WHERE key = 'k1'")
        .unwrap();
    let next_day = once(&server, "acme-writer", "k1", BARE);
    assert_eq!(next_day.header("idempotency-replayed"), None);
    let due = [first.ids(), vec!["e1".to_owned()], next_day.ids()].concat();
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(members(&sealed.events["acme"], "event_id"), due);
    assert_eq!(members(&sealed.events["globex"], "event_id"), others.ids());
    assert_eq!(sealed.count("duplicate"), 0);
}

#[test]
fn of_requests_that_come_at_once_with_one_key_one_is_taken() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let server = Server::start(dir.path(), &[&url]);
    for round in 0..10 {
        let name = format!("k{round}");
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| once(&server, "acme-writer", &name, BARE)))
                .collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        });
        let taken: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
        assert!(!taken.is_empty(), "{answers:?}");
        for answer in &taken {
            assert_eq!(answer.ids(), taken[0].ids());
        }
        let new = taken
            .iter()
            .filter(|answer| answer.header("idempotency-replayed").is_none());
        assert_eq!(new.count(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 202) {
            assert_eq!((answer.status, &*answer.problem()), (409, "in_flight"));
            assert!(answer.header("retry-after").is_some());
        }
    }
    server.end();
    let sealed = sealed(&dir);
    assert_eq!((sealed.events["acme"].len(), sealed.count("duplicate")), (10, 0));
}

/// The row is there and the log stands still: then the process dies.
#[test]
fn killed_between_the_row_and_the_append_the_same_request_gets_the_same_ids_and_is_sealed_once() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let more = [&*url, "--api-request-timeout-ms=2500"];
    let mut server = Server::start(dir.path(), &more);
    server.service.wait_for("/readyz", |body| body.contains("true"));
    // The tables are there then.
    let before = once(&server, "acme-writer", "k0", BARE).ids();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let file = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let mut lock = runtime.block_on(async {
        let mut lock = sqlx::SqliteConnection::connect(&file).await.unwrap();
        lock.execute("BEGIN IMMEDIATE").await.unwrap();
        lock
    });
    let unknown = once(&server, "acme-writer", "k1", BARE);
    assert_eq!((unknown.status, &*unknown.problem()), (503, "outcome_unknown"));
    let ids = unknown.value()["event_ids"].clone();
    let in_flight = once(&server, "acme-writer", "k1", BARE);
    assert_eq!((in_flight.status, &*in_flight.problem()), (409, "in_flight"));
    server.service.child.kill().unwrap();
    server.service.child.wait().unwrap();
    runtime.block_on(async {
        lock.execute("ROLLBACK").await.unwrap();
        lock.close().await.unwrap();
    });

    let server = Server::start(dir.path(), &more);
    let taken = loop {
        let answer = once(&server, "acme-writer", "k1", BARE);
        if answer.status == 202 {
            break answer;
        }
        assert_eq!((answer.status, &*answer.problem()), (409, "in_flight"));
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(serde_json::json!(taken.ids()), ids);
    assert_eq!(
        once(&server, "acme-writer", "k1", BARE).header("idempotency-replayed"),
        Some("true")
    );
    server.end();
    let due = [before, taken.ids()].concat();
    assert_eq!(members(&sealed(&dir).events["acme"], "event_id"), due);
}

#[test]
fn without_its_database_a_key_is_not_taken_and_everything_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens there.
    let server = Server::start(dir.path(), &["--database=postgres://nobody@127.0.0.1:1/nowhere"]);
    let away = once(&server, "acme-writer", "k1", BARE);
    assert_eq!((away.status, &*away.problem()), (503, "database_unavailable"));
    assert!(away.header("retry-after").is_some());
    let waited = Request::new(
        &server.address,
        "POST",
        "/v1/events?wait=sealed&wait_timeout_ms=200",
    )
    .header("Authorization", &format!("Bearer {}", key("acme-writer")))
    .json(&event("acme", "e1"))
    .send();
    assert_eq!(waited.ids(), ["e1"]);
    assert_eq!(waited.value()["results"][0]["status"], "accepted");
    server.end();
    assert_eq!(members(&sealed(&dir).events["acme"], "event_id"), ["e1"]);
}

/// Killed between the append and what is written of it, and come again when no sealer knows its events any more.
#[test]
fn a_request_that_comes_again_long_after_it_was_sealed_is_sealed_once() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    // A sealer that knows no event of before.
    let server = Server::start(dir.path(), &[&url, "--dedupe-entries-max=0"]);
    let batch = format!("[{},{BARE},{}]", event("acme", "e1"), event("acme", "e2"));
    let first = once(&server, "acme-writer", "k1", &batch).ids();
    let wait = |id: &str| {
        let path = "/v1/events?wait=sealed&wait_timeout_ms=30000";
        let request = server.request("POST", path, "acme-writer");
        assert_eq!(request.json(&event("acme", id)).send().status, 200);
    };
    wait("behind-1");
    let unfinished = "UPDATE ledgerline_api.idempotency SET done = false, held_until_ms = 0";
    assert_eq!(database.execute(unfinished).unwrap(), 1);
    let again = once(&server, "acme-writer", "k1", &batch);
    assert_eq!(again.ids(), first);
    assert_eq!(again.header("idempotency-replayed"), None);
    wait("behind-2");
    assert_eq!(
        once(&server, "acme-writer", "k1", &batch).header("idempotency-replayed"),
        Some("true")
    );
    server.end();
    let due = [first, vec!["behind-1".to_owned(), "behind-2".to_owned()]].concat();
    assert_eq!(members(&sealed(&dir).events["acme"], "event_id"), due);
}

#[test]
fn a_database_that_takes_too_long_to_say_what_is_sealed_is_one_that_does_not_answer() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let server = Server::start(dir.path(), &[&url, "--api-request-timeout-ms=3000"]);
    let first = once(&server, "acme-writer", "k1", BARE).ids();
    let path = "/v1/events?wait=sealed&wait_timeout_ms=30000";
    let waited = server
        .request("POST", path, "acme-writer")
        .json(&event("acme", "behind"))
        .send();
    assert_eq!(waited.status, 200);
    let unfinished = "UPDATE ledgerline_api.idempotency SET done = false, held_until_ms = 0";
    assert_eq!(database.execute(unfinished).unwrap(), 1);
    let pool = database.pool(Role::Owner);
    let mut held = database.runtime.block_on(pool.begin()).unwrap();
    let lock = held.execute("LOCK TABLE ledgerline.leaves IN ACCESS EXCLUSIVE MODE");
    database.runtime.block_on(lock).unwrap();
    let refused = once(&server, "acme-writer", "k1", BARE);
    assert_eq!(
        (refused.status, &*refused.problem()),
        (503, "database_unavailable")
    );
    assert!(refused.header("retry-after").is_some());
    database.runtime.block_on(held.rollback()).unwrap();
    assert_eq!(once(&server, "acme-writer", "k1", BARE).ids(), first);
    server.end();
    assert_eq!(
        members(&sealed(&dir).events["acme"], "event_id"),
        [first, vec!["behind".to_owned()]].concat()
    );
}

#[test]
fn old_rows_are_taken_away_however_many_there_are_and_others_stay() {
    let database = Database::new();
    let options = parse_url(&database.url).unwrap();
    database.runtime.block_on(async {
        let store = Idempotency::new(&options, Duration::from_secs(30));
        let row = Row {
            tenant: "acme",
            key: "new",
            body_sha256: &[1; 32],
        };
        store.begin(row, [1; 16], [1; 16]).await.unwrap();
    });
    let old = "INSERT INTO ledgerline_api.idempotency SELECT 'globex', 'k' || n, body_sha256, seed, created_ms - 86400000, attempt, 0, true \
               FROM ledgerline_api.idempotency, generate_series(1, 25000) AS n";
    assert_eq!(database.execute(old).unwrap(), 25_000);
    database.runtime.block_on(async {
        let store = Idempotency::new(&options, Duration::from_secs(30));
        store.purge().await.unwrap();
    });
    let left = "SELECT count(*) FROM ledgerline_api.idempotency";
    assert_eq!(database.number(left), 1);
}

#[test]
fn requests_of_two_tenants_that_the_first_version_took_come_again_after_the_second_was_made() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let login = database.login();
    let url = format!("--database={login}");
    let server = Server::start(dir.path(), &[&url]);
    let acme = once(&server, "acme-writer", "k1", BARE).ids();
    let globex = once(&server, "globex-writer", "k1", BARE).ids();
    server.end();
    // As the first version left it.
    let filled = "ALTER SCHEMA ledgerline_api RENAME TO filled";
    database.execute(filled).unwrap();
    let options = parse_url(&login).unwrap();
    database.runtime.block_on(async {
        let pool = store::pool(&options, schema::API_SCHEMA, Role::Owner, 1);
        schema::migrate_api(&pool, 1).await.unwrap();
    });
    let rows = "INSERT INTO ledgerline_api.idempotency SELECT * FROM filled.idempotency";
    assert_eq!(database.execute(rows).unwrap(), 2);
    database.execute("DROP SCHEMA filled CASCADE").unwrap();
    let policies = "SELECT count(*) FROM pg_policies WHERE schemaname = 'ledgerline_api'";
    assert_eq!(database.number(policies), 0);

    let server = Server::start(dir.path(), &[&url]);
    for (id, ids) in [("acme-writer", &acme), ("globex-writer", &globex)] {
        let again = once(&server, id, "k1", BARE);
        assert_eq!(again.ids(), *ids, "{id}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{id}");
        let reused = once(&server, id, "k1", &event("acme", "e1"));
        assert_eq!(reused.status, 422, "{id}");
        let new = once(&server, id, "k2", BARE);
        assert_eq!(new.header("idempotency-replayed"), None, "{id}");
        assert_eq!(new.status, 202, "{id}");
    }
    assert!(database.number(policies) > 0);
    let version = "SELECT max(version) FROM ledgerline_api._sqlx_migrations";
    assert_eq!(database.number(version), schema::API_VERSION);
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(sealed.events["acme"].len() + sealed.events["globex"].len(), 4);
    assert_eq!(sealed.count("duplicate"), 0);
}

#[test]
fn a_row_that_is_taken_over_while_old_ones_are_taken_away_stays() {
    let database = Database::new();
    let options = parse_url(&database.url).unwrap();
    let pool = database.pool(Role::Owner);
    database.runtime.block_on(async {
        let store = Idempotency::new(&options, Duration::from_secs(30));
        let row = Row {
            tenant: "acme",
            key: "k1",
            body_sha256: &[1; 32],
        };
        store.begin(row, [1; 16], [1; 16]).await.unwrap();
        pool.execute("UPDATE ledgerline_api.idempotency SET created_ms = 1").await.unwrap();
        let mut taking_over = pool.begin().await.unwrap();
        let now = "UPDATE ledgerline_api.idempotency SET created_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        taking_over.execute(now).await.unwrap();
        let purge = store.purge();
        let commit = async {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            taking_over.commit().await.unwrap();
        };
        let (purged, ()) = tokio::join!(purge, commit);
        purged.unwrap();
        let again = store.begin(row, [2; 16], [2; 16]).await.unwrap();
        assert!(matches!(again, Begun::InFlight { .. }), "{again:?}");
    });
}
