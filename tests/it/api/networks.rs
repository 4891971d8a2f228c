//! From where keys may be used: no header of a client changes where he is, and no tenant's mistake keeps out another.

use super::client::Answer;
use super::{Server, event, members, sealed};
use tempfile::TempDir;

const ACME_AT: &str = "[[tenant]]\nid = \"acme\"\nnetworks = [\"203.0.113.0/24\", \"2001:db8::/32\"]\n";
const PROXY: &str = "--api-trusted-proxies=127.0.0.0/8";

/// An event of the key's tenant, forwarded for each of `hops` in a header of its own.
fn post(server: &Server, key: &str, id: &str, hops: &[&str]) -> Answer {
    let tenant = key.split('-').next().unwrap();
    let request = server.request("POST", "/v1/events", key);
    let request = hops
        .iter()
        .fold(request, |request, hop| request.header("X-Forwarded-For", hop));
    request.json(&event(tenant, id)).send()
}

fn refused(server: &Server, reason: &str) -> u64 {
    server.counter(&format!(
        "ledgerline_api_network_refused_total{{reason=\"{reason}\"}}"
    ))
}

#[test]
fn a_tenant_s_key_is_taken_from_its_networks_alone_and_a_forged_hop_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with_keys(dir.path(), ACME_AT, &[]);
    for hops in [
        &[][..],
        &["203.0.113.9"],
        &["2001:db8::7", "127.0.0.1"],
        &["nonsense"],
    ] {
        let answer = post(&server, "acme-writer", "from-outside", hops);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (403, "network"),
            "{hops:?}"
        );
        assert!(
            answer.body.contains("127.0.0.1"),
            "it says what it sees: {answer:?}"
        );
    }
    assert_eq!(
        post(&server, "globex-writer", "g-1", &["203.0.113.9"]).status,
        202
    );
    assert_eq!(refused(&server, "outside"), 4);
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(members(&sealed.events["globex"], "event_id"), ["g-1"]);
    assert!(!sealed.events.contains_key("acme"), "nothing of it was taken");
}

#[test]
fn behind_a_trusted_proxy_it_is_the_nearest_hop_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with_keys(dir.path(), ACME_AT, &[PROXY]);
    let inside: [&[&str]; 4] = [
        &["203.0.113.9"],
        &["198.51.100.1, 203.0.113.9"],
        &["198.51.100.1", "203.0.113.9, 127.0.0.9"],
        &["[2001:db8::7]:4711"],
    ];
    for (nth, hops) in inside.iter().enumerate() {
        let answer = post(&server, "acme-writer", &format!("in-{nth}"), hops);
        assert_eq!(answer.status, 202, "{hops:?} {answer:?}");
    }
    for hops in [
        &["203.0.113.9, 198.51.100.1"][..],
        &["203.0.113.9", "198.51.100.1"],
    ] {
        let answer = post(&server, "acme-writer", "out", hops);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (403, "network"),
            "{hops:?}"
        );
    }
    assert_eq!(refused(&server, "outside"), 2);
    // Whose request it is the proxy does not say: nobody in his networks may be kept out more, nobody else be let in.
    for hops in [&[][..], &["unknown"], &["203.0.113.9,"]] {
        assert_eq!(post(&server, "acme-writer", "untold", hops).problem(), "network");
    }
    assert_eq!(refused(&server, "address"), 3);
    assert_eq!(
        post(&server, "globex-writer", "g-1", &[]).status,
        202,
        "it is bound to none"
    );
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(
        members(&sealed.events["acme"], "event_id"),
        ["in-0", "in-1", "in-2", "in-3"]
    );
    assert_eq!(members(&sealed.events["globex"], "event_id"), ["g-1"]);
}

#[test]
fn an_allowlist_that_cannot_be_read_keeps_its_tenant_out_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_broken_list(&dir, &[]);
    let answer = post(&server, "acme-writer", "a-1", &[]);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "network"));
    assert_eq!(post(&server, "globex-writer", "g-1", &[]).status, 202);
    assert_eq!(refused(&server, "allowlist"), 1);
    let logs = server.service.logs.lock().unwrap().join("\n");
    assert!(
        logs.contains("taken from nowhere") && logs.contains("127.0.0.0/33"),
        "{logs}"
    );
    server.end();
}

#[test]
fn only_where_it_is_asked_to_it_fails_open_and_counts_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_broken_list(&dir, &["--ip-allowlist-fail-open"]);
    assert_eq!(post(&server, "acme-writer", "a-1", &[]).status, 202);
    assert_eq!(post(&server, "acme-writer", "a-2", &[]).status, 202);
    let opened = server.counter("ledgerline_api_network_failed_open_total{reason=\"allowlist\"}");
    assert_eq!((opened, refused(&server, "allowlist")), (2, 0));
    server.end();
}

fn with_broken_list(dir: &TempDir, more: &[&str]) -> Server {
    let broken = "[[tenant]]\nid = \"acme\"\nnetworks = [\"10.0.0.0/8\", \"127.0.0.0/33\"]\n";
    Server::start_with_keys(dir.path(), broken, more)
}
