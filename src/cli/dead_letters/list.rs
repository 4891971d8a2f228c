//! `ledgerline dead-letters list`.

use super::select::{Letters, Selection, parse_reason, parse_since};
use super::{Place, open};
use crate::cli::Failure;
use crate::cli::arguments::Faults;
use crate::ledger::time::write_sealed_at;
use crate::stages::dead_letters::Letter;
use data_encoding::BASE64;
use std::io::{self, Write as _};

/// Print the letters, oldest first in each partition: which leaf, when, why, from where, whose, and of how many bytes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ledgerline dead-letters list --log sqlite:ledger.db\n  ledgerline dead-letters list --reason invalid_time --since \
                  2026-11-27T08:00:00Z\n  ledgerline dead-letters list --tenant acme --json | jq -r .source\n\nThe input itself is printed with --show-raw only: it may \
                  hold what is nobody's business here. The key and the headers that its producer gave it are in the source topic, at SOURCE, for as long as \
                  that keeps them. What lies further back than ledger.dead-letters does is in the archive, as `rejected` leaves."
)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Only what was rejected for this reason, as `invalid_time`
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only what named this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only what was sealed at this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<String>,
    /// Print the rejected input too: escaped, or as base64 with --json
    #[arg(long)]
    show_raw: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// # Errors
/// As [`super::run`].
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let mut faults = Faults::default();
    let config = args.place.check(None, &mut faults);
    let selection = Selection {
        partition: args.partition,
        named: Vec::new(),
        reason: parse_reason(args.reason.as_deref(), &mut faults),
        tenant: args.tenant.clone(),
        since: parse_since(args.since.as_deref(), &mut faults),
    };
    let limit = faults.number("--limit", args.limit.as_deref(), u64::MAX, 1..=u64::MAX);
    let config = faults.done_with(config)?;
    let log = open(&config).await?;
    if !args.json {
        crate::cli::print(HEAD.as_bytes())?;
    }
    let mut left = limit;
    let letters = Letters::open(log.as_ref(), &selection).await?;
    let foreign = letters
        .each_batch(&selection, async |_, letters| {
            let shown = letters.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let lines: String = letters
                .iter()
                .take(shown)
                .map(|letter| args.line(letter))
                .collect();
            left -= shown as u64;
            crate::cli::print(lines.as_bytes())?;
            Ok(left > 0)
        })
        .await;
    // Nothing was written that could be lost.
    drop(log.close().await);
    tell_foreign(foreign?);
    Ok(())
}

/// Records that somebody else wrote into the topic.
pub(super) fn tell_foreign(count: u64) {
    if count > 0 {
        // Where standard error is gone, there is nobody to tell.
        drop(writeln!(
            io::stderr(),
            "ledgerline: {count} records in ledger.dead-letters are no letters: only `ledgerline run` should be able to write there"
        ));
    }
}

const HEAD: &str = "LEAF                                      SEALED AT                    REASON             SOURCE                        TENANT            BYTES\n";

impl Args {
    fn line(&self, letter: &Letter<'_>) -> String {
        if self.json {
            return self.json_line(letter);
        }
        let line = format!(
            "{:<41} {:<28} {:<18} {:<29} {:<16} {:>6}\n",
            letter.name(),
            sealed_at(letter),
            letter.reason.as_str(),
            letter.source,
            letter.tenant.unwrap_or("-"),
            letter.raw.len()
        );
        if self.show_raw {
            // A terminal must not be told what to do by an input.
            format!("{line}  {}\n", letter.raw.escape_ascii())
        } else {
            line
        }
    }

    fn json_line(&self, letter: &Letter<'_>) -> String {
        let mut object = serde_json::json!({
            "origin": letter.origin,
            "index": letter.index,
            "sealed_at": sealed_at(letter),
            "reason": letter.reason.as_str(),
            "source": letter.source,
            "via": letter.via,
            "tenant": letter.tenant,
            "bytes": letter.raw.len(),
        });
        if self.show_raw {
            object["raw"] = BASE64.encode(letter.raw).into();
        }
        format!("{object}\n")
    }
}

fn sealed_at(letter: &Letter<'_>) -> String {
    let mut text = Vec::new();
    write_sealed_at(letter.sealed_at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
