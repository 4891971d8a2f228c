//! Where the read model of a partition stands: the row of `positions`.

use super::StoreError;
use crate::clock::UnixMicros;
use crate::log::Offset;
use crate::log::reader::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

/// How far a partition has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub origin: String,
    /// The reader's, in `ledger.entries`: the rows of all leaves below its index are there.
    pub position: Position,
    /// The next offset of `ledger.checkpoints`.
    pub checkpoints_offset: Offset,
    /// `sealed_at` of the last row.
    pub sealed_at: UnixMicros,
}

impl Place {
    /// Before any leaf.
    #[must_use]
    pub fn begin(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            position: Position::BEGIN,
            checkpoints_offset: 0,
            sealed_at: 0,
        }
    }
}

const READ: &str = "SELECT origin, log_offset, epoch, session, next_index, checkpoints_offset, sealed_at FROM positions WHERE partition = $1";
const LOCK: &str = "SELECT origin, log_offset, epoch, session, next_index, checkpoints_offset, sealed_at FROM positions WHERE partition = $1 FOR UPDATE";

/// The place; `None` where the partition has none yet.
pub async fn read(connection: &mut PgConnection, partition: u32) -> Result<Option<Place>, StoreError> {
    ask(connection, partition, READ).await
}

/// As [`read`], and nobody else writes the partition until the transaction ends.
pub async fn lock(connection: &mut PgConnection, partition: u32) -> Result<Option<Place>, StoreError> {
    ask(connection, partition, LOCK).await
}

async fn ask(
    connection: &mut PgConnection,
    partition: u32,
    sql: &'static str,
) -> Result<Option<Place>, StoreError> {
    let row = sqlx::query(sql)
        .bind(partition as i32)
        .fetch_optional(connection)
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

fn from_row(row: &PgRow) -> Result<Place, StoreError> {
    let session: Vec<u8> = row.try_get("session")?;
    let session = session
        .try_into()
        .map_err(|_| StoreError::wrong("a session in positions has not 16 bytes"))?;
    Ok(Place {
        origin: row.try_get("origin")?,
        position: Position {
            offset: unsigned(row, "log_offset")?,
            epoch: unsigned(row, "epoch")?,
            session,
            index: unsigned(row, "next_index")?,
        },
        checkpoints_offset: unsigned(row, "checkpoints_offset")?,
        sealed_at: row.try_get("sealed_at")?,
    })
}

fn unsigned(row: &PgRow, column: &str) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| StoreError::wrong(format!("{column} in positions is below 0")))
}

/// The first row of a partition. Where two begin at once, one of them finds the other's.
pub async fn begin(connection: &mut PgConnection, partition: u32, place: &Place) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO positions (partition, origin, log_offset, epoch, session, next_index, checkpoints_offset, sealed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(partition as i32)
    .bind(&place.origin)
    .bind(place.position.offset as i64)
    .bind(place.position.epoch as i64)
    .bind(&place.position.session[..])
    .bind(place.position.index as i64)
    .bind(place.checkpoints_offset as i64)
    .bind(place.sealed_at)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves the place, within the transaction that [`lock`]ed it.
pub async fn store(connection: &mut PgConnection, partition: u32, place: &Place) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE positions SET log_offset = $2, epoch = $3, session = $4, next_index = $5, checkpoints_offset = $6, sealed_at = $7, \
         moved_at = now() WHERE partition = $1",
    )
    .bind(partition as i32)
    .bind(place.position.offset as i64)
    .bind(place.position.epoch as i64)
    .bind(&place.position.session[..])
    .bind(place.position.index as i64)
    .bind(place.checkpoints_offset as i64)
    .bind(place.sealed_at)
    .execute(connection)
    .await?;
    Ok(())
}
