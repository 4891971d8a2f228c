//! `ledgerline index`: the read model in Postgres.

mod detach;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use crate::config::LogConfig;
use crate::config::archive::AccessSettings;
use crate::ledger::verify::ArchiveSource;
use crate::log::{Log, topic};
use crate::service;
use crate::stages::StageError;
use crate::stages::index::{Indexer, Rebuild, take_over};
use crate::stages::restore::ledger_name;
use crate::store::{self, NEXT_SCHEMA, ReadModel, Role, SCHEMA, StoreError, schema};
use sqlx::postgres::{PgConnectOptions, PgPool};
use std::sync::Arc;

/// Connections of one rebuilding: it works on one partition at a time.
const CONNECTIONS_MAX: u32 = 2;

/// Make the read model anew, or let go of its old months
///
/// The read model is what `run` with --database keeps in Postgres: the ledger's leaves in tables, for look-ups and proofs. Nothing in it is truth; all of it follows from the log
/// and the archive.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Rebuild(RebuildArgs),
    Detach(detach::Args),
}

/// Build the read model anew beside the one that is read, from archive and log, and have it take the other's place
///
/// `run` may be running: it goes on writing the old copy until the new one is as far, and then goes on with that. Reads never stop. Cut short, the next run goes on where it was.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ledgerline index rebuild --database postgres://ledgerline@127.0.0.1/ledgerline --log kafka://broker:9092 --archive s3://audit-archive/prod"
)]
struct RebuildArgs {
    /// The database, as `run` has it; the password comes from PGPASSWORD, a .pgpass file or the URL
    #[arg(long, value_name = "URL", env = "LEDGERLINE_DATABASE", hide_env_values = true)]
    database: String,
    /// The log: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: String,
    /// The archive, for the leaves that the log no longer has: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(long, value_name = "ARCHIVE", env = "LEDGERLINE_ARCHIVE")]
    archive: Option<String>,
    #[command(flatten)]
    access: AccessSettings,
    /// Forget what an earlier run has built that was cut short
    #[arg(long)]
    from_scratch: bool,
}

/// # Errors
/// `Usage` for arguments, `Unreadable` where log, archive or database fail, `Invalid` where they are not of one ledger.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Rebuild(args) => rebuild(args),
        Command::Detach(args) => detach::run(args),
    }
}

struct Plan {
    database: PgConnectOptions,
    log: LogConfig,
    archive: Option<Archive>,
}

fn check(args: &RebuildArgs) -> Result<Plan, Failure> {
    let mut faults = Faults::default();
    let database = store::parse_url(&args.database)
        .map_err(|what| faults.add(format!("--database (or LEDGERLINE_DATABASE): {what}")))
        .ok();
    let log = LogConfig::parse(Some(&args.log))
        .map_err(|what| faults.add(format!("--log: {what}")))
        .ok();
    let archive = args
        .archive
        .as_deref()
        .map(|text| Archive::parse(text, &args.access, &mut faults));
    let (database, log) = faults.done_with(database.zip(log))?;
    Ok(Plan {
        database,
        log,
        archive,
    })
}

fn rebuild(args: &RebuildArgs) -> Result<(), Failure> {
    let plan = check(args)?;
    let source = plan.archive.as_ref().map(Archive::open).transpose()?;
    let runtime = super::runtime()?;
    let text = runtime.block_on(async {
        let log = service::open_log_that_exists(&plan.log)
            .await
            .map_err(|error| super::failure(&error))?;
        let outcome = build(&plan, args.from_scratch, source.as_deref(), &log).await;
        drop(log.close().await);
        outcome
    })?;
    super::print(text.as_bytes())
}

async fn build(
    plan: &Plan,
    from_scratch: bool,
    archive: Option<&dyn ArchiveSource>,
    log: &Arc<dyn Log>,
) -> Result<String, Failure> {
    let owner = store::pool(&plan.database, SCHEMA, Role::Owner, CONNECTIONS_MAX);
    if from_scratch {
        schema::drop_next(&owner)
            .await
            .map_err(|error| store_failure(&error))?;
    }
    let log_name = ledger_name(log.as_ref())
        .await
        .map_err(|error| super::failure(&error))?
        .ok_or_else(|| Failure::invalid("the log has no ledger yet: there is nothing to build from"))?;
    let rebuild = Rebuild {
        log: Arc::clone(log),
        archive,
        log_name,
        model: Arc::new(ReadModel::new(&plan.database, NEXT_SCHEMA, CONNECTIONS_MAX)),
    };
    let (mut indexers, rows) = fill(&rebuild).await?;
    swap(plan, &owner, &rebuild, &mut indexers).await?;
    Ok(format!(
        "The read model was made anew: {rows} leaves of {} partitions. What reads it reads the new one now.\n",
        indexers.len()
    ))
}

async fn fill(rebuild: &Rebuild<'_>) -> Result<(Vec<(u32, Indexer)>, u64), Failure> {
    let partitions = rebuild
        .log
        .partitions(topic::LEDGER_ENTRIES)
        .await
        .map_err(|error| super::failure(&error))?;
    let bar = super::progress_bar(None, "{spinner} {pos} leaves  {msg}  {elapsed}");
    let mut indexers = Vec::new();
    let mut rows = 0;
    for partition in 0..partitions {
        bar.set_message(format!("partition {partition} of {partitions}"));
        let mut on_rows = |_: u32, leaves: u64| bar.set_position(rows + leaves);
        let indexer = rebuild
            .partition(partition, &mut on_rows)
            .await
            .map_err(|error| stage_failure(&error))?;
        rows += indexer.reached();
        indexers.push((partition, indexer));
    }
    bar.finish_and_clear();
    Ok((indexers, rows))
}

async fn swap(
    plan: &Plan,
    owner: &PgPool,
    rebuild: &Rebuild<'_>,
    indexers: &mut [(u32, Indexer)],
) -> Result<(), Failure> {
    if !schema::is_there(owner)
        .await
        .map_err(|error| store_failure(&error))?
    {
        // Nothing was read before: an empty copy gives its place.
        let empty = ReadModel::new(&plan.database, SCHEMA, 1);
        empty.pool().await.map_err(|error| store_failure(&error))?;
    }
    take_over(rebuild, indexers, owner, &mut |_, _| {})
        .await
        .map_err(|error| stage_failure(&error))?;
    schema::drop_old(owner).await.map_err(|error| {
        Failure::unreadable(format!(
            "the new read model is in its place; the old one (schema {}) could not be dropped: {error}. The next rebuilding drops it",
            store::OLD_SCHEMA
        ))
    })
}

fn store_failure(error: &StoreError) -> Failure {
    Failure::unreadable(super::chain(error))
}

fn stage_failure(error: &StageError) -> Failure {
    match error {
        StageError::Stopped { .. } | StageError::Violated { .. } => Failure::invalid(super::chain(error)),
        StageError::Retry { .. } | StageError::Waits { .. } | StageError::Fatal { .. } => {
            super::failure(error)
        }
    }
}
