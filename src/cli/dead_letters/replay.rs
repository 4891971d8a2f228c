//! `ledgerline dead-letters replay`: the same bytes once more into `audit.events`, or one letter in a corrected form.
//!
//! Read twice: first to say what would become of each, then to do it. Memory is one batch of letters.

use super::list::tell_foreign;
use super::select::{Letters, Named, Selection, parse_reason};
use super::{Place, open};
use crate::cli::Failure;
use crate::cli::arguments::{Faults, read_limited};
use crate::cli::ingest::append_patiently;
use crate::config::InputConfig;
use crate::formats::{Formats, Schemas};
use crate::ledger::event::EventParser;
use crate::ledger::leaf::RejectCode;
use crate::ledger::names::parse_source_position;
use crate::ledger::partition::partition_of;
use crate::log::{Log, LogError, NewRecord, topic};
use crate::stages::dead_letters::{Letter, REPLAY_OF};
use std::collections::BTreeMap;
use std::path::PathBuf;

const APPEND_ATTEMPTS_MAX: u32 = 10;
/// More are named by their reason.
const NAMED_MAX: usize = 1_000;

/// Send rejected inputs to audit.events again, as they are or corrected
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ledgerline dead-letters replay --index 3/17 --dry-run\n  ledgerline dead-letters replay --index ledger.example.com/audit/3/17 --from \
                  corrected.json\n  ledgerline dead-letters replay --reason too_large --yes      # after `run` was started with a larger --event-bytes-max\n\nThe rejection stays \
                  in the ledger for ever; what is sent again gets a leaf of its own. What is sure to be rejected again is sent with --force alone. An \
                  event that is sent twice is sealed once: the second time it is a `duplicate`. A `conflict` is rejected again for as long as the entry that it conflicts with is \
                  among those remembered (--dedupe-entries-max of `run`): give it another event_id with --from. Sent again with it goes the header ledgerline-replay-of: \
                  ORIGIN/INDEX."
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, and none excludes another"
)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// This letter: PARTITION/INDEX or ORIGIN/INDEX, as `list` prints it; may be repeated
    #[arg(long, value_name = "LEAF")]
    index: Vec<String>,
    /// All letters of this reason; needs --yes or --dry-run
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Send the content of this file in place of the one letter that --index names
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Largest canonical event in bytes, as `run` has it, to tell what will be rejected again [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "LEDGERLINE_EVENT_BYTES_MAX")]
    event_bytes_max: Option<String>,
    /// Send also what is sure to be rejected again, for the reason that it was rejected for
    #[arg(long)]
    force: bool,
    /// Say what would be sent and what would become of it, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it without naming each
    #[arg(long)]
    yes: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// As [`super::run`].
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let (config, selection) = args.check()?;
    let log = open(&config).await?;
    let outcome = replay(args, &config, &selection, log.as_ref()).await;
    // What was acknowledged is durable without it.
    drop(log.close().await);
    let summary = outcome?;
    crate::cli::print(summary.describe(args).as_bytes())
}

impl Args {
    fn check(&self) -> Result<(InputConfig, Selection), Failure> {
        let mut faults = Faults::default();
        let config = self.place.check(self.event_bytes_max.clone(), &mut faults);
        let mut named = Vec::new();
        for text in &self.index {
            match Named::parse(text) {
                Some(leaf) => named.push(leaf),
                None => faults.add(format!(
                    "--index: {text:?} must be PARTITION/INDEX as 3/17, or ORIGIN/INDEX as ledger.example.com/audit/3/17"
                )),
            }
        }
        let selection = Selection {
            named,
            reason: parse_reason(self.reason.as_deref(), &mut faults),
            ..Selection::default()
        };
        self.check_together(&mut faults);
        Ok((faults.done_with(config)?, selection))
    }

    /// What only makes sense with something else.
    fn check_together(&self, faults: &mut Faults) {
        if self.index.is_empty() && self.reason.is_none() {
            faults.add("--index or --reason: say which letters; `ledgerline dead-letters list` shows them");
        }
        if self.index.len() > NAMED_MAX {
            faults.add(format!("--index: at most {NAMED_MAX} at once"));
        }
        if self.index.is_empty() && self.reason.is_some() && !self.yes && !self.dry_run {
            faults.add("--reason: replays all of them: look with --dry-run first, then give --yes");
        }
        if self.from.is_some() && self.index.len() != 1 {
            faults.add("--from: takes the place of one letter: give one --index with it");
        }
    }
}

async fn replay(
    args: &Args,
    config: &InputConfig,
    selection: &Selection,
    log: &dyn Log,
) -> Result<Summary, Failure> {
    let correction = match &args.from {
        Some(file) => Some(read_limited(file, log.record_bytes_max())?),
        None => None,
    };
    let partitions = super::select::patiently(async || log.partitions(topic::AUDIT_EVENTS).await).await?;
    let mut sender = Sender {
        log,
        partitions,
        correction,
        parser: EventParser::new(config.limits),
        formats: Formats::new(config.limits),
    };
    let letters = Letters::open(log, selection).await?;
    let summary = plan(args, selection, &letters, &mut sender).await?;
    if !args.dry_run {
        summary.allows(args)?;
        send_all(selection, &letters, &mut sender, summary.letters).await?;
    }
    Ok(summary)
}

/// What would become of each; prints it for a dry run.
async fn plan(
    args: &Args,
    selection: &Selection,
    letters: &Letters<'_>,
    sender: &mut Sender<'_>,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let mut missing = selection.named.clone();
    let foreign = letters
        .each_batch(selection, async |partition, letters| {
            let mut lines = String::new();
            for letter in &letters {
                missing.retain(|named| !named.is(partition, letter));
                let prospect = sender.prospect(letter);
                summary.count(prospect.refused);
                lines.push_str(&prospect.line(letter));
            }
            if args.dry_run && !args.json {
                crate::cli::print(lines.as_bytes())?;
            }
            Ok(true)
        })
        .await?;
    tell_foreign(foreign);
    if missing.is_empty() {
        return Ok(summary);
    }
    let names: Vec<String> = missing.iter().map(Named::to_string).collect();
    let also = if selection.reason.is_some() {
        " of that --reason"
    } else {
        ""
    };
    Err(Failure::invalid(format!(
        "--index: there is no letter {}{also} in ledger.dead-letters; nothing was sent. `ledgerline dead-letters list` shows those that there are; \
         older ones are in the archive",
        names.join(", ")
    )))
}

async fn send_all(
    selection: &Selection,
    letters: &Letters<'_>,
    sender: &mut Sender<'_>,
    count: u64,
) -> Result<(), Failure> {
    let bar = crate::cli::progress_bar(Some(count), "{bar:40} {pos}/{len} letters {per_sec}");
    let mut sent = 0;
    let outcome = letters
        .each_batch(selection, async |_, letters| {
            let more = letters.len() as u64;
            sender.send(&letters, sent).await?;
            sent += more;
            bar.set_position(sent);
            Ok(true)
        })
        .await;
    bar.finish_and_clear();
    outcome.map(drop)
}

struct Sender<'l> {
    log: &'l dyn Log,
    partitions: u32,
    /// What goes in place of the letter's input.
    correction: Option<Vec<u8>>,
    parser: EventParser,
    formats: Formats,
}

/// What can be said of a letter before it is sent.
struct Prospect {
    partition: u32,
    tenant: Option<String>,
    /// Why it will be rejected again, as far as its bytes tell.
    refused: Option<RejectCode>,
}

impl Sender<'_> {
    fn prospect(&mut self, letter: &Letter<'_>) -> Prospect {
        let bytes = self.correction.as_deref().unwrap_or(letter.raw);
        let (tenant, mut refused) = match self.formats.decode(bytes, &[], &Schemas::default()) {
            Ok(decoded) => match decoded
                .json(bytes)
                .map_err(Clone::clone)
                .and_then(|json| self.parser.parse(json))
            {
                Ok(event) => (Some(event.tenant_id), None),
                Err(refusal) => (refusal.tenant, Some(refusal.code)),
            },
            // Its schema is in a registry, which the sealer asks.
            Err(_) => (None, None),
        };
        // Well-formed, and its id is taken; whether it still is, the owner's memory says.
        if refused.is_none() && self.correction.is_none() && letter.reason == RejectCode::Conflict {
            refused = Some(RejectCode::Conflict);
        }
        Prospect {
            partition: match &tenant {
                Some(tenant) => partition_of(tenant, self.partitions),
                None => came_from(letter),
            },
            tenant,
            refused,
        }
    }

    /// One append for each partition; a tenant's letters stay in their order.
    async fn send(&mut self, letters: &[Letter<'_>], before: u64) -> Result<(), Failure> {
        let mut by_partition: BTreeMap<u32, Vec<NewRecord>> = BTreeMap::new();
        for letter in letters {
            let prospect = self.prospect(letter);
            let record = NewRecord {
                key: prospect.tenant.unwrap_or_default().into_bytes(),
                value: self.correction.clone().unwrap_or_else(|| letter.raw.to_vec()),
                headers: vec![(REPLAY_OF.to_owned(), letter.name().into_bytes())],
            };
            by_partition.entry(prospect.partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            append_patiently(self.log, partition, &records, APPEND_ATTEMPTS_MAX)
                .await
                .map_err(|error| interrupted(&error, before))?;
        }
        Ok(())
    }
}

/// The partition that the input was sealed in: a tenant that nobody can read is nobody's.
fn came_from(letter: &Letter<'_>) -> u32 {
    let partition = parse_source_position(letter.source).map_or(0, |(source, _)| source.partition);
    u32::try_from(partition).unwrap_or(0)
}

fn interrupted(error: &LogError, sent: u64) -> Failure {
    Failure::unreadable(format!(
        "{}: {sent} letters were sent for certain, and perhaps some more. When the cause is removed, run the same command again: an event that is then sent \
         twice is sealed once, as its id is recognised",
        crate::cli::chain(error)
    ))
}

impl Prospect {
    fn line(&self, letter: &Letter<'_>) -> String {
        let what = match self.refused {
            None => "can be sealed".to_owned(),
            Some(code) => format!("would be rejected again: {}", code.as_str()),
        };
        format!(
            "{:<41} {:<18} to audit.events/{}: {what}\n",
            letter.name(),
            letter.reason.as_str(),
            self.partition
        )
    }
}

#[derive(Debug, Default)]
struct Summary {
    letters: u64,
    /// Those that will be rejected again, by code.
    refused: BTreeMap<&'static str, u64>,
}

impl Summary {
    fn count(&mut self, refused: Option<RejectCode>) {
        self.letters += 1;
        if let Some(code) = refused {
            *self.refused.entry(code.as_str()).or_default() += 1;
        }
    }

    /// Whether all may be sent. A conflict may: whether its id is still taken, only the owner's memory says.
    ///
    /// # Errors
    /// `Invalid` where some are sure to be rejected again: that would add leaves and letters, and nothing else.
    fn allows(&self, args: &Args) -> Result<(), Failure> {
        let conflict = RejectCode::Conflict.as_str();
        let sure: Vec<String> = self
            .refused
            .iter()
            .filter(|(code, _)| **code != conflict)
            .map(|(code, count)| format!("{count} {code}"))
            .collect();
        if sure.is_empty() || args.force {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "of {} letters these are sure to be rejected again, each with a new leaf: {}. Nothing was sent. --dry-run names them; send a corrected form with --from, the others \
             by --index, or all the same with --force",
            self.letters,
            sure.join(", ")
        )))
    }

    fn describe(&self, args: &Args) -> String {
        if args.json {
            let json = serde_json::json!({
                "dry_run": args.dry_run,
                "letters": self.letters,
                "rejected_again": self.refused,
            });
            return format!("{json}\n");
        }
        let verb = if args.dry_run { "would be sent" } else { "sent" };
        let noun = if self.letters == 1 { "letter" } else { "letters" };
        let mut lines = vec![format!("{} {noun} {verb} to audit.events", self.letters)];
        lines.extend(self.refused.iter().map(|(code, count)| {
            format!("  {count} of them cannot be sealed as they are ({code}): rejected again, each with a new leaf")
        }));
        if self.refused.contains_key(RejectCode::Conflict.as_str()) {
            lines.push(
                "  a conflict stays one while the first event of that id is remembered: send it with another event_id by --from"
                    .to_owned(),
            );
        }
        lines.join("\n") + "\n"
    }
}
