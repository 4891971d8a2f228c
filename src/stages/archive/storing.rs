//! Stores what a cut closes: keys first, then segments, then tiles and twins, and the checkpoint last. Creates, never overwrites; what is
//! there already must be the same.

use super::machine::{Finished, Segment};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::{names, segment};
use crate::stages::StageError;
use crate::stages::restore::PartitionConfig;
use crate::twin;
use crate::vault::{Keep, Put, Vault, VaultError};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Objects of a cut that are on their way at once: to a distant store each is a round trip, and a cut of 64 MiB has hundreds of tiles.
const PUTS_AT_ONCE: usize = 8;

/// The archive of one partition, to be written to.
pub(super) struct Storage<'a> {
    pub vault: &'a dyn Vault,
    pub partition: &'a PartitionConfig,
    /// Whether every segment gets a Parquet twin beside it.
    pub twins: bool,
    pub unheld: &'a Unheld,
}

/// Objects that are stored and could not be held as they had to be: by class, `None` for what every class needs, the first of their names.
#[derive(Debug, Default)]
pub(super) struct Unheld(Mutex<BTreeMap<Option<String>, String>>);

impl Unheld {
    fn note(&self, class: Option<&str>, name: &str) {
        let mut unheld = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = unheld
            .entry(class.map(str::to_owned))
            .or_insert_with(|| name.to_owned());
        if name < first.as_str() {
            name.clone_into(first);
        }
    }

    pub fn known(&self) -> BTreeMap<Option<String>, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A cut on its way into the archive: its checkpoint is there, and the keys that it is signed by are stored.
pub(super) struct Storing {
    checkpoint: Vec<u8>,
    /// What is not stored yet but for the checkpoint, by its place in [`Storage::objects`]. What fails is tried again alone: an archive that refuses a third of all
    /// calls is filled all the same.
    left: Vec<usize>,
}

/// An object of a cut.
enum Object<'f> {
    /// Of another class than the default one.
    Segment(&'f Segment),
    /// Of the default class: it holds the cut itself.
    Closing(&'f Segment),
    Tile(&'f str, &'f [u8]),
    Twin(&'f Segment),
}

impl Object<'_> {
    /// Objects of one step are stored in any order; those of a later one when all of the former are there. So where the segment of the default class is
    /// there, all leaves of the cut are, and without it no tile: whatever becomes of the log, what was stored of a cut can be completed from the archive.
    const fn step(&self) -> u8 {
        match self {
            Self::Segment(_) => 0,
            Self::Closing(_) => 1,
            Self::Tile(..) | Self::Twin(_) => 2,
        }
    }
}

impl Storage<'_> {
    /// Keys come first, and with them what the checkpoint is signed by: nothing of a cut that cannot be completed may get into the archive.
    pub(super) async fn begin(
        &self,
        finished: &Finished,
        checkpoint: Vec<u8>,
    ) -> Result<Storing, StageError> {
        let keys = self.store_keys(finished).await?;
        SignedCheckpoint::parse(&checkpoint)
            .and_then(|signed| signed.verify_by_known(&keys))
            .map_err(|error| StageError::Violated {
                partition: self.partition.partition,
                what: format!(
                    "the checkpoint of size {} is not signed as it must be: {error}",
                    finished.size
                ),
            })?;
        Ok(Storing {
            checkpoint,
            left: (0..self.objects(finished).len()).rev().collect(),
        })
    }

    /// Stores all of a cut but its checkpoint: a crash leaves objects that the next run finds equal.
    /// `false`: not all of it, but more than before.
    pub(super) async fn store_objects(
        &self,
        finished: &Finished,
        storing: &mut Storing,
    ) -> Result<bool, StageError> {
        let objects = self.objects(finished);
        let mut progress = false;
        while !storing.left.is_empty() {
            let now = next_of(&mut storing.left, &objects);
            let puts = now
                .iter()
                .filter_map(|at| objects.get(*at))
                .map(|object| self.store_object(finished, object));
            let outcomes = join_all(puts).await;
            progress |= outcomes.iter().any(Result::is_ok);
            let failed = failed_of(outcomes, &now, &mut storing.left);
            match failed {
                None => {}
                Some(StageError::Retry { what, .. }) if progress => {
                    tracing::debug!(partition = self.partition.partition, what, "tried again");
                    return Ok(false);
                }
                Some(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// After all else of the cut: with it, the cut is done.
    pub(super) async fn store_checkpoint(
        &self,
        finished: &Finished,
        storing: &Storing,
    ) -> Result<(), StageError> {
        let name = names::checkpoint(&self.partition.origin, finished.size);
        let made = &storing.checkpoint;
        let same = |stored: &[u8]| same_checkpoint(stored, made);
        self.put(&name, made, keep(finished, None), same).await?;
        tracing::info!(
            partition = self.partition.partition,
            size = finished.size,
            "archived a cut"
        );
        Ok(())
    }

    /// All of a cut but its keys, which come before, and its checkpoint, which comes after; in order of their steps.
    fn objects<'f>(&self, finished: &'f Finished) -> Vec<Object<'f>> {
        let segment = |segment: &'f Segment| match segment.class.as_str() {
            names::DEFAULT_CLASS => Object::Closing(segment),
            _ => Object::Segment(segment),
        };
        let tiles = finished.tiles.iter();
        let twinned: &[Segment] = if self.twins { &finished.segments } else { &[] };
        let mut objects: Vec<_> = finished
            .segments
            .iter()
            .map(segment)
            .chain(tiles.map(|(name, bytes)| Object::Tile(name, bytes)))
            .chain(twinned.iter().map(Object::Twin))
            .collect();
        objects.sort_by_key(Object::step);
        objects
    }

    async fn store_object(&self, finished: &Finished, object: &Object<'_>) -> Result<(), StageError> {
        match object {
            Object::Tile(name, bytes) => {
                self.put(name, bytes, keep(finished, None), |stored| stored == *bytes)
                    .await
            }
            Object::Segment(segment) | Object::Closing(segment) => {
                self.store_segment(finished, segment).await
            }
            Object::Twin(segment) => self.store_twin(finished, segment).await,
        }
    }

    async fn store_segment(&self, finished: &Finished, segment: &Segment) -> Result<(), StageError> {
        let Segment { name, class, frame } = segment;
        // Another compressor's frame of the same lines is the same segment.
        let same = |stored: &[u8]| segment::identity_of_frame(stored) == Some(frame.identity);
        self.put(name, &frame.bytes, keep(finished, Some(class)), same)
            .await
    }

    /// A twin is no evidence: one that cannot be made, or that somebody else put in its place, is told of and stops nothing.
    async fn store_twin(&self, finished: &Finished, segment: &Segment) -> Result<(), StageError> {
        let name = names::twin(&segment.name);
        match self.try_twin(finished, segment, &name).await {
            Ok(()) => {}
            Err(NoTwin::NotNow(error)) => return Err(error.into()),
            Err(NoTwin::Not { reason, what }) => self.tell_no_twin(&name, reason, &what),
        }
        Ok(())
    }

    async fn try_twin(&self, finished: &Finished, segment: &Segment, name: &str) -> Result<(), NoTwin> {
        let not_made = |what: String| NoTwin::Not {
            reason: "not_made",
            what,
        };
        let making = MAKING_A_TWIN.lock().await;
        let lines = segment::lines_of_frame(&segment.frame.bytes)
            .ok_or_else(|| not_made("its segment cannot be read".to_owned()))?;
        let twin = twin::write(&lines).map_err(|error| not_made(error.to_string()))?;
        drop((lines, making));
        let keep = keep(finished, Some(&segment.class));
        match self.vault.put_new(name, &twin, keep).await? {
            Put::Created => count_stored(twin.len()),
            put @ (Put::Exists | Put::Unheld) => {
                if put == Put::Unheld {
                    self.unheld.note(keep.class, name);
                }
                let stored = self.vault.get(name).await?.unwrap_or_default();
                if stored != twin && !twin::names_segment(&stored, &segment.frame.identity) {
                    return Err(NoTwin::Not {
                        reason: "another",
                        what: "an object that is not the twin of this segment is there".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn tell_no_twin(&self, object: &str, reason: &'static str, what: &str) {
        let partition = self.partition.partition;
        tracing::error!(partition, object, what, "a segment has no Parquet twin");
        metrics::counter!("ledgerline_twin_failures_total", "reason" => reason).increment(1);
    }

    /// Done once the object is there. Where it could not be held, it is told of its hold later.
    pub(super) async fn put(
        &self,
        name: &str,
        bytes: &[u8],
        keep: Keep<'_>,
        same: impl Fn(&[u8]) -> bool,
    ) -> Result<(), StageError> {
        if self.put_first(name, bytes, keep).await? || same(&self.get(name).await?) {
            return Ok(());
        }
        Err(self.fork(name))
    }

    /// Whether it is known that it was put by this. Where it could not be held, that is noted.
    pub(super) async fn put_first(
        &self,
        name: &str,
        bytes: &[u8],
        keep: Keep<'_>,
    ) -> Result<bool, StageError> {
        match self.vault.put_new(name, bytes, keep).await? {
            Put::Created => {
                count_stored(bytes.len());
                return Ok(true);
            }
            Put::Exists => {}
            Put::Unheld => self.unheld.note(keep.class, name),
        }
        Ok(false)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Vec<u8>, StageError> {
        self.vault.get(name).await?.ok_or_else(|| {
            VaultError::Fatal {
                what: format!("the archive's {name} was there and is gone"),
                source: None,
            }
            .into()
        })
    }

    pub(super) fn fork(&self, what: &str) -> StageError {
        metrics::counter!("ledgerline_archive_forks_total").increment(1);
        self.stopped(format!(
            "{what} is in the archive with other content: the log and the archive have parted"
        ))
    }

    pub(super) fn stopped(&self, what: String) -> StageError {
        StageError::Stopped {
            partition: self.partition.partition,
            what,
        }
    }
}

/// One twin is made at a time in a process, whatever the partitions: the lines of its segment, up to 64 MiB, and its columns are in memory meanwhile.
static MAKING_A_TWIN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Why a segment has no twin.
enum NoTwin {
    /// Another try may store it.
    NotNow(VaultError),
    Not {
        reason: &'static str,
        what: String,
    },
}

impl From<VaultError> for NoTwin {
    fn from(error: VaultError) -> Self {
        match error {
            error @ VaultError::Retry { .. } => Self::NotNow(error),
            VaultError::Fatal { what, .. } => Self::Not {
                reason: "not_stored",
                what,
            },
        }
    }
}

/// Takes from `left` what may be stored now: of one step, not too many.
fn next_of(left: &mut Vec<usize>, objects: &[Object<'_>]) -> Vec<usize> {
    let step = |at: &usize| objects.get(*at).map(Object::step);
    let first = left.last().and_then(step);
    let now = left
        .iter()
        .rev()
        .take(PUTS_AT_ONCE)
        .take_while(|at| step(at) == first)
        .count();
    left.split_off(left.len() - now)
}

/// Puts what failed back into `left`. Answers the error that decides: one that another try does not mend, before one that it may.
fn failed_of(
    outcomes: Vec<Result<(), StageError>>,
    places: &[usize],
    left: &mut Vec<usize>,
) -> Option<StageError> {
    let mut decides: Option<StageError> = None;
    for (outcome, place) in outcomes.into_iter().zip(places) {
        let Err(error) = outcome else { continue };
        left.push(*place);
        if decides
            .as_ref()
            .is_none_or(|known| matches!(known, StageError::Retry { .. }))
        {
            decides = Some(error);
        }
    }
    decides
}

fn count_stored(bytes: usize) {
    metrics::counter!("ledgerline_archived_objects_total").increment(1);
    metrics::counter!("ledgerline_archived_bytes_total").increment(bytes as u64);
}

/// What decides how long an object of this cut is kept.
pub(super) fn keep<'k>(finished: &Finished, class: Option<&'k str>) -> Keep<'k> {
    Keep {
        sealed_at: finished.sealed_at,
        class,
        hold: finished.holds.is_held(class),
    }
}

/// The same note text is the same checkpoint, whatever its signatures.
fn same_checkpoint(stored: &[u8], made: &[u8]) -> bool {
    match (SignedCheckpoint::parse(stored), SignedCheckpoint::parse(made)) {
        (Ok(stored), Ok(made)) => stored.checkpoint == made.checkpoint,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}
