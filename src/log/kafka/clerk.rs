//! Asks the cluster and commits positions: a client that fetches nothing. librdkafka's calls for this block, so each runs on a thread of its own,
//! a few at a time.

use super::client::{self, ASK_PATIENCE, Troubles};
use super::failure::Failure;
use super::topics::FoundTopic;
use super::topics::cluster::Found;
use super::url::KafkaConfig;
use crate::log::{Committed, LogError, Offset};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions at once.
const ASKED_AT_ONCE: usize = 8;
/// Reports of librdkafka that are read behind each question.
const REPORTS_MAX: usize = 100;

/// A poll that gives nothing may have heard of something all the same.
const SILENT_POLLS: u32 = 3;

/// A consumer of `group` that never joins it.
#[derive(Clone)]
pub(super) struct Clerk {
    consumer: Arc<BaseConsumer<Context>>,
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    places: Arc<Semaphore>,
}

/// The first and the last stable offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub start: Offset,
    pub end: Offset,
}

impl Clerk {
    pub fn new(config: Arc<KafkaConfig>, troubles: Arc<Troubles>, group: &str) -> Result<Self, LogError> {
        let mut settings = client::quiet_settings(&config)?;
        settings
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let context = Context(Arc::clone(&troubles));
        let consumer = settings
            .create_with_context(context)
            .map_err(|error| LogError::Fatal {
                what: format!("a Kafka client cannot be made: {error}"),
                source: Some(error.into()),
            })?;
        Ok(Self {
            consumer: Arc::new(consumer),
            config,
            troubles,
            places: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
        })
    }

    /// How many partitions the topic has; `None` where there is no such topic.
    pub async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let name = self.config.topic(topic);
        let doing = format!("looking up {name}");
        self.ask(&doing, move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&name), ASK_PATIENCE)?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == name) else {
                return Ok(None);
            };
            match found.error() {
                None => Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))
                    .filter(|count| *count > 0)),
                Some(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
                Some(error) => Err(KafkaError::MetadataFetch(error.into())),
            }
        })
        .await
    }

    /// The brokers, and those of `topics` that there are, with their places but not their settings.
    pub async fn topics(&self, topics: &'static [&'static str]) -> Result<Found, LogError> {
        let config = Arc::clone(&self.config);
        self.ask("looking up the topics", move |consumer| {
            let metadata = consumer.fetch_metadata(None, ASK_PATIENCE)?;
            let mut found = Found {
                brokers: metadata.brokers().len(),
                ..Found::default()
            };
            for topic in topics {
                let name = config.topic(topic);
                let Some(known) = metadata.topics().iter().find(|known| known.name() == name) else {
                    continue;
                };
                let replicas = known
                    .partitions()
                    .iter()
                    .map(|partition| partition.replicas().len());
                let place = FoundTopic {
                    partitions: u32::try_from(known.partitions().len()).unwrap_or(u32::MAX),
                    replication: replicas
                        .min()
                        .and_then(|least| u32::try_from(least).ok())
                        .unwrap_or(0),
                    settings: None,
                };
                found.topics.insert(topic, place);
            }
            Ok(found)
        })
        .await
    }

    pub async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        let name = self.config.topic(topic);
        let doing = format!("looking up the ends of {name}/{partition}");
        self.ask(&doing, move |consumer| {
            let (start, end) = consumer.fetch_watermarks(&name, number(partition), ASK_PATIENCE)?;
            Ok(Bounds {
                start: Offset::try_from(start).unwrap_or(0),
                end: Offset::try_from(end).unwrap_or(0),
            })
        })
        .await
    }

    pub async fn commit(&self, topic: &str, partition: u32, position: Committed) -> Result<(), LogError> {
        let name = self.config.topic(topic);
        let doing = format!("committing a position of {name}/{partition}");
        self.ask(&doing, move |consumer| {
            consumer.commit(&one(&name, partition, &position)?, CommitMode::Sync)
        })
        .await
    }

    pub async fn committed(&self, topic: &str, partition: u32) -> Result<Option<Committed>, LogError> {
        let name = self.config.topic(topic);
        let doing = format!("reading the committed position of {name}/{partition}");
        self.ask(&doing, move |consumer| {
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&name, number(partition));
            let found = consumer.committed_offsets(asked, ASK_PATIENCE)?;
            let Some(place) = found.find_partition(&name, number(partition)) else {
                return Ok(None);
            };
            place.error()?;
            Ok(match place.offset() {
                Place::Offset(offset) => Offset::try_from(offset).ok().map(|offset| Committed {
                    offset,
                    metadata: place.metadata().to_owned(),
                }),
                _ => None,
            })
        })
        .await
    }

    /// Runs a call that blocks where it may.
    async fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        call: impl FnOnce(&BaseConsumer<Context>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let failure = Failure {
            config: &self.config,
            troubles: &self.troubles,
        };
        // The calls have their own patience: what waits longer than all before it in line, and its own, hangs.
        let place = tokio::time::timeout(2 * ASK_PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(failure.no_answer(doing));
        };
        let consumer = Arc::clone(&self.consumer);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = call(&consumer);
            // What it reports is heard only here: why an answer did not come, above all.
            let mut silent = 0;
            for _ in 0..REPORTS_MAX {
                silent = if consumer.poll(Duration::ZERO).is_none() {
                    silent + 1
                } else {
                    0
                };
                if silent == SILENT_POLLS {
                    break;
                }
            }
            drop(place);
            answer
        });
        match tokio::time::timeout(2 * ASK_PATIENCE, asked).await {
            Ok(Ok(Ok(answer))) => {
                self.troubles.clear();
                Ok(answer)
            }
            Ok(Ok(Err(error))) => Err(failure.of(doing, error)),
            Ok(Err(error)) => Err(LogError::Retry {
                what: format!("{doing}: {error}"),
                source: Some(error.into()),
            }),
            Err(_) => Err(failure.no_answer(doing)),
        }
    }
}

/// A list of one position.
pub(super) fn one(topic: &str, partition: u32, position: &Committed) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    let mut place = list.add_partition(topic, number(partition));
    place.set_offset(Place::Offset(i64::try_from(position.offset).unwrap_or(i64::MAX)))?;
    place.set_metadata(position.metadata.as_str());
    Ok(list)
}

pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
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
