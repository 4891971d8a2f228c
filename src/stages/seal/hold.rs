//! Declares that an archive class is held, or held no more: an operator says that what is in it must not go, whatever its retention.
//!
//! As [`super::adopt`]: whoever declares is the partition's owner for a moment. The archiver finds the leaf and tells the storage.

use super::machine::SealConfig;
use super::runner::{Random, seal_error};
use super::session::{OpenSession, Owner};
use crate::clock::Clock;
use crate::log::Log;
use crate::stages::StageError;
use crate::stages::archive::{HOLDS_MAX, hold_progress};
use crate::stages::restore::PartitionConfig;
use std::collections::BTreeSet;

/// Owners that come in between: so many times it is tried again.
const TRIES: u32 = 10;

/// Why it was not declared.
#[derive(Debug, thiserror::Error)]
pub enum HoldRefused {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("nothing was sealed in partition {partition} yet: there is nothing to hold")]
    NeverSealed { partition: u32 },
    #[error(
        "{HOLDS_MAX} archive classes are held, or the archive is still to be told of their release, and no more can be: `ledgerline hold list` names them; release one with \
         `ledgerline hold release`, and wait until the archive was told of it"
    )]
    TooMany,
    #[error("other owners came in between {TRIES} times: see that the instances are at peace, and try again")]
    Contended,
}

/// Declares a hold, or its end, in one partition. Answers the index of the leaf that says so; `None` where the ledger says so already.
/// `accept_clock_jump`: the clock is right, however far it is ahead of the last leaf.
///
/// # Errors
/// [`HoldRefused`]; nothing was declared then.
pub async fn declare_hold(
    log: &dyn Log,
    clock: &dyn Clock,
    random: &mut Random,
    partition: &PartitionConfig,
    class: &str,
    on: bool,
    accept_clock_jump: bool,
) -> Result<Option<u64>, HoldRefused> {
    let config = SealConfig::default().accepting_clock_jump(accept_clock_jump);
    for _ in 0..TRIES {
        let opened = OpenSession::open(log, partition, config.clone(), random()?).await?;
        let Some(mut session) = opened else { continue };
        let state = session.machine.state();
        if state.order.genesis.is_none() {
            return Err(HoldRefused::NeverSealed {
                partition: partition.partition,
            });
        }
        if state.holds.contains(class) == on {
            return Ok(None);
        }
        if on && is_one_too_many(log, partition.partition, &state.holds, class).await? {
            return Err(HoldRefused::TooMany);
        }
        let mut out = Vec::new();
        let sealed = session
            .machine
            .declare_hold(class, on, clock.now(), &mut out)
            .map_err(|error| seal_error(partition.partition, error))?;
        // A crash before this line leaves a fence; one after it, the declaration.
        if session.append(log, out).await? == Owner::Mine {
            return Ok(Some(sealed.index));
        }
    }
    Err(HoldRefused::Contended)
}

/// Holds stand beside the archiver's position until the archive was told of their end, and there is room for so many.
async fn is_one_too_many(
    log: &dyn Log,
    partition: u32,
    held: &BTreeSet<String>,
    class: &str,
) -> Result<bool, StageError> {
    let progress = hold_progress(log, partition).await?;
    let mut classes: BTreeSet<&str> = held.iter().map(String::as_str).collect();
    classes.extend(progress.classes());
    classes.insert(class);
    Ok(classes.len() > HOLDS_MAX)
}
