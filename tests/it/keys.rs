//! Keys and what they sign: published vectors, other implementations as oracles, key rings, key sets, and the local signer's files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod command;
mod key_sets;
mod local_signer;
mod notes;
mod public_keys;
mod rings;

use crate::process::{ledgerline, stderr};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use ledgerline::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use ledgerline::ledger::jwks;
use ledgerline::ledger::key::{Alg, PublicKey, SpkiError};
use ledgerline::ledger::keyring::{KeyFault, KeyRing};
use ledgerline::ledger::leaf::{KeyAction, key_proof_message};
use ledgerline::ledger::merkle::EMPTY_ROOT;
use ledgerline::ledger::note::{NOTE_BYTES_MAX, Note, NoteError};
use ledgerline::ledger::tile::TileName;
use ledgerline::signing::Signer as _;
use ledgerline::signing::local::{LocalKeysError, LocalSigner, LocalSignerOptions, RsaBits};
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

const ORIGIN: &str = "ledger.example.com/audit/0";

/// A PS256 key, an Ed25519 key, and one more of each.
struct Keys {
    signer: LocalSigner,
    public: Vec<PublicKey>,
    _dir: TempDir,
}

/// Made once: RSA keys take a while.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut signer =
            LocalSigner::open_or_create(&dir.path().join("keys"), &LocalSignerOptions::default()).unwrap();
        signer.add(Alg::Ps256, Some("second"), RsaBits::Bits2048).unwrap();
        signer.add(Alg::Ed25519, None, RsaBits::Bits2048).unwrap();
        let public = public(&signer);
        Keys {
            signer,
            public,
            _dir: dir,
        }
    })
}

fn public(signer: &LocalSigner) -> Vec<PublicKey> {
    signer.keys().into_iter().map(|held| held.key).collect()
}

fn sign(key: &PublicKey, message: &[u8]) -> Vec<u8> {
    sign_with(&keys().signer, key, message)
}

fn sign_with(signer: &LocalSigner, key: &PublicKey, message: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(signer.sign(&key.kid, message)).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 42,
        root: EMPTY_ROOT,
    }
}

fn signed_by(keys: &[&PublicKey]) -> SignedCheckpoint {
    let text = checkpoint().text();
    let signatures = keys
        .iter()
        .map(|key| (*key, sign(key, text.as_bytes())))
        .collect();
    SignedCheckpoint::new(checkpoint(), signatures)
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic_and_what_is_read_is_written_the_same(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn nor_do_damaged_notes_and_sets(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        static GOOD: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let good = GOOD.get_or_init(|| {
            let public = &keys().public;
            vec![signed_by(&[&public[0], &public[1]]).format(), jwks::write(public)]
        });
        for bytes in good {
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] = byte;
            read_all(&damaged);
            damaged.truncate(cut.index(bytes.len()));
            read_all(&damaged);
        }
    }
}

fn read_all(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.format(), bytes);
    }
    if let Ok(signed) = SignedCheckpoint::parse(bytes) {
        assert_eq!(signed.format(), bytes);
        let count = signed.verify_by_known(&keys().public).unwrap_or(0);
        assert!(count <= signed.signatures.len());
    }
    if let Ok(read) = jwks::parse(bytes) {
        assert_eq!(jwks::parse(&jwks::write(&read)).unwrap(), read);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(TileName::parse(text).is_none_or(|name| name.path() == text));
    }
    let key = PublicKey {
        alg: Alg::Ps256,
        kid: String::new(),
        spki: bytes.to_vec(),
    };
    assert!(key.check_spki().is_err() || key.thumbprint().is_some());
}

/// As of keys in KMS, whose private halves are nowhere: what is served and archived is enough to verify notes with other tools.
#[test]
fn public_keys_of_a_jwks_are_listed_and_printed_as_verifier_keys() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("keys");
    let public = public(&LocalSigner::open_or_create(&at, &LocalSignerOptions::default()).unwrap());
    let keys = format!("--keys={}", at.display());
    let path = dir.path().join("jwks.json");
    fs::write(&path, jwks::write(&public)).unwrap();
    let jwks = format!("--jwks={}", path.display());
    let origin = "--origin=ledger.example.com/audit/0";
    let vkeys = |of: &str| ledgerline(&["keys", "vkey", of, origin]).stdout;
    assert_eq!(vkeys(&jwks), vkeys(&keys));
    let listed = String::from_utf8(ledgerline(&["keys", "list", &jwks]).stdout).unwrap();
    assert!(public.iter().all(|key| listed.contains(&key.kid)), "{listed}");
    let added = ledgerline(&["keys", "add", &jwks]);
    assert_eq!(added.status.code(), Some(2));
    assert!(stderr(&added).contains("docs/KEYS.md"), "{}", stderr(&added));
}
