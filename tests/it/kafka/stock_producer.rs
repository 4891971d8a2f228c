//! A producer as any application has it: a stock client, the tenant as the key, and the partitioner of the Java clients.

use super::stack;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a test waits for its records to be taken: nothing takes near as long, a broker's restart included.
const PATIENCE: Duration = Duration::from_mins(2);

pub struct StockProducer {
    producer: ThreadedProducer<Counting>,
    topic: String,
    sent: AtomicU64,
}

#[derive(Default)]
struct Counting {
    acknowledged: Arc<AtomicU64>,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl StockProducer {
    pub fn new(topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "120000")
            .create_with_context(Counting::default())
            .expect("a producer");
        Self {
            producer,
            topic: topic.to_owned(),
            sent: AtomicU64::new(0),
        }
    }

    /// By the key's hash.
    pub fn send(&self, tenant: &str, event: &[u8]) {
        self.hand_over(BaseRecord::to(&self.topic).key(tenant.as_bytes()).payload(event));
    }

    /// To a partition of the caller's choice, with or without a key and a value.
    pub fn send_to(&self, partition: i32, key: Option<&str>, value: Option<&[u8]>) {
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(&self.topic).partition(partition);
        (record.key, record.payload) = (key, value);
        self.hand_over(record);
    }

    fn hand_over<K: rdkafka::message::ToBytes + ?Sized>(&self, mut record: BaseRecord<'_, K, [u8]>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::yield_now();
                }
                Err((error, _)) => panic!("a stock producer cannot send: {error}"),
            }
        }
    }

    /// Waits until all was acknowledged.
    pub fn finish(&self) {
        self.producer.flush(PATIENCE).expect("all is acknowledged");
        let acknowledged = self.producer.context().acknowledged.load(Ordering::Relaxed);
        assert_eq!(
            acknowledged,
            self.sent.load(Ordering::Relaxed),
            "some events were not taken"
        );
    }
}
