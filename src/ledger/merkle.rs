//! The Merkle tree of RFC 6962 section 2.1 (unchanged in RFC 9162 section 2.1) with SHA-256: hashes, a compact range that
//! grows by appending, proofs and their checks. It keeps no leaves and reads nothing: who wants a proof hands in the
//! hashes of complete subtrees, for instance from tiles ([`super::tile`]).

use super::Digest;
use sha2::{Digest as _, Sha256};

/// The root of the tree without leaves: SHA-256 of no bytes.
pub const EMPTY_ROOT: Digest = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Most hashes that a proof in a tree of fewer than 2^63 leaves can have.
pub const PROOF_HASHES_MAX: usize = 63;

/// SHA-256(0x00 ‖ leaf bytes).
#[must_use]
pub fn leaf_hash(leaf_bytes: &[u8]) -> Digest {
    Sha256::new()
        .chain_update([0])
        .chain_update(leaf_bytes)
        .finalize()
        .into()
}

/// SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The roots of the complete subtrees that make up a tree of `size` leaves, largest (leftmost) first: one for every bit that is set
/// in `size`. Enough to append and to know the root, in at most 64 hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    hashes: Vec<Digest>,
}

impl CompactRange {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Restores what [`CompactRange::size`] and [`CompactRange::hashes`] gave. `None` where their numbers do not fit.
    #[must_use]
    pub fn from_parts(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        (hashes.len() as u64 == u64::from(size.count_ones())).then_some(Self { size, hashes })
    }

    /// Appends a leaf by its [`leaf_hash`]. Over many leaves this costs one node hash each.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        // A set bit at the low end is a complete subtree as large as the one just made: the two become one.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// The tree's root at this size.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold_right(self.hashes.iter()).unwrap_or(EMPTY_ROOT)
    }
}

/// The hash over complete subtrees from left to right, joined from the right; `None` for none.
fn fold_right<'h>(hashes: impl DoubleEndedIterator<Item = &'h Digest>) -> Option<Digest> {
    hashes.rev().fold(None, |right, left| match right {
        None => Some(*left),
        Some(right) => Some(node_hash(left, &right)),
    })
}

/// The inclusion proof of RFC 6962 section 2.1.1 for the leaf at `index` in the tree of `size` leaves.
///
/// `subtree(level, index)` answers with the root of the complete subtree over the leaves `index << level` to `(index + 1) << level`
/// (exclusive). Where `index` is not below `size` there is no proof: the answer is empty, and no check accepts it.
///
/// # Errors
/// What `subtree` fails with.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    subtree: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    let (mut start, mut end) = (0, size);
    let mut siblings = Vec::new();
    while index < size && end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    range_hashes(&siblings, subtree)
}

/// The consistency proof of RFC 6962 section 2.1.2 from the tree of `first` leaves to that of `second`. Empty where `first` is 0,
/// equal to `second`, or above it (the check then refuses).
///
/// # Errors
/// What `subtree` fails with; it is asked as in [`inclusion_proof`].
pub fn consistency_proof<E>(
    first: u64,
    second: u64,
    subtree: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if first == 0 || first >= second {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, second);
    let mut ranges = Vec::new();
    // `first` lies within start..=end; the walk ends where the old tree ends on a subtree of the new one.
    while end != first {
        let middle = start + split(end - start);
        if first <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    if start > 0 {
        ranges.push((start, end));
    }
    range_hashes(&ranges, subtree)
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hashes of ranges that were found from the root down, as proofs want them: from the leaf up.
fn range_hashes<E>(
    ranges: &[(u64, u64)],
    subtree: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    ranges
        .iter()
        .rev()
        .map(|(start, end)| range_hash(*start, *end, subtree))
        .collect()
}

/// MTH(D[start:end]) for a range that begins where a subtree as large as it would begin.
fn range_hash<E>(
    start: u64,
    end: u64,
    subtree: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        // A level is below 64.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the logarithm of a u64 is at most 63"
        )]
        parts.push(subtree(level as u8, at >> level)?);
        at += 1 << level;
    }
    Ok(fold_right(parts.iter()).unwrap_or(EMPTY_ROOT))
}

/// Whether `proof` shows that `leaf` (a [`leaf_hash`]) is at `index` in the tree of `size` leaves with that root: RFC 9162 section 2.1.3.2,
/// step by step.
#[must_use]
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_right_edge(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `second` leaves begins with the tree of `first` leaves: RFC 9162 section 2.1.4.2, step by step.
/// The RFC leaves out `first` = 0 and `first` = `second`; here both take an empty proof, with the empty root and with equal roots.
#[must_use]
pub fn verify_consistency(
    first: u64,
    second: u64,
    first_root: &Digest,
    second_root: &Digest,
    proof: &[Digest],
) -> bool {
    if first == second {
        return proof.is_empty() && first_root == second_root && (first > 0 || *first_root == EMPTY_ROOT);
    }
    if first == 0 {
        return proof.is_empty() && *first_root == EMPTY_ROOT;
    }
    if first > second {
        return false;
    }
    let (seed, rest) = if first.is_power_of_two() {
        (first_root, proof)
    } else if let Some((seed, rest)) = proof.split_first() {
        (seed, rest)
    } else {
        return false;
    };
    let (mut node, mut last) = (first - 1, second - 1);
    let odd = node.trailing_ones();
    node >>= odd;
    last >>= odd;
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_right_edge(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *first_root && new_hash == *second_root
}

/// Goes up along the tree's right edge to the level at which the node is a right child or the first.
const fn skip_right_edge(node: &mut u64, last: &mut u64) {
    while node.is_multiple_of(2) && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_root_is_the_digest_of_nothing() {
        assert_eq!(EMPTY_ROOT, <[u8; 32]>::from(Sha256::digest([])));
        assert_eq!(CompactRange::new().root(), EMPTY_ROOT);
    }

    #[test]
    fn a_leaf_is_told_from_a_node_by_its_first_byte() {
        let (left, right) = (leaf_hash(b"a"), leaf_hash(b"b"));
        assert_ne!(node_hash(&left, &right), leaf_hash(&[left, right].concat()));
        assert_ne!(node_hash(&left, &right), node_hash(&right, &left));
    }
}
