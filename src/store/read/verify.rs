//! Whether a tenant's chain holds over the bytes that are stored: each row is what its leaf and its event say, each entry names the one before, each leaf is in the tree
//! that the ledger's keys signed. In order, a page at a time: memory does not grow with the chain, and one call ends after so many rows or so long.
//!
//! It judges rows, not the ledger: that is `ledgerline verify` on the archive, with keys from elsewhere.

use super::months::{self, TenantMonth};
use super::page::rows_of_month;
use super::tree::{self, StoredCheckpoint, Tree};
use super::{Filter, ReadError, Reads};
use crate::ledger::Digest;
use crate::ledger::chain::{EMPTY_HEAD, Head, entry_hash};
use crate::ledger::key::PublicKey;
use crate::ledger::keyring::KeyRing;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::TILE_WIDTH;
use crate::store::check::{COLUMNS, ChainCheck, Difference, StoredRow};
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Rows of one page, and bytes of their events.
const ROWS_AT_ONCE: usize = TILE_WIDTH as usize;
const BYTES_AT_ONCE: u64 = 2 << 20;
/// Far more keys than a ledger ever declares.
const KEY_LEAVES_MAX: i64 = 10_000;

/// When one call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub rows: u64,
    pub time: Duration,
}

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    #[error(transparent)]
    Row(#[from] Difference),
    /// What the tables give as the tenant's last entry is not where its chain ends.
    #[error("the tenant's head is not the last entry of its chain")]
    Head,
    #[error("the newest checkpoint is not signed by a key of the ledger")]
    Signature,
    /// The months with the leaves that declare them were let go of, and this process has seen none.
    #[error("the ledger's keys are not known here, so its checkpoint cannot be judged")]
    KeysUnknown,
}

impl Verdict {
    /// A word for each, which programs may compare.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Row(difference) => match difference {
                Difference::Leaf => "leaf",
                Difference::Event => "event",
                Difference::Column(_) => "column",
                Difference::Origin => "origin",
                Difference::Missing => "missing",
                Difference::Chain => "chain",
                Difference::Tree => "tree",
                Difference::Checkpoint => "root",
            },
            Self::Head => "head",
            Self::Signature => "signature",
            Self::KeysUnknown => "keys_unknown",
        }
    }
}

/// What one call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: nothing is wrong as far as it went.
    pub error: Option<Verdict>,
    /// Where an entry is at fault: the first one.
    pub first_bad_sequence: Option<u64>,
    /// Entries that were looked at and are as they must be.
    pub checked: u64,
    /// Of those, how many the signed tree does not cover yet: their chain was checked, and no more.
    pub unsigned: u64,
    /// Leaves of the signed tree against which it was held; 0 where there is none.
    pub tree_size: u64,
    /// Where the next call goes on; `None`: that was all.
    pub next_sequence: Option<u64>,
    /// The sequence from which on all entries are here.
    pub first_stored_sequence: u64,
}

impl Reads {
    /// Checks a tenant's chain from an entry on, or from the first one that is stored. `known` are the ledger's keys as this process has seen its leaves declare them; without
    /// any, those count that the stored leaves declare, which are in the tree.
    ///
    /// # Errors
    /// `NotFound` where the tenant has no such entry, `Detached` where it was let go of.
    pub async fn verify_chain(
        &self,
        tenant: &str,
        from_sequence: Option<u64>,
        known: &[PublicKey],
        bounds: Bounds,
    ) -> Result<Outcome, ReadError> {
        let until = Instant::now() + bounds.time;
        let (mut check, mut outcome) = self.begin_check(tenant, from_sequence).await?;
        while outcome.next_sequence.is_some() && outcome.checked < bounds.rows && Instant::now() < until {
            let rows_max = usize::try_from(bounds.rows - outcome.checked).unwrap_or(ROWS_AT_ONCE);
            let mut transaction = self.of_tenant(tenant).await?;
            check
                .page(&mut transaction, &mut outcome, rows_max.min(ROWS_AT_ONCE))
                .await?;
            transaction.commit().await?;
        }
        // Last: a row or a tile that is wrong says more, and where.
        if outcome.error.is_none()
            && let Some(error) = self.judge_checkpoint(&check, known).await?
        {
            outcome.error = Some(error);
            outcome.next_sequence = None;
        }
        Ok(outcome)
    }

    async fn begin_check(&self, tenant: &str, from: Option<u64>) -> Result<(Check, Outcome), ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let months = months::of_tenant(&mut transaction, tenant).await?;
        let (Some(newest), Some(first_stored)) = (months.last(), months::first_stored(&months)) else {
            return Err(ReadError::NotFound {
                what: "tenant with entries",
            });
        };
        let from = from.unwrap_or(first_stored);
        if from < first_stored || first_stored > newest.last {
            return Err(ReadError::Detached {
                first_stored_sequence: Some(first_stored),
            });
        }
        if from == 0 || from > newest.last {
            return Err(ReadError::NotFound { what: "entry" });
        }
        let before = head_before(&mut transaction, &months, tenant, from).await?;
        let checkpoint = match tree::checkpoint(&mut transaction, newest.partition, None).await {
            Err(error @ ReadError::Store(_)) => return Err(error),
            judged => judged,
        };
        let check = Check {
            tenant: tenant.to_owned(),
            partition: newest.partition,
            origin: newest.origin.clone(),
            chain: ChainCheck::behind(before.unwrap_or(EMPTY_HEAD)),
            checkpoint,
        };
        transaction.commit().await?;
        let mut outcome = Outcome {
            error: None,
            first_bad_sequence: None,
            checked: 0,
            unsigned: 0,
            tree_size: check.size(),
            next_sequence: Some(from),
            first_stored_sequence: first_stored,
        };
        if before.is_none() {
            fail(&mut outcome, from - 1, Difference::Missing.into());
        }
        Ok((check, outcome))
    }

    /// Whether the checkpoint is one of the ledger's keys.
    async fn judge_checkpoint(
        &self,
        check: &Check,
        known: &[PublicKey],
    ) -> Result<Option<Verdict>, ReadError> {
        let checkpoint = match &check.checkpoint {
            Ok(Some(checkpoint)) => checkpoint,
            // Nothing is signed yet: the chain alone is judged.
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(Verdict::Signature)),
        };
        let declared;
        let keys = if known.is_empty() {
            let mut transaction = self.of_all().await?;
            declared = match declared_keys(&mut transaction, check, checkpoint).await? {
                Declared::Keys(keys) => keys,
                Declared::NotHere => return Ok(Some(Verdict::KeysUnknown)),
                Declared::NotInTree => return Ok(Some(Verdict::Signature)),
            };
            transaction.commit().await?;
            declared.as_slice()
        } else {
            known
        };
        let is_ours = checkpoint.signed.checkpoint.origin == check.origin
            && checkpoint.signed.verify_by_known(keys).is_ok();
        Ok((!is_ours).then_some(Verdict::Signature))
    }
}

/// What the stored leaves say of the ledger's keys.
enum Declared {
    Keys(Vec<PublicKey>),
    /// The first of those leaves was let go of.
    NotHere,
    /// One of them is not in the tree that is to be judged, or may not say what it says.
    NotInTree,
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
        Err(ReadError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The keys that the partition's stored leaves declare, each leaf in the tree that is to be judged.
async fn declared_keys(
    connection: &mut PgConnection,
    check: &Check,
    checkpoint: &StoredCheckpoint,
) -> Result<Declared, ReadError> {
    let rows = sqlx::query(
        "SELECT leaf_index, leaf FROM leaves WHERE partition = $1 AND kind IN ('genesis', 'key') AND leaf_index < $2 ORDER BY leaf_index LIMIT $3",
    )
    .bind(check.partition as i32)
    .bind(checkpoint.size() as i64)
    .bind(KEY_LEAVES_MAX)
    .fetch_all(&mut *connection)
    .await?;
    if !matches!(rows.first(), Some(row) if row.try_get::<i64, _>(0)? == 0) {
        return Ok(Declared::NotHere);
    }
    let mut ring = KeyRing::default();
    for row in &rows {
        let (index, leaf): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let index = index as u64;
        let tree = Tree::for_leaves(connection, check.partition, checkpoint.size(), &[index]).await?;
        let root = &checkpoint.signed.checkpoint.root;
        if tree.inclusion(&leaf_hash(&leaf), index, root).is_err()
            || !take_keys(&mut ring, &check.origin, index, &leaf)
        {
            return Ok(Declared::NotInTree);
        }
    }
    Ok(Declared::Keys(ring.declared().to_vec()))
}

fn take_keys(ring: &mut KeyRing, origin: &str, index: u64, leaf: &[u8]) -> bool {
    let Ok(leaf) = Leaf::parse(leaf) else {
        return false;
    };
    let is_in_place = leaf.index == index && leaf.origin == origin;
    let is_taken = match &leaf.body {
        Body::Genesis { keys, .. } => match KeyRing::genesis(keys) {
            Ok(begun) => {
                *ring = begun;
                true
            }
            Err(_) => false,
        },
        Body::Key { action, key, proof } => ring.apply(origin, index, *action, key, proof).is_ok(),
        Body::Entry { .. }
        | Body::Duplicate { .. }
        | Body::Rejected { .. }
        | Body::Rerouted { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Hold { .. } => false,
    };
    is_in_place && is_taken
}

/// A chain as far as it was checked.
struct Check {
    tenant: String,
    partition: u32,
    origin: String,
    chain: ChainCheck,
    /// The newest one when the call began: it may be let go of while the call lasts. An error: what is stored is none.
    checkpoint: Result<Option<StoredCheckpoint>, ReadError>,
}

impl Check {
    fn checkpoint(&self) -> Option<&StoredCheckpoint> {
        self.checkpoint.as_ref().ok().and_then(Option::as_ref)
    }

    fn size(&self) -> u64 {
        self.checkpoint().map_or(0, StoredCheckpoint::size)
    }

    /// Takes the next rows, up to the first that is not right.
    async fn page(
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
        let range = next..=month.last;
        let filter = Filter::default();
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
        let rows: Vec<StoredRow> = rows.iter().map(StoredRow::read).collect::<Result<_, _>>()?;
        let tiles = self.tiles(connection, &rows).await?;
        if rows.is_empty() {
            fail(outcome, next, Difference::Missing.into());
        }
        for row in &rows {
            let due = self.chain.head().sequence + 1;
            if let Err(difference) = self.take(row, due, &tiles) {
                let at = if difference == Difference::Missing {
                    due
                } else {
                    row.sequence.unwrap_or_default() as u64
                };
                fail(outcome, at, difference.into());
                return Ok(());
            }
            outcome.checked += 1;
            outcome.unsigned += u64::from(row.leaf_index as u64 >= self.size());
            outcome.next_sequence = Some(due + 1);
        }
        let newest = months.last().filter(|_| outcome.error.is_none());
        if newest.is_some_and(|newest| self.chain.head().sequence >= newest.last) {
            self.end(newest, outcome);
        }
        Ok(())
    }

    fn take(&mut self, row: &StoredRow, due: u64, tiles: &BTreeMap<u64, Tile>) -> Result<(), Difference> {
        // Before anything of the row is looked at: what is missing comes before it.
        if row.sequence.is_some_and(|sequence| sequence as u64 > due) {
            return Err(Difference::Missing);
        }
        self.chain.take(&self.tenant, row)?;
        if row.partition as u32 != self.partition {
            return Err(Difference::Column("partition"));
        }
        if Leaf::parse(&row.leaf).is_ok_and(|leaf| leaf.origin != self.origin) {
            return Err(Difference::Origin);
        }
        let index = row.leaf_index as u64;
        if index >= self.size() {
            return Ok(());
        }
        // Both are there: the row's index is its leaf's, and the tiles are those of the rows' indexes.
        let tile = tiles.get(&(index / TILE_WIDTH));
        let hash = tile.and_then(|tile| tile.hashes.get((index % TILE_WIDTH) as usize));
        if hash != Some(&leaf_hash(&row.leaf)) {
            return Err(Difference::Tree);
        }
        if tile.is_some_and(|tile| tile.leads_to_root) {
            Ok(())
        } else {
            Err(Difference::Checkpoint)
        }
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

    /// All rows are through: is the last one the head?
    fn end(&self, newest: Option<&TenantMonth>, outcome: &mut Outcome) {
        let head = self.chain.head();
        outcome.next_sequence = None;
        if newest.is_none_or(|newest| newest.last != head.sequence || newest.last_hash != head.hash) {
            fail(outcome, head.sequence, Verdict::Head);
        }
    }
}

fn fail(outcome: &mut Outcome, at: u64, verdict: Verdict) {
    outcome.error = Some(verdict);
    outcome.first_bad_sequence = Some(at);
    outcome.next_sequence = None;
}

/// The leaves' hashes of a tile of level 0, as far as the signed tree has them.
struct Tile {
    hashes: Vec<Digest>,
    leads_to_root: bool,
}
