//! Notes and checkpoints: published vectors, other implementations, and the two rules for signatures.

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
        tlog_tiles::checkpoint::Checkpoint::new(ORIGIN, 42, tlog_tiles::tlog::Hash(EMPTY_ROOT), "").unwrap();
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
    let of_size = |bytes: usize| "x".repeat(bytes - 2 - line.len()) + "\n\n" + line;
    assert_eq!(NOTE_BYTES_MAX, 131_072);
    assert_eq!(note(of_size(NOTE_BYTES_MAX)), Ok(()));
    assert_eq!(note(of_size(NOTE_BYTES_MAX + 1)), Err(NoteError::TooLarge));
    for control in ["\u{0}", "\u{1f}", "\r"] {
        assert_eq!(
            note(format!("te{control}xt\n\n{line}")),
            Err(NoteError::Characters)
        );
    }
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
