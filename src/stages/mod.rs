//! Stages: one folder each, with a pure machine `(state, input) → (state, records)` and a thin runner that reads, calls the
//! machine, and appends. A runner's `step` makes one bounded move and talks to the world only through the four seams, so that the simulation drives
//! the same code as `run`.
//!
//! What all stages share: [`state`], the fold of a partition's accepted records, and [`restore`], how it is had again
//! after a crash, which is also how it is had the first time.

pub mod archive;
pub mod beginning;
pub mod capture;
pub mod dead_letters;
pub mod index;
pub mod notarize;
pub mod restore;
pub mod seal;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod window;

use crate::log::{BoxError, LogError};
use crate::signing::SignError;
use crate::vault::VaultError;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done; call again at once.
    Progress,
    /// Nothing to do until the log, or time, moves on.
    Idle,
}

/// What went wrong, by what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Call `step` again after a pause. Nothing is lost: the stage resumes from what the log and the archive hold.
    #[error("{what}")]
    Retry {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// As `Retry`, for as long as it takes: only this stage needs it, and the others go on meanwhile. An alert tells, not the end of the process.
    #[error("{what}")]
    Waits {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// This partition must not go on until a person has looked; the others may.
    #[error("partition {partition} is stopped: {what}")]
    Stopped { partition: u32, what: String },
    /// As `Stopped`, because what the log holds is wrong: it does not follow from what came before, or is not what was signed.
    #[error("partition {partition} is stopped: {what}")]
    Violated { partition: u32, what: String },
    /// The process must end: what failed serves all partitions, and will not get better by itself.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
}

impl From<LogError> for StageError {
    fn from(error: LogError) -> Self {
        let what = error.to_string();
        match error {
            // An unknown outcome ends the session; the next step opens another and finds out from the log.
            LogError::Retry { .. } | LogError::Unknown { .. } => Self::Retry {
                what,
                source: Some(error.into()),
            },
            LogError::Fatal { .. } => Self::Fatal {
                what,
                source: Some(error.into()),
            },
        }
    }
}

impl From<SignError> for StageError {
    fn from(error: SignError) -> Self {
        let what = error.to_string();
        match error {
            SignError::Retry { .. } => Self::Retry {
                what,
                source: Some(error.into()),
            },
            SignError::Fatal { .. } => Self::Fatal {
                what,
                source: Some(error.into()),
            },
        }
    }
}

impl From<VaultError> for StageError {
    fn from(error: VaultError) -> Self {
        let what = error.to_string();
        match error {
            VaultError::Retry { .. } => Self::Retry {
                what,
                source: Some(error.into()),
            },
            VaultError::Fatal { .. } => Self::Fatal {
                what,
                source: Some(error.into()),
            },
        }
    }
}
