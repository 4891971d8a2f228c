//! The tenant's rows, in order, each against its leaf, the entry before, the tree, and what the other tables say of it.

use super::outcome::{Outcome, Verdict};
use super::{BYTES_AT_ONCE, ROWS_AT_ONCE};
use crate::ledger::Digest;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::TILE_WIDTH;
use crate::store::check::{COLUMNS, ChainCheck, Difference, StoredRow};
use crate::store::checks::{Check, Checks};
use crate::store::read::months::{self, TenantMonth};
use crate::store::read::page::rows_of_month;
use crate::store::read::tree::{StoredCheckpoint, Tree};
use crate::store::read::{Filter, ReadError};
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// A chain as far as it was checked.
pub(super) struct Rows {
    pub checks: Checks,
    pub tenant: String,
    pub partition: u32,
    pub origin: String,
    pub chain: ChainCheck,
    /// The place in the partition of the last entry that was taken.
    pub last_leaf: Option<u64>,
    /// The newest one when the call began: it may be let go of while the call lasts. An error: what is stored is none.
    pub checkpoint: Result<Option<StoredCheckpoint>, ReadError>,
}

/// What else is stored of some rows.
struct Beside {
    tiles: BTreeMap<u64, Tile>,
    targets: BTreeMap<i64, BTreeSet<String>>,
}

/// The leaves' hashes of a tile of level 0, as far as the signed tree has them.
struct Tile {
    hashes: Vec<Digest>,
    leads_to_root: bool,
}

impl Rows {
    fn checkpoint(&self) -> Option<&StoredCheckpoint> {
        self.checkpoint.as_ref().ok().and_then(Option::as_ref)
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint().map_or(0, StoredCheckpoint::size)
    }

    /// The leaf behind the last entry that was taken.
    pub(super) fn next_leaf(&self) -> u64 {
        self.last_leaf.map_or(0, |index| index.saturating_add(1))
    }

    /// Takes the next rows, up to the first that is not right.
    pub(super) async fn page(
        &mut self,
        connection: &mut PgConnection,
        outcome: &mut Outcome,
        rows_max: usize,
    ) -> Result<(), ReadError> {
        let Some(next) = outcome.next_sequence else {
            return Ok(());
        };
        let months = months::of_tenant(connection, &self.tenant).await?;
        let Some(month) = months.iter().find(|month| month.last >= next) else {
            self.end(months.last(), outcome);
            return Ok(());
        };
        if !month.is_here {
            return Err(ReadError::Detached {
                first_stored_sequence: months::first_stored(&months),
            });
        }
        let rows = self
            .read(connection, month, next, rows_max.min(ROWS_AT_ONCE))
            .await?;
        if rows.is_empty() {
            outcome.fail(next, Difference::Missing.into());
        }
        let beside = Beside {
            tiles: self.tiles(connection, &rows).await?,
            targets: targets(connection, month, &rows).await?,
        };
        self.take_all(&rows, &beside, outcome);
        if outcome.error.is_none() && self.chain.head().sequence >= month.last {
            let newest = months.last().filter(|newest| newest.date == month.date);
            self.end_month(connection, month, newest.is_some(), outcome)
                .await?;
            if outcome.error.is_none() && newest.is_some() {
                self.end(newest, outcome);
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        month: &TenantMonth,
        next: u64,
        rows_max: usize,
    ) -> Result<Vec<StoredRow>, ReadError> {
        let (filter, range) = (Filter::default(), next..=month.last);
        let rows = rows_of_month(
            connection,
            COLUMNS,
            month,
            &filter,
            &range,
            rows_max,
            BYTES_AT_ONCE,
        )
        .await?;
        Ok(rows.iter().map(StoredRow::read).collect::<Result<_, _>>()?)
    }

    fn take_all(&mut self, rows: &[StoredRow], beside: &Beside, outcome: &mut Outcome) {
        for row in rows {
            let due = self.chain.head().sequence + 1;
            if let Err(difference) = self.take(row, due, beside) {
                let at = if difference == Difference::Missing {
                    due
                } else {
                    row.sequence.unwrap_or_default() as u64
                };
                outcome.fail(at, difference.into());
                return;
            }
            outcome.checked += 1;
            outcome.unsigned += u64::from(row.leaf_index as u64 >= self.size());
            outcome.next_sequence = Some(self.chain.head().sequence + 1);
        }
    }

    fn take(&mut self, row: &StoredRow, due: u64, beside: &Beside) -> Result<(), Difference> {
        let checks = self.checks;
        // Before anything of the row is looked at: what is missing comes before it.
        let is_behind = row.sequence.is_none_or(|sequence| sequence as u64 <= due);
        checks.hold(Check::Chain, is_behind, Difference::Missing)?;
        let said = self.chain.take_by(checks, &self.tenant, row)?;
        let partition = Difference::Column("partition");
        checks.hold(
            Check::Partition,
            row.partition as u32 == self.partition,
            partition,
        )?;
        checks.hold(Check::Origin, said.leaf.origin == self.origin, Difference::Origin)?;
        self.hold_in_tree(said.leaf.index, row, &beside.tiles)?;
        let targets = said.members.iter().flat_map(|members| members.target_ids());
        let targets: BTreeSet<String> = targets.map(str::to_owned).collect();
        let stored = row.sequence.and_then(|sequence| beside.targets.get(&sequence));
        let are_stored = stored.map_or(targets.is_empty(), |stored| *stored == targets);
        checks.hold(Check::Targets, are_stored, Difference::Targets)?;
        self.last_leaf = Some(said.leaf.index);
        Ok(())
    }

    fn hold_in_tree(
        &self,
        index: u64,
        row: &StoredRow,
        tiles: &BTreeMap<u64, Tile>,
    ) -> Result<(), Difference> {
        if index >= self.size() {
            return Ok(());
        }
        // It is there: the tiles are those of the rows' indexes, which are their leaves'.
        let tile = tiles.get(&(index / TILE_WIDTH));
        let hash = tile.and_then(|tile| tile.hashes.get((index % TILE_WIDTH) as usize));
        let is_in_tile = hash == Some(&leaf_hash(&row.leaf));
        self.checks.hold(Check::Tree, is_in_tile, Difference::Tree)?;
        let leads_to_root = tile.is_some_and(|tile| tile.leads_to_root);
        self.checks
            .hold(Check::Root, leads_to_root, Difference::Checkpoint)
    }

    /// The tiles of the rows' leaves that the signed tree covers, each of them held against its root: the proof of one leaf is made of all hashes of its tile.
    async fn tiles(
        &self,
        connection: &mut PgConnection,
        rows: &[StoredRow],
    ) -> Result<BTreeMap<u64, Tile>, ReadError> {
        let Some(checkpoint) = self.checkpoint() else {
            return Ok(BTreeMap::new());
        };
        let (size, root) = (checkpoint.size(), &checkpoint.signed.checkpoint.root);
        let indexes = rows.iter().map(|row| row.leaf_index as u64);
        let of_tiles: BTreeMap<u64, u64> = indexes
            .filter(|index| *index < size)
            .map(|index| (index / TILE_WIDTH, index))
            .collect();
        let indexes: Vec<u64> = of_tiles.values().copied().collect();
        let tree = Tree::for_leaves(connection, self.partition, size, &indexes).await?;
        let tiles = of_tiles.into_iter().map(|(tile, index)| {
            let hashes = (tile * TILE_WIDTH..(tile + 1) * TILE_WIDTH).map_while(|index| tree.leaf(index));
            let leads_to_root = tree
                .leaf(index)
                .is_some_and(|hash| tree.inclusion(&hash, index, root).is_ok());
            let tile_hashes = Tile {
                hashes: hashes.collect(),
                leads_to_root,
            };
            (tile, tile_hashes)
        });
        Ok(tiles.collect())
    }

    /// All rows of a month are through: has it others, and is the last one what the month says? Behind the newest month there is no row at all.
    async fn end_month(
        &self,
        connection: &mut PgConnection,
        month: &TenantMonth,
        is_newest: bool,
        outcome: &mut Outcome,
    ) -> Result<(), ReadError> {
        let row = sqlx::query(
            "SELECT min(sequence), max(sequence) FROM leaves WHERE kind = 'entry' AND tenant_id = current_setting('ledgerline.tenant_id') \
             AND month >= $1::date AND month <= $2::date",
        )
        .bind(&month.date)
        .bind(if is_newest { "9999-12-01" } else { month.date.as_str() })
        .fetch_one(connection)
        .await?;
        let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let first = first.map_or(month.first, |first| first as u64);
        let last = last.map_or(month.last, |last| last as u64);
        // Of the newest month this is the tenant's head, which has its own name.
        let is_last = is_newest || month.last_hash == self.chain.hash();
        let has_no_others = first >= month.first && last <= month.last;
        if !self.checks.pass(Check::Months, is_last && has_no_others) {
            let at = if last > month.last { month.last + 1 } else { first };
            outcome.fail(if is_last { at } else { month.last }, Verdict::Months);
        }
        Ok(())
    }

    /// All rows are through: is the last one the head?
    fn end(&self, newest: Option<&TenantMonth>, outcome: &mut Outcome) {
        let head = self.chain.head();
        outcome.next_sequence = None;
        let is_head =
            newest.is_some_and(|newest| newest.last == head.sequence && newest.last_hash == head.hash);
        if !self.checks.pass(Check::Head, is_head) {
            outcome.fail(head.sequence, Verdict::Head);
        }
    }
}

/// The targets that are stored of the rows' entries.
async fn targets(
    connection: &mut PgConnection,
    month: &TenantMonth,
    rows: &[StoredRow],
) -> Result<BTreeMap<i64, BTreeSet<String>>, ReadError> {
    let sequences: Vec<i64> = rows.iter().filter_map(|row| row.sequence).collect();
    let rows = sqlx::query(
        "SELECT sequence, target_id FROM targets WHERE tenant_id = current_setting('ledgerline.tenant_id') AND month = $1::date \
         AND sequence >= $2 AND sequence <= $3",
    )
    .bind(&month.date)
    .bind(sequences.iter().min().copied().unwrap_or(0))
    .bind(sequences.iter().max().copied().unwrap_or(-1))
    .fetch_all(connection)
    .await?;
    let mut targets: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        targets
            .entry(row.try_get(0)?)
            .or_default()
            .insert(row.try_get(1)?);
    }
    Ok(targets)
}
