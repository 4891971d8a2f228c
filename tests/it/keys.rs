//! Keys and what they sign: published vectors, other implementations as oracles, key rings, key sets, and the local signer's files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use ledgerline::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use ledgerline::ledger::jwks;
use ledgerline::ledger::key::{Alg, PublicKey, SpkiError};
use ledgerline::ledger::keyring::{KeyFault, KeyRing};
use ledgerline::ledger::leaf::{KeyAction, key_proof_message};
use ledgerline::ledger::merkle::EMPTY_ROOT;
use ledgerline::ledger::note::{Note, NoteError};
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

mod notes {
    use super::*;

    /// A vkey of type 0x01 as a key.
    fn from_vkey(vkey: &str) -> PublicKey {
        let bytes = BASE64
            .decode(vkey.splitn(3, '+').nth(2).unwrap().as_bytes())
            .unwrap();
        assert_eq!(bytes[0], 1);
        PublicKey::from_ed25519("vector", bytes[1..].try_into().unwrap())
    }

    #[test]
    fn published_notes_verify_and_are_written_as_they_were_read() {
        // The example of c2sp.org/signed-note, and that of golang.org/x/mod/sumdb/note.
        for (vkey, name, note) in [
            (
                "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
                "example.com/foo",
                "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
            ),
            (
                "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
                "PeterNeumann",
                "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
            ),
        ] {
            let key = from_vkey(vkey);
            assert_eq!(key.vkey(name), vkey);
            let parsed = Note::parse(note.as_bytes()).unwrap();
            assert_eq!(parsed.format(), note.as_bytes());
            let [line] = &parsed.signatures[..] else {
                panic!("one line")
            };
            assert!(line.is_by(&key, name));
            assert!(key.verify(parsed.text.as_bytes(), &line.signature));
            assert!(!key.verify(&parsed.text.as_bytes()[1..], &line.signature));
        }
    }

    #[test]
    fn a_text_may_hold_empty_lines_and_a_checkpoint_of_the_specification_parses() {
        let poem = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note = Note::parse(poem.as_bytes()).unwrap();
        assert!(note.text.ends_with("sole:\n\ned è subito sera.\n"));
        assert_eq!(note.format(), poem.as_bytes());

        let sofa = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let signed = SignedCheckpoint::parse(sofa.as_bytes()).unwrap();
        assert_eq!(signed.checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(signed.checkpoint.size, 20_852_163);
        assert_eq!(signed.format(), sofa.as_bytes());
    }

    #[test]
    fn other_implementations_read_and_verify_what_we_write() {
        let (ps256, ed25519) = (&keys().public[0], &keys().public[1]);
        let bytes = signed_by(&[ps256, ed25519]).format();
        let note = signed_note::Note::from_bytes(&bytes).unwrap();
        let verifier = signed_note::StandardVerifier::new(&ed25519.vkey(ORIGIN)).unwrap();
        let trusted = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (known, unknown) = note.verify(&trusted).unwrap();
        // The PS256 line is one of a type that a C2SP client does not know, and passes over.
        assert_eq!((known.len(), unknown.len()), (1, 1));
        assert_eq!(known[0].id().to_be_bytes(), ed25519.key_id(ORIGIN));
        let theirs = tlog_tiles::checkpoint::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((theirs.origin(), theirs.size()), (ORIGIN, 42));
        assert_eq!(theirs.hash().0, EMPTY_ROOT);
        assert_eq!(theirs.extension(), "");
    }

    #[test]
    fn we_read_and_verify_what_other_implementations_write() {
        let seed = [7; 32];
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let point = aws_lc_rs::signature::KeyPair::public_key(&pair)
            .as_ref()
            .try_into()
            .unwrap();
        let key = PublicKey::from_ed25519("theirs", point);
        let skey = format!(
            "PRIVATE+KEY+{ORIGIN}+{}+{}",
            HEXLOWER.encode(&key.key_id(ORIGIN)),
            BASE64.encode(&[&[1], &seed[..]].concat())
        );
        let signer = signed_note::StandardSigner::new(&skey).unwrap();
        let theirs =
            tlog_tiles::checkpoint::Checkpoint::new(ORIGIN, 42, tlog_tiles::tlog::Hash(EMPTY_ROOT), "")
                .unwrap();
        let mut note = signed_note::Note::new(&theirs.to_bytes(), &[]).unwrap();
        note.add_sigs(&[&signer]).unwrap();
        let ours = SignedCheckpoint::parse(&note.to_bytes()).unwrap();
        assert_eq!(ours.checkpoint, checkpoint());
        assert_eq!(ours.verify_by_signers(&[&key]), Ok(()));
        assert_eq!(ours.verify_by_known(&[key]), Ok(1));
    }

    #[test]
    fn an_archive_takes_one_line_by_each_signer_in_order_and_nothing_else() {
        let [a, b, c, d] = &keys().public[..] else {
            panic!("four keys")
        };
        let signers = [a, b];
        assert_eq!(signed_by(&[a, b]).verify_by_signers(&signers), Ok(()));
        let wrong = |line: usize, key: &PublicKey| {
            let kid = key.kid.clone();
            Err(CheckpointError::WrongSigner { line, kid })
        };
        let count = |found| Err(CheckpointError::SignatureCount { expected: 2, found });
        assert_eq!(signed_by(&[b, a]).verify_by_signers(&signers), wrong(1, a));
        assert_eq!(signed_by(&[a, d]).verify_by_signers(&signers), wrong(2, b));
        assert_eq!(signed_by(&[c, b]).verify_by_signers(&signers), wrong(1, a));
        assert_eq!(signed_by(&[a, a]).verify_by_signers(&signers), wrong(2, b));
        assert_eq!(signed_by(&[a]).verify_by_signers(&signers), count(1));
        assert_eq!(signed_by(&[a, b, b]).verify_by_signers(&signers), count(3));
        assert!(signed_by(&[]).verify_by_signers(&[]).is_err());
        for line in 0..2 {
            let mut bad = signed_by(&[a, b]);
            bad.signatures[line].signature[17] ^= 1;
            let kid = signers[line].kid.clone();
            assert_eq!(
                bad.verify_by_signers(&signers),
                Err(CheckpointError::BadSignature { kid })
            );
        }
        let mut renamed = signed_by(&[a, b]);
        renamed.signatures[0].name.push('x');
        assert_eq!(renamed.verify_by_signers(&signers), wrong(1, a));
    }

    #[test]
    fn a_client_passes_over_unknown_lines_and_refuses_a_bad_known_one() {
        let [a, b, c, d] = &keys().public[..] else {
            panic!("four keys")
        };
        let known = |keys: &[&PublicKey]| keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>();
        let signed = signed_by(&[a, b, c, c]);
        assert_eq!(signed.verify_by_known(&known(&[b])), Ok(1));
        assert_eq!(signed.verify_by_known(&known(&[b, c, d])), Ok(2));
        assert_eq!(
            signed.verify_by_known(&known(&[d])),
            Err(CheckpointError::NoKnownSignature)
        );
        assert_eq!(
            signed.verify_by_known(&[]),
            Err(CheckpointError::NoKnownSignature)
        );
        let mut bad = signed.clone();
        bad.signatures[1].signature[0] ^= 1;
        let kid = b.kid.clone();
        assert_eq!(
            bad.verify_by_known(&known(&[a, b])),
            Err(CheckpointError::BadSignature { kid })
        );
        assert_eq!(bad.verify_by_known(&known(&[a, c])), Ok(2));
        // The last line is a second one by c: it must be good as well.
        let mut bad = signed;
        bad.signatures[3].signature[0] ^= 1;
        assert!(bad.verify_by_known(&known(&[c])).is_err());
    }

    #[test]
    fn every_other_spelling_of_a_checkpoint_is_refused() {
        let good = checkpoint().text();
        assert_eq!(Checkpoint::parse(&good), Some(checkpoint()));
        let root = BASE64.encode(&EMPTY_ROOT);
        for bad in [
            format!("{ORIGIN}\n42\n{root}"),
            format!("{ORIGIN}\n42\n{root}\nextension\n"),
            format!("{ORIGIN}\n42\n{root}\n\n"),
            format!("{ORIGIN}\n042\n{root}\n"),
            format!("{ORIGIN}\n+42\n{root}\n"),
            format!("{ORIGIN}\n\n{root}\n"),
            format!("{ORIGIN}\n42\n{}\n", root.trim_end_matches('=')),
            format!("{ORIGIN}\n42\n{}\n", BASE64.encode(&EMPTY_ROOT[1..])),
            format!("{ORIGIN}\n42\n{root} \n"),
            format!("{ORIGIN}\r\n42\n{root}\n"),
            format!("two words\n42\n{root}\n"),
            format!("\n42\n{root}\n"),
            String::new(),
        ] {
            assert_eq!(Checkpoint::parse(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused_with_the_reason() {
        let line = "\u{2014} a AAAAAAE=\n";
        let note = |rest: String| Note::parse(rest.as_bytes()).map(drop);
        assert_eq!(note(format!("text\n\n{line}")), Ok(()));
        assert_eq!(note(format!("text\n\n{}", line.repeat(64))), Ok(()));
        assert_eq!(
            note(format!("text\n\n{}", line.repeat(65))),
            Err(NoteError::SignatureCount)
        );
        assert_eq!(note(format!("text\n{line}")), Err(NoteError::Shape));
        assert_eq!(note("text\n\n".to_owned()), Err(NoteError::Shape));
        assert_eq!(
            note(format!("text\n\n{}", line.trim_end())),
            Err(NoteError::Shape)
        );
        assert_eq!(note(format!("te\txt\n\n{line}")), Err(NoteError::Characters));
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::Characters));
        assert_eq!(note("x".repeat(200_000)), Err(NoteError::TooLarge));
        for bad in [
            "\u{2014} a  AAAAAAE=",
            "\u{2014} a AAAAAA==",
            "\u{2014} a AAAAAAF=",
            "\u{2014} a AAAAAAE",
            "- a AAAAAAE=",
            "\u{2014} a+b AAAAAAE=",
            "\u{2014}  AAAAAAE=",
            "\u{2014} a\u{a0}b AAAAAAE=",
            "\u{2014} a AAAAAAE= ",
        ] {
            assert_eq!(
                note(format!("text\n\n{line}{bad}\n")),
                Err(NoteError::SignatureLine(2)),
                "{bad}"
            );
        }
    }
}

mod public_keys {
    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
        let modulus = BASE64URL_NOPAD
            .decode(b"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
            .unwrap();
        let rsa = PublicKey::from_rsa_modulus("", &modulus);
        assert_eq!(rsa.check_spki(), Ok(()));
        assert_eq!(rsa.rsa_parts(), Some((&modulus[..], &[1, 0, 1][..])));
        assert_eq!(
            rsa.thumbprint().as_deref(),
            Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
        );
        let x = BASE64URL_NOPAD
            .decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        let ed25519 = PublicKey::from_ed25519("", x[..].try_into().unwrap());
        assert_eq!(
            ed25519.thumbprint().as_deref(),
            Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
        );
    }

    #[test]
    fn an_spki_is_strict_der_of_an_allowed_key_and_nothing_else() {
        let (ps256, ed25519) = (&keys().public[0], &keys().public[1]);
        let altered = |key: &PublicKey, change: &dyn Fn(&mut Vec<u8>)| {
            let mut key = key.clone();
            change(&mut key.spki);
            key.check_spki()
        };
        assert_eq!((ps256.check_spki(), ed25519.check_spki()), (Ok(()), Ok(())));
        // Every bit of what is around the modulus, then the top bit that its sign byte is there for.
        let length = ps256.spki.len();
        for at in (0..32).chain(length - 5..length) {
            for bit in 0..8 {
                assert_eq!(
                    altered(ps256, &|spki| spki[at] ^= 1 << bit),
                    Err(SpkiError::Rsa),
                    "byte {at}"
                );
            }
        }
        assert_eq!(altered(ps256, &|spki| spki[33] &= 0x7f), Err(SpkiError::Rsa));
        // An even modulus is DER and no key.
        assert_eq!(
            altered(ps256, &|spki| spki[length - 6] &= 0xfe),
            Err(SpkiError::Value)
        );
        for at in 0..12 {
            for bit in 0..8 {
                assert_eq!(
                    altered(ed25519, &|spki| spki[at] ^= 1 << bit),
                    Err(SpkiError::Ed25519)
                );
            }
        }
        for key in [ps256, ed25519] {
            for length in 0..key.spki.len() {
                assert!(altered(key, &|spki| spki.truncate(length)).is_err());
            }
            assert!(altered(key, &|spki| spki.push(0)).is_err());
            let other = [Alg::Ps256, Alg::Ed25519]
                .into_iter()
                .find(|alg| *alg != key.alg)
                .unwrap();
            let exchanged = PublicKey {
                alg: other,
                ..key.clone()
            };
            assert!(exchanged.check_spki().is_err());
            assert!(exchanged.thumbprint().is_none());
        }
        for bytes in [128, 255, 513, 1024] {
            let key = PublicKey::from_rsa_modulus("", &vec![0xff; bytes]);
            assert_eq!(key.check_spki(), Err(SpkiError::Rsa), "{bytes} bytes");
        }
    }

    #[test]
    fn a_signature_is_refused_when_a_bit_of_it_or_of_its_message_changes() {
        for key in &keys().public[..2] {
            let (message, verifier) = (b"a message", key.verifier().unwrap());
            let signature = sign(key, message);
            assert!(key.verify(message, &signature) && verifier.verify(message, &signature));
            for bit in 0..signature.len() * 8 {
                let mut other = signature.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!verifier.verify(message, &other), "{} bit {bit}", key.kid);
            }
            assert!(!verifier.verify(b"a massage", &signature));
            assert!(!verifier.verify(message, &signature[1..]));
            assert!(!verifier.verify(message, &[]));
        }
    }

    #[test]
    fn a_salt_of_another_length_is_not_ps256() {
        use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
        use aws_lc_rs::rand::SystemRandom;
        use aws_lc_rs::rsa::KeySize;
        use aws_lc_rs::signature::{
            KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaKeyPair,
        };
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let spki: PublicKeyX509Der = pair.public_key().as_der().unwrap();
        let key = PublicKey {
            alg: Alg::Ps256,
            kid: String::new(),
            spki: spki.as_ref().to_vec(),
        };
        let mut signature = vec![0; 256];
        let mut check = |encoding| {
            pair.sign(encoding, &SystemRandom::new(), b"m", &mut signature)
                .unwrap();
            key.verify(b"m", &signature)
        };
        assert!(check(&RSA_PSS_SHA256));
        assert!(!check(&RSA_PSS_SHA384));
        assert!(!check(&RSA_PKCS1_SHA256));
    }
}

mod rings {
    use super::*;

    fn apply(ring: &mut KeyRing, action: KeyAction, key: &PublicKey, by: &PublicKey) -> Result<(), KeyFault> {
        let proof = sign(by, &key_proof_message(ORIGIN, action, key));
        ring.apply(ORIGIN, 9, action, key, &proof).map_err(|error| {
            assert_eq!((error.index, &error.kid), (9, &key.kid));
            error.fault
        })
    }

    #[test]
    fn keys_rotate_and_the_last_declared_of_each_kind_sign() {
        let [a, b, c, d] = &keys().public[..] else {
            panic!("four keys")
        };
        let mut ring = KeyRing::genesis(&[a.clone(), b.clone()]).unwrap();
        assert_eq!(ring.signers(), [a, b]);
        apply(&mut ring, KeyAction::Add, d, d).unwrap();
        assert_eq!(ring.signers(), [a, d]);
        apply(&mut ring, KeyAction::Add, c, c).unwrap();
        assert_eq!(ring.signers(), [c, d]);
        apply(&mut ring, KeyAction::Retire, d, a).unwrap();
        assert_eq!(ring.signers(), [c, b]);
        assert_eq!(
            (ring.is_retired(&d.kid), ring.is_retired(&b.kid)),
            (Some(true), Some(false))
        );
        assert_eq!(ring.is_retired("unknown"), None);
        apply(&mut ring, KeyAction::Retire, b, b).unwrap();
        assert_eq!(ring.signers(), [c]);
        assert_eq!(ring.declared(), [a.clone(), b.clone(), d.clone(), c.clone()]);
    }

    #[test]
    fn each_rule_of_the_format_is_held() {
        let [a, b, c, d] = &keys().public[..] else {
            panic!("four keys")
        };
        let start = KeyRing::genesis(&[a.clone(), b.clone()]).unwrap();
        let refused = |action, key: &PublicKey, by: &PublicKey| {
            let mut ring = start.clone();
            let fault = apply(&mut ring, action, key, by).unwrap_err();
            assert_eq!(ring, start, "a refused leaf changes nothing");
            fault
        };
        let renamed = |key: &PublicKey, kid: &str| PublicKey {
            kid: kid.to_owned(),
            ..key.clone()
        };
        assert_eq!(refused(KeyAction::Add, c, a), KeyFault::AddProof);
        assert_eq!(refused(KeyAction::Add, a, a), KeyFault::KidTaken);
        assert_eq!(
            refused(KeyAction::Add, &renamed(c, &a.kid), c),
            KeyFault::KidTaken
        );
        assert_eq!(
            refused(KeyAction::Add, &renamed(a, "again"), a),
            KeyFault::KeyTaken
        );
        assert_eq!(refused(KeyAction::Retire, c, a), KeyFault::NotDeclared);
        assert_eq!(
            refused(KeyAction::Retire, &renamed(c, &a.kid), a),
            KeyFault::NotDeclared
        );
        assert_eq!(refused(KeyAction::Retire, a, c), KeyFault::RetireProof);
        let broken = PublicKey {
            spki: vec![1, 2, 3],
            ..d.clone()
        };
        assert_eq!(
            refused(KeyAction::Add, &broken, d),
            KeyFault::Spki(SpkiError::Ed25519)
        );

        let mut ring = start.clone();
        apply(&mut ring, KeyAction::Retire, a, b).unwrap();
        assert_eq!(
            apply(&mut ring, KeyAction::Retire, a, b),
            Err(KeyFault::RetiredBefore)
        );
        assert_eq!(apply(&mut ring, KeyAction::Add, a, a), Err(KeyFault::KidTaken));
        assert_eq!(apply(&mut ring, KeyAction::Retire, b, b), Err(KeyFault::LastKey));
        apply(&mut ring, KeyAction::Add, d, d).unwrap();
        // A retired key vouches for nothing.
        assert_eq!(
            apply(&mut ring, KeyAction::Retire, d, a),
            Err(KeyFault::RetireProof)
        );

        // A proof is for one origin and one action.
        let mut ring = start.clone();
        let elsewhere = sign(
            c,
            &key_proof_message("ledger.example.com/audit/1", KeyAction::Add, c),
        );
        assert!(ring.apply(ORIGIN, 9, KeyAction::Add, c, &elsewhere).is_err());
        let other_action = sign(c, &key_proof_message(ORIGIN, KeyAction::Retire, c));
        assert!(ring.apply(ORIGIN, 9, KeyAction::Add, c, &other_action).is_err());
    }

    #[test]
    fn a_genesis_declares_one_to_eight_different_keys() {
        let [a, b, ..] = &keys().public[..] else {
            panic!("four keys")
        };
        let fault = |keys: &[PublicKey]| KeyRing::genesis(keys).unwrap_err().fault;
        assert_eq!(fault(&[]), KeyFault::GenesisCount);
        assert_eq!(fault(&vec![a.clone(); 9]), KeyFault::GenesisCount);
        assert_eq!(fault(&[a.clone(), a.clone()]), KeyFault::KidTaken);
        let again = PublicKey {
            kid: "again".to_owned(),
            ..a.clone()
        };
        assert_eq!(fault(&[a.clone(), again]), KeyFault::KeyTaken);
        let broken = PublicKey {
            spki: Vec::new(),
            ..b.clone()
        };
        assert_eq!(fault(&[a.clone(), broken]), KeyFault::Spki(SpkiError::Ed25519));
        assert!(KeyRing::default().signers().is_empty());
    }
}

mod key_sets {
    use super::*;

    #[test]
    fn a_set_is_canonical_and_survives_reading() {
        let public = &keys().public;
        let bytes = jwks::write(public);
        assert_eq!(jwks::parse(&bytes).unwrap(), *public);
        let canonical =
            serde_json_canonicalizer::to_vec(&serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
        assert_eq!(bytes, canonical.unwrap());
        let modulus = BASE64URL_NOPAD.encode(public[0].rsa_parts().unwrap().0);
        let x = BASE64URL_NOPAD.encode(public[1].ed25519_bytes().unwrap());
        let (first, second) = (&public[0].kid, &public[1].kid);
        let expected = format!(
            r#"{{"keys":[{{"alg":"PS256","e":"AQAB","kid":"{first}","kty":"RSA","n":"{modulus}","use":"sig"}},{{"alg":"Ed25519","crv":"Ed25519","kid":"{second}","kty":"OKP","use":"sig","x":"{x}"}}]}}"#
        );
        assert_eq!(String::from_utf8(jwks::write(&public[..2])).unwrap(), expected);
        assert_eq!(jwks::write(&[]), br#"{"keys":[]}"#);
    }

    #[test]
    fn sets_of_others_are_read_in_any_spelling() {
        let public = &keys().public;
        let n = BASE64URL_NOPAD.encode(public[0].rsa_parts().unwrap().0);
        let x = BASE64URL_NOPAD.encode(public[1].ed25519_bytes().unwrap());
        let set = format!(
            r#" {{ "iss": 1, "keys" : [
                {{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}},
                {{"kty":"RSA","alg":"RS256","n":"{n}","e":"AQAB"}},
                {{"kty":"RSA","use":"enc","n":"{n}","e":"AQAB"}},
                {{"n":"{n}","e":"AQAB","kty":"\u0052SA","kid":"my key"}},
                {{"kty":"OKP","crv":"X25519","x":"AA"}},
                {{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"theirs","key_ops":["verify"],"x":"{x}"}},
                {{"kty":"OKP","crv":"Ed25519","kid":"again","x":"{x}"}}
            ] }} "#
        );
        let read = jwks::parse(set.as_bytes()).unwrap();
        let kids: Vec<&str> = read.iter().map(|key| key.kid.as_str()).collect();
        assert_eq!(kids, [&public[0].thumbprint().unwrap(), "theirs"]);
        assert!(read[0].is_same_key(&public[0]) && read[1].is_same_key(&public[1]));
    }

    #[test]
    fn a_damaged_or_private_or_useless_set_is_refused_with_the_reason() {
        let n = BASE64URL_NOPAD.encode(keys().public[0].rsa_parts().unwrap().0);
        let short = BASE64URL_NOPAD.encode(&[0xff; 128]);
        let padded = format!("{n}=");
        let rsa = |n: &str, rest: &str| format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}"{rest}}}]}}"#);
        for (set, reason) in [
            (String::new(), "not JSON"),
            ("[]".to_owned(), "array `keys`"),
            (r#"{"keys":[1]}"#.to_owned(), "array `keys`"),
            (r#"{"keys":[]}"#.to_owned(), "no key"),
            (r#"{"keys":[{"kty":"EC"}]}"#.to_owned(), "no key"),
            (rsa(&n, r#","e":"AQAB","d":"AA""#), "private"),
            (rsa(&n, ""), "`e` is missing"),
            (rsa(&padded, r#","e":"AQAB""#), "`n` is missing or not base64url"),
            (rsa(&n, r#","e":"Aw""#), "e = 65537"),
            (rsa(&short, r#","e":"AQAB""#), "2048 to 4096"),
            (
                r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#.to_owned(),
                "Ed25519",
            ),
            (
                format!("{{\"keys\":[{}]}}", vec!["{}"; 1_025].join(",")),
                "at most",
            ),
            (" ".repeat(1_100_000), "at most"),
        ] {
            let error = jwks::parse(set.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}

mod local_signer {
    use super::*;

    fn create(dir: &Path) -> LocalSigner {
        LocalSigner::open_or_create(dir, &LocalSignerOptions::default()).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn keys_are_made_once_for_their_owner_alone_and_are_there_again() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/keys");
        let first = create(&dir);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(
            names(&dir),
            [".lock", "index.json", "key-0001.pem", "key-0002.pem"]
        );
        assert_eq!(
            (mode(&dir.join("key-0001.pem")), mode(&dir.join("key-0002.pem"))),
            (0o600, 0o600)
        );
        let algs: Vec<Alg> = public(&first).iter().map(|key| key.alg).collect();
        assert_eq!(algs, [Alg::Ps256, Alg::Ed25519]);
        for key in public(&first) {
            assert_eq!(key.thumbprint().as_ref(), Some(&key.kid));
            assert!(key.verify(b"m", &sign_with(&first, &key, b"m")));
        }
        assert_eq!(create(&dir).keys(), first.keys());
        assert_eq!(LocalSigner::open(&dir).unwrap().keys(), first.keys());
    }

    #[test]
    fn two_first_uses_at_once_agree_on_the_keys() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        let made: Vec<Vec<PublicKey>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| public(&create(&dir)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|keys| *keys == made[0]));
        assert_eq!(made[0].len(), 2);
    }

    #[test]
    fn keys_rotate_and_one_remains() {
        let temp = tempfile::tempdir().unwrap();
        let mut signer = create(temp.path().join("keys").as_path());
        let old = public(&signer);
        let new = signer
            .add(Alg::Ed25519, Some("not for this kind"), RsaBits::Bits2048)
            .unwrap();
        assert_eq!(Some(&new.kid), new.thumbprint().as_ref());
        signer.retire(&old[1].kid).unwrap();
        let again = LocalSigner::open(&temp.path().join("keys")).unwrap();
        assert_eq!(again.keys(), signer.keys());
        let retired: Vec<bool> = again.keys().iter().map(|held| held.retired).collect();
        assert_eq!(retired, [false, true, false]);
        // What a retired key signs is still asked for: its own retirement.
        assert!(old[1].verify(b"m", &sign_with(&again, &old[1], b"m")));

        let refused = |result: Result<(), LocalKeysError>| match result {
            Err(LocalKeysError::Refused(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(refused(signer.retire(&old[1].kid)).contains("it is retired"));
        assert!(refused(signer.retire("nobody")).contains("no such key"));
        signer.retire(&old[0].kid).unwrap();
        assert!(refused(signer.retire(&new.kid)).contains("the last key"));
        let taken = signer
            .add(Alg::Ps256, Some(&new.kid), RsaBits::Bits2048)
            .map(drop);
        assert!(refused(taken).contains("never used again"));
        let bad = signer
            .add(Alg::Ps256, Some("white space"), RsaBits::Bits2048)
            .map(drop);
        assert!(refused(bad).contains("1 to 128 characters"));
        assert_eq!(signer.keys().len(), 3);
    }

    #[test]
    fn an_issuer_kid_names_the_ps256_key_and_cannot_be_changed_behind_the_ledgers_back() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        let options = |kid: &str| LocalSignerOptions {
            issuer_kid: Some(kid.to_owned()),
            rsa_bits: RsaBits::Bits3072,
        };
        let mut signer = LocalSigner::open_or_create(&dir, &options("issuer-1")).unwrap();
        assert_eq!(public(&signer)[0].kid, "issuer-1");
        assert_eq!(public(&signer)[0].rsa_parts().unwrap().0.len() * 8, 3072);
        let error = LocalSigner::open_or_create(&dir, &options("issuer-2")).unwrap_err();
        assert!(
            error.to_string().contains("keys add --alg PS256 --kid issuer-2"),
            "{error}"
        );
        signer
            .add(Alg::Ps256, Some("issuer-2"), RsaBits::Bits2048)
            .unwrap();
        assert!(LocalSigner::open_or_create(&dir, &options("issuer-2")).is_ok());
    }

    #[test]
    fn files_that_others_may_read_are_refused_with_the_command_that_cures_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        create(&dir);
        let key = dir.join("key-0002.pem");
        for bad in [0o640, 0o604, 0o620, 0o666, 0o601] {
            set_mode(&key, bad);
            let error = LocalSigner::open(&dir).unwrap_err().to_string();
            assert!(
                error.contains(&format!("chmod 600 '{}'", key.display())),
                "{error}"
            );
            assert!(LocalSigner::from_pem_files(std::slice::from_ref(&key), None).is_err());
        }
        set_mode(&key, 0o400);
        assert!(LocalSigner::open(&dir).is_ok());
        set_mode(&dir, 0o770);
        let error = LocalSigner::open(&dir).unwrap_err().to_string();
        assert!(
            error.contains(&format!("chmod 700 '{}'", dir.display())),
            "{error}"
        );
        set_mode(&dir, 0o755);
        assert!(LocalSigner::open(&dir).is_ok());
    }

    #[test]
    fn an_interrupted_first_use_begins_again_and_a_lost_index_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        let first = public(&create(&dir));
        fs::remove_file(dir.join("index.json")).unwrap();
        let error = LocalSigner::open_or_create(&dir, &LocalSignerOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("restore index.json"), "{error}");
        assert_eq!(names(&dir), [".lock", "key-0001.pem", "key-0002.pem"]);
        // As a crash before the first index leaves it, with a file half written.
        fs::write(dir.join(".first-use"), "").unwrap();
        fs::write(dir.join(".new"), "half").unwrap();
        let second = public(&create(&dir));
        assert!(second.iter().all(|key| !first.contains(key)));
        assert_eq!(
            names(&dir),
            [".lock", "index.json", "key-0001.pem", "key-0002.pem"]
        );
    }

    #[test]
    fn an_interrupted_add_leaves_a_file_that_is_never_used_nor_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        let mut signer = create(&dir);
        fs::write(dir.join("key-0003.pem"), "left over").unwrap();
        let added = signer.add(Alg::Ed25519, None, RsaBits::Bits2048).unwrap();
        assert_eq!(fs::read(dir.join("key-0003.pem")).unwrap(), b"left over");
        assert!(dir.join("key-0004.pem").exists());
        assert_eq!(public(&LocalSigner::open(&dir).unwrap()).last(), Some(&added));
    }

    #[test]
    fn an_index_that_does_not_fit_its_files_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        create(&dir);
        let path = dir.join("index.json");
        let good = fs::read_to_string(&path).unwrap();
        for (from, to, reason) in [
            ("key-0001.pem", "key-0002.pem", "another key"),
            ("key-0001.pem", "../key-01.pem", "not those that were written"),
            ("PS256", "Ed25519", "another key"),
            ("key-0001.pem", "key-0009.pem", "key-0009.pem"),
            ("\"retired\"", "\"unknown\"", "damaged"),
        ] {
            fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = LocalSigner::open(&dir).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(LocalSigner::open(&dir).is_err());
        // A damaged index is no missing one: no new keys.
        assert!(LocalSigner::open_or_create(&dir, &LocalSignerOptions::default()).is_err());
    }

    #[test]
    fn there_are_no_keys_where_none_were_made() {
        let temp = tempfile::tempdir().unwrap();
        let error = LocalSigner::open(temp.path()).unwrap_err().to_string();
        assert!(error.contains("make them on first use"), "{error}");
        assert!(matches!(
            LocalSigner::open(&temp.path().join("none")),
            Err(LocalKeysError::Io { .. })
        ));
    }

    fn pem_file(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }

    #[test]
    fn single_pem_files_sign_under_the_issuers_kid() {
        let temp = tempfile::tempdir().unwrap();
        create(&temp.path().join("keys"));
        let rsa = temp.path().join("keys/key-0001.pem");
        // RFC 8410 section 10.3, the first key; its public half is in section 10.1.
        let text = "A comment before it.\n-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let ed25519 = pem_file(temp.path(), "ed25519.pem", text);
        let mut signer =
            LocalSigner::from_pem_files(&[ed25519.clone(), rsa.clone()], Some("issuer")).unwrap();
        let public = public(&signer);
        assert_eq!(
            public[0].spki_base64(),
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
        assert_eq!(Some(&public[0].kid), public[0].thumbprint().as_ref());
        assert_eq!(public[1].kid, "issuer");
        for key in &public {
            assert!(key.verify(b"m", &sign_with(&signer, key, b"m")));
        }
        assert!(matches!(signer.retire("issuer"), Err(LocalKeysError::Refused(_))));
        assert!(signer.add(Alg::Ed25519, None, RsaBits::Bits2048).is_err());
        let twice = LocalSigner::from_pem_files(&[rsa.clone(), rsa], None).unwrap_err();
        assert!(twice.to_string().contains("twice"));
        assert!(LocalSigner::from_pem_files(&[], None).is_err());
    }

    #[test]
    fn a_file_without_a_usable_key_is_refused_with_what_to_do_and_without_its_content() {
        let temp = tempfile::tempdir().unwrap();
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (text, reason) in [
            (String::new(), "holds no"),
            (block("PRIVATE KEY", "c2VjcmV0"), "neither RSA"),
            (block("PRIVATE KEY", "c2VjcmV0!"), "not base64"),
            (block("ENCRYPTED PRIVATE KEY", "c2VjcmV0"), "decrypt it"),
            (block("RSA PRIVATE KEY", "c2VjcmV0"), "openssl pkcs8 -topk8"),
            (block("PUBLIC KEY", "c2VjcmV0"), "holds no"),
            ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0".to_owned(), "holds no"),
            ("x".repeat(2 << 20), "larger than 1 MiB"),
        ] {
            let path = pem_file(temp.path(), "key.pem", &text);
            let error = LocalSigner::from_pem_files(&[path], None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{reason}: {error}");
            assert!(!error.contains("c2VjcmV0"));
        }
    }

    #[test]
    fn what_is_printed_of_a_signer_holds_no_private_key() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("keys");
        let signer = create(&dir);
        let shown = format!(
            "{signer:?}{}",
            fs::read_to_string(dir.join("index.json")).unwrap()
        );
        assert!(shown.contains(&public(&signer)[0].kid));
        for file in ["key-0001.pem", "key-0002.pem"] {
            let pem = fs::read_to_string(dir.join(file)).unwrap();
            let body = pem.lines().nth(1).unwrap();
            assert!(body.len() >= 48 && !shown.contains(body));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(signer.sign("nobody", b"m")).is_err());
    }
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
