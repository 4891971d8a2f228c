//! What questions read: index entries, as the server counts them, and not time.

use super::Ledger;
use ledgerline::store::Role;
use sqlx::Row as _;
use std::time::Duration;

const ENTRIES: u64 = 60_000;

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

/// What lies between is half of the entries.
const A_TIME: &str = "occurred_from=2026-11-01T00:00:00Z&occurred_to=2026-11-01T08:20:00Z";

/// A ledger of many entries of acme, of which all but two are there to be read alone: the last one again and again, each at another time. The server has looked at them, as it
/// does by itself in time.
fn of_many() -> Ledger {
    let ledger = Ledger::of(2);
    let part = ledger.part();
    for sql in [
        format!(
            "INSERT INTO {part} SELECT month, partition, 1000000 + n, sealed_at + n, 'entry', '{{}}', tenant_id, n, entry_hash, 'e' || n, \
             (extract(epoch FROM '2026-11-01T00:00:00Z'::timestamptz)::bigint + n * 7919 % 60000) * 1000000, 'a', 'user', actor_id, '{{}}' \
             FROM {part}, generate_series(3, {ENTRIES}) AS n WHERE tenant_id = 'acme' AND sequence = 2"
        ),
        format!("UPDATE ledgerline.tenant_months SET last_sequence = {ENTRIES} WHERE tenant_id = 'acme'"),
        "VACUUM ANALYZE".to_owned(),
    ] {
        ledger.database.execute(&sql).unwrap();
    }
    ledger
}

#[test]
fn a_question_for_a_time_looks_for_it_once_and_not_once_a_page() {
    let ledger = of_many();
    let path = format!("/v1/events?{A_TIME}");
    let due = ENTRIES as usize / 2;
    let by_lines = added(&ledger, OCCURRED, || {
        let served = ledger.serve();
        let lines = served.lines("acme", &path);
        let count = lines.text().lines().count();
        assert!(count.abs_diff(due) <= 2, "{count}");
    });
    // Pages keep by their cursor what an export keeps.
    let by_pages = added(&ledger, OCCURRED, || {
        let served = ledger.serve();
        let (mut cursor, mut seen) = (String::new(), 0);
        loop {
            let page = served.get("acme", &format!("{path}&limit=1000{cursor}")).json();
            seen += page["events"].as_array().unwrap().len();
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert!(seen.abs_diff(due) <= 2, "{seen}");
    });
    for read in [by_lines, by_pages] {
        assert!(
            (due - 2..due * 3 / 2).contains(&(read as usize)),
            "{read} of {due}"
        );
    }
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
fn an_actor_s_type_and_a_time_of_sealing_are_looked_up_and_not_looked_for() {
    let ledger = of_many();
    for (query, due, read_max) in [
        ("actor_type=robot", 0, 0),
        ("actor_type=robot&action=a", 0, 0),
        // To halve the chain takes an entry a step.
        ("actor_type=robot&sealed_from=2020-01-01T00:00:00Z", 0, 20),
        ("sealed_from=2020-01-01T00:00:00Z&limit=10", 10, 32),
        ("actor_type=user", 100, 102),
    ] {
        let read = added(&ledger, ANY, || {
            let served = ledger.serve();
            let page = served.get("acme", &format!("/v1/events?{query}")).json();
            assert_eq!(page["events"].as_array().unwrap().len(), due, "{query}");
        });
        assert!(read <= read_max, "{query}: {read}");
    }
}
