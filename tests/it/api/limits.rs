//! Bounds: memory, time, places; and that one tenant takes none of another's.

use super::client::{Begun, Request};
use super::{Server, event, key, members, sealed, whole};
use sqlx::{Connection as _, Executor as _};
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

/// A request that has sent so much of its body, and no more.
fn begin(server: &Server, id: &str, length: usize, sent: usize) -> Begun {
    let mut begun = server
        .request("POST", "/v1/events", id)
        .header("Content-Type", "application/json")
        .header("Content-Length", &length.to_string())
        .begin()
        .unwrap();
    assert!(begun.write(" ".repeat(sent).as_bytes()));
    begun
}

fn reserved(server: &Server) -> u64 {
    server.gauge("ledgerline_api_reserved_bytes")
}

/// Waits until as much is reserved as `is_so` likes.
fn wait_reserved(server: &Server, is_so: impl Fn(u64) -> bool) {
    let prefix = "ledgerline_api_reserved_bytes ";
    server.service.wait_for("/metrics", |text| {
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        line.is_some_and(|value| is_so(whole(value)))
    });
}

#[test]
fn a_tenant_fills_its_share_of_the_memory_and_no_more_and_a_length_alone_reserves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The share of a tenant is 512 KiB, and a body of 64 KiB takes 272 KiB of it.
    let server = Server::start(
        dir.path(),
        &["--api-body-bytes-max=65536", "--api-memory-bytes-max=1048576"],
    );
    let said: Vec<Begun> = (0..20)
        .map(|_| begin(&server, "acme-writer", 65_536, 1))
        .collect();
    wait_reserved(&server, |bytes| bytes > 20 * 16_384);
    assert!(reserved(&server) < 21 * 16_384);
    drop(said);
    wait_reserved(&server, |bytes| bytes == 0);

    let held = begin(&server, "acme-writer", 65_536, 65_535);
    wait_reserved(&server, |bytes| bytes == 65_535 * 4 + 16_384);
    let large = " ".repeat(65_000) + &event("acme", "e1");
    let full = server.post("acme-writer", &large);
    assert_eq!((full.status, &*full.problem()), (429, "tenant_busy"));
    assert!(full.header("retry-after").is_some());
    let others = " ".repeat(65_000) + &event("globex", "g1");
    assert_eq!(server.post("globex-writer", &others).ids(), ["g1"]);
    assert_eq!(server.post("acme-writer", &event("acme", "e2")).ids(), ["e2"]);
    drop(held);
    server.end();
    assert_eq!(members(&sealed(&dir).events["acme"], "event_id"), ["e2"]);
}

#[test]
fn a_tenant_takes_half_of_the_places_and_a_slow_body_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(
        dir.path(),
        &["--api-requests-max=4", "--api-request-timeout-ms=20000"],
    );
    let slow = [
        begin(&server, "acme-writer", 100, 1),
        begin(&server, "acme-writer", 100, 1),
    ];
    server.service.wait_for("/metrics", |text| {
        text.contains("ledgerline_api_admitted_requests 2")
    });
    let full = server.post("acme-writer", &event("acme", "e1"));
    assert_eq!((full.status, &*full.problem()), (429, "tenant_busy"));
    assert_eq!(server.post("globex-writer", &event("globex", "g1")).ids(), ["g1"]);
    for begun in slow {
        let answer = begun.answer().expect("an answer");
        assert_eq!((answer.status, &*answer.problem()), (408, "too_slow"));
    }
    assert_eq!(server.post("acme-writer", &event("acme", "e1")).ids(), ["e1"]);
    server.end();
}

#[test]
fn a_connection_that_says_nothing_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut silent = TcpStream::connect(&server.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
    let mut nothing = Vec::new();
    // Its end, and not the test's own patience.
    assert_eq!(silent.read_to_end(&mut nothing).unwrap(), 0);
    server.end();
}

/// What was the memory's end once: the log does not answer, clients go and come again, and each leaves a body behind.
#[test]
fn a_log_that_stands_still_holds_no_more_memory_than_there_is_room_for_and_nothing_of_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(
        dir.path(),
        &[
            "--api-body-bytes-max=65536",
            "--api-memory-bytes-max=1048576",
            "--api-request-timeout-ms=4000",
        ],
    );
    server.service.wait_for("/readyz", |body| body.contains("true"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let mut lock = runtime.block_on(async {
        let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
        lock.execute("BEGIN IMMEDIATE").await.unwrap();
        lock
    });
    let mut seen: Vec<(String, u16, String)> = Vec::new();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..12_u32)
            .map(|nth| {
                let tenant = if nth.is_multiple_of(2) { "acme" } else { "globex" };
                let (address, id) = (server.address.clone(), format!("e{nth}"));
                scope.spawn(move || {
                    let answer = Request::new(&address, "POST", "/v1/events")
                        .header(
                            "Authorization",
                            &format!("Bearer {}", key(&format!("{tenant}-writer"))),
                        )
                        .json(&(" ".repeat(60_000) + &event(tenant, &id)))
                        .send();
                    (id, answer.status, answer.problem())
                })
            })
            .collect();
        seen.extend(senders.into_iter().map(|sender| sender.join().unwrap()));
    });
    let unknown = seen
        .iter()
        .filter(|(_, _, code)| code == "outcome_unknown")
        .count();
    let busy = seen
        .iter()
        .filter(|(_, status, code)| matches!((status, &**code), (429, "tenant_busy") | (503, "busy")));
    // What an append holds stays held, though its request was answered long ago.
    assert!((1..=4).contains(&unknown), "{seen:?}");
    assert!(busy.count() >= 8, "{seen:?}");
    let held = reserved(&server);
    assert!((1..=1_048_576).contains(&held), "{held}");
    runtime.block_on(async {
        lock.execute("ROLLBACK").await.unwrap();
        lock.close().await.unwrap();
    });
    wait_reserved(&server, |bytes| bytes == 0);
    for (id, _, _) in &seen {
        let nth: u32 = id[1..].parse().unwrap();
        let tenant = if nth.is_multiple_of(2) { "acme" } else { "globex" };
        let body = " ".repeat(60_000) + &event(tenant, id);
        assert_eq!(
            server.post(&format!("{tenant}-writer"), &body).ids(),
            std::slice::from_ref(id)
        );
    }
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(
        (sealed.events["acme"].len(), sealed.events["globex"].len()),
        (6, 6),
        "each once"
    );
}
