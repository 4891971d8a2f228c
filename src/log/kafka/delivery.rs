//! What becomes of the records of one append: their acknowledgements, gathered until the last one is in.

use crate::log::{Appended, Offset};
use rdkafka::error::RDKafkaErrorCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// The records of one append that were handed to a producer.
pub(super) struct Batch {
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    /// Its share of what may be under way at once.
    _room: OwnedSemaphorePermit,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Nothing,
    /// Its first record was answered.
    First,
    /// Every record that was handed over was answered, and no more will be.
    All,
}

#[derive(Debug, Default)]
struct State {
    sent: usize,
    answered: usize,
    closed: bool,
    landed: Option<Appended>,
    /// Acknowledged, at an offset that nobody knows.
    unplaced: bool,
    /// The first failure, and whether no record had been acknowledged before it.
    failed: Option<(RDKafkaErrorCode, bool)>,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Landed(Appended),
    /// `first`: it was the batch's first record, so that none of it was written, where the broker refused it.
    Failed {
        code: RDKafkaErrorCode,
        first: bool,
    },
    /// All are in the log, at places that were not told: a lost answer, found out by a later one.
    Unplaced,
}

impl Batch {
    pub fn new(room: OwnedSemaphorePermit) -> Self {
        Self {
            state: Mutex::default(),
            stage: watch::channel(Stage::Nothing).0,
            _room: room,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more record is handed over. Before it is, so that its answer finds it counted.
    pub fn sending(&self) {
        self.state().sent += 1;
    }

    /// The record last counted was not taken.
    pub fn not_taken(&self, code: RDKafkaErrorCode) {
        self.answer(Err(code));
    }

    /// No more records follow.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.advance(&state);
    }

    /// The answer to the oldest record without one: an offset, or `None` where it was acknowledged without.
    pub fn answer(&self, answer: Result<Option<Offset>, RDKafkaErrorCode>) {
        let mut state = self.state();
        state.answered += 1;
        match answer {
            Ok(Some(offset)) => {
                let landed = state.landed.unwrap_or(Appended {
                    first: offset,
                    last: offset,
                });
                state.landed = Some(Appended {
                    first: landed.first.min(offset),
                    last: landed.last.max(offset),
                });
            }
            Ok(None) => state.unplaced = true,
            Err(code) => {
                let first = state.answered == 1;
                state.failed.get_or_insert((code, first));
            }
        }
        // Between the first and the last nothing is reached.
        if state.answered == 1 || state.answered == state.sent {
            self.advance(&state);
        }
    }

    fn advance(&self, state: &State) {
        let reached = if state.closed && state.answered == state.sent {
            Stage::All
        } else if state.answered > 0 {
            Stage::First
        } else {
            Stage::Nothing
        };
        self.stage.send_if_modified(|known| {
            let forward = *known < reached;
            *known = reached.max(*known);
            forward
        });
    }

    /// Waits until the batch is that far.
    pub async fn reached(&self, stage: Stage) {
        // The sender lives as long as this does.
        drop(self.stage.subscribe().wait_for(|now| *now >= stage).await);
    }

    pub fn is_complete(&self) -> bool {
        *self.stage.borrow() == Stage::All
    }

    /// Whether a record failed so far.
    pub fn has_failed(&self) -> bool {
        self.state().failed.is_some()
    }

    /// What it came to, as far as it has come.
    pub fn outcome(&self) -> Outcome {
        let state = self.state();
        match (state.failed, state.unplaced, state.landed) {
            (Some((code, first)), _, _) => Outcome::Failed { code, first },
            (None, false, Some(landed)) => Outcome::Landed(landed),
            (None, true, _) | (None, false, None) => Outcome::Unplaced,
        }
    }
}
