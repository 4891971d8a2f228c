//! Answers that wait until events are sealed or signed, on a real PostgreSQL.

use super::client::Answer;
use super::{Server, event, sealed};
use crate::index::Database;
use crate::process::{ledgerline, stderr};

fn wait(server: &Server, query: &str, body: &str) -> Answer {
    let path = format!("/v1/events?{query}");
    server.request("POST", &path, "acme-writer").json(body).send()
}

#[test]
fn who_waits_is_told_where_the_event_stands_with_a_proof_that_verifies() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let server = Server::start(dir.path(), &[&url, "--checkpoint-interval-ms=100"]);
    let batch = format!("[{},{}]", event("acme", "e1"), event("acme", "e2"));
    let sealed_ones = wait(&server, "wait=sealed&wait_timeout_ms=30000", &batch);
    assert_eq!(sealed_ones.status, 200);
    let sealed_ones = sealed_ones.value();
    for (nth, result) in sealed_ones["results"].as_array().unwrap().iter().enumerate() {
        assert!(
            result["status"] == "sealed" || result["status"] == "signed",
            "{result}"
        );
        assert_eq!(result["entry"]["sequence"], nth as u64 + 1);
        assert_eq!(result["entry"]["entry_hash"].as_str().unwrap().len(), 64);
    }
    let signed = wait(&server, "wait=signed&wait_timeout_ms=30000", &event("acme", "e3"));
    assert_eq!(signed.status, 200);
    let signed = signed.value();
    let result = &signed["results"][0];
    assert_eq!(result["status"], "signed");
    assert_eq!(result["entry"]["sequence"], 3);
    let origin = result["entry"]["origin"].as_str().unwrap();
    assert!(
        result["proof"]
            .as_str()
            .unwrap()
            .contains(&format!("\n\n{origin}\n")),
        "{result}"
    );
    assert!(result["entry"]["index"].is_u64(), "{result}");

    // The same again is what it was; other content under its id is a conflict, of which no entry tells.
    let again = wait(&server, "wait=sealed&wait_timeout_ms=30000", &event("acme", "e3")).value();
    assert_eq!(again["results"][0]["entry"], result["entry"]);
    let other = event("acme", "e3").replace("doc.read", "doc.write");
    let conflict = wait(&server, "wait=sealed&wait_timeout_ms=500", &other);
    assert_eq!(conflict.status, 202);
    let conflict = conflict.value();
    assert_eq!(conflict["results"][0]["code"], "conflict");
    assert_eq!(conflict["results"][0]["status"], "accepted");

    let (proof, sent, keys) = ("proof", "event.json", "jwks.json");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at(proof), result["proof"].as_str().unwrap()).unwrap();
    std::fs::write(at(sent), event("acme", "e3")).unwrap();
    std::fs::write(at(keys), server.service.get("/v1/keys/jwks.json").1).unwrap();
    let verified = ledgerline(&[
        "verify-proof",
        &at(proof),
        "--event",
        &at(sent),
        "--jwks",
        &at(keys),
    ]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let wrong = ledgerline(&[
        "verify-proof",
        &at(proof),
        "--event",
        &at(keys),
        "--jwks",
        &at(keys),
    ]);
    assert!(!wrong.status.success());
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(sealed.events["acme"].len(), 3);
    assert_eq!((sealed.count("duplicate"), sealed.count("rejected")), (1, 1));
}

#[test]
fn whoever_seals_who_waits_is_told_and_at_the_end_of_his_time_he_is_told_what_is_known() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    // Nothing is sealed here.
    let server = Server::start(dir.path(), &[&url, "--stages=dead-letters"]);
    let late = wait(&server, "wait=signed&wait_timeout_ms=300", &event("acme", "e1"));
    assert_eq!(late.ids(), ["e1"]);
    assert_eq!(late.value()["results"][0]["status"], "accepted");
    let many: Vec<String> = (0..101).map(|nth| event("acme", &format!("m{nth}"))).collect();
    let refused = wait(&server, "wait=sealed", &format!("[{}]", many.join(",")));
    assert_eq!((refused.status, &*refused.problem()), (400, "invalid_parameter"));
    server.end();
    assert_eq!(sealed(&dir).events["acme"].len(), 1);
}

#[test]
fn at_the_end_of_the_process_who_waits_is_told_what_is_known() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    // Nothing is sealed here, and the end waits no longer than half of what is asked for.
    let server = Server::start(dir.path(), &[&url, "--stages=dead-letters"]);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let waiters: Vec<_> = ["e1", "e2"]
            .into_iter()
            .map(|id| {
                let server = &server;
                scope.spawn(move || wait(server, "wait=signed&wait_timeout_ms=30000", &event("acme", id)))
            })
            .collect();
        server.service.wait_for("/metrics", |text| {
            text.contains("ledgerline_api_waited_records 2")
        });
        server.service.signal("TERM");
        waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    });
    for (answer, id) in answers.iter().zip(["e1", "e2"]) {
        assert_eq!(answer.ids(), [id]);
        assert_eq!(answer.value()["results"][0]["status"], "accepted");
    }
    server.ended();
    assert_eq!(sealed(&dir).events["acme"].len(), 2);
}

#[test]
fn a_damaged_leaf_ends_the_wait_for_it_and_no_other_and_is_told_once() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let url = format!("--database={}", database.url);
    let server = Server::start(dir.path(), &[&url, "--checkpoint-interval-ms=100"]);
    let signed = "wait=signed&wait_timeout_ms=30000";
    assert_eq!(wait(&server, signed, &event("acme", "e1")).status, 200);
    let month = database.number(
        "SELECT to_char(month, 'YYYYMM')::bigint FROM ledgerline.tenant_months ORDER BY month DESC LIMIT 1",
    );
    let damage = format!(
        "UPDATE ledgerline.leaves_{}_{:02} SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"sealed_at\":\"2', '\"sealed_at\":\"3'), 'UTF8') WHERE event_id = 'e1' AND kind = 'entry'",
        month / 100,
        month % 100
    );
    assert_eq!(database.execute(&damage).unwrap(), 1);
    let both = format!("[{},{}]", event("acme", "e1"), event("acme", "e2"));
    let damaged = wait(&server, signed, &both);
    assert_eq!(damaged.status, 202, "{damaged:?}");
    let results = damaged.value()["results"].clone();
    assert_eq!(
        (&results[0]["status"], &results[1]["status"]),
        (&"sealed".into(), &"signed".into()),
        "{results}"
    );
    assert_eq!(wait(&server, signed, &event("acme", "e3")).status, 200);
    let logs = server.service.logs.lock().unwrap().join("\n");
    assert_eq!(
        logs.matches("no proof of a leaf can be given").count(),
        1,
        "{logs}"
    );
    server.end();
}
