//! The sources of one partition: topics whose partition of the same number is sealed here. Says which may be read, and how much of each waits.
//!
//! An offset means a record only within one incarnation of its topic. A source that ends before what was sealed of it was made anew, or lost records:
//! nothing more of it is sealed until an operator has declared what its offsets mean now (`ledgerline sources adopt`). The partition's other sources go on.

use crate::clock::UnixMicros;
use crate::log::{Log, LogError, topic};
use crate::stages::source::Standing;
use crate::stages::state::PartitionState;

/// The topics that are sealed.
pub const TOPICS: [&str; 3] = [topic::AUDIT_EVENTS, topic::AUDIT_REROUTED, topic::AUDIT_CAPTURED];
/// How often the sources are asked for their bounds.
const LOOK_INTERVAL_MICROS: i64 = 1_000_000;

pub(super) struct Sources {
    pub each: Vec<Source>,
    /// When they were last asked for their bounds, in this session.
    looked_at: Option<UnixMicros>,
}

pub(super) struct Source {
    pub topic: &'static str,
    pub partition: u32,
    pub standing: Standing,
    /// What was last committed of it for lag tools.
    pub committed: Option<u64>,
}

impl Sources {
    pub fn new(partition: u32) -> Self {
        let each = TOPICS.into_iter().map(|topic| Source {
            topic,
            partition,
            standing: Standing::new(topic, partition),
            committed: None,
        });
        Self {
            each: each.collect(),
            looked_at: None,
        }
    }

    /// A new session looks first.
    pub fn begin_session(&mut self) {
        self.looked_at = None;
    }

    /// Why sources are not read; empty where all are.
    pub fn stopped(&self) -> impl Iterator<Item = &str> {
        self.each.iter().filter_map(|source| source.standing.stopped())
    }

    /// What the next records of sources wait for; empty where all can be read.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.each.iter().filter_map(|source| source.standing.waits())
    }

    /// Asks for the bounds of all, where it is time to.
    pub async fn look(
        &mut self,
        log: &dyn Log,
        state: &PartitionState,
        now: UnixMicros,
    ) -> Result<(), LogError> {
        let is_early = |at: UnixMicros| now.saturating_sub(at).abs() < LOOK_INTERVAL_MICROS;
        if self.looked_at.is_some_and(is_early) {
            return Ok(());
        }
        for source in &mut self.each {
            let start = log.start(source.topic, source.partition).await?;
            let end = log.end(source.topic, source.partition).await?;
            let known = state.order.sources.get(&source.standing.name);
            source
                .standing
                .heed(start, end, known.map(|known| known.next_offset));
        }
        self.looked_at = Some(now);
        Ok(())
    }
}
