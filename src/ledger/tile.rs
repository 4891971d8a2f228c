//! Hash tiles as <https://c2sp.org/tlog-tiles> lays them out: 256 hashes each, level by level. A full tile is 8,192 bytes that
//! never change; the partial tiles of a size are that tree's right edge. Tiles of leaf bytes are not made.

use super::Digest;
use super::merkle::{CompactRange, EMPTY_ROOT, node_hash};
use super::names::parse_decimal;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// The highest tile level that the specification names.
pub const TILE_LEVEL_MAX: u8 = 63;

const HASH_BYTES: usize = 32;
/// log2 of [`TILE_WIDTH`].
const TILE_HEIGHT: u32 = 8;

/// Which tile: the hashes `index * 256` and on at tree level `level * 8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileName {
    /// 0 to 63.
    pub level: u8,
    pub index: u64,
    /// Number of hashes of a partial tile, 1 to 255; `None` for a full one.
    pub width: Option<u8>,
}

impl TileName {
    /// Number of hashes: 1 to 256.
    #[must_use]
    pub fn hashes(&self) -> usize {
        self.width.map_or(256, usize::from)
    }

    /// `tile/<L>/<N>` or `tile/<L>/<N>.p/<W>`, N in groups of three digits, all but the last behind an `x`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut groups = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        match self.width {
            None => format!("tile/{}/{groups}", self.level),
            Some(width) => format!("tile/{}/{groups}.p/{width}", self.level),
        }
    }

    /// The inverse of [`TileName::path`]. Any other spelling is `None`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (groups, width) = match rest.split_once(".p/") {
            None => (rest, None),
            Some((groups, width)) => (groups, Some(u8::try_from(parse_decimal(width)?).ok()?)),
        };
        let name = Self {
            level: u8::try_from(parse_decimal(level)?)
                .ok()
                .filter(|level| *level <= TILE_LEVEL_MAX)?,
            index: parse_groups(groups)?,
            width,
        };
        (name.path() == path && width != Some(0)).then_some(name)
    }

    /// The tile that holds the hash at `position` of tile level `level` in a tree of `size` leaves. `None` where the tree has no
    /// such hash.
    #[must_use]
    pub fn holding(level: u8, position: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0);
        let index = position / TILE_WIDTH;
        let width = if index < hashes / TILE_WIDTH {
            None
        } else {
            Some(u8::try_from(hashes % TILE_WIDTH).ok()?)
        };
        (position < hashes).then_some(Self { level, index, width })
    }
}

/// Reads digits loosely: [`TileName::parse`] compares the spelling.
fn parse_groups(groups: &str) -> Option<u64> {
    groups.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index.checked_mul(1000)?.checked_add(digits.parse().ok()?)
    })
}

/// Why tiles cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The reader's own failure, to be matched.
    #[error("a tile could not be read")]
    Get(E),
    #[error("the tile {path} has {found} bytes where {expected} were due")]
    Length {
        path: String,
        expected: usize,
        found: usize,
    },
    #[error("a tree of {size} leaves has no complete subtree {index} at level {level}")]
    NoSubtree { level: u8, index: u64, size: u64 },
}

/// Cuts leaf hashes into tiles as they come. Holds at most one unfinished tile a level: 8 KiB for each power of 256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TileBuilder {
    size: u64,
    levels: Vec<Level>,
}

/// The unfinished tile of one level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Level {
    bytes: Vec<u8>,
    /// Over the same hashes: when the tile is full it holds one hash, the tile's root, so no hash is computed twice.
    range: CompactRange,
}

impl Level {
    fn push(&mut self, hash: Digest) {
        self.bytes.extend_from_slice(&hash);
        self.range.push(hash);
    }
}

impl TileBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf by its hash; a full tile that this completes goes to `completed`, lower levels first. One node hash a leaf
    /// over many leaves.
    pub fn push(&mut self, leaf_hash: Digest, completed: &mut Vec<(TileName, Vec<u8>)>) {
        self.size += 1;
        let mut hash = leaf_hash;
        for level in 0..=TILE_LEVEL_MAX {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Level::default());
            }
            let Some(place) = self.levels.get_mut(usize::from(level)) else {
                return;
            };
            place.push(hash);
            if place.range.size() < TILE_WIDTH {
                return;
            }
            let full = std::mem::take(place);
            hash = full.range.root();
            completed.push((
                TileName {
                    level,
                    index: (self.size >> (TILE_HEIGHT * (u32::from(level) + 1))) - 1,
                    width: None,
                },
                full.bytes,
            ));
        }
    }

    /// The partial tile of every level that has one at this size, lower levels first.
    #[must_use]
    pub fn partials(&self) -> Vec<(TileName, Vec<u8>)> {
        partial_names(self.size)
            .into_iter()
            .zip(self.levels.iter().filter(|level| !level.bytes.is_empty()))
            .map(|(name, level)| (name, level.bytes.clone()))
            .collect()
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root at this size. At most 8 node hashes a level.
    #[must_use]
    pub fn root(&self) -> Digest {
        let hashes = self
            .levels
            .iter()
            .flat_map(|level| level.range.hashes().iter().rev());
        hashes
            .fold(None, |right, left| match right {
                None => Some(*left),
                Some(right) => Some(node_hash(left, &right)),
            })
            .unwrap_or(EMPTY_ROOT)
    }

    /// Rebuilds the builder as it was at `size` from the partial tiles of that size; full ones are not asked for. What `get` gives
    /// is believed: compare [`TileBuilder::root`] with a signed one.
    ///
    /// # Errors
    /// What `get` fails with, or a tile of another length than its name says.
    pub fn from_right_edge<E>(
        size: u64,
        mut get: impl FnMut(&TileName) -> Result<Vec<u8>, E>,
    ) -> Result<Self, TileError<E>> {
        let mut builder = Self {
            size,
            levels: Vec::new(),
        };
        for name in partial_names(size) {
            let mut level = Level::default();
            for hash in read_tile(&name, &mut get)? {
                level.push(hash);
            }
            builder
                .levels
                .resize_with(usize::from(name.level), Level::default);
            builder.levels.push(level);
        }
        Ok(builder)
    }
}

/// The tiles of a cut: the full ones that come with the leaves from `before` to `size`, and the partial ones of `size`.
#[must_use]
pub fn names_of_growth(before: u64, size: u64) -> Vec<TileName> {
    let full = (0..8_u8).flat_map(|level| {
        let full = |size: u64| {
            size.checked_shr(TILE_HEIGHT * (u32::from(level) + 1))
                .unwrap_or(0)
        };
        (full(before)..full(size)).map(move |index| TileName {
            level,
            index,
            width: None,
        })
    });
    full.chain(partial_names(size)).collect()
}

/// The partial tiles of a tree of `size` leaves, lower levels first.
#[must_use]
pub fn partial_names(size: u64) -> Vec<TileName> {
    (0..8_u8)
        .filter_map(|level| {
            let hashes = size >> (TILE_HEIGHT * u32::from(level));
            let width = u8::try_from(hashes % TILE_WIDTH)
                .ok()
                .filter(|width| *width > 0)?;
            Some(TileName {
                level,
                index: hashes / TILE_WIDTH,
                width: Some(width),
            })
        })
        .collect()
}

/// The tile from whose hashes [`subtree_root`] makes the root of a subtree. `None` where a tree of `size` leaves has no such subtree.
#[must_use]
pub fn subtree_tile(level: u8, index: u64, size: u64) -> Option<TileName> {
    TileName::holding(level / 8, index.checked_mul(subtree_width(level))?, size)
}

/// Hashes of one tile that a subtree at tree level `level` is made of.
const fn subtree_width(level: u8) -> u64 {
    1 << (level as u32 % TILE_HEIGHT)
}

/// The root of the complete subtree `index` at tree level `level`, as [`super::merkle::inclusion_proof`] asks for it, from the tiles
/// of a tree of `size` leaves.
///
/// # Errors
/// What `get` fails with, a tile of another length than its name says, or a subtree that the tree does not have.
pub fn subtree_root<E>(
    level: u8,
    index: u64,
    size: u64,
    mut get: impl FnMut(&TileName) -> Result<Vec<u8>, E>,
) -> Result<Digest, TileError<E>> {
    let none = || TileError::NoSubtree { level, index, size };
    let name = subtree_tile(level, index, size).ok_or_else(none)?;
    let width = subtree_width(level);
    // Both fit: they are at most 256.
    let start = usize::try_from(index.wrapping_mul(width) % TILE_WIDTH).map_err(|_| none())?;
    let end = start + usize::try_from(width).map_err(|_| none())?;
    let hashes = read_tile(&name, &mut get)?;
    let part = hashes.get(start..end).ok_or_else(none)?;
    let mut range = CompactRange::new();
    for hash in part {
        range.push(*hash);
    }
    Ok(range.root())
}

fn read_tile<E>(
    name: &TileName,
    get: &mut impl FnMut(&TileName) -> Result<Vec<u8>, E>,
) -> Result<Vec<Digest>, TileError<E>> {
    let bytes = get(name).map_err(TileError::Get)?;
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() == name.hashes() && rest.is_empty() {
        return Ok(hashes.to_vec());
    }
    Err(TileError::Length {
        path: name.path(),
        expected: name.hashes() * HASH_BYTES,
        found: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tile_that_holds_a_hash_is_full_or_as_wide_as_the_tree_is_long() {
        let holding =
            |level, position, size| TileName::holding(level, position, size).map(|name| name.path());
        assert_eq!(holding(0, 0, 0), None);
        assert_eq!(holding(0, 0, 1).as_deref(), Some("tile/0/000.p/1"));
        assert_eq!(holding(0, 255, 256).as_deref(), Some("tile/0/000"));
        assert_eq!(holding(0, 256, 257).as_deref(), Some("tile/0/001.p/1"));
        assert_eq!(holding(1, 0, 257).as_deref(), Some("tile/1/000.p/1"));
        assert_eq!(holding(1, 1, 511), None);
        assert_eq!(holding(8, 0, u64::MAX), None);
    }

    #[test]
    fn the_tiles_of_a_cut_are_those_that_come_with_its_leaves() {
        let sizes = [1, 3, 255, 256, 257, 600, 65_536, 65_537, 66_000];
        let mut tree = TileBuilder::new();
        let mut before = 0;
        for size in sizes {
            let mut came = Vec::new();
            while tree.size() < size {
                tree.push([7; 32], &mut came);
            }
            came.extend(tree.partials());
            let mut came: Vec<_> = came.into_iter().map(|(name, _)| name.path()).collect();
            let mut named: Vec<_> = names_of_growth(before, size).iter().map(TileName::path).collect();
            came.sort();
            named.sort();
            assert_eq!(named, came, "from {before} to {size}");
            before = size;
        }
    }

    #[test]
    fn a_subtree_beyond_all_numbers_is_none_of_the_tree() {
        let outcome = subtree_root(7, u64::MAX, u64::MAX, |_| Err(()));
        assert!(matches!(outcome, Err(TileError::NoSubtree { .. })));
    }
}
