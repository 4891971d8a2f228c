//! What questions read: index entries, as the server counts them, and not time.

use super::Ledger;
use ledgerline::store::Role;
use sqlx::Row as _;
use std::time::Duration;

const EVENTS: u64 = 4_000;

/// The index by which a time is looked for.
const OCCURRED: &str = "(tenant_id, occurred_at)";
/// Each of them.
const ANY: &str = "";

/// Entries of the months' indexes of that shape, and rows of months that were gone through without an index, read since the server began by connections that have ended.
fn read_by(ledger: &Ledger, index: &str) -> i64 {
    let by_index = format!(
        "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes \
         WHERE schemaname = 'ledgerline' AND relname LIKE 'leaves_2%' AND pg_get_indexdef(indexrelid) LIKE '%{index}%'"
    );
    let by_none = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE schemaname = 'ledgerline' AND relname LIKE 'leaves_2%'";
    ledger.database.number(&by_index) + ledger.database.number(by_none)
}

/// What a connection has read is counted, at the latest, when it ends.
fn wait_until_others_are_gone(ledger: &Ledger) {
    let pool = ledger.database.pool(Role::Owner);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    ledger.database.runtime.block_on(async {
        let mut connection = pool.acquire().await.unwrap();
        loop {
            let row = sqlx::query(others).fetch_one(&mut *connection).await.unwrap();
            if row.get::<i64, _>(0) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// What a question adds.
fn added(ledger: &Ledger, index: &str, ask: impl FnOnce()) -> i64 {
    wait_until_others_are_gone(ledger);
    let before = read_by(ledger, index);
    ask();
    wait_until_others_are_gone(ledger);
    read_by(ledger, index) - before
}

/// A ledger whose rows the server has looked at, as it does by itself in time.
fn of(events: u64) -> Ledger {
    let ledger = Ledger::of(events);
    ledger.database.execute("VACUUM ANALYZE").unwrap();
    ledger
}

#[test]
fn an_export_of_a_time_looks_for_it_once_and_not_once_a_page() {
    let ledger = of(EVENTS);
    // Days 2 to 15 of 28, in each of which the entries occurred in turn: half of them, over four pages of lines.
    let query = "/v1/events?occurred_from=2026-11-02T00:00:00Z&occurred_to=2026-11-16T00:00:00Z";
    let due = (0..EVENTS).filter(|id| (1..15).contains(&(id % 28))).count();
    assert!(due > 1_900, "{due}");
    let read = added(&ledger, OCCURRED, || {
        let served = ledger.serve();
        let lines = served.lines("acme", query);
        assert_eq!(lines.text().lines().count(), due);
    });
    assert_eq!(read, due as i64);
    // Pages keep by their cursor what an export keeps.
    let read = added(&ledger, OCCURRED, || {
        let served = ledger.serve();
        let (mut cursor, mut seen) = (String::new(), 0);
        loop {
            let page = served.get("acme", &format!("{query}&limit=300{cursor}")).json();
            seen += page["events"].as_array().unwrap().len();
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, due);
    });
    assert_eq!(read, due as i64);
}

#[test]
fn a_page_that_goes_on_after_the_chain_has_grown_finds_what_came_since() {
    let ledger = Ledger::of(60);
    let query = "/v1/events?occurred_from=2026-11-02T00:00:00Z&occurred_to=2026-11-09T00:00:00Z&limit=9";
    let of = |events: std::ops::Range<u64>| events.filter(|id| (1..8).contains(&(id % 28))).count();
    let first = ledger.serve().get("acme", query).json();
    crate::index::ingest(&ledger.settings, 60..120);
    crate::sealed::drain(&ledger.settings);
    let served = ledger.serve();
    let (mut page, mut seen) = (first, Vec::new());
    loop {
        let events = page["events"].as_array().unwrap();
        seen.extend(events.iter().map(|event| event["sequence"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        page = served.get("acme", &format!("{query}&cursor={next}")).json();
    }
    assert!(seen.is_sorted_by(|one, other| one < other), "{seen:?}");
    assert_eq!(seen.len(), of(0..120));
}

#[test]
fn an_actor_s_type_is_looked_up_and_not_looked_for() {
    let ledger = of(EVENTS);
    let of_a_day = (0..EVENTS).filter(|id| id % 28 == 1).count() as i64;
    for (query, due, read_max) in [
        ("actor_type=robot", 0, 0),
        ("actor_type=robot&action=doc.read", 0, 0),
        // An entry of the time's index for each of that time.
        (
            "actor_type=robot&occurred_from=2026-11-02T00:00:00Z&occurred_to=2026-11-03T00:00:00Z",
            0,
            of_a_day,
        ),
        // To halve the chain takes one a step.
        ("actor_type=robot&sealed_from=2020-01-01T00:00:00Z", 0, 16),
        ("actor_type=user", 100, 101),
    ] {
        let read = added(&ledger, ANY, || {
            let served = ledger.serve();
            let page = served.get("acme", &format!("/v1/events?{query}")).json();
            assert_eq!(page["events"].as_array().unwrap().len(), due, "{query}");
        });
        assert!(read <= read_max, "{query}: {read}");
    }
}
