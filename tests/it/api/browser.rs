//! What browsers are told, by the real program.

use super::client::{Answer, Request};
use super::{Server, event};

const ORIGIN: &str = "https://app.example.com";

fn assert_guarded(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    assert!(answer.header("correlation-id").is_some());
}

#[test]
fn every_answer_leaves_a_browser_nothing_to_do_but_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let plain = |method: &str, path: &str| {
        Request::new(&server.address, method, path)
            .header("Origin", ORIGIN)
            .send()
    };
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/v1/openapi.json", 200),
        ("GET", "/v1/keys/jwks.json", 200),
        ("GET", "/v1/events", 401),
        ("GET", "/nowhere", 401),
        ("DELETE", "/healthz", 405),
        ("OPTIONS", "/v1/events", 401),
    ] {
        let answer = plain(method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_guarded(&answer);
        for off in ["access-control-allow-origin", "vary", "strict-transport-security"] {
            assert_eq!(
                answer.header(off),
                None,
                "{method} {path}: CORS is off, and nobody spoke of TLS"
            );
        }
    }
    assert_guarded(&server.post("acme-writer", &event("acme", "a-1")));
    server.end();
}

#[test]
fn a_page_of_a_named_origin_may_ask_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--cors-allowed-origins", ORIGIN]);
    let preflight = |origin: &str| {
        Request::new(&server.address, "OPTIONS", "/v1/events")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type")
            .send()
    };
    let may = preflight(ORIGIN);
    assert_eq!(may.status, 204);
    assert_guarded(&may);
    assert_eq!(may.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(may.header("access-control-allow-methods"), Some("GET, POST"));
    assert!(
        may.header("access-control-allow-headers")
            .unwrap()
            .contains("Authorization")
    );
    assert_eq!(
        may.header("access-control-allow-credentials"),
        None,
        "no cookie is read"
    );
    let may_not = preflight("https://evil.example");
    assert_eq!(
        (may_not.status, may_not.header("access-control-allow-origin")),
        (401, None)
    );

    let post = |origin: &str, id: &str| {
        let request = server.request("POST", "/v1/events", "acme-writer");
        request.header("Origin", origin).json(&event("acme", id)).send()
    };
    let answer = post(ORIGIN, "a-1");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (202, Some(ORIGIN))
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    let other = post("https://evil.example", "a-2");
    assert_eq!(
        (other.header("access-control-allow-origin"), other.header("vary")),
        (None, Some("origin"))
    );
    server.end();
}

#[test]
fn strict_transport_security_is_said_where_a_trusted_proxy_ends_tls() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--api-trusted-proxies=127.0.0.1"]);
    let through = |scheme: &str| {
        let request = Request::new(&server.address, "GET", "/healthz");
        request.header("X-Forwarded-Proto", scheme).send()
    };
    assert_eq!(
        through("https").header("strict-transport-security"),
        Some("max-age=31536000")
    );
    assert_eq!(through("http").header("strict-transport-security"), None);
    server.end();
    let server = Server::start(dir.path(), &["--api-trusted-proxies=127.0.0.2"]);
    let forged = Request::new(&server.address, "GET", "/healthz");
    let forged = forged.header("X-Forwarded-Proto", "https").send();
    assert_eq!(forged.header("strict-transport-security"), None);
    server.end();
}
