//! `ledgerline restore`.

mod print;
mod unsigned;
mod work;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use super::verify::{default_threads, expected_head, trusted_keys, verify_source};
use crate::config::LogConfig;
use crate::config::archive::AccessSettings;
use crate::ledger::canonical::Limits;
use crate::ledger::names;
use crate::ledger::verify::{FirstBad, Options, PartitionHead, Reason, Report, Verdict};
use crate::recovery::{Restored, View};
use crate::service;
use crate::stages::restore::PartitionConfig;
use crate::stages::window::WINDOW_ENTRIES_MAX;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Make a lost log anew from its archive, so that every chain goes on at its next sequence
///
/// Verifies the archive first, whole; then writes to an empty log what `run` needs to go on: for each partition the last archived checkpoint and a snapshot of
/// the state behind it. Topics that are others now, as their ends show, are declared so, each by a leaf. What was sealed after the last archived cut is not in
/// the archive: it is sealed again from the source topics, if those are still there, and lost otherwise.
///
/// A cut that was being stored when the log was lost is in the archive without its checkpoint. Where it is there whole, it holds together with what was signed, but nobody signed
/// it: who may put objects into the archive could have made it up. It is refused, unless --expect-head has its checkpoint, or --take-unsigned-cuts says that it is to be taken.
///
/// Writes nothing where the log holds anything else than what an earlier run of this command left. Cut short, it goes on where it was.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ledgerline topics apply --log kafka://new-broker:9092\n  ledgerline restore --from file:archive --log kafka://new-broker:9092 --jwks operator.jwks.json --expect-head newest.checkpoint\n\n\
                  Give with --expect-head the newest checkpoint that anybody holds: an archive that ends before it is refused, and with it a history that\n\
                  contradicts what was signed. Stop every instance of `run` before, and start them after."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(long, value_name = "ARCHIVE")]
    from: String,
    #[command(flatten)]
    access: AccessSettings,
    /// The log to make: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&.., whose topics are there and empty
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: String,
    /// The keys that the archive must be signed with (RFC 7517)
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Take the archive's own keys, which show that it is whole, and not whose it is
    #[arg(long, conflicts_with = "jwks")]
    trust_archive_keys: bool,
    /// A signed checkpoint that the archive must contain; may be given several times
    #[arg(long, value_name = "FILE")]
    expect_head: Vec<PathBuf>,
    /// Take over cuts that lie behind what was signed, each whole but for its checkpoint: nobody signed them, and who may put objects could have made them up
    #[arg(long)]
    take_unsigned_cuts: bool,
    /// How many event ids of each partition are remembered, as `run` has it [default: 100000]
    #[arg(long, value_name = "N", env = "LEDGERLINE_DEDUPE_ENTRIES_MAX")]
    dedupe_entries_max: Option<String>,
    /// Declare that topics are others now although the clock is more than 24 hours ahead of the last leaf: for a log that was lost for longer, with a clock that is right
    #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
    accept_clock_jump: bool,
    /// Verify, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is said to who has no keys, or others.
const ITS_OWN_KEYS: &str =
    "--trust-archive-keys takes the archive's own instead, which shows that it is whole, and not whose it is";

struct Plan {
    archive: Archive,
    log: LogConfig,
    options: Options,
    window_entries_max: usize,
}

/// # Errors
/// `Invalid` where the archive is, or the log is not to be written; `Usage` for arguments; `Unreadable` where one of them fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let plan = check(args)?;
    let begun = Instant::now();
    let source = plan.archive.open()?;
    let mut view = View::open(source.as_ref()).map_err(|error| super::failure(&error))?;
    let (report, cuts) = verified(&plan, args, &mut view)?;
    let verified_in = begun.elapsed();
    let runtime = super::runtime()?;
    let partitions = u32::try_from(report.heads.len()).unwrap_or(u32::MAX);
    let rows = if args.dry_run && is_to_be_made(&plan.log) {
        would_be(&report, &cuts)
    } else {
        let log = runtime
            .block_on(service::open_log(&plan.log, to_make_with(&plan.log, partitions)))
            .map_err(|error| super::failure(&error))?;
        let outcome = work::restore(&plan, args, (&report, &cuts), &view, &runtime, log.as_ref());
        drop(runtime.block_on(log.close()));
        outcome?
    };
    let done = Done {
        undeclared: unsigned::undeclared_key_sets(&view, &report, &rows),
        report,
        rows,
        dry_run: args.dry_run,
        took: (verified_in, begun.elapsed()),
    };
    let text = if args.json {
        print::to_json(&done)
    } else {
        print::describe(&done)
    };
    super::print(text.as_bytes())
}

fn check(args: &Args) -> Result<Plan, Failure> {
    let mut faults = Faults::default();
    let archive = Archive::parse(&args.from, &args.access, &mut faults);
    let log = LogConfig::parse(Some(&args.log))
        .map_err(|what| faults.add(format!("--log: {what}")))
        .ok();
    let window = faults.number(
        "--dedupe-entries-max",
        args.dedupe_entries_max.as_deref(),
        WINDOW_ENTRIES_MAX as u64,
        0..=10_000_000,
    );
    if args.jwks.is_none() && !args.trust_archive_keys {
        faults.add(format!(
            "--jwks is required, the keys that the archive must be signed with, as its operator has published them; {ITS_OWN_KEYS}"
        ));
    }
    let options = Options {
        trusted: faults.take(args.jwks.as_deref().map(trusted_keys).transpose()),
        expected_heads: args
            .expect_head
            .iter()
            .filter_map(|path| faults.take(expected_head(path).map(Some)))
            .collect(),
        threads: default_threads(),
        ..Options::default()
    };
    let log = faults.done_with(log)?;
    Ok(Plan {
        archive,
        log,
        options,
        window_entries_max: usize::try_from(window).unwrap_or(WINDOW_ENTRIES_MAX),
    })
}

/// What checkpoints cover is valid, and what lies behind them is nothing, or may be taken.
fn verified(plan: &Plan, args: &Args, view: &mut View<'_>) -> Result<(Report, Vec<Cut>), Failure> {
    unsigned::refuse_what_was_never_signed(view)?;
    let (options, late_heads) = unsigned::set_heads_aside(view, &plan.options);
    let mut report = verify_source(&view.covered(), &options, !args.json)?;
    if report
        .first_bad
        .as_ref()
        .is_some_and(|bad| view.hide_late_keys(bad))
    {
        report = verify_source(&view.covered(), &options, !args.json)?;
    }
    if report.is_of_no_ledger() {
        let what = plan.archive.holds_no_ledger();
        return Err(Failure::invalid(format!("nothing was restored: {what}")));
    }
    let log_name = log_name(&report)?;
    let judged = unsigned::Judged {
        view,
        log_name: &log_name,
        window_entries_max: plan.window_entries_max,
        trusted: options.trusted.as_deref(),
        heads: &late_heads,
        may_be_taken: args.take_unsigned_cuts,
    };
    let cuts = judged.all()?;
    Ok((report, cuts))
}

/// The name of the verified archive's log.
fn log_name(report: &Report) -> Result<String, Failure> {
    if let (Verdict::Invalid, Some(bad)) = (report.verdict, &report.first_bad) {
        return Err(Failure::invalid(format!(
            "the archive is invalid, nothing was restored: {}",
            told(bad)
        )));
    }
    let origin = report.heads.first().map(|head| head.origin.as_str());
    origin
        .and_then(|origin| origin.rsplit_once('/'))
        .map(|(name, _)| name.to_owned())
        .ok_or_else(|| Failure::invalid("the archive has no partition: there is nothing to restore"))
}

fn told(bad: &FirstBad) -> String {
    let place = bad
        .object
        .as_deref()
        .map(|object| format!(" ({object})"))
        .unwrap_or_default();
    let remedy = if bad.reason == Reason::UntrustedKey {
        format!("; see that --jwks has the keys of this ledger. {ITS_OWN_KEYS}")
    } else {
        String::new()
    };
    format!("{}: {}{place}{remedy}", bad.reason.code(), bad.detail)
}

/// An unsigned cut that is taken over.
#[derive(Debug, Clone)]
struct Cut {
    origin: String,
    first: u64,
    leaves: u64,
    entries: u64,
    /// Keys that are declared with it.
    keys: u64,
    objects: Vec<String>,
    /// Its checkpoint was given.
    is_signed: bool,
}

/// What was done, or would be, for a partition.
struct Row {
    origin: String,
    size: u64,
    cut: Option<Cut>,
    restored: Option<Restored>,
}

/// All that is told of.
struct Done {
    report: Report,
    rows: Vec<Row>,
    /// Key sets that no leaf declares.
    undeclared: Vec<String>,
    dry_run: bool,
    /// To verify, and in all.
    took: (Duration, Duration),
}

fn partition_config(log_name: &str, partition: u32, window_entries_max: usize) -> PartitionConfig {
    PartitionConfig {
        origin: names::origin(log_name, partition),
        partition,
        limits: Limits::default(),
        window_entries_max,
        archived: None,
    }
}

fn cut_of(cuts: &[Cut], origin: &str) -> Option<Cut> {
    cuts.iter().find(|cut| cut.origin == origin).cloned()
}

/// An embedded log that is not there: looking at it would make it.
fn is_to_be_made(log: &LogConfig) -> bool {
    match log {
        LogConfig::Embedded(path) => !path.exists(),
        LogConfig::Kafka(_) => false,
    }
}

/// How many partitions a log is made with; topics are there already, and say themselves.
fn to_make_with(log: &LogConfig, partitions: u32) -> Option<u32> {
    match log {
        LogConfig::Embedded(_) => Some(partitions),
        LogConfig::Kafka(_) => None,
    }
}

fn would_be(report: &Report, cuts: &[Cut]) -> Vec<Row> {
    let row = |head: &PartitionHead| {
        let cut = cut_of(cuts, &head.origin);
        Row {
            origin: head.origin.clone(),
            size: head.size + cut.as_ref().map_or(0, |cut| cut.leaves),
            cut,
            restored: None,
        }
    };
    report.heads.iter().map(row).collect()
}
