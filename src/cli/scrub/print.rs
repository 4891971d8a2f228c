//! What a scrub found, as a table and as JSON; and what it could not show.

use super::super::verify::{bytes, printable};
use super::Outcome;
use crate::scrub::command::command;
use crate::scrub::machine::time;
use crate::scrub::{Counts, Finding, Kind};
use crate::vault::s3::Access;
use serde_json::{Value, json};

/// More commands of a kind than these are in the JSON alone.
const COMMANDS_SHOWN: usize = 5;
const DAY_SECONDS: i64 = 86_400;

/// What the archive was held against.
pub(super) struct Seen<'a> {
    pub archive: &'a str,
    /// Of a bucket.
    pub access: Option<&'a Access>,
    pub has_log: bool,
    pub has_keys: bool,
}

impl Seen<'_> {
    fn command(&self, finding: &Finding) -> Option<String> {
        command(finding, self.access?)
    }

    /// Codes and sentences.
    fn not_shown(&self) -> Vec<(&'static str, &'static str)> {
        let mut open = Vec::new();
        if self.access.is_none() {
            open.push((
                "versions",
                "Whether anything was deleted or written again: a directory keeps no versions. Only what was signed shows a change.",
            ));
            open.push((
                "locks",
                "Whether anything can be deleted: a directory locks nothing, and whoever may write there may do as they like.",
            ));
        } else if !self.has_log {
            open.push((
                "holds",
                "Whether legal holds are on what must be held: give --log, which says which classes are.",
            ));
        }
        if !self.has_log {
            open.push((
                "end",
                "Whether the newest cuts were deleted for good: give --log, which says how much was archived, or hold it against a head from elsewhere.",
            ));
        }
        if self.access.is_some() {
            open.push((
                "hours",
                "Whether a retention was shortened within the day of its cut: a name says the day of a cut and not its time.",
            ));
        }
        if !self.has_keys {
            open.push((
                "origin",
                "Who signed: the archive's own keys were taken. Give --jwks.",
            ));
        }
        open
    }
}

pub(super) fn table(seen: &Seen<'_>, outcome: &Outcome) -> String {
    let mut text = String::new();
    let counts = &outcome.running.counts;
    let total: u64 = counts.findings.values().sum();
    if total > 0 {
        text.push_str(&rows(&outcome.findings));
        let left = total.saturating_sub(outcome.findings.len() as u64);
        if left > 0 {
            text.extend([format!("and {left} more\n")]);
        }
        for kind in counts.findings.keys() {
            text.extend([format!("\n{kind}: {}.\n  {}.\n", kind.why(), kind.mend())]);
            text.extend(sum(counts, *kind));
            text.push_str(&commands(seen, &outcome.findings, *kind));
        }
        text.push('\n');
    }
    let found = match (total, &outcome.ended_early) {
        (0, None) => "nothing is wrong".to_owned(),
        (0, Some(_)) => "the pass is not whole, and nothing was found so far".to_owned(),
        (1, None) => "1 finding".to_owned(),
        (total, None) => format!("{total} findings"),
        (total, Some(_)) => format!("the pass is not whole; findings so far: {total}"),
    };
    let what = if seen.access.is_some() {
        "versions"
    } else {
        "files"
    };
    text.extend([format!(
        "Archive {}: {found}; {} {what} looked at, {} verified, begun {}, ended {}\n",
        printable(seen.archive),
        counts.objects,
        bytes(counts.bytes),
        time(outcome.running.began.div_euclid(1_000_000)),
        time(outcome.ended.div_euclid(1_000_000)),
    )]);
    let open = seen.not_shown();
    if !open.is_empty() || counts.untold_locks > 0 {
        text.push_str("\nNot shown\n");
    }
    if counts.untold_locks > 0 {
        text.extend([format!(
            "  - The locks of {} versions, which were gone by then.\n",
            counts.untold_locks
        )]);
    }
    for (_, sentence) in open {
        text.extend([format!("  - {sentence}\n")]);
    }
    text
}

/// Of a kind of which there is more to say than how many.
fn sum(counts: &Counts, kind: Kind) -> Option<String> {
    let (least, most) = counts.short_by.filter(|_| kind == Kind::ShortRetention)?;
    let by = match (days(least), days(most)) {
        (least, most) if least == most => least,
        (least, most) => format!("{least} to {most}"),
    };
    Some(format!(
        "  Too short of {} versions, by {by}.\n",
        counts.found(kind)
    ))
}

fn days(seconds: i64) -> String {
    match seconds / DAY_SECONDS {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn commands(seen: &Seen<'_>, findings: &[Finding], kind: Kind) -> String {
    let of_kind = findings.iter().filter(|finding| finding.kind == kind);
    let commands: Vec<String> = of_kind.filter_map(|finding| seen.command(finding)).collect();
    let mut text = String::new();
    for command in commands.iter().take(COMMANDS_SHOWN) {
        text.extend(["  $ ", command, "\n"]);
    }
    let left = commands.len().saturating_sub(COMMANDS_SHOWN);
    if left > 0 {
        text.extend([format!("  and {left} more: --json has the command of each\n")]);
    }
    text
}

fn rows(findings: &[Finding]) -> String {
    let width =
        |of: &dyn Fn(&Finding) -> usize, least: usize| findings.iter().map(of).max().unwrap_or(0).max(least);
    let keys = width(&|finding| printable(&finding.name).chars().count(), 3);
    let versions = width(&|finding| finding.version.as_deref().map_or(1, str::len), 7);
    let row = |kind: &str, key: &str, version: &str, what: &str| {
        format!("{kind:<15}  {key:<keys$}  {version:<versions$}  {what}\n")
    };
    let mut text = row("FINDING", "KEY", "VERSION", "WHAT");
    for finding in findings {
        text.push_str(&row(
            finding.kind.code(),
            &printable(&finding.name),
            finding.version.as_deref().unwrap_or("-"),
            &printable(&finding.what),
        ));
    }
    text
}

pub(super) fn json(seen: &Seen<'_>, outcome: &Outcome) -> String {
    let counts = &outcome.running.counts;
    let finding = |finding: &Finding| {
        json!({
            "kind": finding.kind.code(),
            "key": finding.name,
            "version": finding.version,
            "found": finding.what,
            "why": finding.kind.why(),
            "mend": finding.kind.mend(),
            "command": seen.command(finding),
        })
    };
    let count = |kind: &Kind| (kind.code().to_owned(), json!(counts.found(*kind)));
    let open: Vec<Value> = seen
        .not_shown()
        .iter()
        .map(|(code, text)| json!({ "code": code, "text": text }))
        .collect();
    let value = json!({
        "archive": seen.archive,
        "objects": counts.objects,
        "bytes": counts.bytes,
        "untold_locks": counts.untold_locks,
        "short_by_seconds": counts.short_by.map(|(least, most)| json!({ "least": least, "most": most })),
        "whole": outcome.ended_early.is_none(),
        "began": time(outcome.running.began.div_euclid(1_000_000)),
        "ended": time(outcome.ended.div_euclid(1_000_000)),
        "counts": Kind::ALL.iter().map(count).collect::<serde_json::Map<_, _>>(),
        "findings": outcome.findings.iter().map(finding).collect::<Vec<_>>(),
        "not_shown": open,
    });
    format!("{value:#}\n")
}
