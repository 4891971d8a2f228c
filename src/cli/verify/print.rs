//! The report of a verification, for people and as JSON.

use crate::ledger::time::write_sealed_at;
use crate::ledger::verify::{FirstBad, NotEstablished, PartitionHead, Report, Verdict};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// More heads than this are counted and not printed; the JSON report has all of them.
const HEADS_PRINTED: usize = 8;

/// Whether the report is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Ansi,
}

impl Colour {
    /// Colour only on a terminal, and not where `NO_COLOR` is set.
    pub fn of_terminal(out: &impl IsTerminal) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && out.is_terminal() {
            Self::Ansi
        } else {
            Self::Plain
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The report for people.
#[must_use]
pub fn describe(report: &Report, archive: &str, colour: Colour) -> String {
    let mut text = String::new();
    let verdict = match report.verdict {
        Verdict::Valid => colour.paint("1;32", "valid"),
        Verdict::Consistent => {
            let open = "no key was pinned: this proves consistency, not origin";
            format!("{} ({open})", colour.paint("1;33", "consistent"))
        }
        Verdict::Invalid => colour.paint("1;31", "INVALID"),
    };
    line(&mut text, &format!("Archive {} is {verdict}", printable(archive)));
    if report.not_established.contains(&NotEstablished::TenantAbsent) {
        let absent = colour.paint("1;33", "No entry of the tenant asked for was found");
        line(
            &mut text,
            &format!("{absent}: nothing was verified of that tenant"),
        );
    }
    if let Some(bad) = &report.first_bad {
        describe_first_bad(&mut text, bad, colour);
    }
    heading(&mut text, "Checked", colour);
    for (name, value) in counts(report) {
        line(&mut text, &format!("  {name:<12}{value}"));
    }
    if report.twins > 0 {
        let what = "Parquet files beside segments, which are no evidence and were not read: `ledgerline parquet check`";
        line(&mut text, &format!("  {:<12}{} {what}", "not read", report.twins));
    }
    if !report.heads.is_empty() {
        heading(&mut text, "Heads", colour);
        describe_heads(&mut text, &report.heads);
    }
    heading(&mut text, "Not established", colour);
    for what in &report.not_established {
        line(&mut text, &format!("  - {}", what.sentence()));
    }
    text
}

fn counts(report: &Report) -> [(&'static str, String); 7] {
    let before = if report.first_bad.is_some() {
        " before the first bad place"
    } else {
        ""
    };
    [
        ("partitions", report.partitions.to_string()),
        ("tenants", report.tenants.to_string()),
        ("entries", format!("{}{before}", report.entries)),
        ("leaves", report.leaves.to_string()),
        ("checkpoints", report.checkpoints.to_string()),
        ("keys", report.keys.to_string()),
        (
            "objects",
            format!(
                "{} of {}, {} of lines",
                report.objects,
                bytes(report.bytes),
                bytes(report.line_bytes)
            ),
        ),
    ]
}

fn describe_first_bad(text: &mut String, bad: &FirstBad, colour: Colour) {
    heading(text, "First bad place", colour);
    let reason = colour.paint("1", bad.reason.code());
    line(text, &format!("  {reason}: {}", bad.reason.sentence()));
    let places = [
        ("object", bad.object.as_deref().map(printable)),
        ("partition", bad.partition.map(|partition| partition.to_string())),
        ("index", bad.index.map(|index| index.to_string())),
        ("tenant", bad.tenant.clone()),
        ("sequence", bad.sequence.map(|sequence| sequence.to_string())),
        ("detail", Some(printable(&bad.detail))),
    ];
    for (name, place) in places {
        if let Some(place) = place {
            line(text, &format!("  {name:<12}{place}"));
        }
    }
}

fn describe_heads(text: &mut String, heads: &[PartitionHead]) {
    for head in heads.iter().take(HEADS_PRINTED) {
        let (root, cut_at) = (BASE64.encode(&head.root), time(head));
        line(
            text,
            &format!(
                "  {}  size {}  root {root}  cut at {cut_at}",
                head.origin, head.size
            ),
        );
    }
    let more = heads.len().saturating_sub(HEADS_PRINTED);
    if more > 0 {
        line(text, &format!("  and {more} more"));
    }
}

fn heading(text: &mut String, title: &str, colour: Colour) {
    line(text, "");
    line(text, &colour.paint("1", title));
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Names come from whoever made the archive: nothing in them may steer a terminal.
pub fn printable(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
        text
    })
}

pub fn time(head: &PartitionHead) -> String {
    let mut text = Vec::new();
    write_sealed_at(head.cut_at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A number of bytes for people.
#[must_use]
pub fn bytes(count: u64) -> String {
    let (mut unit, mut tenths) = ("B", count.saturating_mul(10));
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        (unit, tenths) = (larger, tenths / 1_024);
    }
    match unit {
        "B" => format!("{count} B"),
        unit => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// The report as JSON: the members of the contract, and more.
#[must_use]
pub fn to_json(report: &Report) -> Value {
    let not_established: Vec<Value> = report
        .not_established
        .iter()
        .map(|what| json!({"code": what.code(), "text": what.sentence()}))
        .collect();
    let heads: Vec<Value> = report
        .heads
        .iter()
        .map(|head| {
            json!({
                "origin": head.origin,
                "size": head.size,
                "root": BASE64.encode(&head.root),
                "cut_at": time(head),
            })
        })
        .collect();
    json!({
        "verdict": report.verdict.as_str(),
        "tenants": report.tenants,
        "entries": report.entries,
        "leaves": report.leaves,
        "checkpoints": report.checkpoints,
        "keys": report.keys,
        "partitions": report.partitions,
        "objects": report.objects,
        "bytes": report.bytes,
        "line_bytes": report.line_bytes,
        "twins": report.twins,
        "heads": heads,
        "first_bad": report.first_bad.as_ref().map(first_bad_json),
        "not_established": not_established,
    })
}

fn first_bad_json(bad: &FirstBad) -> Value {
    json!({
        "reason": bad.reason.code(),
        "text": bad.reason.sentence(),
        "object": bad.object,
        "partition": bad.partition,
        "tenant": bad.tenant,
        "sequence": bad.sequence,
        "index": bad.index,
        "detail": bad.detail,
    })
}
