//! What the log lines of the service say of an input, and what they keep to themselves.

use crate::process::{Service, ledgerline_with_input, stderr};
use ledgerline::ledger::partition::partition_of;
use serde_json::{Value, json};
use std::path::Path;

/// Three events: one with a correlation id, one without, and one with another id that is refused as a conflict with the first.
fn ingest_events(dir: &Path) {
    let event = |id: &str, action: &str, context: &str| {
        format!(
            "{{\"event_id\":\"{id}\",\"tenant_id\":\"acme\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"{action}\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}},\"data\":\"hunter2\"{context}}}\n"
        )
    };
    let lines = [
        event("e-1", "a.b", ",\"context\":{\"correlation_id\":\"cor-1\"}"),
        event("e-2", "a.b", ",\"context\":{\"request_id\":\"request-2\"}"),
        event("e-1", "a.c", ",\"context\":{\"correlation_id\":\"cor-3\"}"),
    ];
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let ingested = ledgerline_with_input(&["ingest", &log, "-"], lines.concat().as_bytes());
    assert!(ingested.status.success(), "{}", stderr(&ingested));
}

/// What a service that seals those events logs of inputs, without what changes from run to run.
fn logged_of_inputs(more: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    ingest_events(dir.path());
    let service = Service::start(dir.path(), more).unwrap();
    service.wait_for("/metrics", |body| {
        body.contains("ledgerline_rejected_records_total{code=\"conflict\"} 1")
    });
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    assert!(!logs.contains("hunter2") && !logs.contains("request-2"), "{logs}");
    let mut lines: Vec<Value> = logs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.retain(|line| line["message"].as_str().unwrap().ends_with("an input"));
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("timestamp");
    }
    lines
}

fn rejected() -> Value {
    json!({
        "level": "WARN", "message": "rejected an input", "target": "ledgerline::stages::seal::runner", "tenant_id": "acme",
        "partition": partition_of("acme", 4), "index": 4, "correlation_id": "cor-3", "code": "conflict", "topic": "audit.events", "offset": 2,
    })
}

#[test]
fn a_rejected_input_is_logged_with_tenant_partition_index_and_the_events_correlation_id() {
    assert_eq!(logged_of_inputs(&[]), [rejected()]);
}

#[test]
fn every_input_is_logged_so_where_debug_lines_are_asked_for() {
    let sealing = |index: u64, offset: u64| {
        json!({
            "level": "DEBUG", "message": "sealing an input", "target": "ledgerline::stages::seal::runner", "tenant_id": "acme",
            "partition": partition_of("acme", 4), "index": index, "kind": "entry", "topic": "audit.events", "offset": offset,
        })
    };
    let mut first = sealing(2, 0);
    first["correlation_id"] = "cor-1".into();
    // Index 0 is the genesis leaf, 1 the first use of the source; the second event has no correlation id.
    assert_eq!(
        logged_of_inputs(&["--log-level=ledgerline=debug"]),
        [first, sealing(3, 1), rejected()]
    );
}
