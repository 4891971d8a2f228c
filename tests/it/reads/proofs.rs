//! Heads, entries, proofs: judged by the product's own verifier.

use super::Ledger;
use crate::process::{ledgerline, stderr};
use data_encoding::BASE64;
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::jwks;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::merkle::verify_consistency;
use ledgerline::ledger::proof::{TlogProof, check_proof};
use ledgerline::store::read::{Proven, Reads};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use std::path::PathBuf;
use std::time::Duration;

fn jwks_path(ledger: &Ledger) -> PathBuf {
    let dir = ledger.dir.path().join("archive/keys");
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.max().unwrap()
}

fn keys(ledger: &Ledger) -> Vec<PublicKey> {
    jwks::parse(&std::fs::read(jwks_path(ledger)).unwrap()).unwrap()
}

#[test]
fn the_proof_of_every_entry_holds_for_its_event_and_for_no_other() {
    let ledger = Ledger::of(300);
    let (sealed, served, keys) = (ledger.sealed(), ledger.serve(), keys(&ledger));
    for (tenant, events) in &sealed.events {
        for (n, event) in (1..).zip(events) {
            let answer = served.get(
                "auditor",
                &format!("/v1/ledger/entries/{n}/proof?tenant_id={tenant}"),
            );
            assert_eq!(answer.status, 200, "{answer:?}");
            let proof = TlogProof::parse(&answer.body).unwrap();
            let proven = check_proof(&proof, &Sha256::digest(event).into(), &keys).unwrap();
            assert_eq!((proven.tenant.as_str(), proven.sequence), (tenant.as_str(), n));
            let other = Sha256::digest(&events[(n as usize) % events.len()]).into();
            assert!(check_proof(&proof, &other, &keys).is_err());
        }
    }
    let at = |name: &str| ledger.dir.path().join(name).display().to_string();
    let proof = served.get("acme", "/v1/ledger/entries/7/proof");
    assert_eq!(proof.headers["content-type"], "text/plain; charset=utf-8");
    std::fs::write(at("proof"), &proof.body).unwrap();
    std::fs::write(at("event"), &sealed.events["acme"][6]).unwrap();
    let jwks = jwks_path(&ledger).display().to_string();
    let output = ledgerline(&[
        "verify-proof",
        &at("proof"),
        "--event",
        &at("event"),
        "--jwks",
        &jwks,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_head_and_the_entries_are_the_chain() {
    let ledger = Ledger::of(40);
    let (sealed, served) = (ledger.sealed(), ledger.serve());
    let mut prev = "0".repeat(64);
    for (n, event) in (1..).zip(&sealed.events["acme"]) {
        let answer = served.get("acme", &format!("/v1/ledger/entries/{n}"));
        assert!(
            answer.text().ends_with(&format!(",\"event\":{event}}}")),
            "{answer:?}"
        );
        let entry = answer.json();
        assert_eq!(entry["leaf"]["prev"], prev);
        assert_eq!(entry["leaf"]["sequence"], n);
        for member in ["index", "origin", "sealed_at", "sequence"] {
            assert_eq!(entry[member], entry["leaf"][member], "{member}");
        }
        let text = answer.text();
        let leaf = text
            .split_once("\"leaf\":")
            .unwrap()
            .1
            .split_once(",\"event\":")
            .unwrap()
            .0;
        prev = data_encoding::HEXLOWER.encode(&entry_hash(leaf.as_bytes()));
        assert_eq!(entry["entry_hash"], prev);
    }
    let head = served.get("acme", "/v1/ledger/head").json();
    assert_eq!(
        (head["sequence"].as_u64(), head["entry_hash"].as_str()),
        (Some(40), Some(prev.as_str()))
    );
    assert_eq!(head["tenant"], "acme");
    let note = head["checkpoint"]["note"].as_str().unwrap();
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    signed.verify_by_known(&keys(&ledger)).unwrap();
    assert!(signed.checkpoint.size > head["index"].as_u64().unwrap());
    assert_eq!(head["checkpoint"]["size"], signed.checkpoint.size);
    assert_eq!(head["origin"], signed.checkpoint.origin.as_str());
}

#[test]
fn trees_of_all_signed_sizes_are_shown_to_begin_with_one_another() {
    let ledger = Ledger::empty();
    for from in [0, 130, 260, 390] {
        crate::index::ingest(&ledger.settings, from..from + 130);
        crate::sealed::drain(&ledger.settings);
    }
    let served = ledger.serve();
    let pool = ledger.database.pool(ledgerline::store::Role::Auditor);
    let notes: Vec<Vec<u8>> = ledger.database.runtime.block_on(async {
        let rows = sqlx::query("SELECT note FROM checkpoints JOIN tenant_months USING (partition) WHERE tenant_id = 'acme' ORDER BY size")
            .fetch_all(&pool)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    });
    let trees: Vec<SignedCheckpoint> = notes
        .iter()
        .map(|note| SignedCheckpoint::parse(note).unwrap())
        .collect();
    assert!(trees.len() >= 4);
    let origin = trees[0].checkpoint.origin.clone();
    let partition = origin.rsplit('/').next().unwrap();
    let first_index = served.get("acme", "/v1/ledger/entries/1").json()["index"]
        .as_u64()
        .unwrap();
    for (at, one) in trees.iter().enumerate() {
        for other in &trees[at..] {
            let (from, to) = (one.checkpoint.size, other.checkpoint.size);
            for place in [
                String::new(),
                format!("&origin={origin}"),
                format!("&partition={partition}"),
            ] {
                let answer = served.get(
                    "acme",
                    &format!("/v1/ledger/consistency?from={from}&to={to}{place}"),
                );
                let proof = answer.json();
                let hashes: Vec<[u8; 32]> = proof["hashes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|hash| {
                        BASE64
                            .decode(hash.as_str().unwrap().as_bytes())
                            .unwrap()
                            .try_into()
                            .unwrap()
                    })
                    .collect();
                let (first, second) = (&one.checkpoint.root, &other.checkpoint.root);
                assert!(
                    verify_consistency(from, to, first, second, &hashes),
                    "{from} {to}"
                );
                assert_eq!(proof["checkpoint"].as_str().unwrap().as_bytes(), other.format());
            }
        }
        // And proofs of an entry against each of them that covers it.
        let size = one.checkpoint.size;
        let proof = served.get("acme", &format!("/v1/ledger/entries/1/proof?size={size}"));
        if size <= first_index {
            assert_eq!(proof.status, 404);
            continue;
        }
        let proof = TlogProof::parse(&proof.body).unwrap();
        assert_eq!(proof.checkpoint.checkpoint.size, size);
    }
    let newest = trees.last().unwrap().checkpoint.size;
    for (query, status) in [
        (format!("from=1&to={}", newest + 1), 404),
        (format!("from={}", newest + 1), 404),
        ("from=2&to=1".to_owned(), 400),
        ("to=1".to_owned(), 400),
        (format!("from=1&partition={partition}&origin={origin}"), 400),
        ("from=1&origin=other.example/log/0".to_owned(), 404),
        ("from=1&partition=4095".to_owned(), 404),
        ("from=1&origin=%00".to_owned(), 400),
    ] {
        assert_eq!(
            served
                .get("acme", &format!("/v1/ledger/consistency?{query}"))
                .status,
            status,
            "{query}"
        );
    }
    assert_eq!(
        served
            .get("acme", &format!("/v1/ledger/entries/1/proof?size={}", newest + 1))
            .status,
        404
    );
}

#[test]
fn a_proof_from_tiles_that_were_changed_is_not_given() {
    let ledger = Ledger::of(60);
    let served = ledger.serve();
    let size = served.get("acme", "/v1/ledger/head").json()["checkpoint"]["size"].clone();
    let size = size.as_u64().unwrap();
    let proofs = [
        "/v1/ledger/entries/7/proof".to_owned(),
        "/v1/ledger/consistency?from=1".to_owned(),
        "/v1/ledger/consistency?from=3".to_owned(),
        // Of which the tiles give the roots alone.
        format!("/v1/ledger/consistency?from={size}"),
        format!("/v1/ledger/consistency?from={0}&to={0}", size - 1),
    ];
    let all = |due: (u16, &str)| {
        for path in &proofs {
            let answer = served.get("acme", path);
            let code = if answer.status == 200 {
                String::new()
            } else {
                answer.code()
            };
            assert_eq!((answer.status, code.as_str()), due, "{path}");
        }
    };
    all((200, ""));
    let flip = "UPDATE ledgerline.tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40)) WHERE level = 0";
    ledger.database.execute(flip).unwrap();
    all((500, "read_model_damaged"));
    ledger.database.execute(flip).unwrap();
    // The root in the note.
    let note = "UPDATE ledgerline.checkpoints SET note = overlay(note PLACING '\\x4242'::bytea FROM position('\\x0a0ae2'::bytea IN note) - 20)";
    ledger.database.execute(note).unwrap();
    all((500, "read_model_damaged"));
}

#[test]
fn the_roots_of_all_stored_notes_are_those_that_a_consistency_proof_is_held_against() {
    let ledger = Ledger::empty();
    for from in [0, 20] {
        crate::index::ingest(&ledger.settings, from..from + 20);
        crate::sealed::drain(&ledger.settings);
    }
    let served = ledger.serve();
    let older = ledger.database.number(
        "SELECT min(size) FROM ledgerline.checkpoints JOIN ledgerline.tenant_months USING (partition) WHERE tenant_id = 'acme'",
    );
    let paths = [
        format!("/v1/ledger/consistency?from={older}"),
        format!("/v1/ledger/consistency?from=1&to={older}"),
    ];
    for path in &paths {
        assert_eq!(served.get("acme", path).status, 200, "{path}");
    }
    let note = format!(
        "UPDATE ledgerline.checkpoints SET note = overlay(note PLACING '\\x4242'::bytea FROM position('\\x0a0ae2'::bytea IN note) - 20) WHERE size = {older}"
    );
    ledger.database.execute(&note).unwrap();
    for path in &paths {
        let refused = served.get("acme", path);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (500, "read_model_damaged"),
            "{path}"
        );
    }
}

#[test]
fn those_who_wait_are_told_of_what_is_sealed_with_its_proof_and_of_nothing_else() {
    let ledger = Ledger::of(30);
    let (sealed, keys) = (ledger.sealed(), keys(&ledger));
    let wanted: Vec<(String, String)> = [
        ("acme", "acme-3"),
        ("globex", "globex-29"),
        ("acme", "acme-30"),
        ("globex", "acme-3"),
        ("initech", "initech-0"),
    ]
    .map(|(tenant, id)| (tenant.to_owned(), id.to_owned()))
    .to_vec();
    let reads = {
        let _inside = ledger.database.runtime.enter();
        let options = ledgerline::store::parse_url(&ledger.database.url).unwrap();
        Reads::new(&options, ledger.database.model(), 2, Duration::from_secs(30))
    };
    let (found, proofs) = ledger.database.runtime.block_on(async {
        let found = reads.sealed(&wanted).await.unwrap();
        let proofs = reads.proofs(&found).await.unwrap();
        (found, proofs)
    });
    let named: Vec<(&str, u64)> = found
        .iter()
        .map(|leaf| (leaf.event_id.as_str(), leaf.sequence))
        .collect();
    assert_eq!(named, [("acme-3", 4), ("globex-29", 30), ("initech-0", 1)]);
    for (leaf, proof) in found.iter().zip(proofs) {
        let event = &sealed.events[&leaf.tenant][leaf.sequence as usize - 1];
        let Proven::Proof(proof) = proof else {
            panic!("{proof:?}");
        };
        let proven = check_proof(&proof, &Sha256::digest(event).into(), &keys).unwrap();
        assert_eq!((proven.tenant, proven.index), (leaf.tenant.clone(), leaf.index));
        assert_eq!(leaf.entry_hash, entry_hash(&leaf.leaf));
    }
}

#[test]
fn a_leaf_or_a_checkpoint_that_is_damaged_takes_nobody_else_his_proof() {
    let ledger = Ledger::of(10);
    let wanted = ["acme", "globex"].map(|tenant| (tenant.to_owned(), format!("{tenant}-3")));
    let reads = {
        let _inside = ledger.database.runtime.enter();
        let options = ledgerline::store::parse_url(&ledger.database.url).unwrap();
        Reads::new(&options, ledger.database.model(), 2, Duration::from_secs(30))
    };
    let proofs = || {
        ledger.database.runtime.block_on(async {
            let found = reads.sealed(&wanted).await.unwrap();
            reads.proofs(&found).await.unwrap()
        })
    };
    let damage = format!(
        "UPDATE {} SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"sealed_at\":\"2', '\"sealed_at\":\"3'), 'UTF8') WHERE event_id = 'acme-3' AND kind = 'entry'",
        ledger.part()
    );
    assert_eq!(ledger.database.execute(&damage).unwrap(), 1);
    let found = proofs();
    assert!(
        matches!(found[..], [Proven::Damaged(_), Proven::Proof(_)]),
        "{found:?}"
    );
    let globex = ledger.database.number(&format!(
        "SELECT partition::bigint FROM {} WHERE event_id = 'globex-3'",
        ledger.part()
    ));
    let of_globex = format!("UPDATE ledgerline.checkpoints SET note = 'none' WHERE partition = {globex}");
    assert!(ledger.database.execute(&of_globex).unwrap() > 0);
    let found = proofs();
    assert!(
        matches!(found[..], [Proven::Damaged(_), Proven::Damaged(_)]),
        "{found:?}"
    );
}
