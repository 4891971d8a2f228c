//! What is answered without a key, and how much of it.

use super::client::Request;
use super::{ADMIN, Server, key};

#[test]
fn why_it_is_not_ready_is_told_to_auditors_and_where_operators_ask() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens there: the index stage waits for it.
    let server = Server::start(dir.path(), &["--database=postgres://nobody@127.0.0.1:1/nowhere"]);
    let told = server
        .service
        .wait_for("/readyz", |body| body.contains("index of partition"));
    assert!(told.contains("\"ready\":false"), "{told}");
    let ask = |key: Option<&str>| {
        let request = Request::new(&server.address, "GET", "/readyz");
        let answer = match key {
            Some(key) => request.header("Authorization", &format!("Bearer {key}")).send(),
            None => request.send(),
        };
        assert_eq!(answer.status, 503, "{answer:?}");
        answer.value()
    };
    let bare = serde_json::json!({ "ready": false });
    for nobody in [
        None,
        Some("a-key-of-nobody"),
        Some(&*key("acme-reader")),
        Some(&*key("acme-writer")),
    ] {
        assert_eq!(ask(nobody), bare, "{nobody:?}");
    }
    for known in [key("auditor"), ADMIN.to_owned()] {
        let reasons = ask(Some(&known))["reasons"].clone();
        assert!(reasons.to_string().contains("index of partition"), "{reasons}");
    }
    server.end();
}
