//! `ledgerline import`: rows of a Postgres table into `audit.captured`.

mod bounds;
mod fit;
mod summary;
mod window;

use super::arguments::Faults;
use super::{Failure, postgres};
use crate::config::capture_files;
use crate::config::{InputConfig, LogConfig, Settings};
use crate::import::page::Bounds;
use crate::import::table::{Table, TableError};
use crate::import::{ImportError, ImportOptions, Imported, Importer};
use crate::log::Log;
use crate::mapping::Mapping;
use crate::service;
use crate::stages::capture::{CaptureMapping, Op};
use indicatif::ProgressBar;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::path::PathBuf;
use std::time::Duration;

const PAGE_ROWS_DEFAULT: u64 = 5_000;
const PAGE_ROWS_MAX: u64 = 100_000;
/// The server ends a query that runs longer: a page without an index to read it by, say. docs/CAPTURE.md gives it.
const STATEMENT_MAX: Duration = Duration::from_mins(10);

/// Append the rows of a Postgres table to the log, each as the event that capturing it would give
///
/// For what was there before the table was captured, or where it must not be. Reads in pages by the primary key, and stores in the log how far it came: cut
/// short, it goes on there. Run again, it takes rows with a greater key alone, and only where the key is one whole number; for what is new otherwise, there is
/// --by-time. A row that was captured too is sealed once, as far back as the ledger
/// remembers event ids (--dedupe-entries-max of `run`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  What there was before the connector began, once:\n    ledgerline import postgres://reader@db/app --table audit_logs --mapping connectors/audit-logs.toml --before 2026-11-01T00:00:00Z\n  By a timer, \
                  where no connector is allowed; needs an index on (occurred_at, id):\n    ledgerline import postgres://reader@db/app --table audit_logs --mapping connectors/audit-logs.toml --by-time\n\nThe password comes from PGPASSWORD \
                  or a .pgpass file; in the URL others may see it. Encrypted connections: ?sslmode=verify-full&sslrootcert=FILE."
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, and none excludes another"
)]
pub struct Args {
    /// postgres://USER@HOST:PORT/DATABASE
    #[arg(value_name = "URL", env = "LEDGERLINE_IMPORT_URL", hide_env_values = true)]
    database: String,
    /// The table, as SQL names it
    #[arg(long, value_name = "TABLE")]
    table: String,
    /// How its rows become events: the mapping file that captures it
    #[arg(long, value_name = "FILE.toml")]
    mapping: PathBuf,
    /// Only rows whose time is before this one. Rows with NULL for a time are not read, and counted
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// The column that --before and --by-time go by; for --by-time a timestamptz [default: the mapping's occurred_at]
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// Read by time, and within it by the key: what was written since the last run, as far as no transaction that still runs could add to it, and never what is younger than five minutes
    #[arg(long)]
    by_time: bool,
    /// Columns that are left out, as the connector's column.exclude.list leaves them out
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Rows of one page [default: 5000]
    #[arg(long, value_name = "N")]
    page_rows: Option<String>,
    /// From the first row, whatever an earlier run came to: what it sealed is known by its event ids, as far back as those are remembered
    #[arg(long)]
    again: bool,
    /// Read and judge, append nothing
    #[arg(long)]
    dry_run: bool,
    /// Where the log lies: sqlite:PATH, or kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: Option<String>,
    /// Partitions of a log that is made now; must be that of one that exists [default: what it has, 4 for a new one]
    #[arg(long, env = "LEDGERLINE_PARTITIONS", value_name = "N")]
    partitions: Option<String>,
    /// Name the rows that are refused by their primary keys, too, which may be personal data
    #[arg(long)]
    show_keys: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// `Usage` for arguments that are wrong, `Invalid` where not one row became an event, `Unreadable` where database or log fail.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, options, mapping, rows_max) = check(args)?;
    let bar = super::progress_bar(Some(0), "{bar:40} {pos}/{len} rows  {per_sec}  {elapsed}");
    let runtime = super::runtime()?;
    let imported = runtime.block_on(async {
        // Before there is a log: one that is made has its number of partitions for ever.
        let from = look(args, &options, &mapping, rows_max, &bar).await?;
        let dry = TempLog::of(args.dry_run, &config.log);
        let place = dry.as_ref().map_or(&config.log, |dry| &dry.log);
        let log = service::open_log(place, config.partitions)
            .await
            .map_err(|error| super::failure(&error))?;
        let imported = import(args, &config, from, log.as_ref(), &bar).await;
        // What was appended is durable without it.
        drop(log.close().await);
        imported
    })?;
    bar.finish_and_clear();
    super::print(summary::describe(&imported, args).as_bytes())?;
    if imported.events == 0 && imported.rows > 0 {
        return Err(Failure::invalid(
            "not one row became an event: does the mapping fit the table?",
        ));
    }
    Ok(())
}

fn check(args: &Args) -> Result<(InputConfig, PgConnectOptions, CaptureMapping, u32), Failure> {
    let mut faults = Faults::default();
    let settings = Settings {
        log: args.log.clone(),
        partitions: args.partitions.clone(),
        ..Settings::default()
    };
    let config = faults.settings(settings.check_input());
    let options = faults.take(postgres::options(&args.database).map(Some));
    let mapping = capture_files::read(&args.mapping.display().to_string())
        .map_err(|fault| Failure::usage(format!("--mapping {fault}")));
    let mapping = faults.take(mapping);
    let rows = faults.number(
        "--page-rows",
        args.page_rows.as_deref(),
        PAGE_ROWS_DEFAULT,
        1..=PAGE_ROWS_MAX,
    );
    let config = faults.done_with(config)?;
    match (options, mapping.into_iter().next()) {
        (Some(options), Some(mapping)) => Ok((config, options, mapping, rows as u32)),
        (None, _) | (_, None) => Err(Failure::usage("the settings are wrong")),
    }
}

/// A table, and what of it is to be read.
struct From<'m> {
    connection: PgConnection,
    table: Table,
    mapping: &'m Mapping,
    /// That are captured by the same mapping.
    topics: &'m [String],
    bounds: Bounds,
}

async fn look<'m>(
    args: &Args,
    options: &PgConnectOptions,
    mapping: &'m CaptureMapping,
    rows_max: u32,
    bar: &ProgressBar,
) -> Result<From<'m>, Failure> {
    let topics = &mapping.topics;
    let Some(mapping) = mapping.of(Op::Read) else {
        return Err(Failure::usage(
            "--mapping: is one of an outbox, whose events are not rows",
        ));
    };
    let mut connection = postgres::connect(options, STATEMENT_MAX).await?;
    let table = table(args, &mut connection).await?;
    for warning in fit::check(&table, mapping, topics, &args.mapping)? {
        eprintln!("ledgerline: {warning}");
    }
    bar.set_length(table.rows_estimate);
    let bounds = bounds::bounds(args, &mut connection, &table, mapping, rows_max).await?;
    Ok(From {
        connection,
        table,
        mapping,
        topics,
        bounds,
    })
}

async fn import(
    args: &Args,
    config: &InputConfig,
    mut from: From<'_>,
    log: &dyn Log,
    bar: &ProgressBar,
) -> Result<Imported, Failure> {
    let options = ImportOptions {
        bounds: from.bounds,
        limits: config.limits,
        again: args.again,
        dry_run: args.dry_run,
        show_keys: args.show_keys,
    };
    let mut importer = Importer::new(log, &from.table, from.mapping, options)
        .await
        .map_err(failed)?;
    let repeats = window::repeats(log, from.topics, &from.table, args.again).await;
    if let Some(warning) =
        window::check(repeats.as_deref(), &importer, &from.table, &mut from.connection).await?
    {
        eprintln!("ledgerline: {warning}");
    }
    let imported = importer
        .run(&mut from.connection, |rows| {
            bar.set_length(from.table.rows_estimate.max(rows));
            bar.set_position(rows);
        })
        .await
        .map_err(failed)?;
    drop(from.connection.close().await);
    Ok(imported)
}

/// A log for a dry run, where there is none yet: it is made elsewhere, and removed.
struct TempLog {
    log: LogConfig,
    directory: PathBuf,
}

impl TempLog {
    fn of(dry_run: bool, log: &LogConfig) -> Option<Self> {
        match log {
            LogConfig::Embedded(path) if dry_run && !path.exists() => {
                let directory =
                    std::env::temp_dir().join(format!("ledgerline-dry-run-{}", std::process::id()));
                // Where it cannot be made, opening the log says why.
                drop(std::fs::create_dir_all(&directory));
                Some(Self {
                    log: LogConfig::Embedded(directory.join("ledger.db")),
                    directory,
                })
            }
            LogConfig::Embedded(_) | LogConfig::Kafka(_) => None,
        }
    }
}

impl Drop for TempLog {
    fn drop(&mut self) {
        // What is left of it holds no event, and the next run makes its own.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

async fn table(args: &Args, connection: &mut PgConnection) -> Result<Table, Failure> {
    let table = Table::find(connection, &args.table, &args.exclude)
        .await
        .map_err(|error| match error {
            TableError::Sql(error) => postgres::unreachable(&error),
            error => Failure::usage(format!("--table: {error}")),
        })?;
    if table.on_standby {
        eprintln!(
            "ledgerline: this server is a standby, which does not know what still runs on its primary: rows that are committed late can be passed over. Read the primary"
        );
    }
    Ok(table)
}

fn failed(error: ImportError) -> Failure {
    match error {
        ImportError::Place(error) => Failure::usage(format!("--table: {error}")),
        ImportError::Sql(error) | ImportError::Table(TableError::Sql(error)) => Failure::unreadable(format!(
            "the database: {}. Run it again then: it goes on where it was",
            postgres::told(&error)
        )),
        error @ (ImportError::Table(_) | ImportError::Log(_)) => Failure::unreadable(format!(
            "{}; run it again: it goes on where it was",
            super::chain(&error)
        )),
    }
}
