//! The second verifier, in Python, written from docs/FORMAT.md: it agrees with ours on a good archive and on every tampered one. `tests/run`
//! sets `LEDGERLINE_PYTHON` to an interpreter with its packages.

use crate::process::{ledgerline, stderr};
use ledgerline::ledger::segment;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit status of the second verifier.
fn second(archive: &Path) -> (i32, String) {
    let python = std::env::var("LEDGERLINE_PYTHON")
        .expect("LEDGERLINE_PYTHON: run the tests by tests/run, which sets it");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier/ledgerline_verify.py");
    let output = Command::new(python)
        .arg(script)
        .arg(archive)
        .output()
        .expect("python starts");
    (
        output.status.code().expect("an exit status"),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn ours(archive: &Path) -> i32 {
    ledgerline(&["verify", &archive.display().to_string()])
        .status
        .code()
        .expect("an exit status")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, fs::read(&file).unwrap()).unwrap();
    }
}

/// Segment lines with one byte changed after the nth occurrence of a text, in a frame that decodes.
fn edit_lines(path: &Path, after: &str) {
    let mut lines = zstd::stream::decode_all(fs::read(path).unwrap().as_slice()).unwrap();
    let at = lines
        .windows(after.len())
        .position(|window| window == after.as_bytes())
        .expect("the text is there");
    lines[at + after.len()] ^= 1;
    fs::write(path, segment::compress(&lines).unwrap()).unwrap();
}

/// A name, and what is done to a copy.
type Change<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);

#[test]
fn both_verifiers_agree_on_a_good_archive_and_on_tampered_ones() {
    let dir = tempfile::tempdir().unwrap();
    let demo = ledgerline(&["demo", "--dir", &dir.path().display().to_string()]);
    assert!(demo.status.success(), "{}", stderr(&demo));
    let good = dir.path().join("archive");
    assert_eq!((ours(&good), second(&good).0), (0, 0), "{}", second(&good).1);

    let ends = |path: &PathBuf, end: &str| path.display().to_string().contains(end);
    let pick = |dir: &Path, part: &str| files(dir).into_iter().find(|path| ends(path, part)).expect(part);
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    let changes: Vec<Change<'_>> = vec![
        (
            "an event's action",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"action\":\"")),
        ),
        (
            "a leaf's prev",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"prev\":\"")),
        ),
        (
            "a leaf's index",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"index\":")),
        ),
        (
            "a leaf's sealed_at",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"sealed_at\":\"202")),
        ),
        (
            "a leaf's tenant",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"tenant\":\"")),
        ),
        (
            "a source offset",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"source\":\"audit.events/")),
        ),
        (
            "the ledger's id",
            Box::new(|dir| edit_lines(&pick(dir, ".ndjson.zst"), "\"ledger\":\"")),
        ),
        ("a frame", Box::new(|dir| flip(&pick(dir, ".ndjson.zst"), 100))),
        ("a tile", Box::new(|dir| flip(&pick(dir, "/tile/"), 33))),
        (
            "a checkpoint's root",
            Box::new(|dir| flip(&pick(dir, "/checkpoints/"), 40)),
        ),
        (
            "a checkpoint's signature",
            Box::new(|dir| flip(&pick(dir, "/checkpoints/"), 200)),
        ),
        ("the keys", Box::new(|dir| flip(&pick(dir, "keys/jwks"), 90))),
        (
            "a missing segment",
            Box::new(|dir| fs::remove_file(pick(dir, ".ndjson.zst")).unwrap()),
        ),
        (
            "a missing tile",
            Box::new(|dir| fs::remove_file(pick(dir, "/tile/")).unwrap()),
        ),
        (
            "a missing checkpoint",
            Box::new(|dir| fs::remove_file(pick(dir, "/checkpoints/")).unwrap()),
        ),
        (
            "missing keys",
            Box::new(|dir| fs::remove_file(pick(dir, "keys/jwks")).unwrap()),
        ),
        (
            "a stranger",
            Box::new(|dir| fs::write(dir.join("keys/notes.txt"), "x").unwrap()),
        ),
        (
            "a checkpoint with one signature",
            Box::new(|dir| {
                let path = pick(dir, "/checkpoints/");
                let text = fs::read_to_string(&path).unwrap();
                let cut = text.trim_end().rfind('\n').unwrap() + 1;
                fs::write(&path, &text[..cut]).unwrap();
            }),
        ),
        (
            "a whole partition gone",
            Box::new(|dir| fs::remove_dir_all(dir.join("demo.ledgerline.example/audit/3")).unwrap()),
        ),
    ];
    for (name, change) in changes {
        let scratch = tempfile::tempdir().unwrap();
        copy(&good, scratch.path());
        change(scratch.path());
        assert_eq!((ours(scratch.path()), second(scratch.path()).0), (1, 1), "{name}");
    }
}
