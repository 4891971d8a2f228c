//! Events of a stock Kafka producer, sealed by the real program, and judged by an oracle of what was sent and by `verify`.

use super::stock_producer::StockProducer;
use super::{Ledger, Running, stop, wait_for_kind, wait_until_sealed};
use ledgerline::cli::demo::write_event;
use ledgerline::ledger::canonical::{Limits, canonicalize};
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::topic::AUDIT_EVENTS;
use std::collections::BTreeMap;

const PARTITIONS: u32 = 3;
const TENANTS: u64 = 25;

/// What was sent, by tenant, in order.
#[derive(Default)]
pub struct Oracle {
    pub events: BTreeMap<String, Vec<String>>,
    next: u64,
}

impl Oracle {
    /// Sends `count` more events.
    pub fn produce(&mut self, producer: &StockProducer, count: u64) {
        for n in self.next..self.next + count {
            let mut line = Vec::new();
            write_event(n, TENANTS, &mut line);
            let event = line.trim_ascii();
            let tenant = self.remember(event);
            producer.send(&tenant, event);
        }
        self.next += count;
        producer.finish();
    }

    /// An event that is sent now, by whomever; its tenant.
    pub fn remember(&mut self, event: &[u8]) -> String {
        let canonical = String::from_utf8(canonicalize(event, &Limits::default()).unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&canonical).unwrap();
        let tenant = value["tenant_id"].as_str().unwrap().to_owned();
        self.events.entry(tenant.clone()).or_default().push(canonical);
        tenant
    }

    pub fn count(&self) -> u64 {
        self.events.values().map(|events| events.len() as u64).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_stock_producer_are_sealed_archived_and_verified() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 500);
    wait_until_sealed(&[&service], oracle.count());
    stop(service);
    let sealed = running.drain_and_read();
    assert_eq!(sealed.events, oracle.events);
    assert_eq!(
        (
            sealed.count("duplicate"),
            sealed.count("rejected"),
            sealed.count("rerouted")
        ),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_producer_does_wrong_is_sealed_with_its_reason() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 20);
    let line = |n: u64| {
        let mut line = Vec::new();
        write_event(n, TENANTS, &mut line);
        line.trim_ascii().to_vec()
    };
    // A wrong partition, with and without a key: sealed in the right one.
    for n in 100..106 {
        let event = line(n);
        let tenant = oracle.remember(&event);
        let wrong = (partition_of(&tenant, PARTITIONS) + 1) % PARTITIONS;
        let key = (n % 2 == 0).then_some(tenant.as_str());
        producer.send_to(i32::try_from(wrong).unwrap(), key, Some(&event));
    }
    // No key, by chance in the right partition.
    let event = line(200);
    let tenant = oracle.remember(&event);
    producer.send_to(
        i32::try_from(partition_of(&tenant, PARTITIONS)).unwrap(),
        None,
        Some(&event),
    );
    producer.finish();
    // The same event again, another event under its id, a tombstone, and no JSON.
    let of_tenant = i32::try_from(partition_of(&tenant, PARTITIONS)).unwrap();
    producer.send_to(of_tenant, Some(&tenant), Some(&event));
    let other = String::from_utf8(event)
        .unwrap()
        .replacen("\"action\":\"", "\"action\":\"not.", 1);
    producer.send_to(of_tenant, Some(&tenant), Some(other.as_bytes()));
    producer.send_to(0, Some("k"), None);
    producer.send_to(1, Some("k"), Some(b"{"));
    producer.finish();
    let service = running.start("");
    // Leaves of each partition beside the events: genesis and a source leaf or two; waited for by what is counted.
    wait_until_sealed(&[&service], oracle.count());
    wait_for_kind(&service, "rejected", 3);
    stop(service);
    let sealed = running.drain_and_read();
    assert_eq!(sealed.events, oracle.events);
    assert_eq!((sealed.count("rerouted"), sealed.count("duplicate")), (6, 1));
    let mut rejected = sealed.rejected.clone();
    rejected.sort();
    let expected = [
        ("conflict", other.into_bytes()),
        ("empty", Vec::new()),
        ("invalid_json", b"{".to_vec()),
    ];
    assert_eq!(rejected, expected);
}

/// docs/CONSUMERS.md: a reader that comes when the beginning is gone takes the archiver's position, by any client, from the metadata of its commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_reader_starts_at_the_position_that_the_archiver_has_committed() {
    use ledgerline::log::reader::{Position, Reader, Seen};
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let ledger = Ledger::make(1).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 40);
    wait_until_sealed(&[&service], oracle.count());
    service.wait_for("/metrics", |metrics| {
        super::metric(
            metrics,
            "ledgerline_stage_index{stage=\"archive\",partition=\"0\"}",
        ) > 40.0
    });
    stop(service);
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", super::stack("LEDGERLINE_TEST_KAFKA"))
        .set(
            "group.id",
            format!("{}ledgerline-archive-position", ledger.prefix),
        )
        .create()
        .unwrap();
    let mut places = rdkafka::TopicPartitionList::new();
    places.add_partition(&ledger.topic(ledgerline::log::topic::LEDGER_ENTRIES), 0);
    let committed = consumer
        .committed_offsets(places, std::time::Duration::from_mins(1))
        .unwrap();
    let position: Position = committed.elements()[0].metadata().parse().unwrap();
    assert!(position.index > 40, "{position:?}");
    let log = ledger.log();
    let mut reader = Reader::open(&log, 0, position).await.unwrap();
    // One more round: the reader accepts from its position on what every other one does.
    let service = running.start("");
    oracle.produce(&producer, 10);
    wait_until_sealed(&[&service], 10);
    stop(service);
    ledgerline::log::Log::end(&log, ledgerline::log::topic::LEDGER_ENTRIES, 0)
        .await
        .unwrap();
    let mut entries = 0;
    loop {
        let records = reader.fetch(&log).await.unwrap();
        if records.is_empty() {
            break;
        }
        for record in &records {
            if let Seen::Leaf(accepted) = reader.offer(record).unwrap() {
                entries += u64::from(accepted.event.is_some());
            }
        }
    }
    assert_eq!(entries, 10);
    assert_eq!(running.drain_and_read().events, oracle.events);
}
