//! What every route that asks the read model shares: who may, how long it takes at most, and what is said where there is no answer.

use super::Api;
use super::caller::{Caller, Scope};
use super::limits::{Full, MEMORY_PER_REQUEST};
use super::problem::{Code, Problem};
use super::router::no_room;
use super::target::invalid;
use crate::ledger::names::{INTEGER_MAX, parse_decimal};
use crate::store::StoreError;
use crate::store::read::{ReadError, Reads};
use std::sync::Arc;

/// The tenant whose entries the caller may read.
///
/// # Errors
/// 403 where the key has neither the scope `read` nor `auditor`, 400 where no tenant is named.
pub(super) fn tenant(caller: &Caller) -> Result<&Arc<str>, Problem> {
    if !caller.has(Scope::Auditor) {
        caller.may(Scope::Read)?;
    }
    caller.tenant()
}

/// The tenant whose chain the caller may check.
///
/// # Errors
/// As [`tenant`]; the scope `verify` is enough.
pub(super) fn verified_tenant(caller: &Caller) -> Result<&Arc<str>, Problem> {
    if caller.has(Scope::Verify) {
        return caller.tenant();
    }
    tenant(caller)
}

/// The read model.
///
/// # Errors
/// 501 where the service has none.
pub(super) fn reads(api: &Api) -> Result<&Reads, Problem> {
    api.reads.as_ref().ok_or_else(|| {
        Problem::new(
            Code::NoReadModel,
            "what was sealed is read from the read model, which `run` has with --database",
        )
    })
}

/// Waits for a turn at the database and for its answer, within the time of a request.
pub(super) fn answer<T>(
    api: &Api,
    caller: &Caller,
    asked: impl Future<Output = Result<T, ReadError>>,
) -> impl Future<Output = Result<T, Problem>> {
    // On the heap: what asks a database is large.
    let asked = Box::pin(asked);
    async move {
        let share = caller.share();
        // What is there in the end is counted then. Whoever has no room for the least is not asked for.
        let _room = api.room.take(&share, MEMORY_PER_REQUEST).map_err(no_room)?;
        answer_to(api, &share, asked).await
    }
}

/// As [`answer`], to whoever has that share, and has taken room.
pub(super) async fn answer_to<T>(
    api: &Api,
    share: &Arc<str>,
    asked: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, Problem> {
    let answered = async {
        let turn = api
            .database
            .take(share)
            .await
            .map_err(|full| no_turn(api, full))?;
        let answered = asked.await;
        turn.done();
        let is_away = matches!(&answered, Err(ReadError::Store(error)) if error.is_away());
        api.database.note(is_away);
        answered.map_err(problem)
    };
    let answered = tokio::time::timeout(api.limits.request_timeout, answered).await;
    answered.unwrap_or_else(|_| {
        Err(if api.database.is_away() {
            away()
        } else {
            too_slow()
        })
    })
}

/// Whoever waits for those who wait for a database that is away is told that.
fn no_turn(api: &Api, full: Full) -> Problem {
    if api.database.is_away() {
        away()
    } else {
        no_room(full)
    }
}

fn away() -> Problem {
    Problem::new(
        Code::DatabaseUnavailable,
        "the database cannot be asked right now: ask again",
    )
}

fn too_slow() -> Problem {
    Problem::new(
        Code::QueryTimeout,
        "the database did not find the answer in time: ask for less, by from_sequence and to_sequence, sealed_from and sealed_to, event_id, or a smaller limit or max_entries",
    )
}

pub(super) fn problem(error: ReadError) -> Problem {
    match error {
        ReadError::Store(error) if error.is_statement_timeout() => too_slow(),
        ReadError::Store(StoreError::Away { .. }) => away(),
        ReadError::Store(error @ (StoreError::Moved { .. } | StoreError::Wrong { .. })) => {
            tracing::error!(%error, "the read model cannot be read");
            Problem::new(
                Code::Internal,
                "the database refused the question: see the service's log by the correlation id",
            )
        }
        ReadError::NotFound { what } => Problem::new(Code::NotFound, format!("there is no such {what}")),
        ReadError::Detached {
            first_stored_sequence: Some(first),
        } => Problem::new(
            Code::Detached,
            format!("entries before sequence {first} are no longer in the read model: the archive has them"),
        ),
        ReadError::Detached {
            first_stored_sequence: None,
        } => Problem::new(
            Code::Detached,
            "these leaves are no longer in the read model: the archive has them",
        ),
        ReadError::NotSigned => Problem::new(
            Code::NotSigned,
            "no checkpoint covers it yet: one is signed every second or so, ask again then",
        ),
        ReadError::Cursor => invalid(
            "cursor",
            "is of another question: a cursor goes with the tenant and the filters that it was given for",
        ),
        ReadError::Damaged { what } => {
            tracing::error!(
                what,
                "the read model is not what the ledger says: `ledgerline index rebuild` makes it anew"
            );
            Problem::new(
                Code::ReadModelDamaged,
                format!(
                    "the rows of the read model are not what was sealed ({what}): the archive proves what was"
                ),
            )
        }
    }
}

/// A sequence out of a path.
///
/// # Errors
/// 400 where it is none.
pub(super) fn sequence(text: &str) -> Result<u64, Problem> {
    let number = parse_decimal(text).filter(|number| *number > 0);
    number.ok_or_else(|| {
        invalid(
            "sequence",
            &format!("must be a whole number from 1 to {INTEGER_MAX}, without leading zeros"),
        )
    })
}
