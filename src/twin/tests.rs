//! A twin against the segment that it was made from, and against others.

use super::*;
use crate::ledger::segment::write_line;

/// A segment with an entry of each of two tenants, a rejected input and a cut.
fn lines(action: &str, raw: &[u8]) -> Vec<u8> {
    let leaf = |index: u64, rest: &str| {
        let (before, after) = rest.split_at(rest.find("\"kind\"").unwrap());
        let (kind, after) = after.split_at(after.find(',').unwrap());
        format!("{{{before}\"index\":{index},{kind},\"origin\":\"a/0\"{after}}}")
    };
    let hex = "ab".repeat(32);
    let entry = |index: u64, tenant: &str| {
        leaf(
            index,
            &format!(
                "\"event\":\"{hex}\",\"kind\":\"entry\",\"prev\":\"{hex}\",\"sealed_at\":\"2026-11-22T10:00:00.000000Z\",\"sequence\":1,\"source\":\"audit.events/0@{index}\",\"tenant\":\"{tenant}\",\"v\":1"
            ),
        )
    };
    let event = |tenant: &str| {
        format!(
            "{{\"action\":\"{action}\",\"actor\":{{\"id\":\"u\",\"type\":\"user\"}},\"event_id\":\"e\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"tenant_id\":\"{tenant}\"}}"
        )
    };
    let rejected = format!(
        "{{\"code\":\"empty\",\"index\":9,\"kind\":\"rejected\",\"origin\":\"a/0\",\"raw\":\"{hex}\",\"raw_bytes\":1,\"sealed_at\":\"2026-11-22T10:00:00.000000Z\",\"source\":\"audit.events/0@9\",\"v\":1}}"
    );
    let mut lines = Vec::new();
    for (index, tenant) in [(7, "globex"), (8, "acme")] {
        write_line(
            &mut lines,
            entry(index, tenant).as_bytes(),
            Some(event(tenant).as_bytes()),
            None,
        );
    }
    write_line(&mut lines, rejected.as_bytes(), None, Some(raw));
    write_line(
        &mut lines,
        b"{\"from\":7,\"index\":10,\"kind\":\"cut\",\"origin\":\"a/0\",\"sealed_at\":\"2026-11-22T10:00:00.000000Z\",\"v\":1}",
        None,
        None,
    );
    lines
}

fn difference(twin: Vec<u8>, of: &[u8]) -> Option<Difference> {
    check(twin, of).unwrap()
}

#[test]
fn a_twin_says_what_its_segment_says_and_names_it() {
    let lines = lines("read", b"x");
    let twin = write(&lines).unwrap();
    assert_eq!(twin, write(&lines).unwrap());
    let identity = crate::ledger::segment::identity(&lines);
    assert!(names_segment(&twin, &identity));
    assert!(!names_segment(&twin, &[0; 32]));
    assert!(!names_segment(&twin[..twin.len() - 1], &identity));
    assert_eq!(difference(twin, &lines), None);
}

#[test]
fn another_cell_is_found_by_its_column_and_the_leaf_s_index() {
    let segment = lines("read", b"x");
    let cell = |other: &[u8]| match difference(write(other).unwrap(), &segment) {
        Some(Difference::Cell { column, index }) => (column, index),
        found => panic!("{found:?}"),
    };
    // In order of tenants: acme's leaf is the first that differs.
    assert_eq!(cell(&lines("write", b"x")), ("action", 8));
    assert_eq!(cell(&lines("read", b"y")), ("raw", 9));
    let text = String::from_utf8(segment.clone()).unwrap();
    for (from, to, column, index) in [
        ("\"tenant\":\"acme\"", "\"tenant\":\"acmf\"", "tenant_id", 8),
        ("\"sequence\":1", "\"sequence\":2", "sequence", 8),
        ("\"code\":\"empty\"", "\"code\":\"unmapped\"", "rejected_code", 9),
        ("events/0@9", "events/0@8", "source", 9),
        ("\"from\":7", "\"from\":6", "leaf", 10),
        ("\"event_id\":\"e\"", "\"event_id\":\"f\"", "event_id", 8),
        ("\"id\":\"u\"", "\"id\":\"v\"", "actor_id", 8),
        ("\"type\":\"user\"", "\"type\":\"app\"", "actor_type", 8),
        (
            "\"occurred_at\":\"2026",
            "\"occurred_at\":\"2025",
            "occurred_at",
            8,
        ),
        ("\"sealed_at\":\"2026", "\"sealed_at\":\"2025", "sealed_at", 9),
        ("\"tenant_id\":\"globex\"", "\"tenant_id\":\"globey\"", "event", 7),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(cell(text.replace(from, to).as_bytes()), (column, index), "{from}");
    }
}

#[test]
fn what_is_no_twin_is_told_and_what_is_no_segment_gives_none() {
    let segment = lines("read", b"x");
    let twin = write(&segment).unwrap();
    let first = segment.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let fewer = write(&segment[first..]).unwrap();
    assert_eq!(
        difference(fewer, &segment),
        Some(Difference::Rows { twin: 3, segment: 4 })
    );
    for cut in [0, 4, twin.len() / 2, twin.len() - 1] {
        let found = difference(twin[..cut].to_vec(), &segment);
        assert!(
            matches!(found, Some(Difference::Unreadable(_))),
            "{cut}: {found:?}"
        );
    }
    assert!(!names_segment(b"PAR1", &[0; 32]));
    assert!(matches!(write(b"no line\n"), Err(TwinError::Line { line: 1 })));
}
