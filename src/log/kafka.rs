//! The log on a Kafka cluster, through librdkafka. It needs no Kafka transactions: the acceptance rule ([`super::reader`]) is the fence.
//!
//! [`url`] says where a cluster is, [`producer`] appends, [`reads`] finds or makes the [`fetcher`] that holds what a reader wants, [`clerk`] asks and
//! commits, [`glance`] looks at one record past what was fetched, [`group`] shares the partitions out, [`failure`] says what errors mean, [`statistics`] makes metrics of librdkafka's numbers. Topics are not made
//! here but by [`topics`].

mod arrivals;
mod clerk;
mod client;
mod delivery;
mod failure;
mod fetcher;
mod glance;
mod group;
mod producer;
mod reads;
pub mod statistics;
pub mod topics;
pub mod url;
mod window;

use super::lease::Assignments;
use super::{Appended, Committed, ENTRY_OVERHEAD_BYTES, Log, LogError, NewRecord, Offset, Record, topic};
use crate::stages::seal::sources;
use arrivals::Arrivals;
use async_trait::async_trait;
use clerk::{Bounds, Clerk, number};
use client::{ASK_PATIENCE, Troubles};
use failure::Failure;
use glance::Glances;
use producer::Producer;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use reads::{Reads, Wanted};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use topics::cluster::Cluster;
use url::KafkaConfig;

/// The largest value of a record, in bytes.
pub const RECORD_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// The largest key, in bytes.
const KEY_BYTES_MAX: usize = 4_096;
/// The longest `Committed::metadata`, in bytes: a broker's default.
const METADATA_BYTES_MAX: usize = 4_096;
/// What was sealed of a source is committed as a hint for lag tools: sealing does not wait for it longer than this.
const COMMIT_PATIENCE: Duration = Duration::from_secs(1);
/// The group of those hints. Its client answers questions too.
const SEAL_GROUP: &str = "ledgerline-seal";
const GROUP_PREFIX: &str = "ledgerline-";

/// A [`Log`] on a Kafka cluster.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    arrivals: Arc<Arrivals>,
    producer: Producer,
    /// Of `audit.events`.
    of_events: Producer,
    reads: Reads,
    glances: Glances,
    clerks: Mutex<HashMap<String, Clerk>>,
    /// Topics that others make and write, and that were found. Few: those that are configured.
    found: Mutex<BTreeSet<&'static str>>,
    /// Partitions of each topic, once they are known: a count never shrinks.
    counts: Mutex<HashMap<&'static str, u32>>,
    /// How many partitions each topic must have, where that is configured.
    partitions: Option<u32>,
}

impl KafkaLog {
    /// Makes ready. Nothing is connected yet: a cluster that cannot be reached is waited for by each call.
    #[must_use]
    pub fn new(config: KafkaConfig, partitions: Option<u32>) -> Self {
        let config = Arc::new(config);
        let troubles = Arc::new(Troubles::default());
        let arrivals = Arc::new(Arrivals::default());
        Self {
            producer: Producer::new("ledger", Arc::clone(&config), Arc::clone(&troubles)),
            of_events: Producer::new("events", Arc::clone(&config), Arc::clone(&troubles)),
            reads: Reads::new(Arc::clone(&config), Arc::clone(&troubles), Arc::clone(&arrivals)),
            glances: Glances::new(Arc::clone(&config), Arc::clone(&troubles)),
            config,
            troubles,
            arrivals,
            clerks: Mutex::default(),
            found: Mutex::default(),
            counts: Mutex::default(),
            partitions,
        }
    }

    /// Events that come in have a producer of their own: one that fails, or a partition that takes nothing, ends no sealing and takes none of its room.
    fn producer_of(&self, topic: &str) -> &Producer {
        if topic == topic::AUDIT_EVENTS {
            &self.of_events
        } else {
            &self.producer
        }
    }

    fn failure(&self) -> Failure<'_> {
        Failure {
            config: &self.config,
            troubles: &self.troubles,
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<&'static str, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client that commits the positions of `group`, and that questions go to.
    fn clerk(&self, group: &str) -> Result<Clerk, LogError> {
        let mut clerks = self.clerks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clerk) = clerks.get(group) {
            return Ok(clerk.clone());
        }
        let base = &self.config.group_id;
        // Apart from the groups of members: a group that has any takes commits from them alone, and those are not safe (see [`group`]).
        let role = group.strip_prefix(GROUP_PREFIX).unwrap_or(group);
        let name = format!("{base}-{role}-position");
        let clerk = Clerk::new(Arc::clone(&self.config), Arc::clone(&self.troubles), &name)?;
        clerks.insert(group.to_owned(), clerk.clone());
        Ok(clerk)
    }

    fn asking(&self) -> Result<Clerk, LogError> {
        self.clerk(SEAL_GROUP)
    }

    /// The topic's own name, once it is known that the cluster has this partition of it.
    async fn place(&self, topic: &str, partition: u32) -> Result<&'static str, LogError> {
        let topic = self.topic(topic)?;
        let known = self
            .counts()
            .get(topic)
            .copied()
            .filter(|count| *count > partition);
        if known.is_none() && self.count(topic).await? <= partition {
            return Err(self.missing(topic, Some(partition)));
        }
        Ok(topic)
    }

    fn topic(&self, topic: &str) -> Result<&'static str, LogError> {
        let own = topic::ALL.into_iter().find(|known| *known == topic);
        own.or_else(|| self.found().get(topic).copied())
            .ok_or_else(|| self.missing(topic, None))
    }

    fn found(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A topic of others' by a name that lives as long as the process, as those of the ledger's own do.
    fn remember(&self, topic: &str) -> &'static str {
        let mut found = self.found();
        if let Some(known) = found.get(topic) {
            return known;
        }
        let name: &'static str = Box::leak(topic.to_owned().into_boxed_str());
        found.insert(name);
        name
    }

    async fn count(&self, topic: &'static str) -> Result<u32, LogError> {
        let Some(count) = self.asking()?.partitions(topic).await? else {
            if self.counts().contains_key(topic) {
                // It was there before: a broker that begins may not know all of them yet.
                return Err(self.failure().of(
                    &format!("looking up {}", self.config.topic(topic)),
                    KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition),
                ));
            }
            return Err(self.missing(topic, None));
        };
        let is_own = topic::ALL.contains(&topic);
        if let Some(wanted) = self.partitions.filter(|wanted| is_own && *wanted != count) {
            let name = self.config.topic(topic);
            return Err(LogError::Fatal {
                what: format!(
                    "the topic {name} has {count} partitions, but {wanted} are configured: the number is fixed when a ledger begins"
                ),
                source: None,
            });
        }
        self.counts().insert(topic, count);
        Ok(count)
    }

    fn missing(&self, topic: &str, partition: Option<u32>) -> LogError {
        let name = self.config.topic(topic);
        let cluster = self.failure().cluster();
        let what = match partition {
            None => format!(
                "{cluster} has no topic {name}; `ledgerline topics apply` makes the topics that are missing, and topic.prefix says how their names begin"
            ),
            Some(partition) => format!("{cluster} has no partition {partition} of the topic {name}"),
        };
        LogError::Fatal { what, source: None }
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        let topic = self.place(topic, partition).await?;
        let bounds = self.asking()?.bounds(topic, partition).await?;
        // Made anew, a source ends earlier: who then reads it must not wait for records that were.
        let is_source = sources::TOPICS.contains(&topic) || !topic::ALL.contains(&topic);
        if is_source {
            self.reads.set_end(topic, partition, bounds.end);
        } else {
            self.reads.know_end(topic, partition, bounds.end);
        }
        Ok(bounds)
    }

    /// Refuses what cannot be stored, before anything is.
    fn check(topic: &str, records: &[NewRecord]) -> Result<(), LogError> {
        let fatal = |what: String| Err(LogError::Fatal { what, source: None });
        if records.is_empty() {
            return fatal(format!("an append of no records to {topic}"));
        }
        let most = RECORD_BYTES_MAX
            + if topic == topic::LEDGER_ENTRIES {
                ENTRY_OVERHEAD_BYTES
            } else {
                0
            };
        for record in records {
            let (key, value) = (record.key.len(), record.value.len());
            if value > most {
                return fatal(format!(
                    "a record for {topic} has {value} bytes, at most {most} are taken"
                ));
            }
            if key > KEY_BYTES_MAX {
                return fatal(format!(
                    "a key for {topic} has {key} bytes, at most {KEY_BYTES_MAX} are taken"
                ));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        Self::check(topic, &records)?;
        let topic = self.place(topic, partition).await?;
        let appended = self.producer_of(topic).append(topic, partition, records).await?;
        self.reads.know_end(topic, partition, appended.last + 1);
        Ok(appended)
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        let wanted = Wanted {
            topic: self.place(topic, partition).await?,
            partition,
            from,
            records_max,
            bytes_max,
        };
        self.reads.read(&self.asking()?, wanted).await
    }

    async fn record_at(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<Option<Record>, LogError> {
        let topic = self.place(topic, partition).await?;
        self.glances.record(topic, partition, offset).await
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        Ok(self.bounds(topic, partition).await?.end)
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        Ok(self.bounds(topic, partition).await?.start)
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        let bounds = self.bounds(topic, partition).await?;
        let before = before.min(bounds.end);
        if before <= bounds.start {
            return Ok(());
        }
        let name = self.config.topic(topic);
        let doing = format!("deleting the records of {name}/{partition} below {before}");
        let failed = |error| self.failure().of(&doing, error);
        let admin: AdminClient<DefaultClientContext> =
            client::quiet_settings(&self.config)?.create().map_err(failed)?;
        let mut places = TopicPartitionList::new();
        let offset = Place::Offset(i64::try_from(before).unwrap_or(i64::MAX));
        places
            .add_partition_offset(&name, number(partition), offset)
            .map_err(failed)?;
        let options = AdminOptions::new()
            .request_timeout(Some(ASK_PATIENCE))
            .operation_timeout(Some(ASK_PATIENCE));
        let deleted = admin.delete_records(&places, &options).await.map_err(failed)?;
        for place in deleted.elements() {
            place.error().map_err(failed)?;
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), LogError> {
        let cluster = Cluster::with(
            Arc::clone(&self.config),
            Arc::clone(&self.troubles),
            self.asking()?,
        )?;
        let faults = topics::faults(&cluster.find().await?.topics);
        if faults.is_empty() {
            return Ok(());
        }
        Err(LogError::Fatal {
            what: match self.config.topic_prefix.as_str() {
                "" => format!("{}: {}", self.failure().cluster(), faults.join("; ")),
                prefix => format!(
                    "{}, topic.prefix={prefix}: {}",
                    self.failure().cluster(),
                    faults.join("; ")
                ),
            },
            source: None,
        })
    }

    async fn retention(&self, topic: &str) -> Result<Option<Duration>, LogError> {
        let cluster = Cluster::with(
            Arc::clone(&self.config),
            Arc::clone(&self.troubles),
            self.asking()?,
        )?;
        cluster.retention(self.topic(topic)?).await
    }

    async fn join(&self, role: &str) -> Result<Assignments, LogError> {
        let base = &self.config.group_id;
        let group = if role.is_empty() {
            base.clone()
        } else {
            format!("{base}-{role}")
        };
        group::join(Arc::clone(&self.config), Arc::clone(&self.troubles), &group)
    }

    fn arrivals(&self, partition: u32) -> Option<watch::Receiver<u64>> {
        Some(self.arrivals.of(partition))
    }

    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let count = self.asking()?.partitions(topic).await?;
        if let Some(count) = count {
            let topic = self.remember(topic);
            self.counts().insert(topic, count);
        }
        Ok(count)
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.count(self.topic(topic)?).await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError> {
        let topic = self.place(topic, partition).await?;
        if position.metadata.len() > METADATA_BYTES_MAX {
            return Err(LogError::Fatal {
                what: format!("the metadata of a committed position has at most {METADATA_BYTES_MAX} bytes"),
                source: None,
            });
        }
        let clerk = self.clerk(group)?;
        let committed = clerk.commit(topic, partition, position);
        if group != SEAL_GROUP {
            return committed.await;
        }
        match tokio::time::timeout(COMMIT_PATIENCE, committed).await {
            Ok(committed) => committed,
            Err(_) => Err(self
                .failure()
                .no_answer(&format!("committing a position of {topic}/{partition}"))),
        }
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        let topic = self.place(topic, partition).await?;
        self.clerk(group)?.committed(topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }
}
