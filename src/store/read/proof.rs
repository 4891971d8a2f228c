//! Proofs for those who hold a key of the ledger: that an entry is in the tree that was signed, and that a tree begins with an earlier one. And, per partition, what
//! <https://c2sp.org/tlog-tiles> serves.

use super::tree::{self, Earlier, StoredCheckpoint, Tree};
use super::{ReadError, Reads, entry};
use crate::ledger::Digest;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::proof::TlogProof;
use crate::ledger::tile::{TILE_WIDTH, TileName};
use crate::store::months::{self, PartitionMonth};
use sqlx::{PgConnection, Row as _};
use std::ops::Range;

/// A partition that has rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    pub origin: String,
}

/// That the tree of `to` leaves begins with that of `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    pub from: u64,
    pub to: u64,
    pub hashes: Vec<Digest>,
    /// The signed note of `to`, where it is stored.
    pub note: Option<Vec<u8>>,
}

const NO_PARTITION: ReadError = ReadError::NotFound { what: "partition" };
const NO_TILE: ReadError = ReadError::NotFound { what: "tile" };

impl Reads {
    /// The partition of that number.
    pub async fn partition(&self, number: u32) -> Result<Partition, ReadError> {
        self.one_partition(
            "SELECT partition, origin FROM positions WHERE partition::text = $1",
            &number.to_string(),
        )
        .await
    }

    /// The partition of that origin.
    pub async fn partition_of_origin(&self, origin: &str) -> Result<Partition, ReadError> {
        self.one_partition(
            "SELECT partition, origin FROM positions WHERE origin = $1",
            origin,
        )
        .await
    }

    /// The partition that holds the tenant's entries.
    pub async fn partition_of_tenant(&self, tenant: &str) -> Result<Partition, ReadError> {
        let head = self.head(tenant).await?;
        Ok(Partition {
            number: head.partition,
            origin: head.origin,
        })
    }

    async fn one_partition(&self, sql: &'static str, what: &str) -> Result<Partition, ReadError> {
        let mut transaction = self.of_none().await?;
        let row = sqlx::query(sql)
            .bind(what)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let row = row.ok_or(NO_PARTITION)?;
        Ok(Partition {
            number: row.try_get::<i32, _>(0)? as u32,
            origin: row.try_get(1)?,
        })
    }

    /// The proof of an entry against the newest checkpoint, or against the stored one of that size.
    pub async fn proof(
        &self,
        tenant: &str,
        sequence: u64,
        size: Option<u64>,
    ) -> Result<TlogProof, ReadError> {
        let mut transaction = self.of_tenant(tenant).await?;
        let entry = entry::find(&mut transaction, tenant, sequence).await?;
        let checkpoint = tree::checkpoint(&mut transaction, entry.partition, size).await?;
        let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.size() > entry.index) else {
            return Err(match size {
                Some(_) => ReadError::NotFound { what: "checkpoint" },
                None => ReadError::NotSigned,
            });
        };
        let size = checkpoint.size();
        let tree = Tree::for_leaves(&mut transaction, entry.partition, size, &[entry.index]).await?;
        transaction.commit().await?;
        prove(&tree, &checkpoint, entry.index, entry.leaf)
    }

    /// The consistency proof between two sizes of a partition, both at most that of the newest checkpoint, which `to` is where it is left out.
    pub async fn consistency(
        &self,
        partition: u32,
        from: u64,
        to: Option<u64>,
    ) -> Result<Consistency, ReadError> {
        let mut transaction = self.of_none().await?;
        let newest = tree::checkpoint(&mut transaction, partition, None).await?;
        let signed = newest.ok_or(ReadError::NotSigned)?;
        let to = to.unwrap_or(signed.size());
        if from > to || to > signed.size() {
            return Err(ReadError::NotFound { what: "tree size" });
        }
        let tree = Tree::for_sizes(&mut transaction, partition, signed.size(), from, to).await?;
        let earlier = tree::checkpoint(&mut transaction, partition, Some(from)).await?;
        let later = tree::checkpoint(&mut transaction, partition, Some(to)).await?;
        transaction.commit().await?;
        let first = Earlier {
            size: from,
            checkpoint: earlier.as_ref(),
        };
        let second = Earlier {
            size: to,
            checkpoint: later.as_ref(),
        };
        let hashes = tree.consistency(&first, &second, &signed.signed.checkpoint.root)?;
        Ok(Consistency {
            from,
            to,
            hashes,
            note: later.map(|checkpoint| checkpoint.note),
        })
    }

    /// The newest signed note of a partition.
    pub async fn checkpoint(&self, origin: &str) -> Result<Vec<u8>, ReadError> {
        let mut transaction = self.of_none().await?;
        let row = sqlx::query(
            "SELECT note FROM checkpoints JOIN positions USING (partition) WHERE origin = $1 ORDER BY size DESC LIMIT 1",
        )
        .bind(origin)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row
            .ok_or(ReadError::NotFound { what: "checkpoint" })?
            .try_get(0)?)
    }

    /// A hash tile. A partial one is answered as far as the newest checkpoint needs it: nobody who verified one can ask for a wider one.
    pub async fn tile(&self, origin: &str, name: &TileName) -> Result<Vec<u8>, ReadError> {
        let mut transaction = self.of_none().await?;
        let row = sqlx::query(
            "SELECT hashes, (SELECT max(size) FROM checkpoints WHERE checkpoints.partition = tiles.partition) FROM tiles JOIN positions USING (partition) \
             WHERE origin = $1 AND level = $2 AND tile_index = $3",
        )
        .bind(origin)
        .bind(i16::from(name.level))
        .bind(name.index as i64)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let row = row.ok_or(NO_TILE)?;
        let (mut hashes, signed): (Vec<u8>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        if !is_covered(name, signed.unwrap_or(0) as u64) {
            return Err(NO_TILE);
        }
        let due = name.hashes() * 32;
        if hashes.len() < due {
            return Err(ReadError::Damaged {
                what: "a hash tile is shorter than what was signed",
            });
        }
        hashes.truncate(due);
        Ok(hashes)
    }

    /// The leaves of a tile of level 0, each behind its length in two bytes: an entry bundle. Every tenant's: for auditors.
    pub async fn entry_bundle(&self, origin: &str, name: &TileName) -> Result<Vec<u8>, ReadError> {
        let mut transaction = self.of_all().await?;
        let row = sqlx::query(
            "SELECT partition, (SELECT max(size) FROM checkpoints WHERE checkpoints.partition = positions.partition) FROM positions WHERE origin = $1",
        )
        .bind(origin)
        .fetch_optional(&mut *transaction)
        .await?;
        let row = row.ok_or(NO_TILE)?;
        let (partition, signed): (i32, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        if name.level != 0 || !is_covered(name, signed.unwrap_or(0) as u64) {
            return Err(NO_TILE);
        }
        let first = name.index * TILE_WIDTH;
        let bundle = bundle(&mut transaction, partition, first..first + name.hashes() as u64).await?;
        transaction.commit().await?;
        Ok(bundle)
    }
}

/// Whether a tree of `signed` leaves has all hashes of that tile.
fn is_covered(name: &TileName, signed: u64) -> bool {
    let hashes = signed.checked_shr(u32::from(name.level) * 8).unwrap_or(0);
    let due = name
        .index
        .checked_mul(TILE_WIDTH)
        .and_then(|first| first.checked_add(name.hashes() as u64));
    due.is_some_and(|due| due <= hashes)
}

async fn bundle(
    connection: &mut PgConnection,
    partition: i32,
    range: Range<u64>,
) -> Result<Vec<u8>, ReadError> {
    let months = months::of_partition(connection, partition as u32).await?;
    let overlap =
        |month: &&PartitionMonth| range.start <= *month.leaves.end() && *month.leaves.start() < range.end;
    if months.iter().filter(overlap).any(|month| !month.is_here) {
        return Err(ReadError::Detached {
            first_stored_sequence: None,
        });
    }
    let rows = sqlx::query(
        "SELECT leaf FROM leaves WHERE partition = $1 AND leaf_index >= $2 AND leaf_index < $3 AND month IN \
         (SELECT month FROM partition_months WHERE partition = $1 AND first_index < $3 AND last_index >= $2) ORDER BY leaf_index",
    )
    .bind(partition)
    .bind(range.start as i64)
    .bind(range.end as i64)
    .fetch_all(connection)
    .await?;
    if rows.len() as u64 != range.end - range.start {
        return Err(ReadError::Damaged {
            what: "a leaf's row is missing",
        });
    }
    let mut bundle = Vec::new();
    for row in &rows {
        let leaf: Vec<u8> = row.try_get(0)?;
        let length = u16::try_from(leaf.len()).map_err(|_| ReadError::Damaged {
            what: "a leaf is longer than a leaf can be",
        })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(&leaf);
    }
    Ok(bundle)
}

/// The proof file of a leaf that the checkpoint covers.
pub(super) fn prove(
    tree: &Tree,
    checkpoint: &StoredCheckpoint,
    index: u64,
    leaf: Vec<u8>,
) -> Result<TlogProof, ReadError> {
    let root = &checkpoint.signed.checkpoint.root;
    Ok(TlogProof {
        hashes: tree.inclusion(&leaf_hash(&leaf), index, root)?,
        extra: leaf,
        index,
        checkpoint: checkpoint.signed.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_covered_where_the_signed_tree_has_all_of_its_hashes() {
        let covered = |path: &str, signed| is_covered(&TileName::parse(path).unwrap(), signed);
        for (path, size) in [
            ("tile/0/000.p/1", 1),
            ("tile/0/000.p/255", 255),
            ("tile/0/000", 256),
            ("tile/0/001.p/3", 259),
            ("tile/1/000.p/1", 256),
            ("tile/1/000.p/2", 512),
            ("tile/1/000", 65_536),
            ("tile/2/000.p/1", 65_536),
        ] {
            assert!(covered(path, size) && !covered(path, size - 1), "{path}");
        }
        assert!(!covered("tile/63/000.p/1", u64::MAX));
        assert!(!is_covered(
            &TileName {
                level: 0,
                index: u64::MAX,
                width: None
            },
            u64::MAX
        ));
    }
}
