//! What every route that asks the read model shares: who may, how long it takes at most, and what is said where there is no answer.

use super::Api;
use super::caller::{Caller, Scope};
use super::problem::{Code, Problem};
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

/// Waits for an answer of the read model, within the time of a request.
pub(super) async fn answer<T>(
    api: &Api,
    asked: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(api.limits.request_timeout, asked).await {
        Ok(answered) => answered.map_err(problem),
        Err(_) => Err(Problem::new(
            Code::DatabaseUnavailable,
            "the database did not answer in time: ask again, or ask for less",
        )),
    }
}

fn problem(error: ReadError) -> Problem {
    match error {
        ReadError::Store(StoreError::Away { .. }) => Problem::new(
            Code::DatabaseUnavailable,
            "the database cannot be asked right now, or did not answer in time: ask again",
        ),
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
