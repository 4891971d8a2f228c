//! The tree of a signed checkpoint, as far as a question needs it: proofs made of stored tiles, and held against the signed root before anybody is given them.

use super::ReadError;
use super::tiles::{self, Tiles};
use crate::ledger::Digest;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::merkle::{
    CompactRange, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};
use crate::ledger::tile::{TILE_WIDTH, TileName, subtree_root, subtree_tile};
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeSet;
use std::convert::Infallible;

const TILES_MISSING: ReadError = ReadError::Damaged {
    what: "a hash tile is missing",
};
const TILES_DIFFER: ReadError = ReadError::Damaged {
    what: "the hash tiles do not lead to the signed root",
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

/// A tree that another begins with.
pub(super) struct Earlier<'c> {
    pub size: u64,
    /// Where it is stored.
    pub checkpoint: Option<&'c StoredCheckpoint>,
}

/// The complete subtrees that make up a tree of `size` leaves, the largest first.
fn peaks(size: u64) -> impl Iterator<Item = (u8, u64)> {
    let levels = (0..64_u8).rev().filter(move |level| size >> level & 1 == 1);
    // Those before it are larger: an even number of its own size.
    levels.map(move |level| (level, (size >> level) - 1))
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

    /// With the tiles for the consistency proofs from the tree of `first` leaves to that of `second`, and from that to this one.
    pub(super) async fn for_sizes(
        connection: &mut PgConnection,
        partition: u32,
        size: u64,
        first: u64,
        second: u64,
    ) -> Result<Self, ReadError> {
        let mut names = BTreeSet::new();
        let mut name = |level, at| {
            names.extend(subtree_tile(level, at, size));
            Ok::<_, Infallible>([0; 32])
        };
        let Ok(_) = consistency_proof(first, second, &mut name);
        let Ok(_) = consistency_proof(second, size, &mut name);
        for (level, at) in [first, second].into_iter().flat_map(peaks) {
            let Ok(_) = name(level, at);
        }
        Self::with(connection, partition, size, names).await
    }

    /// The consistency proof from the tree of `first` leaves to that of `second`, if both begin the tree that was signed, whose root is `root`.
    pub(super) fn consistency(
        &self,
        first: &Earlier<'_>,
        second: &Earlier<'_>,
        root: &Digest,
    ) -> Result<Vec<Digest>, ReadError> {
        let (first_root, second_root) = (self.root(first)?, self.root(second)?);
        let proof = self.between(first.size, second.size)?;
        let to_signed = self.between(second.size, self.size)?;
        if verify_consistency(first.size, second.size, &first_root, &second_root, &proof)
            && verify_consistency(second.size, self.size, &second_root, root, &to_signed)
        {
            Ok(proof)
        } else {
            Err(TILES_DIFFER)
        }
    }

    fn between(&self, first: u64, second: u64) -> Result<Vec<Digest>, ReadError> {
        consistency_proof(first, second, &mut |level, at| self.subtree(level, at))
    }

    /// The root of an earlier tree, as the tiles have it. Where its note is stored, it is the one that was signed.
    fn root(&self, of: &Earlier<'_>) -> Result<Digest, ReadError> {
        let hashes: Vec<Digest> = peaks(of.size)
            .map(|(level, at)| self.subtree(level, at))
            .collect::<Result<_, _>>()?;
        let tree = CompactRange::from_parts(of.size, hashes).ok_or(TILES_DIFFER)?;
        let root = tree.root();
        match of.checkpoint {
            Some(stored) if stored.signed.checkpoint.root != root => Err(TILES_DIFFER),
            Some(_) | None => Ok(root),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_made_up_of_its_complete_subtrees() {
        let of = |size| peaks(size).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(1), [(0, 0)]);
        assert_eq!(of(7), [(2, 0), (1, 2), (0, 6)]);
        assert_eq!(of(256 + 8), [(8, 0), (3, 32)]);
        assert_eq!(of(u64::MAX).len(), 64);
    }
}
