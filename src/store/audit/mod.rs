//! A pass over a partition's rows: each against its leaf, the leaves against the hash tiles, the tiles against the newest checkpoint, and the tables that say of the rows
//! what no leaf says again, targets and months, against the rows.
//!
//! It says which rows somebody changed, not whether the ledger is right: what it is held against stands in the same database. That the checkpoint is one that the
//! ledger's keys signed is what ties it to the world outside.

mod tables;

use super::check::{COLUMNS, Difference, StoredRow};
use super::months::{self, PartitionMonth};
use super::read::BEGIN;
use super::{StoreError, key_leaves};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::key::PublicKey;
use crate::ledger::keyring::KeyRing;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::{TILE_WIDTH, TileBuilder, TileName};
use crate::stages::index::LeafRow;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _, Transaction};
use std::collections::{BTreeMap, HashMap};
use tables::{Said, TenantMonths, are_whole};

/// A step ends behind the row whose leaf and event go beyond so much, and with its tile.
const BYTES_AT_ONCE: u64 = 2 << 20;

/// Of a row, what may be large.
const BYTES: &str = "(octet_length(leaf) + coalesce(octet_length(canonical_event_json), 0))";

/// What was found wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `None`: it is of no one leaf.
    pub leaf_index: Option<u64>,
    pub what: Difference,
}

/// Where a pass over one partition stands.
#[derive(Debug)]
pub struct Audit {
    /// The auditor's: it sees all rows and changes none.
    pool: PgPool,
    partition: u32,
    origin: String,
    next_index: u64,
    /// Where it will end: what the tables held when it began.
    end: u64,
    /// What the table of key leaves has, by index.
    key_leaves: BTreeMap<u64, Vec<u8>>,
    tenant_months: TenantMonths,
    /// The tree that the tiles of level 0 make.
    tree: TileBuilder,
    /// As the leaves declare them.
    keys: KeyRing,
}

/// Rows that are looked at together.
struct Page {
    rows: HashMap<u64, StoredRow>,
    /// It is all that is there below this index.
    until: u64,
}

impl Page {
    fn of(rows: &[PgRow], end: u64) -> Result<Self, sqlx::Error> {
        let (mut page, mut bytes) = (HashMap::new(), 0);
        let mut last = None;
        for row in rows {
            let row = StoredRow::read(row)?;
            bytes += row.leaf.len() as u64 + row.event.as_ref().map_or(0, |event| event.len() as u64);
            last = Some(row.leaf_index as u64);
            page.insert(row.leaf_index as u64, row);
        }
        let is_cut = bytes > BYTES_AT_ONCE;
        Ok(Self {
            rows: page,
            until: last.filter(|_| is_cut).map_or(end, |last| last + 1),
        })
    }
}

impl Audit {
    /// A pass over all that the partition's newest checkpoint covers; `None` where there is none yet.
    pub async fn begin(pool: PgPool, partition: u32, origin: &str) -> Result<Option<Self>, StoreError> {
        let mut connection = pool.acquire().await?;
        let row = sqlx::query("SELECT max(size) FROM checkpoints WHERE partition = $1")
            .bind(partition as i32)
            .fetch_one(&mut *connection)
            .await?;
        let end: Option<i64> = row.try_get(0)?;
        let Some(end) = end.map(|end| end as u64) else {
            return Ok(None);
        };
        let key_leaves = key_leaves::read(&mut connection, partition, end).await?;
        drop(connection);
        Ok(Some(Self {
            pool,
            partition,
            origin: origin.to_owned(),
            next_index: 0,
            end,
            key_leaves: key_leaves.into_iter().collect(),
            tenant_months: TenantMonths::default(),
            tree: TileBuilder::new(),
            keys: KeyRing::default(),
        }))
    }

    /// Leaves, and months of tenants, that were looked at.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.next_index + self.tenant_months.checked
    }

    /// Looks at the next rows. `None`: that was all, and [`Audit::finish`] is due.
    pub async fn step(&mut self) -> Result<Option<Vec<Found>>, StoreError> {
        if self.next_index < self.end {
            return self.leaves().await.map(Some);
        }
        self.tenant_months.step(&self.pool, self.partition).await
    }

    async fn leaves(&mut self) -> Result<Vec<Found>, StoreError> {
        let mut moment = self.moment().await?;
        let months = months::of_partition(&mut moment, self.partition).await?;
        let from = self.next_index;
        let tile_end = (from / TILE_WIDTH + 1) * TILE_WIDTH;
        let page = self.page(&mut moment, tile_end.min(self.end)).await?;
        let tile = self.tile(&mut moment, 0, from / TILE_WIDTH).await?;
        let (mut said, mut found, mut completed) = (Said::default(), Vec::new(), Vec::new());
        if from == 0 && !are_whole(&months, self.end) {
            found.push(Found {
                leaf_index: None,
                what: Difference::PartitionMonths,
            });
        }
        for index in from..page.until {
            let at = usize::try_from(index % TILE_WIDTH).unwrap_or_default() * 32;
            let hash = tile.as_deref().and_then(|tile| tile.get(at..at + 32));
            let row = page.rows.get(&index);
            let month = months.iter().find(|month| month.leaves.contains(&index));
            let of_keys = self.key_leaf(index, row, hash);
            let wrong = [self.one(row, month, hash, &mut said), of_keys];
            found.extend(wrong.into_iter().filter_map(Result::err).map(|what| Found {
                leaf_index: Some(index),
                what,
            }));
            // The tree is that of the tiles: a row that is wrong must not make all that follows wrong.
            if let Some(hash) = hash.and_then(|hash| hash.try_into().ok()) {
                self.tree.push(hash, &mut completed);
            }
        }
        found.extend(said.compare(&mut moment, self.partition).await?);
        self.next_index = page.until;
        if !self.are_there(&mut moment, &completed).await? {
            found.push(self.tiles_differ());
        }
        moment.commit().await?;
        Ok(found)
    }

    /// One moment of the tables, in which no month is let go of: who does that waits for its end. The lock comes first, for what is seen is fixed by what is asked next.
    async fn moment(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut moment = self.pool.begin_with(BEGIN).await?;
        sqlx::query("LOCK TABLE ONLY leaves, ONLY targets IN ACCESS SHARE MODE")
            .execute(&mut *moment)
            .await?;
        Ok(moment)
    }

    fn one(
        &self,
        row: Option<&StoredRow>,
        month: Option<&PartitionMonth>,
        hash: Option<&[u8]>,
        said: &mut Said,
    ) -> Result<(), Difference> {
        let Some(row) = row else {
            let is_let_go = month.is_some_and(|month| !month.is_here);
            return if is_let_go {
                Ok(())
            } else {
                Err(Difference::Missing)
            };
        };
        let due: LeafRow<'_> = row.check()?;
        if due.leaf.origin != self.origin {
            return Err(Difference::Origin);
        }
        if hash != Some(&leaf_hash(&row.leaf)[..]) {
            return Err(Difference::Tree);
        }
        if month.is_none_or(|month| month.date != row.month) {
            return Err(Difference::PartitionMonths);
        }
        said.take(row, &due);
        Ok(())
    }

    /// Holds the table of key leaves against the tree, which knows them also where their month was let go of, and takes what they declare.
    ///
    /// Without the genesis leaf, whose month may have been dropped before there was this table, they declare nothing that could be known to be all.
    fn key_leaf(
        &mut self,
        index: u64,
        row: Option<&StoredRow>,
        hash: Option<&[u8]>,
    ) -> Result<(), Difference> {
        let is_due = row.is_some_and(|row| ["genesis", "key"].contains(&row.kind.as_str()));
        let Some(leaf) = self.key_leaves.get(&index) else {
            return if is_due { Err(Difference::Keys) } else { Ok(()) };
        };
        let is_in_tree = hash == Some(&leaf_hash(leaf)[..]);
        let has_genesis = self.key_leaves.contains_key(&0);
        if is_in_tree && (!has_genesis || key_leaves::take(&mut self.keys, &self.origin, index, leaf)) {
            Ok(())
        } else {
            Err(Difference::Keys)
        }
    }

    /// The next rows, below `end`: none behind the one that goes beyond [`BYTES_AT_ONCE`].
    async fn page(&self, connection: &mut PgConnection, end: u64) -> Result<Page, StoreError> {
        // Lengths come of a row without its bytes being read.
        let sql = format!(
            "SELECT * FROM (SELECT {COLUMNS}, {BYTES} AS bytes, sum({BYTES}) OVER (ORDER BY leaf_index ROWS UNBOUNDED PRECEDING) AS bytes_with \
             FROM leaves WHERE partition = $1 AND leaf_index >= $2 AND leaf_index < $3 AND month IN \
             (SELECT month FROM partition_months WHERE partition = $1 AND first_index < $3 AND last_index >= $2)) AS page \
             WHERE bytes_with - bytes <= $4 ORDER BY leaf_index"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.partition as i32)
            .bind(self.next_index as i64)
            .bind(end as i64)
            .bind(BYTES_AT_ONCE as i64)
            .fetch_all(connection)
            .await?;
        Ok(Page::of(&rows, end)?)
    }

    async fn tile(
        &self,
        connection: &mut PgConnection,
        level: u8,
        index: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row =
            sqlx::query("SELECT hashes FROM tiles WHERE partition = $1 AND level = $2 AND tile_index = $3")
                .bind(self.partition as i32)
                .bind(i16::from(level))
                .bind(index as i64)
                .fetch_optional(connection)
                .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Holds the tiles against the checkpoint of the size at which the pass ended. `known` are keys of the ledger that are known from elsewhere; without any, those
    /// that the leaves declare count.
    pub async fn finish(&self, known: &[PublicKey]) -> Result<Vec<Found>, StoreError> {
        let keys = if known.is_empty() {
            self.keys.declared()
        } else {
            known
        };
        let mut connection = self.pool.acquire().await?;
        let note = sqlx::query("SELECT note FROM checkpoints WHERE partition = $1 AND size = $2")
            .bind(self.partition as i32)
            .bind(self.end as i64)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(note) = note else {
            // Newer ones have taken its place meanwhile: the next pass has one of those.
            return Ok(Vec::new());
        };
        let note: Vec<u8> = note.try_get(0)?;
        let is_signed = SignedCheckpoint::parse(&note).is_ok_and(|signed| {
            signed.checkpoint.origin == self.origin
                && signed.checkpoint.root == self.tree.root()
                && (keys.is_empty() || signed.verify_by_known(keys).is_ok())
        });
        let is_whole = self.are_there(&mut connection, &self.tree.partials()).await?;
        Ok(if is_signed && is_whole {
            Vec::new()
        } else {
            vec![self.tiles_differ()]
        })
    }

    /// Whether the tables have these tiles; a partial one may have grown.
    async fn are_there(
        &self,
        connection: &mut PgConnection,
        due: &[(TileName, Vec<u8>)],
    ) -> Result<bool, StoreError> {
        for (name, hashes) in due {
            let tile = self.tile(connection, name.level, name.index).await?;
            if !tile.is_some_and(|tile| tile.starts_with(hashes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tiles_differ(&self) -> Found {
        Found {
            leaf_index: Some(self.next_index.saturating_sub(1)),
            what: Difference::Checkpoint,
        }
    }
}
