//! `ledgerline keys`, as a person runs it.

use super::*;
use std::process::{Command, Output};

fn run(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ledgerline"))
        .arg("keys")
        .args(args)
        .arg("--keys")
        .arg(dir)
        .env_remove("LEDGERLINE_SIGNER")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn made() -> (TempDir, PathBuf, Vec<PublicKey>) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("keys");
    let signer = LocalSigner::open_or_create(&dir, &LocalSignerOptions::default()).unwrap();
    (temp, dir, public(&signer))
}

#[test]
fn keys_are_listed_added_and_retired() {
    let (_temp, dir, keys) = made();
    let listed = text(&run(&["list"], &dir).stdout);
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["KID", "ALG", "STATE"]);
    assert_eq!(rows[1], [&keys[0].kid, "PS256", "signs"]);
    assert_eq!(rows[2], [&keys[1].kid, "Ed25519", "signs"]);

    let added = run(&["add", "--alg", "PS256", "--kid", "issuer-2", "--json"], &dir);
    assert_eq!(added.status.code(), Some(0));
    let set: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    let states: Vec<&str> = (0..3)
        .map(|n| set["keys"][n]["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["older", "signs", "signs"]);
    assert_eq!(set["keys"][2]["kid"], "issuer-2");

    let retired = run(&["retire", "issuer-2"], &dir);
    assert_eq!(retired.status.code(), Some(0));
    let shown = text(&retired.stdout);
    assert!(
        shown.contains("issuer-2") && shown.contains("declares the retirement as a leaf"),
        "{shown}"
    );
    let states: Vec<bool> = LocalSigner::open(&dir)
        .unwrap()
        .keys()
        .iter()
        .map(|held| held.retired)
        .collect();
    assert_eq!(states, [false, false, true]);
}

#[test]
fn the_last_key_stays_and_an_unknown_one_is_named() {
    let (_temp, dir, keys) = made();
    assert_eq!(run(&["retire", &keys[0].kid], &dir).status.code(), Some(0));
    let last = run(&["retire", &keys[1].kid], &dir);
    assert_eq!(last.status.code(), Some(2));
    assert!(
        text(&last.stderr).contains("the last key"),
        "{}",
        text(&last.stderr)
    );
    let unknown = run(&["retire", "nobody"], &dir);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("nobody"));
    let bad = run(&["add", "--alg", "PS256", "--kid", "bad kid"], &dir);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("--kid \"bad kid\" must be 1 to 128"));
}

/// A thumbprint is base64url, so one in 64 begins with a hyphen.
#[test]
fn a_kid_may_begin_with_hyphens_like_a_flag() {
    let (_temp, dir, _) = made();
    for kid in ["-Zx7_", "--Zx7", "-h-7"] {
        let added = run(&["add", "--alg", "PS256", "--kid", kid], &dir);
        assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
        let before = run(&["vkey", kid, "--origin", ORIGIN], &dir);
        let behind = run(&["vkey", "--origin", ORIGIN, kid], &dir);
        let newest = public(&LocalSigner::open(&dir).unwrap()).pop().unwrap();
        assert_eq!(newest.kid, kid);
        let vkey = newest.vkey(ORIGIN) + "\n";
        assert_eq!((text(&before.stdout), text(&behind.stdout)), (vkey.clone(), vkey));
        let retired = run(&["retire", kid, "--json"], &dir);
        assert_eq!(retired.status.code(), Some(0), "{}", text(&retired.stderr));
        let keys: serde_json::Value = serde_json::from_slice(&retired.stdout).unwrap();
        let last = keys["keys"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["kid"], &last["state"]), (&kid.into(), &"retired".into()));
    }
}

#[test]
fn verifier_keys_are_those_that_c2sp_tools_read() {
    let (_temp, dir, keys) = made();
    let all = text(&run(&["vkey", "--origin", ORIGIN], &dir).stdout);
    assert_eq!(
        all,
        format!("{}\n{}\n", keys[0].vkey(ORIGIN), keys[1].vkey(ORIGIN))
    );
    let one = text(&run(&["vkey", "--origin", ORIGIN, &keys[1].kid], &dir).stdout);
    assert!(signed_note::StandardVerifier::new(one.trim_end()).is_ok());
    assert_eq!(
        run(&["vkey", "--origin", ORIGIN, "nobody"], &dir).status.code(),
        Some(2)
    );
    assert_eq!(
        run(&["vkey", "--origin", "no origin"], &dir).status.code(),
        Some(2)
    );
}

#[test]
fn exit_statuses_tell_usage_from_what_cannot_be_read() {
    let (temp, dir, _) = made();
    assert_eq!(run(&["list"], &temp.path().join("none")).status.code(), Some(3));
    assert_eq!(run(&["add", "--rsa-bits", "1024"], &dir).status.code(), Some(2));
    assert_eq!(
        run(&["add", "--alg", "Ed25519", "--kid", "x"], &dir)
            .status
            .code(),
        Some(2)
    );
    fs::set_permissions(dir.join("key-0001.pem"), Permissions::from_mode(0o644)).unwrap();
    let open = run(&["list"], &dir);
    assert_eq!(open.status.code(), Some(2));
    assert!(text(&open.stderr).contains("chmod 600"));
    let signer = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
        command
            .args(["keys", "list"])
            .env("LEDGERLINE_SIGNER", url)
            .output()
            .unwrap()
    };
    assert_eq!(signer("kms:alias/x").status.code(), Some(2));
    fs::set_permissions(dir.join("key-0001.pem"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(signer(&format!("file:{}", dir.display())).status.code(), Some(0));
}

#[test]
fn all_faults_of_the_arguments_are_said_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_ledgerline"))
        .args([
            "keys",
            "add",
            "--kid",
            "a b",
            "--rsa-bits",
            "1024",
            "--alg",
            "Ed25519",
        ])
        .env("LEDGERLINE_SIGNER", "kms:alias/x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for wanted in [
        "4 arguments are wrong",
        "--signer (or LEDGERLINE_SIGNER): must begin with file:",
        "--rsa-bits: must be 2048, 3072 or 4096",
        "--kid is for a PS256 key",
        "--kid \"a b\" must be 1 to 128",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
}
