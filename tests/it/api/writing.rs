//! What is acknowledged is sealed, each once, and nothing else is.

use super::{ADMIN, Server, canonical, client::Request, event, key, members, sealed};
use crate::process::{ledgerline, stderr};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn what_is_sent_in_any_form_is_sealed_as_it_was_sent_in_the_order_of_its_answers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let one = server.post("acme-writer", &event("acme", "e1"));
    assert_eq!(one.ids(), ["e1"]);
    assert_eq!(one.value()["results"][0]["status"], "accepted");

    let array = format!("[{}, {}]", event("acme", "e2"), event("acme", "e3"));
    assert_eq!(server.post("acme-writer", &array).ids(), ["e2", "e3"]);

    let lines = format!("{}\r\n{}", event("globex", "g1"), event("globex", "g2"));
    let sent = server
        .request("POST", "/v1/events", "globex-writer")
        .body("application/x-ndjson", &lines)
        .send();
    assert_eq!(sent.ids(), ["g1", "g2"]);

    let cloud = r#"{"specversion":"1.0","id":"c1","source":"/s","type":"doc.read","time":"2026-11-28T10:00:00Z","tenantid":"acme","actortype":"user","actorid":"u1"}"#;
    let sent = server
        .request("POST", "/v1/events", "acme-writer")
        .body("application/cloudevents+json", cloud)
        .send();
    assert_eq!(sent.ids(), ["c1"], "{sent:?}");

    let named = Request::new(&server.address, "POST", "/v1/events?tenant_id=initech")
        .header("Authorization", &format!("bearer  {ADMIN}"))
        .header("Ledgerline-Tenant", "initech")
        .header("Correlation-Id", "order-7")
        .json(&event("initech", "i1"))
        .send();
    assert_eq!(named.ids(), ["i1"]);
    assert_eq!(named.header("correlation-id"), Some("order-7"));

    let bare = r#"{"occurred_at":"2026-11-28T10:00:00Z","action":"a","actor":{"type":"user","id":"u"}}"#;
    let made = server.post("acme-writer", &format!("[{bare},{bare}]")).ids();
    assert_ne!(made[0], made[1]);
    server.end();

    let sealed = sealed(&dir);
    assert_eq!(
        members(&sealed.events["acme"][..4], "event_id"),
        ["e1", "e2", "e3", "c1"]
    );
    for (nth, id) in ["e1", "e2", "e3"].into_iter().enumerate() {
        assert_eq!(sealed.events["acme"][nth], canonical(&event("acme", id)));
    }
    assert_eq!(members(&sealed.events["acme"][4..], "event_id"), made);
    let due = [event("globex", "g1"), event("globex", "g2")].map(|event| canonical(&event));
    assert_eq!(sealed.events["globex"], due);
    assert_eq!(sealed.events["initech"], [canonical(&event("initech", "i1"))]);
    assert_eq!(
        (
            sealed.events.len(),
            sealed.count("rejected"),
            sealed.count("duplicate")
        ),
        (3, 0, 0)
    );
}

#[test]
fn a_batch_with_events_that_cannot_be_sealed_is_refused_whole_and_names_each() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let wrong_time = event("acme", "e2").replace("2026-11-28T10", "yesterday");
    let batch = [
        event("acme", "e1"),
        wrong_time,
        event("globex", "e3"),
        "7".to_owned(),
    ]
    .join("\n");
    let refused = server
        .request("POST", "/v1/events", "acme-writer")
        .body("application/x-ndjson", &batch)
        .send();
    assert_eq!((refused.status, &*refused.problem()), (422, "refused_events"));
    let value = refused.value();
    let faults: Vec<(u64, &str)> = value["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["index"].as_u64().unwrap(), fault["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        faults,
        [(1, "invalid_time"), (2, "other_tenant"), (3, "not_an_object")]
    );
    assert!(
        !refused.body.contains("globex") && !refused.body.contains("yesterday"),
        "{refused:?}"
    );
    server.post("acme-writer", &event("acme", "e4")).ids();
    server.end();
    let sealed = sealed(&dir);
    assert_eq!(members(&sealed.events["acme"], "event_id"), ["e4"]);
    assert_eq!(sealed.count("rejected"), 0);
}

/// Killed again and again while many send: what was acknowledged is there, and what was sent again is there once.
#[test]
fn killed_under_load_it_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 0..4 {
        let mut server = Server::start(
            dir.path(),
            &["--cut-interval-ms=150", "--checkpoint-interval-ms=40"],
        );
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for sender in 0..4 {
                let (address, killed, acknowledged) = (server.address.clone(), &killed, &acknowledged);
                scope.spawn(move || {
                    for nth in 0.. {
                        let ids = [0, 1, 2].map(|of| format!("{round}-{sender}-{nth}-{of}"));
                        let batch = ids.each_ref().map(|id| event("acme", id)).join("\n");
                        let sent = Request::new(&address, "POST", "/v1/events")
                            .header("Authorization", &format!("Bearer {}", key("acme-writer")))
                            .body("application/x-ndjson", &batch)
                            .try_send();
                        match sent {
                            Some(answer) => {
                                assert_eq!(answer.ids(), ids);
                                acknowledged.lock().unwrap().extend(ids);
                            }
                            None if killed.load(Ordering::Acquire) => return,
                            None => {}
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(400));
            server.service.child.kill().unwrap();
            killed.store(true, Ordering::Release);
        });
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let sealed = sealed(&dir);
    let there: Vec<String> = members(&sealed.events["acme"], "event_id");
    let distinct: BTreeSet<String> = there.iter().cloned().collect();
    assert_eq!(distinct.len(), there.len(), "each once");
    let lost: Vec<&String> = acknowledged.difference(&distinct).collect();
    assert!(
        lost.is_empty() && acknowledged.len() > 20,
        "{} of {}",
        lost.len(),
        acknowledged.len()
    );
    assert_eq!(sealed.count("rejected"), 0);
}

#[test]
fn a_request_that_is_under_way_when_the_end_is_asked_for_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let body = event("acme", "e1");
    let mut begun = server
        .request("POST", "/v1/events", "acme-writer")
        .header("Content-Type", "application/json")
        .header("Content-Length", &body.len().to_string())
        .begin()
        .unwrap();
    assert!(begun.write(&body.as_bytes()[..20]));
    server.service.wait_for("/metrics", |text| {
        text.contains("ledgerline_api_admitted_requests 1")
    });
    server.service.signal("TERM");
    let logs = std::sync::Arc::clone(&server.service.logs);
    while !logs
        .lock()
        .unwrap()
        .iter()
        .any(|line| line.contains("ending: the steps under way"))
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.write(&body.as_bytes()[20..]));
    assert_eq!(begun.answer().expect("an answer").ids(), ["e1"]);
    server.ended();
    assert_eq!(members(&sealed(&dir).events["acme"], "event_id"), ["e1"]);
}

#[test]
fn the_document_that_is_served_is_the_one_that_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let printed = ledgerline(&["openapi"]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    let served = Request::new(&server.address, "GET", "/v1/openapi.json").send();
    assert_eq!(served.status, 200);
    assert_eq!(served.body.as_bytes(), printed.stdout);
    server.end();
}
