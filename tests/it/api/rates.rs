//! How often one may ask: a flood is refused beyond its tenant's limit, and nobody else notices.

use super::client::Answer;
use super::{Server, event, members, sealed};

/// One a second comes in: a flood runs into it however slow the machine is.
const LIMITS: [&str; 2] = ["--api-limit-writes=5:1", "--api-limit-default=2:1"];

/// Asks until it is refused, at most so often; what was taken, and the refusal.
fn flood(at_most: usize, ask: impl Fn(usize) -> Answer) -> (usize, Option<Answer>) {
    for nth in 0..at_most {
        let answer = ask(nth);
        if answer.status == 429 {
            return (nth, Some(answer));
        }
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    (at_most, None)
}

#[test]
fn a_flood_is_refused_beyond_its_tenant_s_limit_and_every_event_that_was_taken_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &LIMITS);
    let post = |nth: usize| server.post("acme-writer", &event("acme", &format!("a-{nth:04}")));
    let first = post(9_999);
    assert_eq!(first.header("ratelimit-policy"), Some("\"writes\";q=5;w=5"));
    assert_eq!(first.header("ratelimit"), Some("\"writes\";r=4;t=1"));
    let (taken, refused) = flood(2_000, post);
    let refused = refused.expect("one too many is refused");
    assert_eq!(refused.problem(), "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit"), Some("\"writes\";r=0;t=5"));
    assert!(taken >= 4, "{taken}");
    let limited = server.counter("ledgerline_api_rate_limited_total{class=\"writes\"}");
    assert_eq!(limited, 1);
    let other = server.post("globex-writer", &event("globex", "g-1"));
    assert_eq!(other.status, 202, "another tenant has its own: {other:?}");
    assert_eq!(other.header("ratelimit"), Some("\"writes\";r=4;t=1"));
    server.end();
    let ids = members(&sealed(&dir).events["acme"], "event_id");
    let due = std::iter::once(9_999)
        .chain(0..taken)
        .map(|nth| format!("a-{nth:04}"));
    assert_eq!(ids, due.collect::<Vec<_>>(), "what was refused was not taken");
}

#[test]
fn classes_are_counted_apart_and_keys_of_a_tenant_together() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &LIMITS);
    let read = |id: &str| server.request("GET", "/nowhere", id).send();
    let first = read("acme-reader");
    assert_eq!(
        (first.status, first.header("ratelimit")),
        (404, Some("\"default\";r=1;t=1"))
    );
    // With the other key alone: it is the tenant's bucket that runs dry.
    let mut asked = (0..2_000).map(|_| read("acme-writer").status);
    assert!(asked.any(|status| status == 429));
    assert_eq!(read("globex-writer").status, 404);
    let written = server.post("acme-writer", &event("acme", "a-1"));
    assert_eq!(written.header("ratelimit"), Some("\"writes\";r=4;t=1"));
    // A key that nobody knows is told nothing.
    let unknown = server.request("GET", "/nowhere", "nobody").send();
    assert_eq!((unknown.status, unknown.header("ratelimit")), (401, None));
    server.end();
}

#[test]
fn a_key_with_a_limit_of_its_own_has_a_bucket_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let importer = super::key_table(
        "importer",
        "tenant = \"acme\"\nlimits.writes = { burst = 7, per_second = 1 }",
        "\"write\"",
    );
    let server = Server::start_with_keys(dir.path(), &importer, &LIMITS);
    let by = |id: &str, event_id: &str| server.post(id, &event("acme", event_id));
    assert_eq!(
        by("importer", "i-1").header("ratelimit"),
        Some("\"writes\";r=6;t=1")
    );
    assert_eq!(
        by("acme-writer", "w-1").header("ratelimit"),
        Some("\"writes\";r=4;t=1")
    );
    assert_eq!(
        by("importer", "i-2").header("ratelimit-policy"),
        Some("\"writes\";q=7;w=7")
    );
    server.end();
}

#[test]
fn without_other_settings_writes_are_bounded_and_off_bounds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--api-limit-writes=50:25"]);
    let answer = server.post("acme-writer", &event("acme", "a-1"));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"writes\";q=50;w=2"));
    server.end();
    let server = Server::start(dir.path(), &[]);
    let (taken, _) = flood(60, |nth| {
        server.post("acme-writer", &event("acme", &format!("b-{nth}")))
    });
    assert_eq!(taken, 60);
    server.end();
}
