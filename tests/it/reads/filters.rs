//! Events: pages, filters, cursors, lines.

use super::{Ledger, event_of};
use ledgerline::ledger::time::parse_occurred_at;
use serde_json::Value;

const EVENTS: u64 = 120;

/// The sequences of all pages.
fn pages(served: &super::Served<'_>, query: &str, limit: u64) -> Vec<u64> {
    let mut sequences = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = served.get("acme", &format!("/v1/events?limit={limit}{query}{cursor}"));
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        let events = page["events"].as_array().unwrap();
        assert!(events.len() as u64 <= limit);
        sequences.extend(events.iter().map(|event| event["sequence"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sequences,
        }
    }
}

#[test]
fn pages_and_lines_hold_the_events_byte_for_byte_in_their_order() {
    let ledger = Ledger::of(EVENTS);
    let (sealed, served) = (ledger.sealed(), ledger.serve());
    let due = &sealed.events["acme"];
    assert_eq!(due.len() as u64, EVENTS);
    for limit in [1, 7, EVENTS - 1, EVENTS, 1_000] {
        assert_eq!(
            pages(&served, "", limit),
            (1..=EVENTS).collect::<Vec<_>>(),
            "{limit}"
        );
    }
    let page = served.get("acme", "/v1/events?limit=1000");
    assert_eq!(page.headers["content-type"], "application/json");
    for event in due {
        assert!(page.text().contains(&format!(",\"event\":{event}}}")), "{event}");
    }
    assert_eq!(page.json()["last_sequence"], EVENTS);
    assert_eq!(page.json()["first_stored_sequence"], 1);
    let lines = served.lines("acme", "/v1/events");
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    assert_eq!(lines.headers["ledgerline-first-stored-sequence"], "1");
    let events: Vec<&str> = lines.text().lines().map(event_of).collect();
    assert_eq!(&events, due);
    assert!(lines.text().ends_with('\n'));
    let none = served.get("stranger", "/v1/events").json();
    assert_eq!(none["events"], serde_json::json!([]));
    assert_eq!(none["first_stored_sequence"], Value::Null);
}

#[test]
fn filters_let_through_what_they_say_and_nothing_else() {
    let ledger = Ledger::of(EVENTS);
    let (sealed, served) = (ledger.sealed(), ledger.serve());
    let events: Vec<Value> = sealed.events["acme"]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let due = |wanted: &dyn Fn(u64, &Value) -> bool| -> Vec<u64> {
        let numbered = (1..).zip(&events);
        numbered
            .filter(|(n, event)| wanted(*n, event))
            .map(|(n, _)| n)
            .collect()
    };
    let at = |event: &Value| parse_occurred_at(event["occurred_at"].as_str().unwrap()).unwrap();
    let time = |text: &str| parse_occurred_at(text).unwrap();
    let (tenth, twentieth) = (
        "2026-11-10T09:00:00.123456Z",
        "2026-11-20T10:00:00.123456%2B01:00",
    );
    let twentieth_at = time("2026-11-20T10:00:00.123456+01:00");
    let cases: Vec<(String, Vec<u64>)> = vec![
        ("&action=doc.read".into(), due(&|_, _| true)),
        ("&action=doc.write".into(), vec![]),
        ("&actor_id=u3".into(), due(&|_, e| e["actor"]["id"] == "u3")),
        (
            "&actor_type=user&actor_id=u1".into(),
            due(&|_, e| e["actor"]["id"] == "u1"),
        ),
        ("&actor_type=robot".into(), vec![]),
        (
            "&target_id=d-4".into(),
            due(&|_, e| e["targets"][0]["id"] == "d-4"),
        ),
        ("&target_id=loose".into(), vec![]),
        (
            "&event_id=acme-17".into(),
            due(&|_, e| e["event_id"] == "acme-17"),
        ),
        ("&event_id=globex-17".into(), vec![]),
        ("&from_sequence=11&to_sequence=13".into(), vec![11, 12, 13]),
        ("&from_sequence=119".into(), vec![119, 120]),
        ("&from_sequence=500".into(), vec![]),
        (
            format!("&occurred_from={tenth}"),
            due(&|_, e| at(e) >= time(tenth)),
        ),
        (format!("&occurred_to={tenth}"), due(&|_, e| at(e) < time(tenth))),
        (
            format!("&occurred_from={tenth}&occurred_to={twentieth}&target_id=d-2"),
            due(&|_, e| at(e) >= time(tenth) && at(e) < twentieth_at && e["targets"][0]["id"] == "d-2"),
        ),
        ("&occurred_from=2027-01-01T00:00:00Z".into(), vec![]),
        (
            "&actor_id=u2&target_id=d-1&from_sequence=9&to_sequence=90".into(),
            due(&|n, e| e["actor"]["id"] == "u2" && e["targets"][0]["id"] == "d-1" && (9..=90).contains(&n)),
        ),
    ];
    assert!(cases.iter().filter(|(_, due)| !due.is_empty()).count() > 10);
    for (query, due) in cases {
        for limit in [3, 1_000] {
            assert_eq!(pages(&served, &query, limit), due, "{query}");
        }
        let lines = served.lines("acme", &format!("/v1/events?{}", &query[1..]));
        assert_eq!(lines.text().lines().count(), due.len(), "{query}");
    }
}

#[test]
fn the_times_of_sealing_bound_a_question_to_the_microsecond() {
    let ledger = Ledger::of(EVENTS);
    let served = ledger.serve();
    let page = served.get("acme", "/v1/events?limit=1000").json();
    let sealed: Vec<String> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["sealed_at"].as_str().unwrap().to_owned())
        .collect();
    // Entries of one batch are of one moment: a bound takes all of them, or none.
    for at in [&sealed[0], &sealed[60], &sealed[119]] {
        let due = |wanted: &dyn Fn(&String) -> bool| -> Vec<u64> {
            let numbered = (1..).zip(&sealed);
            numbered.filter(|(_, at)| wanted(at)).map(|(n, _)| n).collect()
        };
        assert_eq!(
            pages(&served, &format!("&sealed_from={at}"), 50),
            due(&|of| of >= at)
        );
        assert_eq!(
            pages(&served, &format!("&sealed_to={at}"), 50),
            due(&|of| of < at)
        );
    }
    assert_eq!(
        pages(&served, "&sealed_from=2999-01-01T00:00:00Z", 50),
        Vec::<u64>::new()
    );
    assert_eq!(
        pages(&served, "&sealed_to=1999-01-01T00:00:00Z", 50),
        Vec::<u64>::new()
    );
}

#[test]
fn a_cursor_of_another_tenant_or_of_other_filters_is_refused() {
    let ledger = Ledger::of(20);
    let served = ledger.serve();
    let page = served.get("acme", "/v1/events?limit=5&action=doc.read").json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let own = served.get(
        "acme",
        &format!("/v1/events?limit=2&action=doc.read&cursor={cursor}"),
    );
    assert_eq!(own.json()["events"][0]["sequence"], 6);
    for (id, path) in [
        ("globex", format!("/v1/events?action=doc.read&cursor={cursor}")),
        (
            "auditor",
            format!("/v1/events?action=doc.read&tenant_id=globex&cursor={cursor}"),
        ),
        ("acme", format!("/v1/events?cursor={cursor}")),
        ("acme", format!("/v1/events?action=doc.write&cursor={cursor}")),
        (
            "acme",
            format!("/v1/events?action=doc.read&from_sequence=1&cursor={cursor}"),
        ),
        ("acme", "/v1/events?action=doc.read&cursor=AAAA".to_owned()),
    ] {
        let refused = served.get(id, &path);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "invalid_parameter"),
            "{path}"
        );
    }
    // The same tenant by another key is the same question.
    let other = served.get(
        "auditor",
        &format!("/v1/events?action=doc.read&tenant_id=acme&cursor={cursor}"),
    );
    assert_eq!(other.status, 200);
}

#[test]
fn what_no_filter_can_be_is_refused_and_not_guessed() {
    let ledger = Ledger::of(2);
    let served = ledger.serve();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "from_sequence=0",
        "to_sequence=9007199254740992",
        "occurred_from=yesterday",
        "sealed_to=2026-11-10",
        "action=",
        "action=a%00b",
        "target_id=%00",
        "nothing=1",
        "action=a&action=b",
        "cursor=%C3%A9",
    ] {
        let refused = served.get("acme", &format!("/v1/events?{query}"));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        refused.code();
    }
    let long = "x".repeat(257);
    assert_eq!(
        served.get("acme", &format!("/v1/events?event_id={long}")).status,
        400
    );
    for query in ["limit=5", "cursor=AAAA"] {
        assert_eq!(
            served.lines("acme", &format!("/v1/events?{query}")).status,
            400,
            "{query}"
        );
    }
}
