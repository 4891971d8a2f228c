//! `verify --completeness`: markers of transactions are told from records that were dropped, with the topic at hand.

use super::incarnations::make_anew;
use super::stock_producer::StockProducer;
use super::{Ledger, Running, stack, stop, wait_for_kind};
use crate::process::{ledgerline, stderr};
use ledgerline::cli::demo::write_event;
use ledgerline::log::topic::AUDIT_EVENTS;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

fn event(n: u64) -> Vec<u8> {
    let mut line = Vec::new();
    write_event(n, 1, &mut line);
    line.trim_ascii().to_vec()
}

/// One transaction of these events in partition 0.
fn transaction(producer: &BaseProducer, topic: &str, events: std::ops::Range<u64>, commit: bool) {
    producer.begin_transaction().unwrap();
    for n in events {
        let event = event(n);
        let record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(0).payload(&event);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    if commit {
        producer.commit_transaction(PATIENCE).unwrap();
    } else {
        producer.flush(PATIENCE).unwrap();
        producer.abort_transaction(PATIENCE).unwrap();
    }
}

fn verify(ledger: &Ledger, running: &Running<'_>) -> (Option<i32>, Value, String) {
    let log = format!("--log={}", ledger.url(""));
    let archive = running.archive();
    let output = ledgerline(&["verify", &archive, "--completeness", "--json", &log]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, stderr(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_leaf_names_is_told_to_be_markers_or_found_to_be_dropped() {
    let ledger = Ledger::make(1).await;
    let running = Running::new(&ledger);
    let topic = ledger.topic(AUDIT_EVENTS);
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    // Offsets 0 to 2 and their marker at 3; 4 and 5 aborted, their marker at 6; 7 and its marker at 8.
    transaction(&producer, &topic, 0..3, true);
    transaction(&producer, &topic, 100..102, false);
    transaction(&producer, &topic, 3..4, true);
    let service = running.start("");
    wait_for_kind(&service, "entry", 4);
    stop(service);
    running.drain_and_read();
    let (status, report, said) = verify(&ledger, &running);
    assert_eq!(status, Some(0), "{said}");
    let source = &report["completeness"][0];
    let of = &source["incarnations"][0];
    assert_eq!(source["source"], "audit.events/0");
    assert_eq!(
        (of["entries"].as_u64(), of["never_delivered"].as_u64()),
        (Some(4), Some(4)),
        "{report}"
    );
    assert_eq!(of["never_delivered_ranges"], serde_json::json!([[3, 6]]));
    let reread = &source["reread"];
    assert_eq!(
        (reread["markers"].as_u64(), reread["waiting"].as_u64()),
        (Some(4), Some(1)),
        "{report}"
    );
    assert_eq!(reread["dropped"], serde_json::json!([]));
    // The same offsets, all of them records now: what the ledger passed over was something.
    make_anew(&ledger, 1).await;
    let (status, _, said) = verify(&ledger, &running);
    assert_eq!(
        (status, said.contains("could not be compared")),
        (Some(3), true),
        "{said}"
    );
    let plain = StockProducer::new(&topic);
    for n in 0..8 {
        plain.send_to(0, None, Some(&event(n)));
    }
    plain.finish();
    let (status, report, said) = verify(&ledger, &running);
    assert_eq!((status, said.contains("DROPPED")), (Some(1), true), "{said}");
    assert_eq!(
        report["completeness"][0]["reread"]["dropped"],
        serde_json::json!([3, 4, 5, 6])
    );
}
