//! The local signer: what lies in its directory, and what it refuses.

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
        ed25519_only: false,
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
    let mut signer = LocalSigner::from_pem_files(&[ed25519.clone(), rsa.clone()], Some("issuer")).unwrap();
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
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
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
