//! Who is not let in, and what is not taken.

use super::{ADMIN, Server, client::Request, event, key};
use crate::process::{places, program, stderr};

#[test]
fn without_a_key_nothing_is_served_but_what_is_everybodys() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    for path in ["/healthz", "/v1/keys/jwks.json", "/v1/openapi.json"] {
        assert_eq!(
            Request::new(&server.address, "GET", path).send().status,
            200,
            "{path}"
        );
    }
    let bare = key("acme-writer");
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Basic YWRtaW46",
        bare.as_str(),
    ];
    for path in ["/metrics", "/v1/events", "/v1/ledger/head", "/nowhere"] {
        for authorization in wrong {
            let answer = Request::new(&server.address, "GET", path)
                .header("Authorization", authorization)
                .send();
            assert_eq!(
                (answer.status, &*answer.problem()),
                (401, "unauthenticated"),
                "{path}"
            );
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
    }
    let may_not = server.request("GET", "/metrics", "acme-writer").send();
    assert_eq!((may_not.status, &*may_not.problem()), (403, "scope"));
    assert_eq!(server.request("GET", "/metrics", "auditor").send().status, 200);
    for id in ["acme-reader", "auditor"] {
        let answer = server.post(id, &event("acme", "e1"));
        assert_eq!((answer.status, &*answer.problem()), (403, "scope"), "{id}");
    }
    let unnamed = Request::new(&server.address, "POST", "/v1/events")
        .header("Authorization", &format!("Bearer {ADMIN}"))
        .json(&event("acme", "e1"))
        .send();
    assert_eq!((unnamed.status, &*unnamed.problem()), (400, "tenant_required"));
    let other = server
        .request("POST", "/v1/events", "acme-writer")
        .header("Ledgerline-Tenant", "globex")
        .json(&event("globex", "e1"))
        .send();
    assert_eq!((other.status, &*other.problem()), (403, "other_tenant"));
    server.end();
}

// A table of cases.
#[allow(clippy::too_many_lines)]
#[test]
fn what_is_wrong_with_a_request_is_told_and_nothing_of_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(
        dir.path(),
        &["--api-body-bytes-max=65536", "--api-batch-events-max=10"],
    );
    let post = |path: &str| server.request("POST", path, "acme-writer");
    let good = event("acme", "e1");
    let large = "x".repeat(65_537);
    let many = format!("[{}]", [good.as_str(); 11].join(","));
    let cases: [(u16, &str, Request); _] = [
        (404, "not_found", post("/v1/event").json(&good)),
        (
            405,
            "method_not_allowed",
            server.request("DELETE", "/v1/events", "acme-writer"),
        ),
        (400, "invalid_target", post("/v1/events%ff").json(&good)),
        (400, "invalid_target", post("/v1/events?wait=%zz").json(&good)),
        (400, "unknown_parameter", post("/v1/events?dry_run=1").json(&good)),
        (400, "invalid_parameter", post("/v1/events?wait=done").json(&good)),
        (
            400,
            "invalid_parameter",
            post("/v1/events?tenant_id=-").json(&good),
        ),
        (
            400,
            "invalid_header",
            post("/v1/events").header("Authorization", "Bearer x").json(&good),
        ),
        (
            400,
            "invalid_header",
            post("/v1/events")
                .header("Content-Type", "text/plain")
                .json(&good),
        ),
        (
            400,
            "invalid_header",
            post("/v1/events").header("Idempotency-Key", "a b").json(&good),
        ),
        (
            501,
            "no_read_model",
            post("/v1/events").header("Idempotency-Key", "a").json(&good),
        ),
        (501, "no_read_model", post("/v1/events?wait=sealed").json(&good)),
        (
            415,
            "unsupported_media_type",
            post("/v1/events").bytes(good.as_bytes()),
        ),
        (
            415,
            "unsupported_media_type",
            post("/v1/events").body("text/plain", &good),
        ),
        (
            415,
            "unsupported_media_type",
            post("/v1/events").header("ce-specversion", "1.0").json(&good),
        ),
        (
            415,
            "unsupported_encoding",
            post("/v1/events").header("Content-Encoding", "gzip").json(&good),
        ),
        (413, "too_large", post("/v1/events").json(&large)),
        (413, "too_large", post("/v1/events").json(&many)),
        (400, "invalid_body", post("/v1/events").json("")),
        (400, "invalid_body", post("/v1/events").json("[]")),
        (400, "invalid_body", post("/v1/events").json("[{},")),
        (422, "refused_events", post("/v1/events").json("{")),
        (
            422,
            "refused_events",
            post("/v1/events").json(&"[".repeat(60_000).replacen('[', "{\"a\":", 1)),
        ),
        (422, "refused_events", post("/v1/events").json("{}")),
    ];
    for (status, code, request) in cases {
        let answer = request.send();
        assert_eq!((answer.status, &*answer.problem()), (status, code), "{answer:?}");
    }
    let allowed = server.request("DELETE", "/v1/events", "acme-writer").send();
    assert!(
        allowed
            .header("allow")
            .is_some_and(|methods| methods.contains("POST")),
        "{allowed:?}"
    );
    let head = server.request("HEAD", "/v1/nowhere", "acme-writer").send();
    assert_eq!((head.status, &*head.body), (404, ""));

    // Chunked, and of no length that was said.
    let mut begun = post("/v1/events")
        .header("Content-Type", "application/json")
        .header("Transfer-Encoding", "chunked")
        .begin()
        .unwrap();
    for _ in 0..20 {
        if !begun.write(format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes()) {
            break;
        }
    }
    let answer = begun.answer().expect("an answer");
    assert_eq!((answer.status, &*answer.problem()), (413, "too_large"));
    assert_eq!(post("/v1/events").json(&good).send().ids(), ["e1"]);
    server.end();
    assert_eq!(super::sealed(&dir).events["acme"].len(), 1);
}

#[test]
fn without_keys_or_with_wrong_ones_it_does_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let run = |admin: Option<&str>, more: &[&str]| {
        let mut command = program();
        command
            .arg("run")
            .args(places(dir.path()))
            .args(["--listen=127.0.0.1:0", "--api=127.0.0.1:0"]);
        command.args(more).env_remove("ADMIN_API_KEY");
        if let Some(admin) = admin {
            command.env("ADMIN_API_KEY", admin);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(run(None, &[]).contains("--api-keys (or LEDGERLINE_API_KEYS): is required"));
    let told = run(Some("too-short-a-key"), &[]);
    assert!(
        told.contains("ADMIN_API_KEY must be at least 16") && !told.contains("too-short-a-key"),
        "{told}"
    );
    assert!(run(None, &["--api-keys=/nowhere"]).contains("cannot read /nowhere"));
    assert!(run(Some(ADMIN), &["--api-memory-bytes-max=1048576"]).contains("--api-memory-bytes-max"));
}
