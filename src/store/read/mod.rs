//! What the API asks of the read model: events, entries, proofs, tiles, and whether a tenant's chain holds over the rows that are stored.
//!
//! It reads and decides nothing of what is true. A proof is checked against the root that was signed before it goes out; whose signature that is, whoever is given it
//! checks. A tenant's rows are read by the role that sees one tenant's rows alone, whoever asks.

mod cursor;
mod entry;
mod months;
mod page;
mod proof;
mod sealed;
pub(crate) mod tiles;
mod times;
mod tree;
mod verify;

pub use cursor::{Cursor, Filter, Found};
pub use entry::{Entry, TenantHead};
pub use page::{PAGE_ROWS_MAX, Page, PageLimit};
pub use proof::{Consistency, Partition};
pub use sealed::{Proven, Sealed};
pub use verify::{Bounds, CheckFrom, KnownKeys, Outcome, Verdict};

use super::{ReadModel, Role, SCHEMA, StoreError, pool_within};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Postgres, Transaction};
use std::sync::Arc;
use std::time::Duration;

/// Connections that see every tenant's rows: few ask for those.
const AUDITOR_CONNECTIONS_MAX: u32 = 2;

/// One moment of the tables. Not writable, whatever the role may do.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The read model, for who reads.
#[derive(Debug)]
pub struct Reads {
    /// Whose making is waited for: the tables and the roles come with it.
    model: Arc<ReadModel>,
    reader: PgPool,
    auditor: PgPool,
}

/// Why there is no answer, by what whoever asked can do.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing of that name is there, or it is another tenant's.
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    /// It is in a month that was let go of; the archive has it.
    #[error("it is older than what the read model keeps: the archive has it")]
    Detached {
        /// Of the tenant, the sequence from which on all entries are here.
        first_stored_sequence: Option<u64>,
    },
    /// No signed checkpoint covers it yet: later one will.
    #[error("no signed checkpoint that is stored covers it")]
    NotSigned,
    /// The cursor was not given out for this tenant and these filters.
    #[error("the cursor is not one of this question")]
    Cursor,
    /// The tables do not hold what the ledger says: a person must look.
    #[error("the read model is not what the ledger says ({what}): `ledgerline index rebuild` makes it anew")]
    Damaged { what: &'static str },
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Reads {
    /// Connects when it is first asked. `model` is the copy that is read; no statement takes longer than `statement_max`.
    #[must_use]
    pub fn new(
        options: &PgConnectOptions,
        model: Arc<ReadModel>,
        connections_max: u32,
        statement_max: Duration,
    ) -> Self {
        let of = |role, connections_max| pool_within(options, SCHEMA, role, connections_max, statement_max);
        Self {
            model,
            reader: of(Role::Reader, connections_max),
            auditor: of(Role::Auditor, connections_max.min(AUDITOR_CONNECTIONS_MAX)),
        }
    }

    /// What sees the rows of `tenant` and of no other.
    async fn of_tenant(&self, tenant: &str) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.of_none().await?;
        sqlx::query("SELECT set_config('ledgerline.tenant_id', $1, true)")
            .bind(tenant)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// What sees no tenant's rows: hashes and checkpoints.
    async fn of_none(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.model.pool().await?;
        Ok(self.reader.begin_with(BEGIN).await?)
    }

    /// What sees every tenant's rows.
    async fn of_all(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.model.pool().await?;
        Ok(self.auditor.begin_with(BEGIN).await?)
    }
}
