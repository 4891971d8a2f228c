//! Captures the partitions of Debezium's topics whose home one ledger partition is. Thin.
//!
//! A batch is sent to its targets, and acknowledged by all of them before the next one of its source is sent. So each target has an unbroken
//! beginning of what this owner, and every one before it, sent there, whatever crashed: what is sent again lies below the sealer's mark. The next one is
//! made ready meanwhile ([`Ready`]), in memory alone: what fails to be sent takes it along.
//! Positions are committed behind that. One that is lost costs time, and one that is too low does: both send again what the sealer knows.

use super::avro::ValueSchema;
use super::batch::{Preparing, Ready, send};
use super::machine::home;
use super::mapping::CaptureMapping;
use super::source::{Excess, Source};
use crate::clock::{Clock, UnixMicros};
use crate::formats::registry::Registry;
use crate::log::{Log, LogError, topic};
use crate::stages::{StageError, Step};
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use std::collections::HashMap;
use std::sync::Arc;

/// How often sources are asked for their bounds.
const LOOK_INTERVAL_MICROS: i64 = 1_000_000;
/// How often topics are looked for while some are missing, and while none is: one may get more partitions. Each partition of the ledger asks.
const FIND_MISSING_INTERVAL_MICROS: i64 = 5_000_000;
const FIND_INTERVAL_MICROS: i64 = 60_000_000;
const COMMIT_INTERVAL_MICROS: i64 = 1_000_000;
/// Of batches that are ready, of all sources: where there are more, a source makes its next one when its turn has come. Less than one batch may come on top.
pub const READY_BYTES_MAX: usize = 16 << 20;

pub struct Capturer {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    mappings: Arc<[CaptureMapping]>,
    registry: Option<Arc<Registry<ValueSchema>>>,
    /// Of the ledger.
    partition: u32,
    /// Of the ledger, once it is known.
    partitions: Option<u32>,
    sources: Vec<Source>,
    /// Partitions of topics that have more than the ledger, and are at home here.
    excess: Vec<Excess>,
    /// Behind what was captured, by the place of the source.
    ready: HashMap<usize, Ready>,
    /// Topics that are not there yet.
    missing: Vec<String>,
    /// Why a topic could not be looked for.
    trouble: Option<String>,
    found_at: Option<UnixMicros>,
    looked_at: Option<UnixMicros>,
    committed_at: UnixMicros,
    /// Records that were captured, by this process.
    captured: u64,
}

impl Capturer {
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        mappings: Arc<[CaptureMapping]>,
        registry: Option<Arc<Registry<ValueSchema>>>,
        partition: u32,
    ) -> Self {
        Self {
            log,
            clock,
            mappings,
            registry,
            partition,
            partitions: None,
            sources: Vec::new(),
            excess: Vec::new(),
            ready: HashMap::new(),
            missing: Vec::new(),
            trouble: None,
            found_at: None,
            looked_at: None,
            committed_at: 0,
            captured: 0,
        }
    }

    /// Records that were captured since this began.
    #[must_use]
    pub fn captured(&self) -> u64 {
        self.captured
    }

    /// Bytes of the batches that are ready in memory, of all sources.
    #[must_use]
    pub fn ready_bytes(&self) -> usize {
        bytes_of(&self.ready)
    }

    /// Why some of what is configured is not captured. A topic that is not there yet is no fault: its connector makes it with its first change.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let reasons: Vec<&str> = self
            .sources
            .iter()
            .filter_map(|source| {
                let standing = &source.standing;
                standing
                    .stopped()
                    .or(standing.waits())
                    .or(source.trouble.as_deref())
            })
            .chain(self.excess.iter().filter_map(Excess::stopped))
            .chain(self.trouble.as_deref())
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whether a source waits for what somebody else has to answer, as a schema registry that is away: for however long, and nothing of it is passed over.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.standing.waits().is_some())
    }

    /// Captures one batch of each source. One that cannot be looked at or captured keeps nobody from the others.
    ///
    /// Whatever fails, the next step sends that batch again from its beginning.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let now = self.clock.now();
        self.look(now).await?;
        let mut step = Step::Idle;
        for at in 0..self.sources.len() {
            match (self.capture(at, now).await, self.sources.get_mut(at)) {
                (Ok(true), _) => step = Step::Progress,
                (Ok(false), _) => {}
                (Err(failed), Some(source)) => heed(source, failed)?,
                (Err(failed), None) => return Err(failed),
            }
        }
        if now.saturating_sub(self.committed_at).abs() >= COMMIT_INTERVAL_MICROS {
            self.committed_at = now;
            self.commit(now).await?;
        }
        self.after(step)
    }

    /// What a step came to that did all that it could. Where something was captured the log does take part: what failed beside it is told by [`Self::waits_for`].
    fn after(&self, step: Step) -> Result<Step, StageError> {
        let troubles: Vec<&str> = self
            .sources
            .iter()
            .filter_map(|source| source.trouble.as_deref())
            .chain(self.trouble.as_deref())
            .collect();
        match step {
            Step::Idle if !troubles.is_empty() => Err(StageError::Retry {
                what: troubles.join("; "),
                source: None,
            }),
            Step::Idle | Step::Progress => Ok(step),
        }
    }

    /// The last thing before an orderly end: stores how far it came.
    pub async fn finish(&mut self) -> Result<(), StageError> {
        self.commit(self.clock.now()).await
    }

    /// Looks for topics that were made since, and whether those that are known are still what was captured.
    async fn look(&mut self, now: UnixMicros) -> Result<(), StageError> {
        let is_due =
            |at: Option<UnixMicros>, interval| at.is_none_or(|at| now.saturating_sub(at).abs() >= interval);
        if !is_due(self.looked_at, LOOK_INTERVAL_MICROS) {
            return Ok(());
        }
        let partitions = match self.partitions {
            Some(partitions) => partitions,
            None => self.log.partitions(topic::AUDIT_CAPTURED).await?,
        };
        self.partitions = Some(partitions);
        let find_interval = if self.missing.is_empty() {
            FIND_INTERVAL_MICROS
        } else {
            FIND_MISSING_INTERVAL_MICROS
        };
        // One that could not be looked at may be of a topic that was deleted.
        if is_due(self.found_at, find_interval) || self.sources.iter().any(|source| !source.looked) {
            self.find_sources(partitions, now).await?;
            self.found_at = self.trouble.is_none().then_some(now);
        }
        // At once: where the brokers are away, each waits.
        let looks = self
            .sources
            .iter_mut()
            .map(|source| source.look(self.log.as_ref()));
        let looked = join_all(looks).await;
        for (source, looked) in self.sources.iter_mut().zip(looked) {
            match looked {
                Ok(()) => source.trouble = None,
                Err(failed) => heed(source, failed.into())?,
            }
        }
        self.looked_at = Some(now);
        Ok(())
    }

    async fn find_sources(&mut self, partitions: u32, now: UnixMicros) -> Result<(), StageError> {
        let mappings = Arc::clone(&self.mappings);
        let mut missing = Vec::new();
        self.trouble = None;
        let topics = mappings
            .iter()
            .enumerate()
            .flat_map(|(at, mapping)| mapping.topics.iter().map(move |topic| (at, topic)));
        let log = Arc::clone(&self.log);
        let finds = topics.map(|(at, topic)| log.find(topic).map(move |found| (at, topic, found)));
        for (at, topic, found) in join_all(finds).await {
            let opened = match found {
                Ok(Some(count)) => self.open_sources(at, topic, count, partitions).await,
                Ok(None) => {
                    missing.push(topic.clone());
                    self.let_go(topic, now).await
                }
                Err(failed) => Err(failed.into()),
            };
            match opened {
                Ok(()) => {}
                Err(StageError::Retry { what, .. } | StageError::Waits { what, .. }) => {
                    self.trouble = Some(what);
                }
                Err(
                    failed @ (StageError::Stopped { .. }
                    | StageError::Violated { .. }
                    | StageError::Fatal { .. }),
                ) => return Err(failed),
            }
        }
        if missing != self.missing && self.partition == 0 {
            tracing::info!(
                topics = missing.join(", "),
                "topics to capture that are not there yet"
            );
        }
        self.missing = missing;
        Ok(())
    }

    /// Lets go of a topic that is not there any more. How far it was captured is stored first: if it is made again, that tells that it is another one.
    async fn let_go(&mut self, topic: &str, now: UnixMicros) -> Result<(), StageError> {
        let of_topic = |source: &&mut Source| source.topic == topic;
        for source in self.sources.iter_mut().filter(of_topic) {
            source.commit_last(self.log.as_ref(), now).await?;
            tracing::warn!(
                topic,
                partition = source.partition,
                offset = source.next,
                "a captured topic is not there any more"
            );
        }
        let before = self.sources.len();
        self.sources.retain(|source| source.topic != topic);
        self.excess.retain(|known| known.topic != topic);
        if self.sources.len() != before {
            // By places that others have now.
            self.ready.clear();
        }
        Ok(())
    }

    /// Those of a topic's partitions that are at home here, and not known yet. What a topic has more of than the ledger stops, each alone: where it goes on could not be kept.
    async fn open_sources(
        &mut self,
        mapping: usize,
        topic: &str,
        count: u32,
        partitions: u32,
    ) -> Result<(), StageError> {
        let here = |partition: &u32| home(topic, *partition, partitions) == self.partition;
        for partition in (0..count.min(partitions)).filter(here) {
            let is_known = |source: &Source| source.topic == topic && source.partition == partition;
            if !self.sources.iter().any(is_known) {
                let source = Source::open(self.log.as_ref(), topic, partition, mapping).await?;
                self.sources.push(source);
            }
        }
        self.excess
            .retain(|known| known.topic != topic || known.partition < count);
        for partition in (partitions..count).filter(here) {
            let is_known = |known: &Excess| known.topic == topic && known.partition == partition;
            if !self.excess.iter().any(is_known) {
                self.excess
                    .push(Excess::stop(topic, partition, count, partitions));
            }
        }
        Ok(())
    }

    /// Captures one batch of a source, and makes the next one ready meanwhile. Whether there was any.
    async fn capture(&mut self, at: usize, now: UnixMicros) -> Result<bool, StageError> {
        let (Some(source), Some(partitions)) = (self.sources.get_mut(at), self.partitions) else {
            return Ok(false);
        };
        let (Some(mapping), None) = (self.mappings.get(source.mapping), source.standing.stopped()) else {
            return Ok(false);
        };
        if !source.looked || !source.may_ask(now) {
            return Ok(false);
        }
        (source.trouble, source.asked_at) = (None, now);
        let preparing = Preparing {
            log: self.log.as_ref(),
            registry: self.registry.as_deref(),
            mapping,
            partitions,
        };
        let ready = match self.ready.remove(&at).filter(|ready| ready.follows(source)) {
            Some(ready) => ready,
            None => match preparing.ready(source, source.next).await? {
                Some(ready) => ready,
                None => return Ok(false),
            },
        };
        let Ready {
            next,
            first,
            last,
            targets,
            tally,
            count,
            ..
        } = ready;
        let held = bytes_of(&self.ready);
        let prepared = async {
            if held < READY_BYTES_MAX {
                preparing.ready(source, next).await
            } else {
                Ok(None)
            }
        };
        let (sent, following) = join(send(self.log.as_ref(), targets), prepared).await;
        // Without it all of the batch is sent again, and what was made ready behind it is let go.
        sent?;
        source.captured(first, last, next);
        source.standing.tell_lag(Some(next.saturating_sub(1)), next);
        tally.count();
        self.captured += count;
        if let Some(following) = following? {
            self.ready.insert(at, following);
        }
        Ok(true)
    }

    async fn commit(&mut self, now: UnixMicros) -> Result<(), StageError> {
        // At once: each asks the brokers.
        let log = self.log.as_ref();
        let commits = self.sources.iter_mut().map(|source| source.commit(log, now));
        let committed = join_all(commits).await;
        for (source, committed) in self.sources.iter().zip(committed) {
            match committed {
                Ok(()) => {}
                // Without it the next owner sends again what the sealer knows.
                Err(error @ (LogError::Retry { .. } | LogError::Unknown { .. })) => {
                    metrics::counter!("ledgerline_commit_failures_total").increment(1);
                    tracing::debug!(%error, topic = source.topic, "a position was not stored");
                }
                Err(error @ LogError::Fatal { .. }) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn bytes_of(ready: &HashMap<usize, Ready>) -> usize {
    ready.values().map(|ready| ready.bytes).sum()
}

/// What is worth another try is the source's own trouble, until it has gone well.
fn heed(source: &mut Source, failed: StageError) -> Result<(), StageError> {
    match failed {
        StageError::Retry { what, .. } | StageError::Waits { what, .. } => {
            source.trouble = Some(what);
            Ok(())
        }
        StageError::Stopped { .. } | StageError::Violated { .. } | StageError::Fatal { .. } => Err(failed),
    }
}
