//! The log is lost while a cut is being stored: what was stored of it is taken where it is whole and a person says so, and never passed over.

use super::faults::{config, replay_fixture};
use super::{ingest, lose_log, objects, restore};
use crate::archive_fixture::{Ledger, MemoryArchive};
use crate::process::{ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::names;
use ledgerline::ledger::tile::{names_of_growth, partial_names};
use ledgerline::ledger::verify::Verdict;
use ledgerline::recovery::{UnsignedCut, View};
use std::fs;
use std::path::{Path, PathBuf};

/// Names of what a crash while the last cut was being stored leaves out, in the order in which they go missing: the checkpoint, then tiles.
fn last_of_cut(all: &[String], origin: &str) -> Vec<String> {
    let prefix = format!("{origin}/checkpoints/");
    let mut sizes: Vec<u64> = all
        .iter()
        .filter_map(|name| name.strip_prefix(&prefix)?.parse().ok())
        .collect();
    sizes.sort_unstable();
    let [.., before, size] = sizes[..] else {
        panic!("{origin} has no two cuts")
    };
    let kept = partial_names(before);
    let tiles = names_of_growth(before, size);
    let tiles = tiles.iter().filter(|tile| !kept.contains(tile));
    let tiles = tiles.map(|tile| format!("{origin}/{}", tile.path()));
    [names::checkpoint(origin, size)]
        .into_iter()
        .chain(tiles)
        .collect()
}

/// Leaves the last cut of a partition with its segments alone.
pub fn cut_short(archive: &mut MemoryArchive, partition: u32) {
    let all: Vec<String> = archive.objects.keys().cloned().collect();
    for name in last_of_cut(&all, &config(archive, partition).origin) {
        archive.objects.remove(&name).unwrap();
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let root = dir.join("archive");
    let name = |path: PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    objects(dir).into_keys().map(name).collect()
}

/// A ledger of one partition and two cuts, of 100 events, whose log is lost.
fn lost(classes: &[&str]) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let made = ledgerline_with_input(&["ingest", &log, "--partitions=1", "-"], b"");
    assert!(made.status.success(), "{}", stderr(&made));
    let settings = Settings {
        archive_class: classes.iter().map(|class| (*class).to_owned()).collect(),
        ..settings(dir.path())
    };
    ingest(dir.path(), 0..60);
    drain(&settings);
    ingest(dir.path(), 60..100);
    drain(&settings);
    lose_log(dir.path());
    (dir, settings)
}

fn origin_in(all: &[String]) -> String {
    let name = all.iter().find(|name| name.contains("/checkpoints/")).unwrap();
    name.split_once("/checkpoints/").unwrap().0.to_owned()
}

fn goes_on_with_the_cut(classes: &[&str], missing: usize) {
    let (dir, settings) = lost(classes);
    let all = names_in(dir.path());
    for name in last_of_cut(&all, &origin_in(&all)).iter().take(missing) {
        fs::remove_file(dir.path().join("archive").join(name)).unwrap();
    }
    let before = objects(dir.path());
    let refused = restore(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    assert!(
        told.contains("--take-unsigned-cuts") && told.contains("40 of them entries"),
        "{told}"
    );
    assert!(!dir.path().join("ledger.db").exists());
    let tried = restore(dir.path(), &["--take-unsigned-cuts", "--dry-run", "--json"]);
    assert!(tried.status.success(), "{}", stderr(&tried));
    let tried: serde_json::Value = serde_json::from_slice(&tried.stdout).unwrap();
    assert_eq!(tried["partitions"][0]["unsigned_cut"]["entries"], 40, "{tried}");
    assert!(!dir.path().join("ledger.db").exists());
    let taken = restore(dir.path(), &["--take-unsigned-cuts"]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    // It is found whole before the service runs.
    let again = restore(dir.path(), &["--take-unsigned-cuts"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("was restored before"));
    ingest(dir.path(), 95..120);
    drain(&settings);
    assert_eq!(verify_pinned(&dir.path().join("archive")).verdict, Verdict::Valid);
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!((sealed.count("entry"), sealed.count("duplicate")), (120, 5));
    let after = objects(dir.path());
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
}

#[test]
fn a_cut_without_its_checkpoint_is_taken_where_that_is_said_and_every_chain_goes_on() {
    goes_on_with_the_cut(&[], 1);
}

#[test]
fn a_cut_of_two_classes_without_its_tiles_is_taken_too() {
    goes_on_with_the_cut(&["t-1=long"], usize::MAX);
}

#[test]
fn a_cut_whose_checkpoint_somebody_holds_was_signed() {
    let (dir, settings) = lost(&[]);
    let all = names_in(dir.path());
    let head = dir.path().join("held.checkpoint");
    let checkpoint = last_of_cut(&all, &origin_in(&all)).remove(0);
    fs::rename(dir.path().join("archive").join(checkpoint), &head).unwrap();
    let head = format!("--expect-head={}", head.display());
    let output = restore(dir.path(), &[&head]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("whose checkpoint was given"));
    drain(&settings);
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 100);
}

#[test]
fn a_cut_of_which_one_class_alone_is_there_is_refused_by_name() {
    let (dir, _) = lost(&["t-1=long"]);
    let all = names_in(dir.path());
    let gone = last_of_cut(&all, &origin_in(&all));
    let closing = all
        .iter()
        .filter(|name| name.contains("class=default"))
        .max()
        .unwrap();
    for name in gone.iter().chain([closing]) {
        fs::remove_file(dir.path().join("archive").join(name)).unwrap();
    }
    let left = all
        .iter()
        .filter(|name| name.contains("class=long"))
        .max()
        .unwrap();
    for more in [Vec::new(), vec!["--take-unsigned-cuts"]] {
        let refused = restore(dir.path(), &more);
        assert_eq!(refused.status.code(), Some(1));
        let told = stderr(&refused);
        assert!(
            told.contains(left) && told.contains("copy the archive without these objects"),
            "{told}"
        );
    }
    // What helps.
    fs::remove_file(dir.path().join("archive").join(left)).unwrap();
    let output = restore(dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// What is wrong with what lies behind in partition 1.
fn fault_of(archive: &MemoryArchive) -> Option<String> {
    let view = View::open(archive).unwrap();
    UnsignedCut::find(&view, &config(archive, 1), &replay_fixture(archive, 1))
        .err()
        .map(|error| error.to_string())
}

fn cut_short_fixture() -> MemoryArchive {
    let mut archive = Ledger::small().write();
    cut_short(&mut archive, 1);
    assert_eq!(fault_of(&archive), None);
    archive
}

#[test]
fn a_planted_cut_that_does_not_chain_is_none() {
    let mut ledger = Ledger::small();
    let records = &mut ledger.partitions[1].records;
    let entry = records
        .iter_mut()
        .rfind(|record| record.kind_is("entry"))
        .unwrap();
    let text = String::from_utf8(entry.leaf.clone()).unwrap();
    let (_, prev) = text.split_once("\"prev\":\"").unwrap();
    entry.edit(&prev[..64], &"0".repeat(64));
    let mut archive = ledger.write();
    cut_short(&mut archive, 1);
    let fault = fault_of(&archive).unwrap();
    assert!(fault.contains("leaf "), "{fault}");
}

#[test]
fn what_the_cut_does_not_call_for_is_no_part_of_it() {
    let archive = cut_short_fixture();
    let origin = config(&archive, 1).origin;
    for (name, expected) in [
        (format!("{origin}/tile/0/000.p/200"), "does not call for"),
        (format!("{origin}/tile/0/007"), "does not call for"),
        (
            names::segment(&origin, "long", 0, 900, 950),
            "does not begin where",
        ),
        (
            names::segment(&origin, "other", 0, replay_fixture(&archive, 1).size(), 950),
            "cannot",
        ),
    ] {
        let mut more = archive.clone();
        more.objects.insert(name.clone(), b"x".to_vec());
        let fault = fault_of(&more).unwrap_or_default();
        let is_told = fault.contains(expected) || (expected == "cannot" && fault.contains(&name));
        assert!(is_told, "{name}: {fault}");
    }
}

#[test]
fn a_tile_of_the_cut_with_other_bytes_is_refused() {
    let whole = Ledger::small().write();
    let mut archive = whole.clone();
    cut_short(&mut archive, 1);
    let origin = config(&archive, 1).origin;
    let all: Vec<String> = whole.objects.keys().cloned().collect();
    let tile = last_of_cut(&all, &origin).remove(1);
    let mut bytes = whole.objects[&tile].clone();
    archive.objects.insert(tile.clone(), bytes.clone());
    assert_eq!(fault_of(&archive), None);
    bytes[0] ^= 1;
    archive.objects.insert(tile.clone(), bytes);
    assert!(fault_of(&archive).unwrap().contains(&tile));
}

/// What the command would do: the leaves are of a time too long ago for a log that goes on.
fn restore_fixture(archive: &MemoryArchive, more: &[&str]) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in &archive.objects {
        let path = dir.path().join("archive").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let from = format!("--from={}", dir.path().join("archive").display());
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let arguments = ["restore", &from, &log, "--trust-archive-keys", "--dry-run"];
    ledgerline(&[&arguments[..], more].concat())
}

/// Made by who has no key: it has leaves that chain, and no signature.
#[test]
fn a_planted_cut_that_chains_is_refused_unless_it_is_said_to_be_taken() {
    let archive = cut_short_fixture();
    let refused = restore_fixture(&archive, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("nobody signed it"),
        "{}",
        stderr(&refused)
    );
    let taken = restore_fixture(&archive, &["--take-unsigned-cuts"]);
    assert!(taken.status.success(), "{}", stderr(&taken));
}

#[test]
fn a_key_set_that_only_unsigned_leaves_declare_is_held_against_them() {
    let mut archive = Ledger::small().write();
    cut_short(&mut archive, 0);
    cut_short(&mut archive, 1);
    let taken = restore_fixture(&archive, &["--take-unsigned-cuts"]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    let other = archive.objects[&names::jwks(2)].clone();
    archive.objects.insert(names::jwks(3), other);
    let refused = restore_fixture(&archive, &["--take-unsigned-cuts"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("keys/jwks-3.json"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_key_set_of_a_cut_of_which_nothing_else_was_stored_is_told_of() {
    let mut archive = Ledger::small().write();
    for partition in 0..2 {
        cut_short(&mut archive, partition);
        let first = replay_fixture(&archive, partition).size();
        let (origin, from) = (config(&archive, partition).origin, format!("/{first:020}-"));
        archive
            .objects
            .retain(|name, _| !(name.starts_with(&format!("{origin}/")) && name.contains(&from)));
    }
    let output = restore_fixture(&archive, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("keys/jwks-3.json has a key that no archived leaf declares"),
        "{told}"
    );
}

#[test]
fn a_partition_of_which_nothing_was_signed_is_not_begun_from_what_lies_there() {
    let mut archive = Ledger::small().write();
    let origin = config(&archive, 1).origin;
    archive
        .objects
        .retain(|name, _| !name.starts_with(&format!("{origin}/checkpoints/")));
    let refused = restore_fixture(&archive, &["--take-unsigned-cuts"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("has its checkpoint"),
        "{}",
        stderr(&refused)
    );
}
