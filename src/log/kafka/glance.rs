//! Looks at one record as the brokers hold it now, past what the fetchers have in memory: so capture knows a topic that was made anew from the one that it read.
//!
//! A consumer of its own, which is placed at the record, takes it, and is placed nowhere again: nothing of an earlier look is left to be taken for a later one's.

use super::clerk::number;
use super::client::{self, ASK_PATIENCE, Troubles};
use super::failure::Failure;
use super::fetcher;
use super::url::KafkaConfig;
use crate::log::{LogError, Offset, Record};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A broker gives one batch whole, however large; more than that is not wanted.
const FETCH_BYTES: &str = "1024";
/// What librdkafka takes as the least.
const MESSAGE_BYTES: &str = "1024";
const QUEUE_BACKOFF_MS: &str = "5";
/// A consumer is asked again after this: it reports meanwhile why nothing comes.
const POLL_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Glances {
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    /// Made with the first look: only capture looks.
    consumer: Arc<Mutex<Option<Arc<BaseConsumer<Context>>>>>,
    /// One look at a time.
    place: Arc<Semaphore>,
}

/// Where to look.
struct Spot {
    name: String,
    partition: u32,
    offset: Offset,
}

impl Glances {
    pub fn new(config: Arc<KafkaConfig>, troubles: Arc<Troubles>) -> Self {
        Self {
            config,
            troubles,
            consumer: Arc::default(),
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// The record at `offset`; `None` where there is none.
    pub async fn record(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<Option<Record>, LogError> {
        let spot = Spot {
            name: self.config.topic(topic),
            partition,
            offset,
        };
        let doing = format!("looking at offset {offset} of {}/{partition}", spot.name);
        let failure = Failure {
            config: &self.config,
            troubles: &self.troubles,
        };
        let consumer = self.consumer()?;
        let place = tokio::time::timeout(2 * ASK_PATIENCE, Arc::clone(&self.place).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(failure.no_answer(&doing));
        };
        let looked = tokio::task::spawn_blocking(move || {
            let found = look(&consumer, &spot);
            drop(place);
            found
        });
        match looked.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(failure.of(&doing, error)),
            Err(error) => Err(LogError::Retry {
                what: format!("{doing}: {error}"),
                source: Some(error.into()),
            }),
        }
    }

    fn consumer(&self) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        let mut made = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = &*made {
            return Ok(Arc::clone(consumer));
        }
        let consumer = Arc::new(consumer(&self.config, &self.troubles)?);
        *made = Some(Arc::clone(&consumer));
        Ok(consumer)
    }
}

fn consumer(config: &KafkaConfig, troubles: &Arc<Troubles>) -> Result<BaseConsumer<Context>, LogError> {
    let mut settings = client::quiet_settings(config)?;
    settings
        // Never joined; librdkafka assigns no partition without one.
        .set("group.id", &config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("fetch.error.backoff.ms", "200")
        .set("fetch.message.max.bytes", FETCH_BYTES)
        .set("fetch.max.bytes", FETCH_BYTES)
        .set("message.max.bytes", MESSAGE_BYTES)
        .set("queued.min.messages", "1")
        // What an earlier look had in the queue keeps a place from being fetched for so long: by default a second.
        .set("fetch.queue.backoff.ms", QUEUE_BACKOFF_MS);
    settings
        .create_with_context(Context(Arc::clone(troubles)))
        .map_err(|error| LogError::Fatal {
            what: format!("a Kafka client cannot be made: {error}"),
            source: Some(error.into()),
        })
}

fn look(consumer: &BaseConsumer<Context>, spot: &Spot) -> KafkaResult<Option<Record>> {
    let mut places = TopicPartitionList::with_capacity(1);
    let offset = Place::Offset(i64::try_from(spot.offset).unwrap_or(i64::MAX));
    places.add_partition_offset(&spot.name, number(spot.partition), offset)?;
    consumer.assign(&places)?;
    let found = take(consumer, spot);
    // Where this fails the next look is placed over it.
    consumer.unassign()?;
    found
}

fn take(consumer: &BaseConsumer<Context>, spot: &Spot) -> KafkaResult<Option<Record>> {
    let until = Instant::now() + ASK_PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::OperationTimedOut,
            ));
        }
        match consumer.poll(left.min(POLL_PAUSE)) {
            None => {}
            Some(Ok(message)) => {
                let record = fetcher::record(&message);
                return Ok(record.filter(|record| record.offset == spot.offset));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // It lies below the first record that is kept, or beyond the end.
                Some(RDKafkaErrorCode::AutoOffsetReset) => return Ok(None),
                Some(
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::BadMessage
                    | RDKafkaErrorCode::BadCompression
                    | RDKafkaErrorCode::InvalidMessage,
                ) => return Err(error),
                // Of brokers and connections: librdkafka tries again.
                _ => {}
            },
        }
    }
}

struct Context(Arc<Troubles>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}

impl ConsumerContext for Context {}
