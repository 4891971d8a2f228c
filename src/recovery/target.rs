//! The log that is made anew: what it holds already, and what is written to it, in this order: the checkpoint, a fence, the snapshot. Then what lies
//! below the snapshot is trimmed, so that the log no longer reaches back to a beginning that it does not have, the archiver's place is stored, and the leaves of an
//! unsigned cut are appended ([`super::append`]). What is said of sources comes behind those.
//!
//! A crash anywhere leaves what the next run finds and goes on from: every part is a function of what was replayed.

use super::append::append_unsigned;
use super::{Recovered, Replayed};
use crate::clock::Clock;
use crate::log::reader::Position;
use crate::log::record::{self, LedgerRecord, Session};
use crate::log::{Log, LogError, NewRecord, Offset, topic};
use crate::stages::StageError;
use crate::stages::archive::{Archived, HoldProgress, store_place};
use crate::stages::restore::PartitionConfig;
use crate::stages::seal::sources::TOPICS;
use crate::stages::seal::{self, Adopted, Adoption, From, Random};
use crate::stages::snapshot::{self, Current};
use crate::stages::state::PartitionState;

/// Its own fence's, in a log that has no other: the first owner takes the next.
pub(super) const EPOCH: u64 = 1;
/// More records than crashes of this command leave.
const RECORDS_LOOKED_AT: usize = 64;

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing of a ledger is there, or what a crash left: a fence at this offset.
    Begun { fence: Option<Offset> },
    /// The snapshot stands; what comes after it may not.
    Written { position: Position },
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("its topics hold another ledger, {found}: the archive is of {wanted}")]
    OtherLedger { found: String, wanted: String },
    #[error(
        "{origin} is not empty: it has {log} leaves, and the archive has {archive}. {}",
        what_to_do(*log, *archive)
    )]
    NotEmpty { origin: String, log: u64, archive: u64 },
    #[error(
        "{origin}: a checkpoint of size {signed} is in the log, and the archive ends at {archive}: what lies between was signed, and is not to be made anew. Bring back \
         the log's entries, or a newer archive"
    )]
    SignedAhead {
        origin: String,
        signed: u64,
        archive: u64,
    },
    #[error(transparent)]
    Source(#[from] seal::Refused),
}

fn what_to_do(log: u64, archive: u64) -> &'static str {
    match log.cmp(&archive) {
        std::cmp::Ordering::Greater => {
            "The log is ahead of the archive: nothing is lost, `ledgerline run` goes on and archives the rest"
        }
        std::cmp::Ordering::Equal => "Both are the same: `ledgerline run` goes on",
        std::cmp::Ordering::Less => {
            "The log is behind the archive: it lost its newest records, or is an old copy. Make its topics anew, empty, and restore into those"
        }
    }
}

/// What was done for a partition.
#[derive(Debug)]
pub struct Restored {
    pub position: Position,
    /// Sources that are other topics now, each declared by a leaf.
    pub adopted: Vec<Adopted>,
    /// Whether all of it stood there before.
    pub was_there: bool,
}

impl core::convert::From<LogError> for Refused {
    fn from(error: LogError) -> Self {
        Self::Stage(error.into())
    }
}

/// What the log holds of the partition.
///
/// # Errors
/// Where that is anything else than a part of what would be written.
pub async fn find(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
) -> Result<Found, Refused> {
    let partition = config.partition;
    let session = recovered.session(&config.origin);
    if let Some((snapshot, _)) = snapshot::newest(log, partition).await? {
        let found = &snapshot.state.order.origin;
        if *found != config.origin {
            return Err(Refused::OtherLedger {
                found: found.clone(),
                wanted: config.origin.clone(),
            });
        }
        if snapshot.position.session == session {
            return Ok(Found::Written {
                position: snapshot.position,
            });
        }
        return Err(not_empty(config, leaves(log, config).await, recovered));
    }
    refuse_what_is_signed_ahead(log, config, recovered).await?;
    fence(log, config, recovered, &session).await
}

/// The newest fence of an earlier run, in a partition that MUST hold nothing else.
async fn fence(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    session: &Session,
) -> Result<Found, Refused> {
    let (topic, partition) = (topic::LEDGER_ENTRIES, config.partition);
    let (start, end) = (
        log.start(topic, partition).await?,
        log.end(topic, partition).await?,
    );
    let mut fence = None;
    let mut from = start;
    while from < end {
        let records = log
            .read(topic, partition, from, RECORDS_LOOKED_AT, 1 << 20)
            .await?;
        let Some(last) = records.last() else { break };
        from = last.offset + 1;
        for record in records {
            match record::decode(&record.value) {
                Ok(LedgerRecord::Fence { epoch, session: of }) if epoch == EPOCH && of == *session => {
                    fence = Some(record.offset);
                }
                // An owner's fence, its leaves, or what is no record of a ledger.
                Ok(LedgerRecord::Fence { .. } | LedgerRecord::Leaf { .. }) | Err(_) => {
                    return Err(not_empty(config, leaves(log, config).await, recovered));
                }
            }
        }
    }
    Ok(Found::Begun { fence })
}

/// How many leaves the log has, as far as they can be read.
async fn leaves(log: &dyn Log, config: &PartitionConfig) -> u64 {
    let Ok(mut follower) = crate::stages::restore::Follower::restore(log, config).await else {
        return 0;
    };
    // Where it breaks off, so many were good.
    drop(follower.catch_up(log, None).await);
    follower.tree.size()
}

pub(super) fn not_empty(config: &PartitionConfig, log: u64, recovered: Recovered<'_>) -> Refused {
    Refused::NotEmpty {
        origin: config.origin.clone(),
        log,
        archive: recovered.size(),
    }
}

async fn refuse_what_is_signed_ahead(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
) -> Result<(), Refused> {
    let signed = crate::stages::restore::last_signed(log, config).await?;
    let (size, root) = (recovered.size(), recovered.root());
    let Some(signed) =
        signed.filter(|signed| signed.size > size || (signed.size == size && signed.root != root))
    else {
        return Ok(());
    };
    // Of a log that has all that was signed nothing is lost: that it is not empty is what is wrong.
    if signed.size > size && leaves(log, config).await >= signed.size {
        return Ok(());
    }
    Err(Refused::SignedAhead {
        origin: config.origin.clone(),
        signed: signed.size,
        archive: size,
    })
}

/// Writes what is missing of what [`find`] answered. `accept_clock_jump`: as [`Adoption`] has it, for topics that are others now.
///
/// # Errors
/// Where the log fails; the same call may be made again.
pub async fn write(
    log: &dyn Log,
    clock: &dyn Clock,
    random: &mut Random,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    found: Found,
    accept_clock_jump: bool,
) -> Result<Restored, Refused> {
    let (position, was_there) = match found {
        Found::Written { position } => (position, true),
        Found::Begun { fence } => (write_snapshot(log, config, recovered, fence).await?, false),
    };
    let partition = config.partition;
    // Whoever asks where the log begins is told that it no longer has its beginning, and takes the snapshot's word.
    log.trim(topic::LEDGER_ENTRIES, partition, position.offset)
        .await?;
    store_place_of_archiver(log, partition, position, recovered.replayed).await?;
    // Before any source is declared anew: that is an owner's leaf, behind which none of an epoch before is accepted.
    let appended = append_unsigned(log, config, recovered, &position.session).await?;
    let adopted = adopt_sources(log, clock, random, config, recovered.state(), accept_clock_jump).await?;
    Ok(Restored {
        position,
        was_there: was_there && adopted.is_empty() && appended == 0,
        adopted,
    })
}

async fn write_snapshot(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    fence: Option<Offset>,
) -> Result<Position, Refused> {
    let replayed = recovered.replayed;
    let partition = config.partition;
    // First: a snapshot says that the checkpoint of its cut is in the log.
    let key = format!("{}@{}", config.origin, replayed.size()).into_bytes();
    let checkpoint = NewRecord {
        key,
        value: replayed.checkpoint.clone(),
        headers: Vec::new(),
    };
    log.append(topic::LEDGER_CHECKPOINTS, partition, vec![checkpoint])
        .await?;
    let session = recovered.session(&config.origin);
    let fenced = match fence {
        Some(offset) => offset,
        None => append_fence(log, partition, &session).await?,
    };
    let position = Position {
        offset: fenced + 1,
        epoch: EPOCH,
        session,
        index: replayed.size(),
    };
    let current = Current {
        position,
        state: &replayed.state,
        tree: &replayed.tree,
    };
    snapshot::write(log, partition, &current, None).await?;
    Ok(position)
}

async fn append_fence(log: &dyn Log, partition: u32, session: &Session) -> Result<Offset, LogError> {
    let fence = NewRecord {
        value: record::encode_fence(EPOCH, session),
        ..NewRecord::default()
    };
    let appended = log.append(topic::LEDGER_ENTRIES, partition, vec![fence]).await?;
    Ok(appended.first)
}

/// All that the snapshot covers is archived: it came from there. What is held is told to the archive again: this one may be a copy that was never told.
async fn store_place_of_archiver(
    log: &dyn Log,
    partition: u32,
    position: Position,
    replayed: &Replayed,
) -> Result<(), LogError> {
    let mut holds = HoldProgress::default();
    for class in &replayed.state.holds {
        holds.note(class, true);
    }
    let archived = Archived {
        checkpoints_from: 0,
        size: position.index,
        holds: &holds,
    };
    store_place(log, partition, position, archived).await
}

/// Topics that end before what was sealed of them are other topics now. What they hold is sealed from their first record on.
async fn adopt_sources(
    log: &dyn Log,
    clock: &dyn Clock,
    random: &mut Random,
    config: &PartitionConfig,
    state: &PartitionState,
    accept_clock_jump: bool,
) -> Result<Vec<Adopted>, Refused> {
    let mut adopted = Vec::new();
    for topic in TOPICS {
        let source = format!("{topic}/{}", config.partition);
        if !state.order.sources.contains_key(&source) {
            continue;
        }
        let adoption = Adoption {
            topic,
            from: From::Start,
            forced: false,
            dry_run: false,
            accept_clock_jump,
        };
        match seal::adopt(log, clock, random, config, adoption).await {
            Ok(declared) => adopted.push(declared),
            // It still holds what was sealed of it and is read on: or that was said by an earlier run.
            Err(seal::Refused::IsWhole { .. } | seal::Refused::NeverSealed { .. }) => {}
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(adopted)
}
