//! `ledgerline connectors`: the connectors that capture reads from, on a worker of Kafka Connect.

mod address;
mod apply;
mod identity;
mod lag;
mod rest;
mod status;

use super::Failure;
use rest::Connect;
use std::path::PathBuf;

/// Apply and watch the connectors that write captured topics
///
/// A connector is a program in a worker of Kafka Connect; connectors/README.md explains those that come with Ledgerline. Nothing here is needed to capture: it is
/// what an operator would otherwise do with curl and psql.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Apply(Apply),
    Status(Status),
    Lag(Lag),
}

/// Give connectors the configurations of files, and wait until they run. Again, it changes what differs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ledgerline connectors apply --connect http://127.0.0.1:8083 connectors/audit-logs.json connectors/outbox.json\n\nA connector is called like its file, without .json. A worker resolves ${env:NAME} itself: \
                  no secret needs to be in a file."
)]
struct Apply {
    /// Configurations, a JSON object of strings each
    #[arg(value_name = "FILE.json", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    worker: Worker,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until they run [default: 60]
    #[arg(long, value_name = "SECONDS")]
    timeout_s: Option<String>,
}

/// A line for each connector: its state, its tasks', and why one failed. Exit status 1 where one does not run
#[derive(Debug, clap::Args)]
struct Status {
    /// Which connectors [default: all of the worker]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    worker: Worker,
}

/// A line for each replication slot: how far its reader is behind the log of Postgres, and how much log it keeps, in bytes. Exit status 1 where one is lost, or about to be (unreserved). Warns of
/// published tables and partitions that are not REPLICA IDENTITY FULL
#[derive(Debug, clap::Args)]
struct Lag {
    /// postgres://USER@HOST:PORT/DATABASE; the password comes from PGPASSWORD or a .pgpass file
    #[arg(value_name = "URL", env = "LEDGERLINE_IMPORT_URL", hide_env_values = true)]
    database: String,
    /// Which slots [default: all of the database]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    slot: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Worker {
    /// Where a worker of Kafka Connect answers; a login, where it asks for one, comes from LEDGERLINE_CONNECT_USER and LEDGERLINE_CONNECT_PASSWORD
    #[arg(
        long,
        value_name = "URL",
        env = "LEDGERLINE_CONNECT",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8083"
    )]
    connect: String,
}

impl Worker {
    fn open(&self) -> Result<Connect, Failure> {
        Connect::new(&self.connect)
    }
}

/// # Errors
/// `Usage` for files that are no configurations, `Invalid` where a connector does not run or a slot is lost or about to be, `Unreadable` where nobody answers.
pub fn run(args: &Args) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let (text, outcome) = runtime.block_on(async {
        match &args.command {
            Command::Apply(apply) => apply::apply(apply, args.json).await,
            Command::Status(status) => status::status(status, args.json).await,
            Command::Lag(lag) => lag::lag(lag, args.json).await,
        }
    })?;
    super::print(text.as_bytes())?;
    outcome
}

/// What is printed, and then how the command ends.
type Told = (String, Result<(), Failure>);
