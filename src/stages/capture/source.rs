//! One partition of a captured topic: how far it was captured, and in which incarnation of the topic.
//!
//! An offset means a record only within one incarnation. A partition that ends before what was captured of it was made anew, or lost records: nothing
//! more of it is captured until an operator has said from which offset it counts now (`ledgerline sources adopt`), because records
//! of the new one would be taken for repeats of the old one's.

use crate::clock::UnixMicros;
use crate::log::{Committed, Log, LogError, Offset, topic};
use crate::stages::StageError;
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use crate::stages::source::{Bounds, Standing, judge};

/// A stored place is stored again after this time, also where it is the same: a broker forgets positions that were not, by default after 7 days.
const REFRESH_INTERVAL_MICROS: i64 = 3_600_000_000;

/// Where capturing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub next: Offset,
    /// From 1.
    pub incarnation: u64,
}

impl Place {
    /// The stored place of a partition; `None` where there is none.
    ///
    /// It is a position of `audit.captured`, in the partition of the same number and for a group of the topic's own: a position of the captured topic itself goes with
    /// the topic when that is deleted, and which incarnation it was would be forgotten.
    pub async fn stored(log: &dyn Log, topic: &str, partition: u32) -> Result<Option<Self>, LogError> {
        let committed = log
            .committed(&group(topic), topic::AUDIT_CAPTURED, partition)
            .await?;
        Ok(committed.map(|committed| Self {
            next: committed.offset,
            incarnation: parse_incarnation(&committed.metadata),
        }))
    }

    pub async fn store(self, log: &dyn Log, topic: &str, partition: u32) -> Result<(), LogError> {
        let position = Committed {
            offset: self.next,
            metadata: format!("incarnation={}", self.incarnation),
        };
        log.commit(&group(topic), topic::AUDIT_CAPTURED, partition, position)
            .await
    }

    /// Where a partition of which no place is stored begins. At its first offset; in the newest incarnation that the ledger has sealed anything of, so that what is new is not taken for a
    /// repeat of what an earlier one held.
    async fn of_ledger(log: &dyn Log, source: &str) -> Result<Self, StageError> {
        let mut incarnation = 1;
        let Some(name) = ledger_name(log).await? else {
            return Ok(Self { next: 0, incarnation });
        };
        for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await? {
            let config = PartitionConfig::to_look(&name, partition);
            let mut follower = Follower::restore(log, &config).await?;
            follower.catch_up(log, None).await?;
            let sealed = follower
                .state
                .forwarded
                .keys()
                .filter_map(|known| incarnation_of(known, source));
            incarnation = sealed.chain([incarnation]).max().unwrap_or(incarnation);
        }
        Ok(Self { next: 0, incarnation })
    }
}

fn group(topic: &str) -> String {
    format!("ledgerline-capture-{topic}")
}

/// The incarnation in `<topic>/<partition>[~<incarnation>]`, where that is of `source`.
fn incarnation_of(known: &str, source: &str) -> Option<u64> {
    match known.strip_prefix(source)? {
        "" => Some(1),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// What an operator's tools wrote there is of the first.
fn parse_incarnation(metadata: &str) -> u64 {
    let number = metadata
        .strip_prefix("incarnation=")
        .and_then(|digits| digits.parse().ok());
    number.filter(|number| *number > 0).unwrap_or(1)
}

pub(super) struct Source {
    pub topic: String,
    pub partition: u32,
    /// Which of the mappings.
    pub mapping: usize,
    /// Records below were captured, or tell of no change.
    pub next: Offset,
    pub incarnation: u64,
    /// Whether there is anything that `next` follows from.
    begun: bool,
    committed: Option<Place>,
    committed_at: UnixMicros,
    pub standing: Standing,
}

impl Source {
    pub async fn open(
        log: &dyn Log,
        topic: &str,
        partition: u32,
        mapping: usize,
    ) -> Result<Self, StageError> {
        let stored = Place::stored(log, topic, partition).await?;
        let place = match stored {
            Some(place) => place,
            None => Place::of_ledger(log, &format!("{topic}/{partition}")).await?,
        };
        tracing::info!(
            topic,
            partition,
            offset = place.next,
            incarnation = place.incarnation,
            "capturing"
        );
        Ok(Self {
            topic: topic.to_owned(),
            partition,
            mapping,
            next: place.next,
            incarnation: place.incarnation,
            begun: stored.is_some(),
            committed: stored,
            committed_at: 0,
            standing: Standing::new(topic, partition),
        })
    }

    /// The next offset, where anything before it was captured.
    pub fn next_offset(&self) -> Option<Offset> {
        (self.begun || self.next > 0).then_some(self.next)
    }

    /// Holds its bounds against what was captured of it.
    pub async fn look(&mut self, log: &dyn Log, start: Offset, end: Offset) -> Result<(), LogError> {
        let does_not_fit = judge(start, end, self.next_offset()) == Bounds::EndsBefore;
        if self.standing.stopped().is_some() || does_not_fit {
            self.look_for_adoption(log).await?;
        }
        self.standing.heed(start, end, self.next_offset());
        Ok(())
    }

    /// Goes on where an operator has said so since. Answers the place that is stored of the incarnation that is then read.
    async fn look_for_adoption(&mut self, log: &dyn Log) -> Result<Option<Place>, LogError> {
        let stored = Place::stored(log, &self.topic, self.partition).await?;
        if let Some(place) = stored.filter(|place| place.incarnation > self.incarnation) {
            let (topic, partition, incarnation) = (&self.topic, self.partition, place.incarnation);
            tracing::info!(topic, partition, incarnation, offset = place.next, "adopted");
            (self.next, self.incarnation, self.committed) = (place.next, incarnation, stored);
        }
        Ok(stored.filter(|place| place.incarnation == self.incarnation))
    }

    /// Stores how far it was captured, where that is further than before or was stored long ago.
    pub async fn commit(&mut self, log: &dyn Log, now: UnixMicros) -> Result<(), LogError> {
        let place = Place {
            next: self.next,
            incarnation: self.incarnation,
        };
        let is_fresh = now.saturating_sub(self.committed_at).abs() < REFRESH_INTERVAL_MICROS;
        let is_known = self.committed == Some(place) && is_fresh;
        if self.standing.stopped().is_some() || is_known || (self.committed.is_none() && self.next == 0) {
            return Ok(());
        }
        // An owner that was frozen must not take back what was adopted, or stored by who is further on, meanwhile: a topic that is made anew is known by
        // ending before that place.
        let stored = self.look_for_adoption(log).await?;
        if self.incarnation != place.incarnation {
            return Ok(());
        }
        let furthest = Place {
            next: stored.map_or(place.next, |stored| stored.next.max(place.next)),
            ..place
        };
        furthest.store(log, &self.topic, self.partition).await?;
        (self.committed, self.committed_at) = (Some(place), now);
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.standing.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_found_in_what_the_ledger_knows_of_a_source() {
        assert_eq!(incarnation_of("app.t/1", "app.t/1"), Some(1));
        assert_eq!(incarnation_of("app.t/1~3", "app.t/1"), Some(3));
        assert_eq!(incarnation_of("app.t/12", "app.t/1"), None);
        assert_eq!(incarnation_of("app.t/0", "app.t/1"), None);
        assert_eq!(parse_incarnation("incarnation=2"), 2);
        for other in ["", "incarnation=", "incarnation=0", "2"] {
            assert_eq!(parse_incarnation(other), 1, "{other}");
        }
    }
}
