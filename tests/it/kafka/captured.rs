//! A captured topic that is made anew: on a real cluster its fetcher goes on reading at the offset where it was, in another topic.

use super::{Ledger, stack, unique};
use ledgerline::clock::{Clock, UnixMicros};
use ledgerline::log::kafka::KafkaLog;
use ledgerline::log::{Log, topic};
use ledgerline::stages::capture::source::Place;
use ledgerline::stages::capture::{CaptureMapping, Capturer};
use ledgerline::stages::{StageError, Step};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);
/// Behind it sources are looked at again, and places are stored.
const LOOK_AGAIN_MICROS: i64 = 2_000_000;

/// It stands still, and with it all that is done once a second, until the test moves it.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> UnixMicros {
        self.0.load(Ordering::SeqCst)
    }
}

/// A topic of a connector's, and who captures it.
struct Case {
    topic: String,
    log: Arc<KafkaLog>,
    clock: Arc<Still>,
    capturer: Capturer,
}

impl Case {
    async fn new() -> Self {
        let topic = format!("{}public.t", unique());
        make(&topic).await;
        let ledger = Ledger::make(1).await;
        let log = Arc::new(ledger.log());
        let clock = Arc::new(Still(AtomicI64::new(1_795_000_000_000_000)));
        let mapping = format!(
            "topics = [\"{topic}\"]\nevent_id = \"/row_id\"\ntenant_id = {{ constant = \"acme\" }}\noccurred_at = \"/row/at\"\naction = \"/table\"\n\
             data = \"/row\"\nactor = {{ type = {{ constant = \"user\" }}, id = {{ constant = \"u\" }} }}\n"
        );
        let mappings = Arc::from([CaptureMapping::from_toml(&mapping).unwrap()]);
        let capturer = Capturer::new(
            Arc::clone(&log) as Arc<dyn Log>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            mappings,
            None,
            0,
        );
        Self {
            topic,
            log,
            clock,
            capturer,
        }
    }

    /// Inserts of rows that nothing else inserts.
    fn put(&self, rows: std::ops::Range<u32>) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
            .create()
            .unwrap();
        for row in rows {
            let value = format!(
                "{{\"op\":\"c\",\"before\":null,\"after\":{{\"id\":{row},\"at\":\"2026-11-22T01:25:13Z\"}},\
                 \"source\":{{\"db\":\"app\",\"schema\":\"public\",\"table\":\"t\",\"lsn\":{row}}}}}"
            );
            let key = format!("{{\"id\":{row}}}");
            let record = BaseRecord::to(&self.topic).partition(0).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    async fn step(&mut self) {
        match self.capturer.step().await {
            Ok(Step::Progress) => {}
            // The topic is on its way.
            Ok(Step::Idle) | Err(StageError::Retry { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Until so many records were captured, with the clock standing still.
    async fn step_until(&mut self, captured: u64) {
        let since = Instant::now();
        while self.capturer.captured() < captured {
            assert!(
                since.elapsed() < PATIENCE,
                "{} captured, {:?}",
                self.capturer.captured(),
                self.capturer.waits_for()
            );
            self.step().await;
        }
        assert_eq!(self.capturer.captured(), captured);
    }

    async fn step_until_it_waits_for(&mut self, what: &str) {
        let since = Instant::now();
        while !self.capturer.waits_for().unwrap_or_default().contains(what) {
            assert!(since.elapsed() < PATIENCE, "{:?}", self.capturer.waits_for());
            self.clock.0.fetch_add(LOOK_AGAIN_MICROS, Ordering::SeqCst);
            self.step().await;
        }
    }

    async fn stored(&self) -> Option<Place> {
        Place::stored(self.log.as_ref(), &self.topic, 0).await.unwrap()
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .create()
        .unwrap()
}

/// Makes the topic; where one of the name is still being deleted, once that is done.
async fn make(topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let since = Instant::now();
    loop {
        let made = admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
        match made.into_iter().next().unwrap() {
            Ok(_) => return,
            Err((_, error)) => assert!(since.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn delete(topic: &str) {
    let deleted = admin()
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap();
    assert!(deleted.into_iter().all(|deleted| deleted.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_topic_that_is_made_anew_and_filled_beyond_its_place_between_two_looks_stops() {
    let mut case = Case::new().await;
    case.put(0..5);
    case.step_until(5).await;
    case.clock.0.fetch_add(LOOK_AGAIN_MICROS, Ordering::SeqCst);
    case.step().await;
    assert_eq!(case.stored().await.map(|place| place.next), Some(5));
    delete(&case.topic).await;
    make(&case.topic).await;
    case.put(100..150);
    // Its fetcher reads on at offset 5, in the other topic. Nothing tells it so.
    case.step_until(50).await;
    assert_eq!(case.stored().await.map(|place| place.next), Some(5));
    case.step_until_it_waits_for("the record at offset 4 of").await;
    assert_eq!(case.stored().await.map(|place| place.next), Some(5));
    // An operator's word: all that it holds is captured, what was captured of it already once more.
    let anew = Place {
        next: 0,
        incarnation: 2,
        last: None,
    };
    anew.store(case.log.as_ref(), &case.topic, 0).await.unwrap();
    let since = Instant::now();
    while case.capturer.captured() < 100 {
        assert!(since.elapsed() < PATIENCE, "{}", case.capturer.captured());
        case.clock.0.fetch_add(LOOK_AGAIN_MICROS, Ordering::SeqCst);
        case.step().await;
    }
    assert_eq!(case.capturer.captured(), 100);
    assert_eq!(case.capturer.waits_for(), None);
    let captured = case.log.end(topic::AUDIT_CAPTURED, 0).await.unwrap();
    assert_eq!(captured, 100);
}

/// How the record is looked at matters: what a fetcher has in memory is of the topic before.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_looked_at_is_that_of_the_topic_which_is_there_now() {
    let case = Case::new().await;
    case.put(0..5);
    assert_eq!(case.log.find(&case.topic).await.unwrap(), Some(1));
    let before = case.log.record_at(&case.topic, 0, 2).await.unwrap().unwrap();
    assert!(before.key.starts_with(b"{\"id\":2}"));
    delete(&case.topic).await;
    make(&case.topic).await;
    case.put(100..105);
    let since = Instant::now();
    let after = loop {
        // A broker may not know the topic for a moment.
        match case.log.record_at(&case.topic, 0, 2).await {
            Ok(Some(record)) => break record,
            Ok(None) | Err(_) => assert!(since.elapsed() < PATIENCE),
        }
    };
    assert!(
        after.key.starts_with(b"{\"id\":102}"),
        "{}",
        String::from_utf8_lossy(&after.key)
    );
}
