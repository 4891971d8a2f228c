//! The tree of a signed checkpoint, as far as a question needs it: proofs made of stored tiles, and held against the signed root before anybody is given them.

use super::ReadError;
use super::tiles::{self, Tiles};
use crate::ledger::Digest;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::merkle::{consistency_proof, inclusion_proof, verify_inclusion};
use crate::ledger::tile::{TILE_WIDTH, TileName, subtree_root, subtree_tile};
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeSet;
use std::convert::Infallible;

const TILES_MISSING: ReadError = ReadError::Damaged {
    what: "a hash tile is missing",
};

/// A checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredCheckpoint {
    pub note: Vec<u8>,
    pub signed: SignedCheckpoint,
}

impl StoredCheckpoint {
    pub(super) const fn size(&self) -> u64 {
        self.signed.checkpoint.size
    }
}

/// The checkpoint of that size, or the newest one. What is stored under another size, or is none, is damage.
pub(super) async fn checkpoint(
    connection: &mut PgConnection,
    partition: u32,
    size: Option<u64>,
) -> Result<Option<StoredCheckpoint>, ReadError> {
    let row = sqlx::query(
        "SELECT size, note FROM checkpoints WHERE partition = $1 AND ($2::bigint IS NULL OR size = $2) ORDER BY size DESC LIMIT 1",
    )
    .bind(partition as i32)
    .bind(size.map(|size| size as i64))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (size, note): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
    let signed = SignedCheckpoint::parse(&note).ok();
    match signed.filter(|signed| signed.checkpoint.size == size as u64) {
        Some(signed) => Ok(Some(StoredCheckpoint { note, signed })),
        None => Err(ReadError::Damaged {
            what: "a checkpoint is not what it was",
        }),
    }
}

/// The tree at one size, with the tiles that were asked for.
pub(super) struct Tree {
    size: u64,
    tiles: Tiles,
}

impl Tree {
    /// With the tiles for the inclusion proofs of these leaves, and those that hold their hashes.
    pub(super) async fn for_leaves(
        connection: &mut PgConnection,
        partition: u32,
        size: u64,
        indexes: &[u64],
    ) -> Result<Self, ReadError> {
        let mut names = BTreeSet::new();
        for index in indexes {
            names.extend(TileName::holding(0, *index, size));
            let Ok(_) = inclusion_proof(*index, size, &mut |level, at| {
                names.extend(subtree_tile(level, at, size));
                Ok::<_, Infallible>([0; 32])
            });
        }
        Self::with(connection, partition, size, names).await
    }

    async fn with(
        connection: &mut PgConnection,
        partition: u32,
        size: u64,
        names: BTreeSet<TileName>,
    ) -> Result<Self, ReadError> {
        let names: Vec<TileName> = names.into_iter().collect();
        Ok(Self {
            size,
            tiles: tiles::get(connection, partition, &names).await?,
        })
    }

    /// The consistency proof from the tree of `first` leaves to that of `size`.
    pub(super) async fn consistency(
        connection: &mut PgConnection,
        partition: u32,
        first: u64,
        size: u64,
    ) -> Result<Vec<Digest>, ReadError> {
        let mut names = BTreeSet::new();
        let Ok(_) = consistency_proof(first, size, &mut |level, at| {
            names.extend(subtree_tile(level, at, size));
            Ok::<_, Infallible>([0; 32])
        });
        let tree = Self::with(connection, partition, size, names).await?;
        consistency_proof(first, size, &mut |level, at| tree.subtree(level, at))
    }

    /// The leaf's hash as the tile has it.
    pub(super) fn leaf(&self, index: u64) -> Option<Digest> {
        let tile = self.tiles.hashes(&TileName::holding(0, index, self.size)?)?;
        // Below 256.
        let at = (index % TILE_WIDTH) as usize * 32;
        tile.get(at..at + 32)?.try_into().ok()
    }

    /// The inclusion proof of `leaf`, a leaf's hash, if it leads to `root`.
    pub(super) fn inclusion(
        &self,
        leaf: &Digest,
        index: u64,
        root: &Digest,
    ) -> Result<Vec<Digest>, ReadError> {
        let proof = inclusion_proof(index, self.size, &mut |level, at| self.subtree(level, at))?;
        if verify_inclusion(leaf, index, self.size, &proof, root) {
            Ok(proof)
        } else {
            Err(ReadError::Damaged {
                what: "a leaf, or the hash tiles, do not lead to the signed root",
            })
        }
    }

    fn subtree(&self, level: u8, index: u64) -> Result<Digest, ReadError> {
        subtree_root(level, index, self.size, |name| {
            self.tiles.hashes(name).map(<[u8]>::to_vec).ok_or(())
        })
        .map_err(|_| TILES_MISSING)
    }
}
