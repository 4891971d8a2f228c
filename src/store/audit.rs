//! A pass over a partition's rows: each against its leaf, the leaves against the hash tiles, the tiles against the newest checkpoint.
//!
//! It says which rows somebody changed, not whether the ledger is right: what it is held against stands in the same database. That the checkpoint is one that the
//! ledger's keys signed is what ties it to the world outside.

use super::StoreError;
use super::check::{COLUMNS, Difference, StoredRow};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::key::PublicKey;
use crate::ledger::keyring::KeyRing;
use crate::ledger::leaf::Body;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::{TILE_WIDTH, TileBuilder, TileName};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::HashMap;
use std::ops::Range;

/// Rows of one step: a tile of them.
const ROWS_AT_ONCE: u64 = TILE_WIDTH;

/// What was found wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub leaf_index: u64,
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
    /// Leaves of months that were detached.
    let_go: Vec<Range<u64>>,
    /// The tree that the tiles of level 0 make.
    tree: TileBuilder,
    /// As the leaves declare them.
    keys: KeyRing,
}

impl Audit {
    /// A pass over all that the partition's newest checkpoint covers; `None` where there is none yet.
    pub async fn begin(pool: PgPool, partition: u32, origin: &str) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query("SELECT max(size) FROM checkpoints WHERE partition = $1")
            .bind(partition as i32)
            .fetch_one(&pool)
            .await?;
        let end: Option<i64> = row.try_get(0)?;
        let Some(end) = end else { return Ok(None) };
        Ok(Some(Self {
            let_go: let_go(&pool, partition).await?,
            pool,
            partition,
            origin: origin.to_owned(),
            next_index: 0,
            end: end as u64,
            tree: TileBuilder::new(),
            keys: KeyRing::default(),
        }))
    }

    /// Leaves that were looked at.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.next_index
    }

    /// Looks at the next rows. `None`: that was all, and [`Audit::finish`] is due.
    pub async fn step(&mut self) -> Result<Option<Vec<Found>>, StoreError> {
        if self.next_index >= self.end {
            return Ok(None);
        }
        let until = (self.next_index + ROWS_AT_ONCE).min(self.end);
        let rows = self.rows(until).await?;
        let tile = self.tile(0, self.next_index / TILE_WIDTH).await?;
        let (mut found, mut completed) = (Vec::new(), Vec::new());
        for index in self.next_index..until {
            let at = usize::try_from(index % TILE_WIDTH).unwrap_or_default() * 32;
            let hash = tile.as_deref().and_then(|tile| tile.get(at..at + 32));
            let outcome = match rows.get(&index) {
                Some(row) => self.one(row, hash),
                None if self.let_go.iter().any(|range| range.contains(&index)) => Ok(()),
                None => Err(Difference::Missing),
            };
            if let Err(what) = outcome {
                found.push(Found {
                    leaf_index: index,
                    what,
                });
            }
            // The tree is that of the tiles: a row that is wrong must not make all that follows wrong.
            if let Some(hash) = hash.and_then(|hash| hash.try_into().ok()) {
                self.tree.push(hash, &mut completed);
            }
        }
        self.next_index = until;
        if !self.are_there(&completed).await? {
            found.push(self.tiles_differ());
        }
        Ok(Some(found))
    }

    fn one(&mut self, row: &StoredRow, hash: Option<&[u8]>) -> Result<(), Difference> {
        let leaf = row.check()?;
        if leaf.origin != self.origin {
            return Err(Difference::Origin);
        }
        if hash != Some(&leaf_hash(&row.leaf)[..]) {
            return Err(Difference::Tree);
        }
        match &leaf.body {
            Body::Genesis { keys, .. } => self.keys = KeyRing::genesis(keys).map_err(|_| Difference::Leaf)?,
            Body::Key { action, key, proof } => self
                .keys
                .apply(&self.origin, leaf.index, *action, key, proof)
                .map_err(|_| Difference::Leaf)?,
            Body::Entry { .. }
            | Body::Duplicate { .. }
            | Body::Rejected { .. }
            | Body::Rerouted { .. }
            | Body::Source { .. }
            | Body::Cut { .. }
            | Body::Hold { .. } => {}
        }
        Ok(())
    }

    async fn rows(&self, until: u64) -> Result<HashMap<u64, StoredRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM leaves WHERE partition = $1 AND leaf_index >= $2 AND leaf_index < $3 AND month IN \
             (SELECT month FROM partition_months WHERE partition = $1 AND first_index < $3 AND last_index >= $2)"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.partition as i32)
            .bind(self.next_index as i64)
            .bind(until as i64)
            .fetch_all(&self.pool)
            .await?;
        let read = |row| StoredRow::read(row).map(|row| (row.leaf_index as u64, row));
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let row =
            sqlx::query("SELECT hashes FROM tiles WHERE partition = $1 AND level = $2 AND tile_index = $3")
                .bind(self.partition as i32)
                .bind(i16::from(level))
                .bind(index as i64)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Holds the tiles against the checkpoint of the size at which the pass ended. `known` are keys of the ledger that are known from elsewhere; without any, those
    /// that the leaves declare count; where these were let go of, the signatures are not judged.
    pub async fn finish(&self, known: &[PublicKey]) -> Result<Vec<Found>, StoreError> {
        let keys = if known.is_empty() {
            self.keys.declared()
        } else {
            known
        };
        let note = sqlx::query("SELECT note FROM checkpoints WHERE partition = $1 AND size = $2")
            .bind(self.partition as i32)
            .bind(self.end as i64)
            .fetch_optional(&self.pool)
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
        let is_whole = self.are_there(&self.tree.partials()).await?;
        Ok(if is_signed && is_whole {
            Vec::new()
        } else {
            vec![self.tiles_differ()]
        })
    }

    /// Whether the tables have these tiles; a partial one may have grown.
    async fn are_there(&self, due: &[(TileName, Vec<u8>)]) -> Result<bool, StoreError> {
        for (name, hashes) in due {
            let tile = self.tile(name.level, name.index).await?;
            if !tile.is_some_and(|tile| tile.starts_with(hashes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tiles_differ(&self) -> Found {
        Found {
            leaf_index: self.next_index.saturating_sub(1),
            what: Difference::Checkpoint,
        }
    }
}

/// The leaves of months whose tables are no longer attached: they are not missing.
async fn let_go(pool: &PgPool, partition: u32) -> Result<Vec<Range<u64>>, StoreError> {
    let rows = sqlx::query(
        "SELECT first_index, last_index FROM partition_months WHERE partition = $1 AND NOT EXISTS (SELECT FROM pg_inherits \
         WHERE inhparent = 'leaves'::regclass AND inhrelid = to_regclass('leaves_' || to_char(month, 'YYYY_MM')))",
    )
    .bind(partition as i32)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let (first, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Ok(first as u64..last as u64 + 1)
        })
        .collect()
}
