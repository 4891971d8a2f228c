//! `ledgerline scrub`.

mod judged;
mod place;
mod print;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use super::run::EndSignals;
use super::verify::{default_threads, trusted_keys};
use crate::clock::{Clock, SystemClock};
use crate::config::LogConfig;
use crate::config::archive::{ArchiveConfig, S3Settings, check};
use crate::ledger::verify::Reason;
use crate::pause::jittered;
use crate::scrub::{
    At, Demands, Finding, OnProgress, Pass, Running, Scope, ScrubError, Store, Tries, VERSIONS_AT_ONCE,
};
use crate::service;
use crate::vault::s3::S3Versions;
use indicatif::ProgressBar;
use judged::judged;
use place::Place;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a step that fails is tried again before the command gives up. Each call was tried several times by then.
const RETRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// More findings than these are counted and not kept.
const FINDINGS_KEPT: usize = 1_000;
const RATE_MAX: u64 = 10_000;
/// Where it is slowed down, a page is what it may look at in this time: a stop loses no more.
const PAGE_SECONDS: i32 = 10;

/// Look at every version and every lock of an archive, and verify its content
///
/// Of a bucket: each object has one version, no delete marker, and a lock as strong and as long as the settings say; with --log, a legal hold where its class is
/// held, and nothing missing that the log says was archived; and all of it verifies, up to the last cut that is whole. Of a directory, which has neither versions nor locks: names and content. Reads, and changes
/// nothing; the archive may be written to meanwhile. `run` does the same by itself, once a week.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ledgerline scrub --archive s3://audit-archive/ledger --archive-lock compliance --jwks operator.jwks.json\n  \
                  ledgerline scrub --position scrub.position        with the variables of `run`; stopped and started again, it goes on\n\n\
                  Ends with 0 where nothing is found, with 1 where something is, with 2 where the settings are wrong, and with 3 where the archive could not be\n\
                  read, or the pass was stopped: then what was found so far is printed, and nothing is said about the rest.\n\n\
                  `run` scrubs by itself, with two settings, --scrub-interval-ms and --scrub-calls-per-second. Its archive, locks, times and log are those that it\n\
                  archives with, its keys the archive's own (--jwks is here alone), and its position is in the log."
)]
pub struct Args {
    /// The archive: `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(long, env = "LEDGERLINE_ARCHIVE", value_name = "URL")]
    archive: Option<String>,
    #[command(flatten)]
    s3: S3Settings,
    /// The log, which says which classes are held and how much is archived: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..; without it no hold is looked for
    #[arg(long, env = "LEDGERLINE_LOG", value_name = "URL")]
    log: Option<String>,
    /// Trust these keys and no others (RFC 7517); without it the archive's own, which shows that it is whole and not whose it is
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Write to this file how far the pass is, after every page of versions and at the end, and go on from it where it is there; removed at the end of a whole pass. It is of
    /// one archive, one log, and locks and times as they are set: with others it is refused. Without it a pass that is stopped begins anew
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
    /// Look at about so many objects a second, one at a time: a call each, or up to three where a lock must be asked for [default: as fast as it goes]
    #[arg(long, value_name = "N")]
    calls_per_second: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was looked at and found.
struct Outcome {
    running: Running,
    findings: Vec<Finding>,
    ended: i64,
    /// Why the pass is not whole.
    ended_early: Option<Failure>,
}

/// # Errors
/// `Invalid` where something is found, `Usage` for settings, `Unreadable` where the archive or the log cannot be read.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, log, demands) = check_args(args)?;
    let url = args.archive.as_deref().unwrap_or_default();
    let mut place = Place::open(args.position.as_deref(), judged(&archive, log.as_ref()))?;
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let log = match &log {
            Some(config) => Some(
                service::open_log_that_exists(config)
                    .await
                    .map_err(|error| super::failure(&error))?,
            ),
            None => None,
        };
        let demands = Demands {
            log: log.clone(),
            ..demands
        };
        let outcome = Box::pin(scrub(&archive, demands, &mut place, !args.json)).await;
        if let Some(log) = log {
            drop(log.close().await);
        }
        outcome
    })?;
    let seen = print::Seen {
        archive: url,
        access: match &archive {
            ArchiveConfig::S3(config) => Some(&config.access),
            ArchiveConfig::Directory(_) => None,
        },
        has_log: log.is_some(),
        has_keys: args.jwks.is_some(),
    };
    let text = if args.json {
        print::json(&seen, &outcome)
    } else {
        print::table(&seen, &outcome)
    };
    if let Some(failure) = outcome.ended_early {
        // Of a pass that came nowhere there is nothing to say.
        if outcome.running.at != At::Names(None) {
            super::print(text.as_bytes())?;
        }
        return Err(failure);
    }
    super::print(text.as_bytes())?;
    // What was found stands, whatever becomes of the file.
    if let Err(failure) = place.remove() {
        eprintln!(
            "ledgerline: {}; the next pass would go on from it: remove it",
            failure.message
        );
    }
    if outcome.running.counts.findings.is_empty() {
        return Ok(());
    }
    // Otherwise the report has said everything.
    let is_of_no_ledger = outcome
        .findings
        .iter()
        .any(|finding| finding.what.starts_with(Reason::NoPartition.code()));
    Err(Failure::invalid(if is_of_no_ledger {
        Archive::from(&archive).holds_no_ledger()
    } else {
        String::new()
    }))
}

fn check_args(args: &Args) -> Result<(ArchiveConfig, Option<LogConfig>, Demands), Failure> {
    let mut faults = Faults::default();
    let mut wrong = Vec::new();
    let archive = check(args.archive.as_deref(), &args.s3, &mut wrong);
    for fault in &wrong {
        faults.add(fault.to_string());
    }
    let log = args.log.as_deref().and_then(|url| {
        LogConfig::parse(Some(url))
            .map_err(|what| faults.add(format!("--log (or LEDGERLINE_LOG): {what}")))
            .ok()
    });
    let rate = args
        .calls_per_second
        .as_deref()
        .map(|text| faults.number("--calls-per-second", Some(text), 1, 1..=RATE_MAX) as u32);
    let demands = Demands {
        retention: match &archive {
            ArchiveConfig::S3(config) => Some(config.retention.clone()),
            ArchiveConfig::Directory(_) => None,
        },
        log: None,
        trusted: faults.take(args.jwks.as_deref().map(trusted_keys).transpose()),
        calls_per_second: rate,
        versions_at_once: rate.map_or(VERSIONS_AT_ONCE, page),
        at_once: if rate.is_some() { 1 } else { default_threads() },
    };
    faults.done()?;
    Ok((archive, log, demands))
}

fn page(rate: u32) -> i32 {
    let versions = i32::try_from(rate)
        .unwrap_or(i32::MAX)
        .saturating_mul(PAGE_SECONDS);
    versions.min(VERSIONS_AT_ONCE)
}

async fn scrub(
    archive: &ArchiveConfig,
    demands: Demands,
    place: &mut Place<'_>,
    show_progress: bool,
) -> Result<Outcome, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bar = if show_progress {
        super::progress_bar(None, "{spinner} {msg}  {elapsed}")
    } else {
        ProgressBar::hidden()
    };
    let on_progress: OnProgress = {
        let bar = bar.clone();
        Arc::new(move |progress| {
            bar.set_message(format!(
                "verifying: {} of {} objects",
                progress.objects, progress.objects_total
            ));
            bar.tick();
        })
    };
    let store = match archive {
        ArchiveConfig::Directory(path) => Store::Directory(path.clone()),
        ArchiveConfig::S3(config) => Store::S3(S3Versions::open(config.access.clone(), None).await),
    };
    let mut pass = Pass::new(store, Scope::Whole, demands, Arc::clone(&clock), on_progress);
    let (mut running, mut findings) = place
        .taken()
        .unwrap_or_else(|| (Running::begin(clock.now()), Vec::new()));
    let ended_early = go_on(&mut pass, &mut running, &mut findings, place, &bar).await?;
    bar.finish_and_clear();
    Ok(Outcome {
        running,
        findings,
        ended: clock.now(),
        ended_early,
    })
}

/// To the end of the pass, or to what ends it early.
async fn go_on(
    pass: &mut Pass,
    running: &mut Running,
    findings: &mut Vec<Finding>,
    place: &Place<'_>,
    bar: &ProgressBar,
) -> Result<Option<Failure>, Failure> {
    let mut end = EndSignals::listen()?;
    let mut failures = 0;
    loop {
        bar.set_message(doing(running));
        bar.tick();
        let tries = if failures < RETRIES {
            Tries::More
        } else {
            Tries::Last
        };
        let early = |what: &str| {
            Ok(Some(Failure::unreadable(format!(
                "{what}{}",
                place.how_to_go_on()
            ))))
        };
        let stepped = tokio::select! {
            stepped = pass.step(running, tries) => stepped,
            () = end.come() => return early("stopped"),
        };
        match stepped {
            Ok(stepped) => {
                failures = 0;
                let room = FINDINGS_KEPT.saturating_sub(findings.len());
                findings.extend(stepped.findings.into_iter().take(room));
                if stepped.is_done {
                    return Ok(None);
                }
                if let Err(failure) = place.write(running, findings) {
                    return Ok(Some(failure));
                }
            }
            Err(ScrubError::Retry { what, .. }) if failures < RETRIES => {
                failures += 1;
                bar.set_message(format!("trying again: {what}"));
                tokio::time::sleep(jittered(RETRY_PAUSE * failures)).await;
            }
            Err(error @ (ScrubError::Retry { .. } | ScrubError::Fatal { .. })) => {
                return early(&super::chain(&error));
            }
        }
    }
}

fn doing(running: &Running) -> String {
    match &running.at {
        At::Names(None) => "listing".to_owned(),
        At::Names(Some(after)) => format!("{} versions, up to {after}", running.counts.objects),
        At::Content => "verifying".to_owned(),
    }
}
