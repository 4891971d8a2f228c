//! The tree against RFC 6962's recursive definition, which is slow and obviously right, and tiles against the tree.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::HEXLOWER;
use ledgerline::ledger::Digest;
use ledgerline::ledger::merkle::{
    CompactRange, EMPTY_ROOT, consistency_proof, inclusion_proof, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use ledgerline::ledger::tile::{TileBuilder, TileError, TileName, partial_names, subtree_root};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tlog_tiles::tile::Tile;

const SIZE_MAX: usize = 64;

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// MTH as RFC 6962 section 2.1 writes it.
fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let middle = 1 << (leaves.len() - 1).ilog2();
            node_hash(&mth(&leaves[..middle]), &mth(&leaves[middle..]))
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
fn path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let middle = 1 << (leaves.len() - 1).ilog2();
    let (left, right) = leaves.split_at(middle);
    let (mut proof, sibling) = if index < middle {
        (path(index, left), mth(right))
    } else {
        (path(index - middle, right), mth(left))
    };
    proof.push(sibling);
    proof
}

/// SUBPROOF of RFC 6962 section 2.1.2.
fn subproof(first: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if first == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let middle = 1 << (leaves.len() - 1).ilog2();
    let (left, right) = leaves.split_at(middle);
    let (mut proof, sibling) = if first <= middle {
        (subproof(first, left, whole), mth(right))
    } else {
        (subproof(first - middle, right, false), mth(left))
    };
    proof.push(sibling);
    proof
}

/// Answers from the leaves as tiles would.
fn subtree_of(leaves: &[Digest]) -> impl FnMut(u8, u64) -> Result<Digest, Infallible> {
    |level, index| {
        let (width, index) = (1_usize << level, usize::try_from(index).unwrap());
        Ok(mth(&leaves[index * width..(index + 1) * width]))
    }
}

fn inclusion(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    inclusion_proof(index as u64, leaves.len() as u64, &mut subtree_of(leaves)).unwrap()
}

fn consistency(first: usize, leaves: &[Digest]) -> Vec<Digest> {
    consistency_proof(first as u64, leaves.len() as u64, &mut subtree_of(leaves)).unwrap()
}

/// The proof with every single bit flipped, every hash left out, every prefix, and one hash more at every place.
fn altered(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut all = Vec::new();
    for bit in 0..proof.len() * 256 {
        let mut flipped = proof.to_vec();
        flipped[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        all.push(flipped);
    }
    for at in 0..proof.len() {
        all.push(proof[..at].to_vec());
        let mut without = proof.to_vec();
        without.remove(at);
        all.push(without);
    }
    for at in 0..=proof.len() {
        for extra in [EMPTY_ROOT, proof.first().copied().unwrap_or([0; 32])] {
            let mut longer = proof.to_vec();
            longer.insert(at, extra);
            all.push(longer);
        }
    }
    // Leaving out one of two equal hashes, or adding one beside it, can give the proof itself.
    all.retain(|other| other != proof);
    all
}

#[test]
fn published_roots_come_out() {
    let leaves: Vec<Digest> = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    .iter()
    .map(|hex| leaf_hash(&HEXLOWER.decode(hex.as_bytes()).unwrap()))
    .collect();
    let roots = [
        (
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            1,
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        ),
        (
            2,
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        ),
        (
            3,
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ),
        (
            5,
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        ),
        (
            7,
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        ),
        (
            8,
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ),
    ];
    for (size, root) in roots {
        let mut range = CompactRange::new();
        leaves[..size].iter().for_each(|leaf| range.push(*leaf));
        assert_eq!(HEXLOWER.encode(&range.root()), root, "size {size}");
    }
}

#[test]
fn a_compact_range_has_the_root_of_every_size_and_survives_its_parts() {
    let leaves = leaves(SIZE_MAX * 5);
    let mut range = CompactRange::new();
    for size in 0..leaves.len() {
        assert_eq!(range.root(), mth(&leaves[..size]), "size {size}");
        let restored = CompactRange::from_parts(range.size(), range.hashes().to_vec());
        assert_eq!(restored.as_ref(), Some(&range));
        range.push(leaves[size]);
    }
    assert_eq!(CompactRange::from_parts(3, vec![EMPTY_ROOT]), None);
    assert_eq!(CompactRange::from_parts(4, vec![EMPTY_ROOT; 2]), None);
}

#[test]
fn every_inclusion_proof_is_the_rfcs_and_no_altered_one_is_accepted() {
    let (mut good, mut refused) = (0, 0);
    let all = leaves(SIZE_MAX + 1);
    for size in 1..=SIZE_MAX {
        let (leaves, root) = (&all[..size], mth(&all[..size]));
        for index in 0..size {
            let proof = inclusion(index, leaves);
            assert_eq!(proof, path(index, leaves), "index {index}, size {size}");
            let check = |leaf: &Digest, index: usize, size: usize, proof: &[Digest], root: &Digest| {
                verify_inclusion(leaf, index as u64, size as u64, proof, root)
            };
            assert!(check(&leaves[index], index, size, &proof, &root));
            good += 1;
            for other in altered(&proof) {
                assert!(
                    !check(&leaves[index], index, size, &other, &root),
                    "index {index}, size {size}"
                );
                refused += 1;
            }
            assert!(!check(&all[SIZE_MAX], index, size, &proof, &root));
            assert!(!check(&leaves[index], index, size, &proof, &EMPTY_ROOT));
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(
                    !check(&leaves[index], other, size, &proof, &root),
                    "{index} as {other} of {size}"
                );
            }
        }
    }
    assert_eq!(good, SIZE_MAX * (SIZE_MAX + 1) / 2);
    assert!(refused > good * 256);
}

#[test]
fn every_consistency_proof_is_the_rfcs_and_no_altered_one_is_accepted() {
    let (mut good, mut refused) = (0, 0);
    let all = leaves(SIZE_MAX);
    for second in 0..=SIZE_MAX {
        let (leaves, new_root) = (&all[..second], mth(&all[..second]));
        for first in 0..=second {
            let old_root = mth(&all[..first]);
            let proof = consistency(first, leaves);
            if first > 0 {
                assert_eq!(proof, subproof(first, leaves, true), "{first} to {second}");
            }
            let check = |old_root: &Digest, new_root: &Digest, proof: &[Digest]| {
                verify_consistency(first as u64, second as u64, old_root, new_root, proof)
            };
            assert!(check(&old_root, &new_root, &proof), "{first} to {second}");
            good += 1;
            for other in altered(&proof) {
                assert!(!check(&old_root, &new_root, &other), "{first} to {second}");
                refused += 1;
            }
            let foreign = leaf_hash(b"foreign");
            assert!(!check(&foreign, &new_root, &proof), "{first} to {second}");
            // The empty tree is the beginning of every tree: its root says nothing of the new one.
            assert_eq!(check(&old_root, &foreign, &proof), first == 0 && second > 0);
            // A root does not tell its size; the number of hashes that a size needs does.
            for other in (first + 1..=SIZE_MAX).filter(|other| *other != second) {
                let accepted = verify_consistency(first as u64, other as u64, &old_root, &new_root, &proof);
                let fits = first == 0 || consistency(first, &all[..other]).len() == proof.len();
                assert!(!accepted || fits, "{first} to {second} as to {other}");
            }
            if first < second {
                assert!(!verify_consistency(
                    second as u64,
                    first as u64,
                    &new_root,
                    &old_root,
                    &proof
                ));
            }
        }
    }
    assert_eq!(good, (SIZE_MAX + 1) * (SIZE_MAX + 2) / 2);
    assert!(refused > good * 256);
}

#[test]
fn there_is_no_proof_beyond_the_tree() {
    let leaves = leaves(5);
    assert_eq!(inclusion(5, &leaves), Vec::<Digest>::new());
    assert!(!verify_inclusion(&leaves[0], 0, 0, &[], &leaves[0]));
    assert!(!verify_inclusion(&leaves[0], u64::MAX, u64::MAX, &[], &leaves[0]));
    assert_eq!(consistency(6, &leaves), Vec::<Digest>::new());
    assert!(!verify_consistency(0, 0, &leaves[0], &leaves[0], &[]));
    // A larger tree is no beginning of a smaller one, though a walk from its last leaf would find nothing to compare.
    assert!(!verify_consistency(4, 3, &leaves[0], &leaves[0], &[]));
}

/// All tiles of a tree, by the definition: hash i of tile level l is MTH(D[i * 256^l : (i + 1) * 256^l]).
fn naive_tiles(leaves: &[Digest]) -> BTreeMap<String, Vec<u8>> {
    let mut tiles = BTreeMap::new();
    let mut hashes = leaves.to_vec();
    for level in 0.. {
        if hashes.is_empty() {
            break;
        }
        for (index, chunk) in hashes.chunks(256).enumerate() {
            // The `tlog_tiles` crate names them: an oracle for our names.
            let tile = Tile::new(8, level, index as u64, u32::try_from(chunk.len()).unwrap(), false);
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            tiles.insert(path, chunk.concat());
        }
        hashes = hashes.chunks_exact(256).map(mth).collect();
    }
    tiles
}

#[test]
fn tiles_roots_restarts_and_proofs_agree_with_the_definition_around_the_boundaries() {
    let all = leaves(65_537);
    let sizes = [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537];
    let mut builder = TileBuilder::new();
    let mut full = Vec::new();
    for (n, leaf) in all.iter().enumerate() {
        check_size(&sizes, n, &all, &builder, &full);
        builder.push(*leaf, &mut full);
    }
    check_size(&sizes, all.len(), &all, &builder, &full);
}

fn check_size(
    sizes: &[usize],
    size: usize,
    all: &[Digest],
    builder: &TileBuilder,
    full: &[(TileName, Vec<u8>)],
) {
    if !sizes.contains(&size) {
        return;
    }
    let tiles: BTreeMap<String, Vec<u8>> = full
        .iter()
        .cloned()
        .chain(builder.partials())
        .map(|(name, bytes)| (name.path(), bytes))
        .collect();
    assert_eq!(tiles, naive_tiles(&all[..size]), "size {size}");
    assert_eq!(builder.size(), size as u64);
    assert_eq!(builder.root(), mth(&all[..size]), "size {size}");
    let names: Vec<TileName> = builder.partials().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, partial_names(size as u64));

    let get = |name: &TileName| tiles.get(&name.path()).cloned().ok_or(());
    let restored = TileBuilder::from_right_edge(size as u64, get).unwrap();
    assert_eq!(&restored, builder, "size {size}");

    let size = size as u64;
    let root = builder.root();
    for index in [0, 1, 254, 255, 256, size / 2, size.saturating_sub(1)] {
        let proof = inclusion_proof(index, size, &mut |level, index| {
            subtree_root(level, index, size, get)
        });
        let Some(leaf) = all.get(usize::try_from(index).unwrap()).filter(|_| index < size) else {
            assert_eq!(proof, Ok(Vec::new()));
            continue;
        };
        assert!(
            verify_inclusion(leaf, index, size, &proof.unwrap(), &root),
            "{index} of {size}"
        );
    }
    for first in [1, 255, 256, size / 3, size.saturating_sub(1)] {
        if (1..size).contains(&first) {
            let proof = consistency_proof(first, size, &mut |level, index| {
                subtree_root(level, index, size, get)
            })
            .unwrap();
            let old_root = mth(&all[..usize::try_from(first).unwrap()]);
            assert!(
                verify_consistency(first, size, &old_root, &root, &proof),
                "{first} to {size}"
            );
        }
    }
}

#[test]
fn a_builder_that_was_restored_goes_on_as_if_it_had_never_stopped() {
    let all = leaves(1_000);
    let (mut one, mut tiles) = (TileBuilder::new(), Vec::new());
    for (n, leaf) in all.iter().enumerate() {
        if n % 97 == 0 {
            let edge: BTreeMap<TileName, Vec<u8>> = one.partials().into_iter().collect();
            one = TileBuilder::from_right_edge(n as u64, |name| edge.get(name).cloned().ok_or(())).unwrap();
        }
        one.push(*leaf, &mut tiles);
    }
    assert_eq!(one.root(), mth(&all));
    assert_eq!(tiles.len(), 3);
}

#[test]
fn a_tile_of_a_wrong_length_or_a_failed_read_stops_a_restart() {
    let short = TileBuilder::from_right_edge(3, |_| Ok::<_, ()>(vec![0; 64]));
    assert_eq!(
        short,
        Err(TileError::Length {
            path: "tile/0/000.p/3".to_owned(),
            expected: 96,
            found: 64
        })
    );
    let ragged = TileBuilder::from_right_edge(3, |_| Ok::<_, ()>(vec![0; 97]));
    assert!(matches!(ragged, Err(TileError::Length { found: 97, .. })));
    assert_eq!(
        TileBuilder::from_right_edge(3, |_| Err("gone")),
        Err(TileError::Get("gone"))
    );
    let beyond = subtree_root(1, 2, 5, |_| Ok::<_, ()>(vec![0; 5 * 32]));
    assert!(matches!(beyond, Err(TileError::NoSubtree { .. })));
}

#[test]
fn tile_names_are_those_of_the_specification() {
    for (name, level, index, width) in [
        ("tile/0/000", 0, 0, None),
        ("tile/3/x001/x234/067", 3, 1_234_067, None),
        ("tile/0/x001/000.p/1", 0, 1_000, Some(1)),
        ("tile/63/999.p/255", 63, 999, Some(255)),
        ("tile/0/x018/x446/x744/x073/x709/x551/615", 0, u64::MAX, None),
    ] {
        let tile = TileName { level, index, width };
        assert_eq!(tile.path(), name);
        assert_eq!(TileName::parse(name), Some(tile));
    }
    for bad in [
        "",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0/+01",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/entries/000",
        "/tile/0/000",
        "tile/0/000.p/1/2",
    ] {
        assert_eq!(TileName::parse(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn what_reads_as_a_tile_name_is_written_the_same_and_nothing_panics(text in "(tile/)?[0-9x./p]{0,30}|.{0,40}") {
        if let Some(name) = TileName::parse(&text) {
            prop_assert_eq!(name.path(), text);
        }
    }

    #[test]
    fn every_tile_name_survives_its_path(level in 0_u8..=63, index: u64, width in proptest::option::of(1_u8..)) {
        let name = TileName { level, index, width };
        prop_assert_eq!(TileName::parse(&name.path()), Some(name));
    }
}
