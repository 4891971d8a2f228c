//! One partition of a captured topic: how far it was captured, and in which incarnation of the topic.
//!
//! An offset means a record only within one incarnation. A partition that ends before what was captured of it was made anew, or lost records: nothing
//! more of it is captured until an operator has said from which offset it counts now (`ledgerline sources adopt`), because records
//! of the new one would be taken for repeats of the old one's.

use crate::clock::UnixMicros;
use crate::ledger::names;
use crate::log::{Committed, Log, LogError, Offset, Record, topic};
use crate::stages::StageError;
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use crate::stages::source::{Bounds, Standing, judge};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// A stored place is stored again after this time, also where it is the same: a broker forgets positions that were not, by default after 7 days.
const REFRESH_INTERVAL_MICROS: i64 = 3_600_000_000;
/// How often what a source waits for is asked for again: a registry that hangs has each question take some seconds of the others' time.
const WAIT_INTERVAL_MICROS: i64 = 5_000_000;
/// Of the digest of a record in a [`Mark`].
const MARK_BYTES: usize = 16;

/// Where capturing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub next: Offset,
    /// From 1.
    pub incarnation: u64,
    /// The last record that was captured, where that is known: by it a topic is known that was made anew and has grown beyond `next` since.
    pub last: Option<Mark>,
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
            last: Mark::find(&committed.metadata),
        }))
    }

    pub async fn store(self, log: &dyn Log, topic: &str, partition: u32) -> Result<(), LogError> {
        let last = self.last.map_or_else(String::new, |Mark { offset, digest }| {
            format!(" last={offset}:{}", HEXLOWER.encode(&digest))
        });
        let position = Committed {
            offset: self.next,
            metadata: format!("incarnation={}{last}", self.incarnation),
        };
        log.commit(&group(topic), topic::AUDIT_CAPTURED, partition, position)
            .await
    }

    /// Where a partition of which no place is stored begins. At its first offset; in the newest incarnation that the ledger has sealed anything of, so that what is new is not taken for a
    /// repeat of what an earlier one held.
    async fn of_ledger(log: &dyn Log, source: &str) -> Result<Self, StageError> {
        let mut incarnation = 1;
        let begin = |incarnation| Self {
            next: 0,
            incarnation,
            last: None,
        };
        let Some(name) = ledger_name(log).await? else {
            return Ok(begin(incarnation));
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
        Ok(begin(incarnation))
    }
}

/// A record, to be known again: a topic that was made anew has another one at its offset, or the same at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub offset: Offset,
    digest: [u8; MARK_BYTES],
}

impl Mark {
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut hash = Sha256::new();
        hash.update(record.timestamp_ms.to_be_bytes());
        hash.update((record.key.len() as u64).to_be_bytes());
        hash.update(&record.key);
        hash.update(&record.value);
        let mut digest = [0; MARK_BYTES];
        digest.copy_from_slice(&hash.finalize()[..MARK_BYTES]);
        Self {
            offset: record.offset,
            digest,
        }
    }

    /// In what is stored beside a place.
    fn find(metadata: &str) -> Option<Self> {
        let mark = metadata.split(' ').find_map(|word| word.strip_prefix("last="))?;
        let (offset, digest) = mark.split_once(':')?;
        let digest = HEXLOWER.decode(digest.as_bytes()).ok()?;
        Some(Self {
            offset: offset.parse().ok()?,
            digest: digest.try_into().ok()?,
        })
    }
}

fn group(topic: &str) -> String {
    format!("ledgerline-capture-{topic}")
}

/// The incarnation in `<topic>/<partition>[~<incarnation>][!left]`, where that is of `source`.
fn incarnation_of(known: &str, source: &str) -> Option<u64> {
    match known
        .strip_suffix(names::LEFT)
        .unwrap_or(known)
        .strip_prefix(source)?
    {
        "" => Some(1),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// What an operator's tools wrote there is of the first.
fn parse_incarnation(metadata: &str) -> u64 {
    let number = metadata
        .split(' ')
        .find_map(|word| word.strip_prefix("incarnation="))
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
    /// The last of those that were captured.
    last: Option<Mark>,
    /// Up to where all that was captured is known to be of one topic, and the record by which that is known. Nothing beyond it is stored: whoever goes on from there
    /// compares that record, and what another topic has put in its place would be taken for the same.
    proven: Place,
    /// Why it could not be looked at, or captured, when that was last tried.
    pub trouble: Option<String>,
    /// Whether its bounds are known, and that what it holds is still what was captured. Nothing is captured before.
    pub looked: bool,
    /// When it was last captured, or tried.
    pub asked_at: UnixMicros,
    /// Whether the record that `proven` names has to be compared before anything is captured: it was not, or differed.
    unsure: bool,
    /// Where it ended when it was last looked at.
    end: Offset,
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
            last: place.last,
            proven: place,
            trouble: None,
            looked: false,
            asked_at: 0,
            unsure: true,
            end: 0,
            begun: stored.is_some(),
            committed: stored,
            committed_at: 0,
            standing: Standing::new(topic, partition),
        })
    }

    /// Whether what its next record waits for may be asked for again.
    pub fn may_ask(&self, now: UnixMicros) -> bool {
        self.standing.waits().is_none() || now.saturating_sub(self.asked_at).abs() >= WAIT_INTERVAL_MICROS
    }

    /// The next offset, where anything before it was captured.
    pub fn next_offset(&self) -> Option<Offset> {
        (self.begun || self.next > 0).then_some(self.next)
    }

    /// Heeds that the records from `first` to `last` were captured, and that `next` comes behind them.
    pub fn captured(&mut self, first: Mark, last: Mark, next: Offset) {
        // Of a source of which nothing is known yet, the very first record is what the others are held against.
        self.proven.last.get_or_insert(first);
        (self.next, self.last) = (next, Some(last));
    }

    fn place(&self) -> Place {
        Place {
            next: self.next,
            incarnation: self.incarnation,
            last: self.last,
        }
    }

    /// Holds its bounds, and a record that was captured where that may be another one now, against what was captured of it.
    pub async fn look(&mut self, log: &dyn Log) -> Result<(), LogError> {
        self.unsure |= !self.looked;
        self.looked = false;
        let start = log.start(&self.topic, self.partition).await?;
        let end = log.end(&self.topic, self.partition).await?;
        let does_not_fit = judge(start, end, self.next_offset()) == Bounds::EndsBefore;
        if self.standing.stopped().is_some() || does_not_fit {
            self.look_for_adoption(log).await?;
        }
        // A topic does not get shorter, but one that is made anew may be.
        self.unsure |= end < self.end;
        let mut differs = None;
        if self.unsure && judge(start, end, self.next_offset()) != Bounds::EndsBefore {
            differs = self.prove(log).await?;
        }
        self.standing.heed(start, end, self.next_offset());
        if let Some(mark) = differs {
            self.standing.heed_another(mark.offset);
        }
        (self.end, self.looked) = (end, true);
        Ok(())
    }

    /// Finds out whether all that was captured is of one topic: it is where the record that was last known to be captured is still there, since a topic that is deleted does not come
    /// back, and all that was captured since was fetched before this asks. Answers the mark of that record where the topic has another one there now; it is then as if nothing
    /// behind it had been captured. One that is not there any more tells nothing.
    async fn prove(&mut self, log: &dyn Log) -> Result<Option<Mark>, LogError> {
        let there = match self.proven.last {
            Some(mark) => log.record_at(&self.topic, self.partition, mark.offset).await?,
            None => None,
        };
        let differs = self
            .proven
            .last
            .filter(|mark| there.is_some_and(|record| Mark::of(&record) != *mark));
        match differs {
            None => self.proven = self.place(),
            Some(_) => (self.next, self.last) = (self.proven.next, self.proven.last),
        }
        self.unsure = differs.is_some();
        Ok(differs)
    }

    /// Goes on where an operator has said so since. Answers the place that is stored of the incarnation that is then read.
    async fn look_for_adoption(&mut self, log: &dyn Log) -> Result<Option<Place>, LogError> {
        let stored = Place::stored(log, &self.topic, self.partition).await?;
        if let Some(place) = stored.filter(|place| place.incarnation > self.incarnation) {
            let (topic, partition, incarnation) = (&self.topic, self.partition, place.incarnation);
            tracing::info!(topic, partition, incarnation, offset = place.next, "adopted");
            (self.next, self.incarnation, self.committed) = (place.next, incarnation, stored);
            (self.last, self.proven, self.unsure) = (place.last, place, true);
        }
        Ok(stored.filter(|place| place.incarnation == self.incarnation))
    }

    /// Stores how far it was captured, where that is further than before or was stored long ago, and known to be of one topic.
    pub async fn commit(&mut self, log: &dyn Log, now: UnixMicros) -> Result<(), LogError> {
        if self.standing.stopped().is_some() {
            return Ok(());
        }
        let proved = if self.looked && self.proven != self.place() {
            self.prove(log).await
        } else {
            Ok(None)
        };
        if let Ok(Some(mark)) = &proved {
            self.standing.heed_another(mark.offset);
        }
        // Also where it is another topic: of one of which nothing is stored, nothing could be declared.
        self.store(log, self.proven, now).await?;
        proved.map(|_| ())
    }

    /// As [`Self::commit`], of a topic that is not there any more: nothing is left to compare, and what is made in its place is another one in any case.
    pub async fn commit_last(&mut self, log: &dyn Log, now: UnixMicros) -> Result<(), LogError> {
        if self.standing.stopped().is_some() {
            return Ok(());
        }
        self.store(log, self.place(), now).await
    }

    async fn store(&mut self, log: &dyn Log, place: Place, now: UnixMicros) -> Result<(), LogError> {
        let is_fresh = now.saturating_sub(self.committed_at).abs() < REFRESH_INTERVAL_MICROS;
        let is_known = self.committed == Some(place) && is_fresh;
        let is_nothing = place.next == 0 && place.last.is_none();
        if is_known || (self.committed.is_none() && is_nothing) {
            return Ok(());
        }
        // An owner that was frozen must not take back what was adopted, or stored by who is further on, meanwhile: a topic that is made anew is known by
        // ending before that place.
        let stored = self.look_for_adoption(log).await?;
        if self.incarnation != place.incarnation {
            return Ok(());
        }
        let furthest = match stored {
            Some(stored) if stored.next > place.next || place.last.is_none() => Place {
                next: stored.next.max(place.next),
                ..stored
            },
            Some(_) | None => place,
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

/// A partition of a captured topic that the ledger has no partition of the same number for: nothing of it is captured.
pub(super) struct Excess {
    pub topic: String,
    pub partition: u32,
    standing: Standing,
}

impl Excess {
    pub fn stop(topic: &str, partition: u32, count: u32, partitions: u32) -> Self {
        let mut standing = Standing::new(topic, partition);
        standing.heed_excess(count, partitions);
        Self {
            topic: topic.to_owned(),
            partition,
            standing,
        }
    }

    pub fn stopped(&self) -> Option<&str> {
        self.standing.stopped()
    }
}

impl Drop for Excess {
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
        assert_eq!(incarnation_of("app.t/1~4!left", "app.t/1"), Some(4));
        assert_eq!(incarnation_of("app.t/1!left", "app.t/1"), Some(1));
        assert_eq!(incarnation_of("app.t/12", "app.t/1"), None);
        assert_eq!(incarnation_of("app.t/0", "app.t/1"), None);
        assert_eq!(parse_incarnation("incarnation=2"), 2);
        for other in ["", "incarnation=", "incarnation=0", "2"] {
            assert_eq!(parse_incarnation(other), 1, "{other}");
        }
        assert_eq!(parse_incarnation("incarnation=2 last=7:00"), 2);
    }

    #[test]
    fn a_record_is_known_again_by_all_that_it_is() {
        let record = Record {
            offset: 7,
            timestamp_ms: 5,
            key: b"k".to_vec(),
            value: b"v".to_vec(),
            headers: Vec::new(),
        };
        let mark = Mark::of(&record);
        let stored = format!("incarnation=2 last=7:{}", HEXLOWER.encode(&mark.digest));
        assert_eq!(Mark::find(&stored), Some(mark));
        for other in ["incarnation=2", "last=7", "last=7:00", "last=x:00", ""] {
            assert_eq!(Mark::find(other), None, "{other}");
        }
        let later = Record {
            timestamp_ms: 6,
            ..record.clone()
        };
        let shifted = Record {
            key: b"kv".to_vec(),
            value: Vec::new(),
            ..record
        };
        assert_ne!(Mark::of(&later), mark);
        assert_ne!(Mark::of(&shifted), mark);
    }
}
