//! Appending: one idempotent producer for all partitions, replaced when it fails.
//!
//! Kafka gives no batch of several requests all or nothing. What this gives is a prefix: of an append whose outcome is not known, the first records
//! may have been written, none behind a missing one. It rests on the broker, which refuses a sequence number out of turn, and on two rules here: the
//! first record that a producer sends to a partition goes alone, because a broker takes any sequence number from a producer it does not know; and
//! records never time out inside librdkafka, which would go on behind the gap. An append that takes too long is given up by its caller only: its
//! records stay in order before whatever is appended next, and nothing is appended to that partition until they are answered.

use super::client::{self, Troubles};
use super::delivery::{Batch, Outcome, Stage};
use super::failure::Failure;
use super::statistics;
use super::url::KafkaConfig;
use crate::log::{Appended, LogError, NewRecord};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::statistics::Statistics;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Bytes of appends under way at once, over all partitions, in KiB; an append that is larger waits for all of it.
const ROOM_KIB: u32 = 64 << 10;
/// A broker forgets a producer that writes nothing for a day (`producer.id.expiration.ms`), and then takes any sequence number of it: long before, its
/// first record goes alone again.
const KNOWN_FOR: std::time::Duration = std::time::Duration::from_mins(10);
/// What librdkafka may hold, well above: it never refuses a record for want of room.
const QUEUE_KIB_MAX: &str = "1048576";
/// The largest request: one record of the largest size, or many small ones.
const REQUEST_BYTES_MAX: &str = "16777216";

/// A topic's partition.
type PlaceKey = (String, u32);

pub(super) struct Producer {
    /// What its metrics are labelled with.
    name: &'static str,
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    current: Arc<Mutex<Option<Arc<Instance>>>>,
    /// How many producers were made.
    made: AtomicU64,
    places: Mutex<HashMap<PlaceKey, Arc<Place>>>,
    room: Arc<Semaphore>,
}

/// Where appends to one partition take turns.
#[derive(Default)]
struct Place {
    turn: tokio::sync::Mutex<()>,
    /// Batches whose callers have given up.
    abandoned: Mutex<Vec<Arc<Batch>>>,
}

/// One client of the broker, with its own sequence numbers.
struct Instance {
    id: u64,
    producer: ThreadedProducer<Context>,
    /// Partitions whose broker knows this producer, and when it was last written to.
    known: Mutex<HashMap<PlaceKey, Instant>>,
}

struct Context {
    name: &'static str,
    id: u64,
    troubles: Arc<Troubles>,
    /// Where the instance is found that this is the context of.
    current: Weak<Mutex<Option<Arc<Instance>>>>,
}

impl Producer {
    pub fn new(name: &'static str, config: Arc<KafkaConfig>, troubles: Arc<Troubles>) -> Self {
        Self {
            name,
            config,
            troubles,
            current: Arc::default(),
            made: AtomicU64::new(0),
            places: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
        }
    }

    /// Appends as [`crate::log::Log::append`] says. The place exists and the records fit.
    pub async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        let doing = format!("appending to {topic}/{partition}");
        let deadline = Instant::now() + self.config.delivery_timeout;
        let late = || self.failure().no_answer(&doing);
        let place = self.place(topic, partition);
        let turn = timeout_at(deadline, place.turn.lock())
            .await
            .map_err(|_| late())?;
        timeout_at(deadline, place.settled()).await.map_err(|_| late())?;
        // Last: who waits for a partition that does not answer holds none of it.
        let kib = u32::try_from(records.iter().map(weight).sum::<usize>() >> 10).unwrap_or(u32::MAX) + 1;
        let room = Arc::clone(&self.room).acquire_many_owned(kib.min(ROOM_KIB));
        let Ok(Ok(room)) = timeout_at(deadline, room).await else {
            return Err(late());
        };
        let instance = self.instance()?;
        let sending = Sending {
            batch: Arc::new(Batch::new(room)),
            place: &place,
        };
        let batch = &sending.batch;
        let name = self.config.topic(topic);
        let mut records = records.into_iter().peekable();
        if !instance.knows(topic, partition) {
            let first: Vec<NewRecord> = records.next().into_iter().collect();
            instance.send(&name, partition, first.into_iter(), batch);
            // The rest follows once the broker knows this producer; without an answer it is never sent.
            let answered = timeout_at(deadline, batch.reached(Stage::First)).await;
            if answered.is_ok() && !batch.has_failed() {
                instance.is_known(topic, partition);
            } else {
                batch.close();
                records = Vec::new().into_iter().peekable();
            }
        }
        if records.peek().is_some() {
            instance.send(&name, partition, records, batch);
        }
        batch.close();
        drop((instance, turn));
        match timeout_at(deadline, batch.reached(Stage::All)).await {
            Ok(()) => self.judge(topic, partition, &doing, batch.outcome()),
            Err(_) => Err(self.unknown(topic, partition, &late().to_string())),
        }
    }

    fn judge(
        &self,
        topic: &str,
        partition: u32,
        doing: &str,
        outcome: Outcome,
    ) -> Result<Appended, LogError> {
        match outcome {
            Outcome::Landed(appended) => {
                self.troubles.clear();
                Ok(appended)
            }
            Outcome::Unplaced => Err(self.unknown(topic, partition, "it was acknowledged without an offset")),
            Outcome::Failed { code, first } => match self.failure().for_good(doing, code) {
                // Behind a first record that the broker refused nothing was written.
                Some(what) if first => Err(LogError::Fatal {
                    what,
                    source: Some(KafkaError::MessageProduction(code).into()),
                }),
                Some(what) => Err(self.unknown(topic, partition, &what)),
                None => Err(self.unknown(topic, partition, &code.to_string())),
            },
        }
    }

    fn unknown(&self, topic: &str, partition: u32, what: &str) -> LogError {
        LogError::Unknown {
            topic: topic.to_owned(),
            partition,
            what: format!("{what} ({})", self.failure().cluster()),
            source: None,
        }
    }

    fn failure(&self) -> Failure<'_> {
        Failure {
            config: &self.config,
            troubles: &self.troubles,
        }
    }

    fn place(&self, topic: &str, partition: u32) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry((topic.to_owned(), partition)).or_default())
    }

    /// The producer of now, or a new one.
    fn instance(&self) -> Result<Arc<Instance>, LogError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = &*current {
            return Ok(Arc::clone(instance));
        }
        let mut settings = client::settings(&self.config)?;
        settings
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("compression.type", "zstd")
            // The hashes in it do not compress, and the rest does at any level: level 3 took twice the time for a few percent.
            .set("compression.level", "1")
            .set("linger.ms", self.config.linger.as_millis().to_string())
            // Never: see the module.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", REQUEST_BYTES_MAX)
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX);
        let id = self.made.fetch_add(1, Ordering::Relaxed);
        let context = Context {
            name: self.name,
            id,
            troubles: Arc::clone(&self.troubles),
            current: Arc::downgrade(&self.current),
        };
        let producer = settings
            .create_with_context(context)
            .map_err(|error| LogError::Fatal {
                what: format!("the producer cannot be made: {error}"),
                source: Some(error.into()),
            })?;
        metrics::counter!("ledgerline_kafka_producers_total").increment(1);
        let instance = Arc::new(Instance {
            id,
            producer,
            known: Mutex::default(),
        });
        *current = Some(Arc::clone(&instance));
        Ok(instance)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        retire(&self.current, None);
    }
}

impl Place {
    fn abandoned(&self) -> MutexGuard<'_, Vec<Arc<Batch>>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every batch is answered whose caller has given up.
    async fn settled(&self) {
        loop {
            let Some(batch) = self.abandoned().last().cloned() else {
                return;
            };
            batch.reached(Stage::All).await;
            self.abandoned().retain(|batch| !batch.is_complete());
        }
    }
}

/// A batch under way. Dropped before it is answered, by a caller that gives up, it is remembered at its place.
struct Sending<'p> {
    batch: Arc<Batch>,
    place: &'p Place,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.batch.close();
        if !self.batch.is_complete() {
            self.place.abandoned().push(Arc::clone(&self.batch));
        }
    }
}

impl Instance {
    fn known(&self) -> MutexGuard<'_, HashMap<PlaceKey, Instant>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, topic: &str, partition: u32) -> bool {
        let known = self.known().get(&(topic.to_owned(), partition)).copied();
        known.is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    fn is_known(&self, topic: &str, partition: u32) {
        self.known().insert((topic.to_owned(), partition), Instant::now());
    }

    /// Hands records over, up to the first that is not taken. Does not wait.
    fn send(
        &self,
        topic: &str,
        partition: u32,
        records: impl Iterator<Item = NewRecord>,
        batch: &Arc<Batch>,
    ) {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        for record in records {
            batch.sending();
            let mut message = BaseRecord::with_opaque_to(topic, Arc::clone(batch))
                .partition(partition)
                .payload(record.value.as_slice());
            if !record.headers.is_empty() {
                message = message.headers(headers(&record));
            }
            if !record.key.is_empty() {
                message = message.key(record.key.as_slice());
            }
            if let Err((error, _)) = self.producer.send(message) {
                batch.not_taken(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
                self.producer.context().retire();
                return;
            }
        }
    }
}

fn headers(record: &NewRecord) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    record.headers.iter().fold(headers, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value.as_slice()),
        })
    })
}

/// What a record weighs, about.
fn weight(record: &NewRecord) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    record.key.len() + record.value.len() + headers + 64
}

/// Takes the producer out of service, where it is the one of this `id`, and purges it: nothing that it holds is sent any more, and whoever waits for it is told.
fn retire(current: &Mutex<Option<Arc<Instance>>>, id: Option<u64>) {
    let mut place = current.lock().unwrap_or_else(PoisonError::into_inner);
    let retired = place.take_if(|instance| id.is_none_or(|id| id == instance.id));
    drop(place);
    let Some(instance) = retired else { return };
    // Purging waits for librdkafka's threads, and this may be one of their callbacks.
    let thread = std::thread::Builder::new()
        .name("kafka-retire".to_owned())
        .spawn(move || {
            instance.producer.purge(PurgeConfig::default().queue().inflight());
            drop(instance);
        });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread to retire a producer with");
    }
}

impl Context {
    fn retire(&self) {
        if let Some(current) = self.current.upgrade() {
            retire(&current, Some(self.id));
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        statistics::producer(self.name, &statistics);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(message) => batch.answer(Ok(u64::try_from(message.offset()).ok())),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                let purged = matches!(
                    code,
                    RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight
                );
                if !purged {
                    tracing::warn!(%code, "a producer failed: it is replaced, and the sessions that it worked for end");
                    self.retire();
                }
                // Last: who waits for it may append again at once, and must find another producer.
                batch.answer(Err(code));
            }
        }
    }
}
