//! What tlog-tiles serves: the whole tree is built from it, and held against the signed root.

use super::Ledger;
use crate::process::LOG_NAME;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::merkle::{CompactRange, leaf_hash};
use ledgerline::ledger::tile::{TileName, names_of_growth};

fn checkpoint(served: &super::Served<'_>, partition: u32) -> Option<SignedCheckpoint> {
    let answer = served.get("nobody", &format!("/{LOG_NAME}/{partition}/checkpoint"));
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "private, max-age=1");
    Some(SignedCheckpoint::parse(&answer.body).unwrap())
}

#[test]
fn tiles_and_bundles_of_every_partition_make_the_tree_that_was_signed() {
    let ledger = Ledger::of(700);
    let served = ledger.serve();
    let (mut full, mut found) = (0, 0);
    for partition in 0..4 {
        let Some(signed) = checkpoint(&served, partition) else {
            continue;
        };
        found += 1;
        let size = signed.checkpoint.size;
        let mut tree = CompactRange::new();
        for name in names_of_growth(0, size) {
            let path = format!("/{LOG_NAME}/{partition}/{}", name.path());
            // Any key will do for hashes.
            let tile = served.get("nobody", &path);
            assert_eq!(
                (tile.status, tile.body.len()),
                (200, name.hashes() * 32),
                "{path}"
            );
            assert_eq!(tile.headers["content-type"], "application/octet-stream");
            assert_eq!(
                tile.headers["cache-control"],
                "private, max-age=31536000, immutable"
            );
            full += u64::from(name.width.is_none());
            if name.level > 0 {
                continue;
            }
            let bundle_path = path.replace("/tile/0/", "/tile/entries/");
            let bundle = served.get("auditor", &bundle_path);
            assert_eq!(bundle.status, 200, "{bundle_path}");
            let mut rest = bundle.body.as_slice();
            let mut hashes = Vec::new();
            while let Some((length, more)) = rest.split_first_chunk() {
                let (leaf, more) = more.split_at(usize::from(u16::from_be_bytes(*length)));
                hashes.push(leaf_hash(leaf));
                rest = more;
            }
            assert_eq!(hashes.concat(), tile.body, "{bundle_path}");
            for hash in hashes {
                tree.push(hash);
            }
            for id in ["acme", "nobody", "sender"] {
                let refused = served.get(id, &bundle_path);
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    (403, "scope"),
                    "{bundle_path}"
                );
            }
        }
        assert_eq!((tree.size(), tree.root()), (size, signed.checkpoint.root));
    }
    assert!(found >= 2 && full >= 2, "{found} {full}");
}

#[test]
fn a_partial_tile_is_served_as_far_as_the_signed_tree_needs_it_and_nothing_beyond_is() {
    let ledger = Ledger::of(200);
    let served = ledger.serve();
    let (partition, size) = (0..4)
        .filter_map(|partition| Some((partition, checkpoint(&served, partition)?.checkpoint.size)))
        .filter(|(_, size)| (1..255).contains(&(size % 256)))
        .max_by_key(|(_, size)| *size)
        .unwrap();
    let status = |path: &str| {
        served
            .get("acme", &format!("/{LOG_NAME}/{partition}/{path}"))
            .status
    };
    let edge = TileName::holding(0, size - 1, size).unwrap();
    let width = edge.width.expect("a size that is no multiple of 256");
    let of = |width| {
        TileName {
            width: Some(width),
            ..edge
        }
        .path()
    };
    assert_eq!((status(&of(width)), status(&of(1))), (200, 200));
    assert_eq!(status(&of(width + 1)), 404);
    assert_eq!(status(&TileName { width: None, ..edge }.path()), 404);
    // Also where the rows have more than what was signed.
    ledger
        .database
        .execute(&format!(
            "DELETE FROM ledgerline.checkpoints WHERE partition = {partition} AND size = {size}"
        ))
        .unwrap();
    assert_eq!(status(&of(width)), 404);
    for path in [
        "tile/1/000.p/255",
        "tile/63/000",
        "tile/0/x001/000",
        "tile/0/000.p/0",
        "tile/0/0",
        "tile/entries",
        "tile",
        "",
    ] {
        assert_eq!(status(path), 404, "{path}");
    }
    for path in [
        format!("/{LOG_NAME}/4/checkpoint"),
        format!("/{LOG_NAME}/00/checkpoint"),
        "/other.example/log/0/checkpoint".to_owned(),
    ] {
        assert_eq!(served.get("acme", &path).status, 404, "{path}");
    }
    let anonymous = served.ask("GET", &format!("/{LOG_NAME}/{partition}/checkpoint"), &[]);
    assert_eq!(anonymous.status, 401);
}

#[test]
fn a_leaf_that_was_taken_out_by_hand_is_damage_and_not_a_month_that_was_let_go() {
    let ledger = Ledger::of(30);
    let served = ledger.serve();
    let origin = served.get("acme", "/v1/ledger/head").json()["origin"].clone();
    let bundle = format!("/{}/tile/entries/000.p/2", origin.as_str().unwrap());
    assert_eq!(served.get("auditor", &bundle).status, 200);
    let gone = format!(
        "DELETE FROM {} WHERE leaf_index = 1 AND partition = (SELECT partition FROM ledgerline.tenant_months WHERE tenant_id = 'acme')",
        ledger.part()
    );
    assert_eq!(ledger.database.execute(&gone).unwrap(), 1);
    let damaged = served.get("auditor", &bundle);
    assert_eq!(
        (damaged.status, damaged.code().as_str()),
        (500, "read_model_damaged")
    );
}
