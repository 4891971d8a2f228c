//! Declares a new incarnation of a source: an operator says that its topic was made anew or lost records, and from which offset it counts now.
//!
//! Whoever declares is the partition's owner for a moment: fence, restore, one leaf, read back. A sealer that runs meanwhile is fenced, begins a new
//! session, and finds the leaf. Nothing is taken back: what was sealed of the earlier incarnation stays.

use super::machine::SealConfig;
use super::runner::{Random, seal_error};
use super::session::{OpenSession, Owner};
use crate::clock::Clock;
use crate::log::Log;
use crate::stages::StageError;
use crate::stages::restore::PartitionConfig;
use crate::stages::source::{Bounds, judge};

/// Owners that come in between: so many times it is tried again.
const TRIES: u32 = 10;

/// Where the new incarnation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the first record that the topic holds: where it was made anew.
    Start,
    /// Behind the last one that the topic holds now: all that it holds is passed over.
    End,
    Offset(u64),
}

/// What is to be declared.
#[derive(Debug, Clone, Copy)]
pub struct Adoption {
    /// One of [`super::sources::TOPICS`].
    pub topic: &'static str,
    pub from: From,
    /// Also where nothing seems wrong with the source: it was made anew and has grown beyond what was sealed.
    pub forced: bool,
    /// Says what would be declared, and writes nothing, not even a fence.
    pub dry_run: bool,
    /// The clock is right, however far it is ahead of the last leaf.
    pub accept_clock_jump: bool,
}

/// What was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// `<topic>/<partition>`
    pub source: String,
    pub incarnation: u64,
    pub from: u64,
    /// Up to where the incarnation before was sealed.
    pub sealed_to: u64,
    /// How many offsets that the topic holds lie below `from`.
    pub passed_over: u64,
    /// The leaf that says so; `None` in a dry run.
    pub index: Option<u64>,
}

/// Why it was not declared.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(
        "nothing of {source_partition} was sealed yet: there is no earlier incarnation, and its first record is sealed without being asked for"
    )]
    NeverSealed { source_partition: String },
    #[error(
        "nothing seems wrong with {source_partition}: it was sealed up to {sealed_to} and ends at offset {end}, and nothing was declared. Where it was declared a moment ago, there is nothing \
         more to do. If its topic was made anew all the same and has grown since, say this again with --force"
    )]
    IsWhole {
        source_partition: String,
        end: u64,
        sealed_to: u64,
    },
    #[error(
        "offset {from} lies beyond the end of {source_partition}, which is {end}: records that come there would be passed over"
    )]
    BeyondEnd {
        source_partition: String,
        from: u64,
        end: u64,
    },
    #[error("other owners came in between {TRIES} times: see that the instances are at peace, and try again")]
    Contended,
}

/// Declares the next incarnation of a source of `partition`.
///
/// # Errors
/// [`Refused`]; nothing was declared then.
pub async fn adopt(
    log: &dyn Log,
    clock: &dyn Clock,
    random: &mut Random,
    partition: &PartitionConfig,
    adoption: Adoption,
) -> Result<Adopted, Refused> {
    if adoption.dry_run {
        let mut follower = crate::stages::restore::Follower::restore(log, partition).await?;
        follower.catch_up(log, None).await?;
        let known = follower.state.order.sources;
        return plan(log, partition.partition, &adoption, |source| {
            known
                .get(source)
                .map(|known| (known.incarnation, known.next_offset))
        })
        .await;
    }
    let config = SealConfig::default().accepting_clock_jump(adoption.accept_clock_jump);
    for _ in 0..TRIES {
        let opened = OpenSession::open(log, partition, config.clone(), random()?).await?;
        let Some(mut session) = opened else { continue };
        let sources = &session.machine.state().order.sources;
        let mut adopted = plan(log, partition.partition, &adoption, |source| {
            sources
                .get(source)
                .map(|known| (known.incarnation, known.next_offset))
        })
        .await?;
        let mut out = Vec::new();
        let sealed = session
            .machine
            .declare_source(&adopted.source, adopted.from, clock.now(), &mut out)
            .map_err(|error| seal_error(partition.partition, error))?;
        // A crash before this line leaves a fence; one after it, the declaration.
        if session.append(log, out).await? == Owner::Mine {
            adopted.index = Some(sealed.index);
            return Ok(adopted);
        }
    }
    Err(Refused::Contended)
}

/// What would be declared, by what the ledger knows of the source: its incarnation and next offset.
async fn plan(
    log: &dyn Log,
    partition: u32,
    adoption: &Adoption,
    known: impl Fn(&str) -> Option<(u64, u64)>,
) -> Result<Adopted, Refused> {
    let source = format!("{}/{partition}", adoption.topic);
    let start = log
        .start(adoption.topic, partition)
        .await
        .map_err(StageError::from)?;
    let end = log
        .end(adoption.topic, partition)
        .await
        .map_err(StageError::from)?;
    let Some((incarnation, sealed_to)) = known(&source) else {
        return Err(Refused::NeverSealed {
            source_partition: source,
        });
    };
    let bounds = judge(start, end, Some(sealed_to));
    if bounds == Bounds::Whole && !adoption.forced {
        return Err(Refused::IsWhole {
            source_partition: source,
            end,
            sealed_to,
        });
    }
    let from = match adoption.from {
        From::Start => start,
        From::End => end,
        From::Offset(offset) => offset,
    };
    if from > end {
        return Err(Refused::BeyondEnd {
            source_partition: source,
            from,
            end,
        });
    }
    Ok(Adopted {
        source,
        incarnation: incarnation + 1,
        from,
        sealed_to,
        passed_over: from.saturating_sub(start),
        index: None,
    })
}
