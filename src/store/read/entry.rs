//! One entry of a tenant, and the end of its chain.

use super::months::{self, TenantMonth};
use super::tree::{self, StoredCheckpoint};
use super::{ReadError, Reads};
use crate::clock::UnixMicros;
use crate::ledger::Digest;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// What [`Entry::read`] reads.
pub(super) const COLUMNS: &str =
    "partition, leaf_index, sealed_at, sequence, entry_hash, leaf, canonical_event_json";

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub partition: u32,
    pub origin: String,
    /// The leaf's place in its partition.
    pub index: u64,
    pub sequence: u64,
    pub sealed_at: UnixMicros,
    pub entry_hash: Digest,
    /// The bytes that were hashed.
    pub leaf: Vec<u8>,
    /// `canonical_event_json`, byte for byte.
    pub event: Vec<u8>,
}

impl Entry {
    pub(super) fn read(row: &PgRow, origin: &str) -> Result<Self, sqlx::Error> {
        let hash: Vec<u8> = row.try_get("entry_hash")?;
        Ok(Self {
            partition: row.try_get::<i32, _>("partition")? as u32,
            origin: origin.to_owned(),
            index: row.try_get::<i64, _>("leaf_index")? as u64,
            sequence: row.try_get::<i64, _>("sequence")? as u64,
            sealed_at: row.try_get("sealed_at")?,
            // Of another length it was changed by hand, which `verify` says.
            entry_hash: hash.try_into().unwrap_or_default(),
            leaf: row.try_get("leaf")?,
            event: row.try_get("canonical_event_json")?,
        })
    }
}

/// The end of a tenant's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantHead {
    pub partition: u32,
    pub origin: String,
    pub sequence: u64,
    pub entry_hash: Digest,
    /// The last entry's leaf, and when it was sealed; `None` where its month was let go of.
    pub leaf: Option<(u64, UnixMicros)>,
    /// The newest checkpoint's size and note, where it covers that leaf.
    pub checkpoint: Option<(u64, Vec<u8>)>,
    /// The sequence from which on all entries are here.
    pub first_stored_sequence: u64,
}

impl Reads {
    /// The entry of that number.
    pub async fn entry(&self, tenant: &str, sequence: u64) -> Result<Entry, ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let entry = find(&mut transaction, tenant, sequence).await?;
        transaction.commit().await?;
        Ok(entry)
    }

    /// Where a tenant's chain ends.
    pub async fn head(&self, tenant: &str) -> Result<TenantHead, ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let months = months::of_tenant(&mut transaction, tenant).await?;
        let (Some(newest), Some(first_stored_sequence)) = (months.last(), months::first_stored(&months))
        else {
            return Err(ReadError::NotFound {
                what: "tenant with entries",
            });
        };
        let leaf = last_leaf(&mut transaction, tenant, newest).await?;
        let checkpoint = tree::checkpoint(&mut transaction, newest.partition, None).await?;
        transaction.commit().await?;
        let covers = |checkpoint: &StoredCheckpoint| leaf.is_some_and(|(index, _)| checkpoint.size() > index);
        Ok(TenantHead {
            partition: newest.partition,
            origin: newest.origin.clone(),
            sequence: newest.last,
            entry_hash: newest.last_hash,
            checkpoint: checkpoint
                .filter(covers)
                .map(|checkpoint| (checkpoint.size(), checkpoint.note)),
            leaf,
            first_stored_sequence,
        })
    }
}

async fn last_leaf(
    connection: &mut PgConnection,
    tenant: &str,
    month: &TenantMonth,
) -> Result<Option<(u64, UnixMicros)>, ReadError> {
    let row = sqlx::query(
        "SELECT leaf_index, sealed_at FROM leaves WHERE kind = 'entry' AND tenant_id = $1 AND sequence = $2 AND month = $3::date",
    )
    .bind(tenant)
    .bind(month.last as i64)
    .bind(&month.date)
    .fetch_optional(connection)
    .await?;
    let read = |row: PgRow| Ok((row.try_get::<i64, _>(0)? as u64, row.try_get(1)?));
    row.map(read).transpose()
}

/// The entry, in one query; why it is not there, in another.
pub(super) async fn find(
    connection: &mut PgConnection,
    tenant: &str,
    sequence: u64,
) -> Result<Entry, ReadError> {
    let sql = format!(
        "SELECT {COLUMNS}, (SELECT origin FROM positions WHERE positions.partition = leaves.partition) AS origin FROM leaves \
         WHERE kind = 'entry' AND tenant_id = $1 AND sequence = $2 AND month = (SELECT month FROM tenant_months \
         WHERE tenant_id = $1 AND first_sequence <= $2 AND last_sequence >= $2 ORDER BY month LIMIT 1)"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(sequence as i64)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = row {
        return Ok(Entry::read(&row, &row.try_get::<String, _>("origin")?)?);
    }
    let months = months::of_tenant(connection, tenant).await?;
    let of = months
        .iter()
        .find(|month| (month.first..=month.last).contains(&sequence));
    Err(match of {
        None => ReadError::NotFound { what: "entry" },
        Some(month) if month.is_here => ReadError::Damaged {
            what: "an entry's row is missing",
        },
        Some(_) => ReadError::Detached {
            first_stored_sequence: months::first_stored(&months),
        },
    })
}
