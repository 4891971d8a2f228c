//! `ledgerline verify`.

mod completeness;
mod print;

pub use print::{Colour, describe, to_json};
pub(super) use print::{bytes, printable, time};

use super::archive::Archive;
use super::arguments::{Faults, read_limited};
use super::{Exit, Failure};
use crate::clock::UnixMicros;
use crate::config::LogConfig;
use crate::config::archive::AccessSettings;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::jwks::{self, JWKS_BYTES_MAX};
use crate::ledger::key::PublicKey;
use crate::ledger::names;
use crate::ledger::note::NOTE_BYTES_MAX;
use crate::ledger::time::parse_occurred_at;
use crate::ledger::verify::{
    ArchiveSource, NotEstablished, Options, Progress, Reason, Report, SourceError, THREADS_MAX, Verdict,
    verify,
};
use indicatif::ProgressBar;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::thread;

/// Verify an archive offline: every byte, every chain, tree and signature.
///
/// The archive must not change meanwhile: of a service that is running, or was killed within a cut, the last cut may not be whole yet,
/// which is invalid and said so. The service finishes the cut when it next runs.
///
/// Exit status 0: valid, or consistent where no key was pinned; 1: invalid; 2: usage, and a --tenant of which there is no entry;
/// 3: unreadable.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    #[command(flatten)]
    access: AccessSettings,
    /// Look only at the partition of this tenant, and count its entries
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Trust these keys and no others (RFC 7517); without it the verdict is `consistent` at most
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// A signed checkpoint from elsewhere that the archive must contain; may be given several times
    #[arg(long, value_name = "FILE")]
    expect_head: Vec<PathBuf>,
    /// Demand that every partition has a cut at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Say of every source partition which offsets were consumed, how each record ended, and which offsets no leaf names
    #[arg(long)]
    completeness: bool,
    /// With --completeness: read the source topics again, and tell what was never a record from what was dropped, which is invalid.
    /// sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", requires = "completeness")]
    log: Option<String>,
    /// Threads that read the archive; no more than 8 are used [default: one for each processor, at most 8]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// By the exit status that the contract gives to what was found.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, options) = check(args)?;
    let log = args.log.as_deref().map(log_config).transpose()?;
    let report = verify_archive(&archive, &options, !args.json)?;
    check_heads_are_of_tenant(&options, &report)?;
    let mut sources = report
        .completeness
        .as_ref()
        .map(completeness::of_archive)
        .unwrap_or_default();
    if let Some(log) = log.filter(|_| report.verdict != Verdict::Invalid) {
        reread_sources(&log, &mut sources, !args.json)?;
    }
    let text = if args.json {
        let mut json = to_json(&report);
        if options.completeness {
            json["completeness"] = completeness::to_json(&sources);
        }
        format!("{json:#}\n")
    } else {
        let mut text = describe(&report, &args.archive, Colour::of_terminal(&std::io::stdout()));
        if options.completeness {
            text.push_str(&completeness::describe(&sources));
        }
        text
    };
    super::print(text.as_bytes())?;
    if completeness::is_any_other(&sources) {
        return Err(Failure::unreadable(
            "a source topic ends before what was consumed of it, so that it could not be compared: see that --log is the one that was sealed from",
        ));
    }
    if completeness::is_any_dropped(&sources) {
        return Err(Failure::invalid(
            "records of a source topic are not in the ledger: see DROPPED above",
        ));
    }
    let tenant_absent = report.not_established.contains(&NotEstablished::TenantAbsent);
    match report.verdict {
        Verdict::Valid | Verdict::Consistent if tenant_absent => Err(Failure::usage(format!(
            "--tenant {}: the archive has no entry of this tenant, so nothing was verified of it: see how it is spelt",
            args.tenant.as_deref().unwrap_or_default()
        ))),
        Verdict::Valid | Verdict::Consistent => Ok(()),
        Verdict::Invalid if report.is_of_no_ledger() => Err(Failure::invalid(archive.holds_no_ledger())),
        // The report has said everything.
        Verdict::Invalid => Err(Failure::invalid("")),
    }
}

fn log_config(url: &str) -> Result<LogConfig, Failure> {
    LogConfig::parse(Some(url)).map_err(|what| Failure::usage(format!("--log: {what}")))
}

/// Has the source topics read again.
fn reread_sources(
    config: &LogConfig,
    sources: &mut [completeness::SourceReport<'_>],
    show_progress: bool,
) -> Result<(), Failure> {
    let bar = bar(
        show_progress,
        sources.len() as u64,
        "{bar:32} {pos}/{len} sources read again  {elapsed}",
    );
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let log = crate::service::open_log_that_exists(config).await?;
        let outcome = completeness::reread(sources, log.as_ref(), || bar.inc(1)).await;
        drop(log.close().await);
        outcome
    });
    bar.finish_and_clear();
    outcome.map_err(|error| super::failure(&error))
}

/// Verifies an archive; `show_progress` draws a bar where standard error is a terminal.
///
/// # Errors
/// Where it cannot be read. An invalid archive is a report.
pub fn verify_archive(archive: &Archive, options: &Options, show_progress: bool) -> Result<Report, Failure> {
    verify_source(archive.open()?.as_ref(), options, show_progress)
}

/// Verifies an archive that is open, or a part of one.
pub fn verify_source(
    source: &dyn ArchiveSource,
    options: &Options,
    show_progress: bool,
) -> Result<Report, Failure> {
    let bar = bar(show_progress, 0, "{bar:32} {pos}/{len} objects  {msg}  {elapsed}");
    let outcome = verify(source, options, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    outcome.map_err(|error| Failure::unreadable(explain(&error)))
}

/// One thread for each processor, up to the number that the verifier uses.
#[must_use]
pub fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(THREADS_MAX))
}

/// Which partition is the tenant's is known only now: a head of another partition of the log says nothing about it.
fn check_heads_are_of_tenant(options: &Options, report: &Report) -> Result<(), Failure> {
    let (Some(tenant), Some(bad), [looked_at]) = (&options.tenant, &report.first_bad, &report.heads[..])
    else {
        return Ok(());
    };
    let log_name = |origin: &str| origin.rsplit_once('/').map(|(name, _)| name.to_owned());
    let other = options
        .expected_heads
        .iter()
        .map(|head| &head.checkpoint.origin)
        .find(|origin| **origin != looked_at.origin && log_name(origin) == log_name(&looked_at.origin));
    match (bad.reason, other) {
        (Reason::HeadOrigin, Some(other)) => Err(Failure::usage(format!(
            "--expect-head of {other} is of another partition than {}, which --tenant {tenant} looks at",
            looked_at.origin
        ))),
        (_, _) => Ok(()),
    }
}

/// The archive, and what it is held against.
fn check(args: &Args) -> Result<(Archive, Options), Failure> {
    let mut faults = Faults::default();
    let archive = Archive::parse(&args.archive, &args.access, &mut faults);
    if let Some(tenant) = args.tenant.as_deref().filter(|tenant| !names::is_tenant(tenant)) {
        faults.add(format!("--tenant {tenant:?} must be {}", names::TENANT_FORM));
    }
    let default = default_threads() as u64;
    let threads = faults.number("--threads", args.threads.as_deref(), default, 1..=u32::MAX.into());
    let heads = args.expect_head.iter();
    let options = Options {
        trusted: faults.take(args.jwks.as_deref().map(trusted_keys).transpose()),
        expected_heads: heads
            .filter_map(|path| faults.take(expected_head(path).map(Some)))
            .collect(),
        not_before: faults.take(args.not_before.as_deref().map(not_before).transpose()),
        tenant: args.tenant.clone(),
        partition: None,
        completeness: args.completeness,
        threads: usize::try_from(threads).unwrap_or(THREADS_MAX),
    };
    faults.done()?;
    Ok((archive, options))
}

fn not_before(text: &str) -> Result<UnixMicros, Failure> {
    parse_occurred_at(text).ok_or_else(|| {
        Failure::usage(format!(
            "--not-before {text:?} is not an RFC 3339 time such as 2026-11-22T10:00:00Z"
        ))
    })
}

pub(super) fn trusted_keys(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    let keys = jwks::parse(&read_argument("--jwks", path, JWKS_BYTES_MAX)?)
        .map_err(|error| Failure::usage(format!("--jwks {}: {error}", path.display())))?;
    if keys.is_empty() {
        return Err(Failure::usage(format!("--jwks {} holds no key", path.display())));
    }
    Ok(keys)
}

pub(super) fn expected_head(path: &Path) -> Result<SignedCheckpoint, Failure> {
    SignedCheckpoint::parse(&read_argument("--expect-head", path, NOTE_BYTES_MAX)?)
        .map_err(|error| Failure::usage(format!("--expect-head {}: {error}", path.display())))
}

fn read_argument(flag: &str, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    read_limited(path, bytes_max).map_err(|failure| Failure {
        exit: match failure.exit {
            // Too large: the argument is no such file, the archive is not to blame.
            Exit::Invalid | Exit::Usage => Exit::Usage,
            Exit::Unreadable => Exit::Unreadable,
        },
        message: format!("{flag}: {}", failure.message),
    })
}

fn explain(error: &SourceError) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn bar(show: bool, length: u64, template: &str) -> ProgressBar {
    if show {
        super::progress_bar(Some(length), template)
    } else {
        ProgressBar::hidden()
    }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.objects_total);
    bar.set_position(progress.objects);
    bar.set_message(format!(
        "{} entries  {}",
        progress.entries,
        print::bytes(progress.line_bytes)
    ));
}
