//! A source whose topic was made anew, or cut short: it stops, says so, and goes on once an operator has declared what its offsets mean.

use super::end_to_end::Oracle;
use super::stock_producer::StockProducer;
use super::{Ledger, Running, metric, stack, stop, wait_for_kind, wait_until_sealed};
use crate::process::{ledgerline, stderr};
use ledgerline::cli::demo::write_event;
use ledgerline::log::Log as _;
use ledgerline::log::topic::AUDIT_EVENTS;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

const PARTITIONS: u32 = 2;

/// Deletes the events' topic and makes it again, empty.
pub async fn make_anew(ledger: &Ledger, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .create()
        .unwrap();
    let name = ledger.topic(AUDIT_EVENTS);
    let options = AdminOptions::new();
    admin.delete_topics(&[name.as_str()], &options).await.unwrap();
    // Its deletion may still be under way.
    loop {
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "5000000");
        let made = admin.create_topics(&[topic], &options).await.unwrap();
        if made.into_iter().all(|made| made.is_ok()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn adopt(ledger: &Ledger, partition: u32, from: &str, more: &[&str]) -> std::process::Output {
    let (log, source) = (
        format!("--log={}", ledger.url("")),
        format!("{AUDIT_EVENTS}/{partition}"),
    );
    ledgerline(&[&["sources", "adopt", &source, "--from", from, &log], more].concat())
}

fn list(ledger: &Ledger) -> serde_json::Value {
    let listed = ledgerline(&["sources", "list", "--json", &format!("--log={}", ledger.url(""))]);
    assert!(listed.status.success(), "{}", stderr(&listed));
    serde_json::from_slice(&listed.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_stops_its_sources_until_they_are_adopted() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 200);
    // In the wrong partition: forwarded, so its position is remembered elsewhere.
    let misrouted = misroute(&producer, &mut oracle, 9_000);
    wait_until_sealed(&[&service], oracle.count());
    let whole = adopt(&ledger, 0, "start", &[]);
    assert_eq!(whole.status.code(), Some(1));
    assert!(
        stderr(&whole).contains("nothing seems wrong"),
        "{}",
        stderr(&whole)
    );
    make_anew(&ledger, i32::try_from(PARTITIONS).unwrap()).await;
    let said = service.wait_for("/readyz", |body| {
        body.matches("sources adopt").count() == PARTITIONS as usize
    });
    assert!(said.contains("but was sealed up to"), "{said}");
    let stopped = "ledgerline_stopped_sources{topic=\"audit.events\",partition=\"0\"}";
    service.wait_for("/metrics", |metrics| metric(metrics, stopped) > 0.0);
    // Another event at the offset that was forwarded before: no repeat of that.
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    assert_eq!(misroute(&producer, &mut oracle, 9_001), misrouted);
    oracle.produce(&producer, 50);
    for partition in 0..PARTITIONS {
        let dry = adopt(&ledger, partition, "start", &["--dry-run"]);
        assert!(
            String::from_utf8_lossy(&dry.stdout).contains("nothing was declared"),
            "{dry:?}"
        );
        let adopted = adopt(&ledger, partition, "start", &["--json"]);
        assert!(adopted.status.success(), "{}", stderr(&adopted));
        let adopted: serde_json::Value = serde_json::from_slice(&adopted.stdout).unwrap();
        assert_eq!(
            (adopted["incarnation"].as_u64(), adopted["from"].as_u64()),
            (Some(2), Some(0))
        );
    }
    wait_until_sealed(&[&service], oracle.count());
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    let listed = list(&ledger);
    let states = listed["sources"].as_array().unwrap().iter();
    let of_events = states.filter(|source| source["source"].as_str().unwrap().starts_with(AUDIT_EVENTS));
    for source in of_events {
        assert_eq!(
            (source["state"].as_str(), source["incarnation"].as_u64()),
            (Some("whole"), Some(2)),
            "{listed}"
        );
    }
    stop(service);
    let sealed = running.drain_and_read();
    assert_eq!(sealed.events, oracle.events);
    assert_eq!((sealed.count("rerouted"), sealed.count("duplicate")), (2, 0));
}

/// Sends an event to a partition that is not its tenant's; the partition that it was sent to.
fn misroute(producer: &StockProducer, oracle: &mut Oracle, n: u64) -> i32 {
    let mut line = Vec::new();
    write_event(n, 1, &mut line);
    let event = line.trim_ascii();
    let tenant = oracle.remember(event);
    let home = ledgerline::ledger::partition::partition_of(&tenant, PARTITIONS);
    let wrong = i32::try_from((home + 1) % PARTITIONS).unwrap();
    producer.send_to(wrong, Some(&tenant), Some(event));
    producer.finish();
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_cut_short_goes_on_behind_what_was_sealed_of_it() {
    let ledger = Ledger::make(1).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 30);
    wait_until_sealed(&[&service], oracle.count());
    for (from, said) in [("31", "lies beyond the end"), ("x", "--from")] {
        let refused = adopt(&ledger, 0, from, &["--force"]);
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    let unknown = ledgerline(&[
        "sources",
        "adopt",
        "ledger.entries/0",
        "--from",
        "start",
        "--log",
        &ledger.url(""),
    ]);
    assert_eq!(unknown.status.code(), Some(2));
    let adopted = adopt(&ledger, 0, "end", &["--force"]);
    assert!(adopted.status.success(), "{}", stderr(&adopted));
    oracle.produce(&producer, 20);
    wait_until_sealed(&[&service], oracle.count());
    wait_for_kind(&service, "entry", 50);
    stop(service);
    let sealed = running.drain_and_read();
    assert_eq!(sealed.events, oracle.events);
    assert_eq!((sealed.count("source"), sealed.count("duplicate")), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_were_deleted_before_they_were_sealed_are_counted() {
    let ledger = Ledger::make(1).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 10);
    wait_until_sealed(&[&service], oracle.count());
    stop(service);
    Oracle::default().produce(&producer, 7);
    ledger.log().trim(AUDIT_EVENTS, 0, 15).await.unwrap();
    let service = running.start("");
    let deleted = "ledgerline_source_deleted_offsets_total{topic=\"audit.events\",partition=\"0\"}";
    service.wait_for("/metrics", |metrics| metric(metrics, deleted) as u64 == 5);
    // The rest of them is sealed, as duplicates here.
    wait_for_kind(&service, "duplicate", 2);
    stop(service);
    assert_eq!(running.drain_and_read().events, oracle.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_only_compression_made_small_enough_stops_its_source_until_it_is_passed_over() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let ledger = Ledger::make(1).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 5);
    let large: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .set("compression.type", "zstd")
        .set("message.max.bytes", "16777216")
        .create()
        .unwrap();
    let (topic, spaces) = (ledger.topic(AUDIT_EVENTS), vec![b' '; 5_000_000]);
    let record: BaseRecord<'_, str, [u8]> = BaseRecord::to(&topic).partition(0).payload(&spaces);
    large.send(record).map_err(|(error, _)| error).unwrap();
    large.flush(std::time::Duration::from_mins(1)).unwrap();
    oracle.produce(&producer, 5);
    let said = service.wait_for("/readyz", |body| body.contains("has 5000000 bytes"));
    assert!(
        said.contains("the record at offset 5 of audit.events/0") && said.contains("--from 6 --force"),
        "{said}"
    );
    // What stands before it is sealed.
    wait_for_kind(&service, "entry", 5);
    let adopted = adopt(&ledger, 0, "6", &["--force"]);
    assert!(adopted.status.success(), "{}", stderr(&adopted));
    wait_until_sealed(&[&service], oracle.count());
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    stop(service);
    assert_eq!(running.drain_and_read().events, oracle.events);
}
