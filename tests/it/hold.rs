//! What `ledgerline hold` says of a class. What becomes of it in a bucket: `s3/end_to_end.rs` and `s3/locks.rs`.

use crate::process::{ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, settings};
use ledgerline::cli::demo::write_event;
use ledgerline::stages::archive::HOLDS_MAX;
use std::path::Path;
use std::process::Output;

/// An archive with events of the default class, and its log.
fn archived(dir: &Path) -> (String, String) {
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let mut lines = Vec::new();
    for n in 0..20 {
        write_event(n, 5, &mut lines);
    }
    let ingested = ledgerline_with_input(&["ingest", &log, "-"], &lines);
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    drain(&settings(dir));
    (log, format!("--archive=file:{}", dir.join("archive").display()))
}

fn hold(arguments: &[&str]) -> (String, String) {
    let output: Output = ledgerline(&[&["hold"], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr(&output),
    )
}

#[test]
fn a_class_in_which_nothing_is_is_held_with_a_warning_where_the_archive_is_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let (log, archive) = archived(dir.path());
    let (out, err) = hold(&["set", "defualt", &log, &archive]);
    assert!(out.contains("leaf"), "{out}");
    assert!(
        err.contains("nothing in the archive is in the class defualt"),
        "{err}"
    );
    let (out, err) = hold(&["set", "default", &log, &archive, "--json"]);
    assert!(
        err.is_empty() && out.contains("\"in_archive\":true"),
        "{out}{err}"
    );
    // Without the archive it is said that nobody looked.
    let (out, err) = hold(&["set", "other", &log]);
    assert!(
        err.is_empty() && out.contains("with --archive it is"),
        "{out}{err}"
    );
    let nowhere = format!("--archive=file:{}", dir.path().join("nowhere").display());
    let (out, err) = hold(&["set", "third", &log, &nowhere]);
    assert!(out.contains("leaf") && err.contains("was not seen"), "{out}{err}");
}

#[test]
fn a_class_that_is_not_held_is_not_said_to_be_released() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = archived(dir.path());
    let (out, err) = hold(&["release", "legal", &log]);
    assert!(err.contains("the class legal was not held"), "{err}");
    assert!(
        !out.contains("held no more") && !out.contains("hold list"),
        "{out}"
    );
    hold(&["set", "legal", &log]);
    let (out, err) = hold(&["release", "legal", &log]);
    assert!(
        err.is_empty() && out.contains("legal is held no more"),
        "{out}{err}"
    );
}

#[test]
fn no_more_classes_are_held_than_there_is_room_for_and_one_that_is_released_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = archived(dir.path());
    for n in 0..HOLDS_MAX {
        hold(&["set", &format!("class-{n}"), &log]);
    }
    // Those that are held are held.
    hold(&["set", "class-0", &log]);
    let refused = ledgerline(&["hold", "set", "one-more", &log]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(
        said.contains(&format!("{HOLDS_MAX} archive classes are held")) && said.contains("hold release"),
        "{said}"
    );
    let (list, _) = hold(&["list", &log]);
    assert!(!list.contains("one-more"), "{list}");
    hold(&["release", "class-3", &log]);
    hold(&["set", "one-more", &log]);
    // All of them stand beside the archiver's position.
    drain(&settings(dir.path()));
    let (list, _) = hold(&["list", &log]);
    assert!(list.contains("one-more") && !list.contains("class-3"), "{list}");
}
