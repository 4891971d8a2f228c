//! Whether a tenant's chain holds over the bytes that are stored: each row is what its leaf and its event say, each entry names the one before, each leaf is in the tree
//! that the ledger's keys signed, and the tables beside say of it what it says. In order, a page at a time: memory does not grow with the chain, and one call ends after so
//! many rows or so long.
//!
//! It judges rows, not the ledger: that is `ledgerline verify` on the archive, with keys from elsewhere.

mod keys;
mod outcome;
mod rows;
mod tail;

pub use keys::KnownKeys;
pub use outcome::{Outcome, Verdict};

use super::months::{self, TenantMonth};
use super::tree;
use super::{ReadError, Reads};
use crate::ledger::chain::{EMPTY_HEAD, Head, entry_hash};
use crate::ledger::tile::TILE_WIDTH;
use crate::store::check::{ChainCheck, Difference};
use crate::store::checks::{Check, Checks};
use rows::Rows;
use sqlx::PgConnection;
use std::time::{Duration, Instant};

/// Rows of one page, and bytes of their events.
const ROWS_AT_ONCE: usize = TILE_WIDTH as usize;
const BYTES_AT_ONCE: u64 = 2 << 20;

/// When one call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub rows: u64,
    pub time: Duration,
}

/// Where a call begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckFrom {
    /// At the first entry that is stored.
    First,
    Entry(u64),
    /// Behind the chain's end, at this leaf of its partition: where the call before ended.
    Leaf(u64),
}

impl Reads {
    /// Checks a tenant's chain from an entry on.
    ///
    /// # Errors
    /// `NotFound` where the tenant has no such entry, `Detached` where it was let go of.
    pub async fn verify_chain(
        &self,
        tenant: &str,
        from: CheckFrom,
        known: KnownKeys<'_>,
        bounds: Bounds,
    ) -> Result<Outcome, ReadError> {
        self.verify_chain_by(Checks::ALL, tenant, from, known, bounds)
            .await
    }

    /// The same by some of the checks: for tests of what each of them finds.
    ///
    /// # Errors
    /// As [`Reads::verify_chain`].
    pub async fn verify_chain_by(
        &self,
        checks: Checks,
        tenant: &str,
        from: CheckFrom,
        known: KnownKeys<'_>,
        bounds: Bounds,
    ) -> Result<Outcome, ReadError> {
        let until = Instant::now() + bounds.time;
        let (mut rows, mut outcome) = self.begin_check(checks, tenant, from).await?;
        while outcome.next_sequence.is_some() && outcome.checked < bounds.rows && Instant::now() < until {
            let rows_max = usize::try_from(bounds.rows - outcome.checked).unwrap_or(ROWS_AT_ONCE);
            let mut transaction = self.of_tenant(tenant).await?;
            rows.page(&mut transaction, &mut outcome, rows_max.min(ROWS_AT_ONCE))
                .await?;
            transaction.commit().await?;
        }
        if outcome.error.is_none() && outcome.next_sequence.is_none() {
            let from_leaf = match from {
                CheckFrom::Leaf(index) => index,
                CheckFrom::First | CheckFrom::Entry(_) => rows.next_leaf(),
            };
            self.check_tail(&rows, &mut outcome, from_leaf, until).await?;
        }
        // Last: a row or a tile that is wrong says more, and where.
        if outcome.error.is_none()
            && let Some(error) = self.judge_checkpoint(&rows, known).await?
        {
            outcome.error = Some(error);
            outcome.next_sequence = None;
            outcome.next_index = None;
        }
        Ok(outcome)
    }

    async fn begin_check(
        &self,
        checks: Checks,
        tenant: &str,
        from: CheckFrom,
    ) -> Result<(Rows, Outcome), ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let months = months::of_tenant(&mut transaction, tenant).await?;
        let (Some(newest), Some(first_stored)) = (months.last(), months::first_stored(&months)) else {
            return Err(ReadError::NotFound {
                what: "tenant with entries",
            });
        };
        let next = next_entry(from, first_stored, newest.last)?;
        let before = match next {
            Some(next) => head_before(&mut transaction, &months, tenant, next).await?,
            None => Some(EMPTY_HEAD),
        };
        let checkpoint = match tree::checkpoint(&mut transaction, newest.partition, None).await {
            Err(error @ ReadError::Store(_)) => return Err(error),
            judged => judged,
        };
        transaction.commit().await?;
        let rows = Rows {
            checks,
            tenant: tenant.to_owned(),
            partition: newest.partition,
            origin: newest.origin.clone(),
            chain: ChainCheck::behind(before.unwrap_or(EMPTY_HEAD)),
            last_leaf: None,
            checkpoint,
        };
        let mut outcome = Outcome::begin(next, rows.size(), first_stored);
        if let Some(at) = months::first_break(&months).filter(|_| !checks.pass(Check::Months, false)) {
            outcome.fail(at, Verdict::Months);
        } else if let (Some(next), None) = (next, before) {
            outcome.fail(next - 1, Difference::Missing.into());
        }
        Ok((rows, outcome))
    }
}

/// The first entry to look at; `None`: none, but what is behind the chain.
fn next_entry(from: CheckFrom, first_stored: u64, last: u64) -> Result<Option<u64>, ReadError> {
    let next = match from {
        CheckFrom::First => first_stored,
        CheckFrom::Entry(sequence) => sequence,
        CheckFrom::Leaf(_) => return Ok(None),
    };
    if next < first_stored || first_stored > last {
        return Err(ReadError::Detached {
            first_stored_sequence: Some(first_stored),
        });
    }
    if next == 0 || next > last {
        return Err(ReadError::NotFound { what: "entry" });
    }
    Ok(Some(next))
}

/// The entry before `from`, by which that one must name it; `None` where its row is missing.
async fn head_before(
    connection: &mut PgConnection,
    months: &[TenantMonth],
    tenant: &str,
    from: u64,
) -> Result<Option<Head>, ReadError> {
    if from == 1 {
        return Ok(Some(EMPTY_HEAD));
    }
    let sequence = from - 1;
    // The month before is known by the hash of its last entry, also where it was let go of.
    if let Some(month) = months.iter().find(|month| month.last == sequence) {
        return Ok(Some(Head {
            sequence,
            hash: month.last_hash,
        }));
    }
    match super::entry::find(connection, tenant, sequence).await {
        Ok(before) => Ok(Some(Head {
            sequence,
            hash: entry_hash(&before.leaf),
        })),
        Err(ReadError::Damaged { .. } | ReadError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
