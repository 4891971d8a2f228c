//! What the demo prints: progress bars while it works, then the story, or one JSON object.

use super::Sealed;
use super::tamper::Tampered;
use crate::cli::Failure;
use crate::cli::ingest::Summary;
use crate::cli::verify::{Colour, describe, to_json};
use crate::config::StageName;
use crate::ledger::names;
use crate::ledger::verify::{Report, Verdict};
use crate::service::Status;
use data_encoding::BASE64;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const REFRESH: Duration = Duration::from_millis(100);

/// One bar each for events read, leaves sealed and leaves archived; hidden where standard error is no terminal.
pub(super) struct Bars {
    ingested: ProgressBar,
    sealed: ProgressBar,
    archived: ProgressBar,
}

/// The bar of events read, for the task that reads.
pub(super) struct Ingested(ProgressBar);

impl Ingested {
    pub(super) fn set(&self, lines: u64) {
        self.0.set_position(lines);
    }
}

impl Bars {
    pub(super) fn new(lines_total: Option<u64>) -> Self {
        let bars = MultiProgress::new();
        if !io::stderr().is_terminal() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bar = |name: &'static str, total: Option<u64>| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = if total.is_some() {
                "{prefix:>9} {bar:32} {human_pos:>11} of {human_len} ({rate})"
            } else {
                "{prefix:>9} {spinner} {human_pos:>11} ({rate})"
            };
            // The templates are constants; the default style stands in for one that could not be read.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                        // Only a terminal is written to, and it takes what it can.
                        out.write_str(&rate(state.per_sec())).unwrap_or(());
                    }),
            );
            bars.add(bar.with_prefix(name))
        };
        Self {
            ingested: bar("read", lines_total),
            sealed: bar("sealed", lines_total),
            archived: bar("archived", lines_total),
        }
    }

    pub(super) fn ingested(&self) -> Ingested {
        Ingested(self.ingested.clone())
    }

    /// Follows the stages for ever.
    pub(super) async fn watch(&self, status: &Arc<Status>) -> Infallible {
        loop {
            self.sealed.set_position(status.reached(StageName::Seal));
            self.archived.set_position(status.reached(StageName::Archive));
            tokio::time::sleep(REFRESH).await;
        }
    }

    pub(super) fn finish(&self) {
        for bar in [&self.ingested, &self.sealed, &self.archived] {
            bar.finish_and_clear();
        }
    }
}

/// Whole ones in a second.
fn rate(per_second: f64) -> String {
    format!("{}/s", HumanCount(per_second.round() as u64))
}

pub(super) fn opening(json: bool, dir: &Path) -> Result<(), Failure> {
    if json {
        return Ok(());
    }
    crate::cli::print(format!("Ledgerline demo in {}\n\n", dir.display()).as_bytes())
}

/// Tells what happened, or gathers it for one JSON object.
pub(super) struct Story<'a> {
    pub(super) json: bool,
    pub(super) dir: &'a Path,
    pub(super) archive: &'a Path,
}

impl Story<'_> {
    /// # Errors
    /// Where the archive that was just written does not verify, or the story cannot be written.
    pub(super) fn told(&self, sealed: &Sealed, report: &Report, tampered: &Tampered) -> Result<(), Failure> {
        let text = if self.json {
            format!("{}\n", self.as_json(sealed, report, tampered))
        } else {
            [
                describe_sealed(sealed, report, self.archive),
                self.describe_verified(report, tampered),
                self.closing(report),
            ]
            .concat()
        };
        crate::cli::print(text.as_bytes())?;
        match (report.verdict, tampered.report.verdict) {
            (Verdict::Invalid, _) => Err(Failure::invalid(
                "the archive that was just written does not verify",
            )),
            (_, Verdict::Valid | Verdict::Consistent) => {
                Err(Failure::invalid("the changed byte was not found"))
            }
            (Verdict::Valid | Verdict::Consistent, Verdict::Invalid) => Ok(()),
        }
    }

    fn describe_verified(&self, report: &Report, tampered: &Tampered) -> String {
        let colour = Colour::of_terminal(&io::stdout());
        let change = &tampered.change;
        format!(
            "Verified, offline, from the archive alone\n\n{}\n\
             Tampered: in a copy, entry {} of tenant {} (leaf {}) has another first letter of its action, {:?} for {:?},\n\
             byte {} of the event, in\n{}\n\n{}",
            describe(report, &self.archive.display().to_string(), colour),
            change.sequence,
            change.tenant,
            change.index,
            change.to,
            change.from,
            change.at,
            change.object,
            describe(&tampered.report, "copy", colour)
        )
    }

    fn closing(&self, report: &Report) -> String {
        let jwks = names::jwks(usize::try_from(report.keys).unwrap_or(usize::MAX));
        let (dir, archive) = (self.dir.display(), self.archive.display());
        format!(
            "\nTry it yourself:\n  \
             ledgerline verify {archive}\n  \
             ledgerline verify {archive} --jwks {archive}/{jwks}   # keys from elsewhere pin the origin\n  \
             ledgerline keys list --signer file:{dir}/keys\n"
        )
    }

    fn as_json(&self, sealed: &Sealed, report: &Report, tampered: &Tampered) -> serde_json::Value {
        let summary = &sealed.summary;
        serde_json::json!({
            "dir": self.dir,
            "archive": self.archive,
            "lines": summary.lines,
            "accepted": summary.accepted,
            "refused": summary.refused,
            "refused_file": summary.refused_file,
            "bytes": summary.bytes,
            "seconds": sealed.seconds,
            "events_per_second": summary.lines as f64 / sealed.seconds,
            "verified": to_json(report),
            "tampered": { "object": tampered.change.object, "report": to_json(&tampered.report) },
        })
    }
}

fn describe_sealed(sealed: &Sealed, report: &Report, archive: &Path) -> String {
    let summary = &sealed.summary;
    let rate = summary.lines as f64 / sealed.seconds;
    let megabytes = summary.bytes as f64 / 1e6;
    let lines = [
        "Sealed".to_owned(),
        format!("  read         {} lines, {megabytes:.1} MB", summary.lines),
        describe_refused(summary),
        format!("  tenants      {}", report.tenants),
        format!("  entries      {}", report.entries),
        format!("  checkpoints  {} archived", report.checkpoints),
        format!("  archive      {}", archive.display()),
        format!(
            "  rate         {rate:.0} events/s from input to archive ({:.2} s)",
            sealed.seconds
        ),
    ];
    format!("{}\n{}\n", lines.join("\n"), describe_heads(sealed, report))
}

fn describe_refused(summary: &Summary) -> String {
    if summary.refused_count() == 0 {
        return "  refused      0".to_owned();
    }
    let codes: Vec<String> = summary
        .refused
        .iter()
        .map(|(code, n)| format!("{n} {code}"))
        .collect();
    let file = summary
        .refused_file
        .as_deref()
        .map_or(String::new(), |file| format!(", kept in {}", file.display()));
    format!(
        "  refused      {} ({}){file}",
        summary.refused_count(),
        codes.join(", ")
    )
}

/// Tree heads of the partitions, then chain heads of the first tenants.
fn describe_heads(sealed: &Sealed, report: &Report) -> String {
    let line =
        |name: &str, count: u64, hash: &[u8]| format!("  {name:<44} {count:>9}  {}\n", BASE64.encode(hash));
    let trees: String = report
        .heads
        .iter()
        .map(|head| line(&head.origin, head.size, &head.root))
        .collect();
    let chains: String = sealed
        .tenants
        .iter()
        .map(|(tenant, head)| line(tenant, head.sequence, &head.hash))
        .collect();
    let more = match sealed.tenants_total.saturating_sub(sealed.tenants.len()) {
        0 => String::new(),
        more => format!("  .. and {more} more\n"),
    };
    format!(
        "\n  {:<44} {:>9}  root\n{trees}\n  {:<44} {:>9}  chain head\n{chains}{more}",
        "tree heads", "leaves", "tenants", "entries"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number() {
        assert_eq!(rate(83_464.873_5), "83,465/s");
        assert_eq!(rate(0.2), "0/s");
    }
}
