//! Dead letters on a real Kafka: written once over restarts, listed and replayed by the commands, read by any client.

use super::stock_producer::StockProducer;
use super::{Ledger, Running, metric, stop, wait_for_kind};
use crate::process::{ledgerline, stderr};
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::topic::{AUDIT_EVENTS, LEDGER_DEAD_LETTERS};
use ledgerline::log::{Log, Record};
use ledgerline::stages::dead_letters::Letter;

const PARTITIONS: u32 = 2;

fn event(id: &str, tenant: &str, time: &str) -> Vec<u8> {
    format!(
        "{{\"event_id\":\"{id}\",\"tenant_id\":\"{tenant}\",\"occurred_at\":\"{time}\",\"action\":\"a.b\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}}}}"
    )
    .into_bytes()
}

async fn records(ledger: &Ledger, partition: u32) -> Vec<Record> {
    let log = ledger.log();
    let end = log.end(LEDGER_DEAD_LETTERS, partition).await.unwrap();
    let mut all: Vec<Record> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.offset + 1);
        if from >= end {
            return all;
        }
        all.extend(
            log.read(LEDGER_DEAD_LETTERS, partition, from, 1_000, 1 << 20)
                .await
                .unwrap(),
        );
    }
}

/// Reason, source, tenant and input of every letter, by partition.
async fn letters(ledger: &Ledger) -> Vec<(String, String, Option<String>, Vec<u8>)> {
    let mut found = Vec::new();
    for partition in 0..PARTITIONS {
        for record in records(ledger, partition).await {
            let letter = Letter::parse(&record).expect("a letter");
            assert_eq!(record.key, letter.tenant.unwrap_or_default().as_bytes());
            found.push((
                letter.reason.as_str().to_owned(),
                letter.source.to_owned(),
                letter.tenant.map(str::to_owned),
                letter.raw.to_vec(),
            ));
        }
    }
    found
}

fn command(ledger: &Ledger, arguments: &[&str]) -> String {
    let log = format!("--log={}", ledger.url(""));
    let output =
        tokio::task::block_in_place(|| ledgerline(&[&["dead-letters"], arguments, &[&log]].concat()));
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Until so many letters were written by this instance.
fn wait_for_letters(service: &crate::process::Service, count: u64) {
    service.wait_for("/metrics", |metrics| {
        let codes = ["empty", "invalid_json", "invalid_time"];
        let name = |code: &str| format!("ledgerline_dead_letters_total{{code=\"{code}\"}}");
        let sum: f64 = codes.iter().map(|code| metric(metrics, &name(code))).sum();
        sum as u64 >= count
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_a_letter_once_over_restarts_and_kills_and_is_replayed_corrected() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let partition = partition_of("acme", PARTITIONS);
    let (at, other) = (
        i32::try_from(partition).unwrap(),
        i32::try_from(1 - partition).unwrap(),
    );
    let wrong_time = event("e-1", "acme", "22.11.2026");
    producer.send_to(at, Some("acme"), Some(&wrong_time));
    producer.send_to(other, Some("k"), None);
    producer.send_to(other, Some("k"), Some(b"{"));
    producer.finish();
    let service = running.start("");
    wait_for_letters(&service, 3);
    let position = |partition: i32, offset: u32| format!("{AUDIT_EVENTS}/{partition}@{offset}");
    let mut due = vec![
        (
            "invalid_time".to_owned(),
            position(at, 0),
            Some("acme".to_owned()),
            wrong_time.clone(),
        ),
        ("empty".to_owned(), position(other, 0), None, Vec::new()),
        ("invalid_json".to_owned(), position(other, 1), None, b"{".to_vec()),
    ];
    due.sort();
    let sorted = async || {
        let mut found = letters(&ledger).await;
        found.sort();
        found
    };
    assert_eq!(sorted().await, due);
    // Killed where it stands: the letters are there, and the place is not stored yet.
    service.signal("KILL");
    service.wait();
    let service = running.start("");
    producer.send_to(other, None, Some(b"["));
    producer.finish();
    wait_for_letters(&service, 1);
    due.push(("invalid_json".to_owned(), position(other, 2), None, b"[".to_vec()));
    due.sort();
    assert_eq!(sorted().await, due, "a restart after a kill writes none again");

    let listed = command(&ledger, &["list", "--tenant=acme", "--json"]);
    let letter: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(letter["reason"], "invalid_time");
    let dir = tempfile::tempdir().unwrap();
    let corrected = dir.path().join("corrected.json");
    std::fs::write(&corrected, event("e-1", "acme", "2026-11-22T10:00:00Z")).unwrap();
    let index = format!("--index={partition}/{}", letter["index"]);
    let sent = command(
        &ledger,
        &["replay", &index, &format!("--from={}", corrected.display())],
    );
    assert!(sent.contains("1 letter sent"), "{sent}");
    // As it was it is rejected again, with a letter of its own.
    command(&ledger, &["replay", &index, "--force"]);
    wait_for_kind(&service, "entry", 1);
    wait_for_letters(&service, 2);
    stop(service);
    let sealed = running.drain_and_read();
    assert_eq!((sealed.count("entry"), sealed.count("rejected")), (1, 5));
    assert_eq!(letters(&ledger).await.len(), 5);
}
