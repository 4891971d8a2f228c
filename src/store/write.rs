//! One batch of a partition: rows, tiles, checkpoints and the place behind them, in one transaction.

use super::StoreError;
use super::copy::CopyRows;
use super::key_leaves;
use super::months::{self, Month};
use super::place::{self, Place};
use crate::ledger::Digest;
use crate::ledger::leaf::Body;
use crate::ledger::tile::TileName;
use crate::stages::index::LeafRow;
use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use std::collections::{BTreeMap, HashSet};

/// So many of a partition's newest checkpoints are kept: proofs are for the newest one, the archive has those of every cut.
const CHECKPOINTS_KEPT: i64 = 256;

/// What a step of the index stage has for the tables.
#[derive(Debug, Default)]
pub struct Batch<'r> {
    pub rows: Vec<LeafRow<'r>>,
    /// Tiles that were completed or have grown, each with all of its hashes.
    pub tiles: Vec<(TileName, Vec<u8>)>,
    /// Signed notes, by size.
    pub checkpoints: Vec<(u64, Vec<u8>)>,
}

/// Writes a partition's batches, one after the other.
#[derive(Debug)]
pub struct Writer {
    pool: PgPool,
    partition: u32,
    /// Whose tables are known to be there.
    months: HashSet<Month>,
}

impl Writer {
    /// `pool` is the owner's.
    #[must_use]
    pub fn new(pool: PgPool, partition: u32) -> Self {
        Self {
            pool,
            partition,
            months: HashSet::new(),
        }
    }

    /// The place where the partition stands; the first one is made with `begin`.
    pub async fn place(&self, begin: &Place) -> Result<Place, StoreError> {
        let mut connection = self.pool.acquire().await?;
        if let Some(place) = place::read(&mut connection, self.partition).await? {
            return Ok(place);
        }
        place::begin(&mut connection, self.partition, begin).await?;
        let begun = place::read(&mut connection, self.partition).await?;
        begun.ok_or(StoreError::Moved {
            partition: self.partition,
        })
    }

    /// Writes a batch if the partition stands at `from`, and moves it to `to`.
    ///
    /// A crash before the commit leaves nothing of it; after it, all. An error after the commit was sent leaves either: the place tells which.
    ///
    /// # Errors
    /// `Moved` where the partition stands elsewhere: somebody else wrote, and nothing of this was.
    pub async fn write(&mut self, from: &Place, to: &Place, batch: &Batch<'_>) -> Result<(), StoreError> {
        let by_month = self.by_month(batch)?;
        for month in by_month.keys() {
            if !self.months.contains(month) {
                months::ensure(&self.pool, *month).await?;
                self.months.insert(*month);
            }
        }
        let mut transaction = self.pool.begin().await?;
        let found = place::lock(&mut transaction, self.partition).await?;
        if found.as_ref() != Some(from) {
            // Another copy may have taken the place of the one whose tables these were.
            self.months.clear();
            return Err(StoreError::Moved {
                partition: self.partition,
            });
        }
        for (month, rows) in by_month {
            copy_rows(&mut transaction, self.partition, month, &rows).await?;
        }
        key_leaves::write(&mut transaction, self.partition, &batch.rows).await?;
        write_tiles(&mut transaction, self.partition, &batch.tiles).await?;
        write_checkpoints(&mut transaction, self.partition, &batch.checkpoints).await?;
        place::store(&mut transaction, self.partition, to).await?;
        // Whoever waits for an entry looks again, once this is committed.
        sqlx::query("SELECT pg_notify('ledgerline_indexed', $1)")
            .bind(self.partition.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    fn by_month<'b, 'r>(
        &self,
        batch: &'b Batch<'r>,
    ) -> Result<BTreeMap<Month, Vec<&'b LeafRow<'r>>>, StoreError> {
        let mut by_month: BTreeMap<Month, Vec<&LeafRow<'_>>> = BTreeMap::new();
        for row in &batch.rows {
            let month = Month::of(row.leaf.sealed_at).ok_or_else(|| {
                StoreError::wrong(format!(
                    "leaf {} of partition {} has a time that is in no month",
                    row.leaf.index, self.partition
                ))
            })?;
            by_month.entry(month).or_default().push(row);
        }
        Ok(by_month)
    }
}

const LEAF_COLUMNS: &str = "month, partition, leaf_index, sealed_at, kind, leaf, tenant_id, sequence, entry_hash, event_id, occurred_at, action, actor_type, \
                            actor_id, canonical_event_json";

async fn copy_rows(
    connection: &mut PgConnection,
    partition: u32,
    month: Month,
    rows: &[&LeafRow<'_>],
) -> Result<(), StoreError> {
    let (mut leaves, mut targets) = (CopyRows::default(), CopyRows::default());
    for row in rows {
        put_leaf(&mut leaves, partition, month, row);
        put_targets(&mut targets, month, row);
    }
    let statement = |parent: &str, columns: &str| {
        format!(
            "COPY {} ({columns}) FROM STDIN (FORMAT binary)",
            month.table(parent)
        )
    };
    leaves
        .send(connection, &statement("leaves", LEAF_COLUMNS))
        .await?;
    targets
        .send(
            connection,
            &statement("targets", "month, tenant_id, target_id, sequence"),
        )
        .await?;
    write_months(connection, partition, month, rows).await
}

fn put_leaf(into: &mut CopyRows, partition: u32, month: Month, row: &LeafRow<'_>) {
    let members = row.members.as_ref();
    into.row(15)
        .date(month.first_day())
        .int4(partition as i32)
        .int8(row.leaf.index as i64)
        .int8(row.leaf.sealed_at)
        .text(row.leaf.body.kind())
        .bytes(row.leaf_bytes)
        .optional(row.leaf.body.tenant().map(str::as_bytes))
        .optional_int8(row.sequence().map(|sequence| sequence as i64))
        .optional(row.entry_hash.as_ref().map(|hash| &hash[..]))
        .optional(members.map(|members| members.event_id.as_bytes()))
        .optional_int8(row.occurred_at)
        .optional(members.map(|members| members.action.as_bytes()))
        .optional(members.map(|members| members.actor.kind.as_bytes()))
        .optional(members.map(|members| members.actor.id.as_bytes()))
        .optional(row.event);
}

fn put_targets(into: &mut CopyRows, month: Month, row: &LeafRow<'_>) {
    let (Some(members), Some(tenant), Some(sequence)) =
        (&row.members, row.leaf.body.tenant(), row.sequence())
    else {
        return;
    };
    for target in members.target_ids() {
        into.row(4)
            .date(month.first_day())
            .text(tenant)
            .text(target)
            .int8(sequence as i64);
    }
}

/// The first and last sequence of each tenant, and of the partition's leaves, in a month.
async fn write_months(
    connection: &mut PgConnection,
    partition: u32,
    month: Month,
    rows: &[&LeafRow<'_>],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO partition_months (partition, month, first_index, last_index) VALUES ($1, $2::date, $3, $4) \
         ON CONFLICT (partition, month) DO UPDATE SET last_index = excluded.last_index",
    )
    .bind(partition as i32)
    .bind(month.date())
    .bind(first.leaf.index as i64)
    .bind(last.leaf.index as i64)
    .execute(&mut *connection)
    .await?;
    let tenants = Tenants::of(rows);
    if tenants.ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO tenant_months (tenant_id, month, partition, first_sequence, last_sequence, last_hash) \
         SELECT tenant_id, $2::date, $1, first, last, hash FROM UNNEST($3::text[], $4::bigint[], $5::bigint[], $6::bytea[]) AS t (tenant_id, first, last, hash) \
         ON CONFLICT (tenant_id, month) DO UPDATE SET last_sequence = excluded.last_sequence, last_hash = excluded.last_hash",
    )
    .bind(partition as i32)
    .bind(month.date())
    .bind(&tenants.ids)
    .bind(&tenants.firsts)
    .bind(&tenants.lasts)
    .bind(&tenants.hashes)
    .execute(connection)
    .await?;
    Ok(())
}

/// Columns, as `UNNEST` takes them.
#[derive(Default)]
struct Tenants<'r> {
    ids: Vec<&'r str>,
    firsts: Vec<i64>,
    lasts: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl<'r> Tenants<'r> {
    fn of(rows: &[&'r LeafRow<'_>]) -> Self {
        let mut by_tenant: BTreeMap<&'r str, (u64, u64, Digest)> = BTreeMap::new();
        for row in rows {
            let (Body::Entry { tenant, sequence, .. }, Some(hash)) = (&row.leaf.body, row.entry_hash) else {
                continue;
            };
            let place = by_tenant.entry(*tenant).or_insert((*sequence, *sequence, hash));
            (place.1, place.2) = (*sequence, hash);
        }
        let mut tenants = Self::default();
        for (id, (first, last, hash)) in by_tenant {
            tenants.ids.push(id);
            tenants.firsts.push(first as i64);
            tenants.lasts.push(last as i64);
            tenants.hashes.push(hash.to_vec());
        }
        tenants
    }
}

async fn write_tiles(
    connection: &mut PgConnection,
    partition: u32,
    tiles: &[(TileName, Vec<u8>)],
) -> Result<(), StoreError> {
    if tiles.is_empty() {
        return Ok(());
    }
    // Within a batch a tile may be there twice, as it was when it was full and before: the last one counts.
    let newest: BTreeMap<(u8, u64), &[u8]> = tiles
        .iter()
        .map(|(name, hashes)| ((name.level, name.index), hashes.as_slice()))
        .collect();
    let levels: Vec<i16> = newest.keys().map(|(level, _)| i16::from(*level)).collect();
    let indexes: Vec<i64> = newest.keys().map(|(_, index)| *index as i64).collect();
    let hashes: Vec<&[u8]> = newest.values().copied().collect();
    sqlx::query(
        "INSERT INTO tiles (partition, level, tile_index, hashes) \
         SELECT $1, level, tile_index, hashes FROM UNNEST($2::smallint[], $3::bigint[], $4::bytea[]) AS t (level, tile_index, hashes) \
         ON CONFLICT (partition, level, tile_index) DO UPDATE SET hashes = excluded.hashes",
    )
    .bind(partition as i32)
    .bind(levels)
    .bind(indexes)
    .bind(hashes)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_checkpoints(
    connection: &mut PgConnection,
    partition: u32,
    checkpoints: &[(u64, Vec<u8>)],
) -> Result<(), StoreError> {
    let newest: BTreeMap<u64, &[u8]> = checkpoints
        .iter()
        .map(|(size, note)| (*size, note.as_slice()))
        .collect();
    if newest.is_empty() {
        return Ok(());
    }
    let sizes: Vec<i64> = newest.keys().map(|size| *size as i64).collect();
    let notes: Vec<&[u8]> = newest.values().copied().collect();
    sqlx::query(
        "INSERT INTO checkpoints (partition, size, note) SELECT $1, size, note FROM UNNEST($2::bigint[], $3::bytea[]) AS t (size, note) \
         ON CONFLICT (partition, size) DO UPDATE SET note = excluded.note",
    )
    .bind(partition as i32)
    .bind(sizes)
    .bind(notes)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM checkpoints WHERE partition = $1 AND size < (SELECT size FROM checkpoints WHERE partition = $1 ORDER BY size DESC OFFSET $2 LIMIT 1)",
    )
    .bind(partition as i32)
    .bind(CHECKPOINTS_KEPT - 1)
    .execute(connection)
    .await?;
    Ok(())
}
