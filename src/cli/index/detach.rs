//! `ledgerline index detach`: old months leave the read model. The ledger, and the archive, have them still.

use super::super::Failure;
use super::super::arguments::Faults;
use super::{CONNECTIONS_MAX, store_failure};
use crate::store::months::{self, Month};
use crate::store::{self, Role, SCHEMA};
use sqlx::postgres::PgPool;

/// Let go of the months before one: their entries are no longer found, and stay in the archive
///
/// Proofs of later entries need none of it. The tables stay in the schema under their names, for a dump say, unless --drop is given. Cut short, the next run goes on.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ledgerline index detach --before 2026-01 --database postgres://ledgerline@127.0.0.1/ledgerline"
)]
pub(super) struct Args {
    /// The first month that stays
    #[arg(long, value_name = "YYYY-MM")]
    before: String,
    /// Drop the tables of those months for good
    #[arg(long)]
    drop: bool,
    /// The database, as `run` has it; the password comes from PGPASSWORD, a .pgpass file or the URL
    #[arg(long, value_name = "URL", env = "LEDGERLINE_DATABASE", hide_env_values = true)]
    database: String,
}

/// # Errors
/// `Usage` for arguments, and where a month would go that is still written; `Unreadable` where the database fails.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut faults = Faults::default();
    let database = store::parse_url(&args.database)
        .map_err(|what| faults.add(format!("--database (or LEDGERLINE_DATABASE): {what}")))
        .ok();
    let before = Month::parse(&args.before);
    if before.is_none() {
        faults.add(format!("--before {:?} must be a month, as 2026-01", args.before));
    }
    let (database, before) = faults.done_with(database.zip(before))?;
    let runtime = super::super::runtime()?;
    let text = runtime.block_on(async {
        let owner = store::pool(&database, SCHEMA, Role::Owner, CONNECTIONS_MAX);
        detach(&owner, before, args.drop).await
    })?;
    super::super::print(text.as_bytes())
}

async fn detach(owner: &PgPool, before: Month, drop_them: bool) -> Result<String, Failure> {
    let newest = months::newest(owner)
        .await
        .map_err(|error| store_failure(&error))?;
    if let Some(newest) = newest.filter(|newest| before > *newest) {
        return Err(Failure::usage(format!(
            "--before must be at most {newest}, which is still written"
        )));
    }
    let tables = months::attached_before(owner, before)
        .await
        .map_err(|error| store_failure(&error))?;
    let mut text = String::new();
    for table in &tables {
        let name = months::detach(owner, table, drop_them)
            .await
            .map_err(|error| store_failure(&error))?;
        text.push_str(&name);
        text.push_str(if drop_them { " dropped\n" } else { " detached\n" });
    }
    if tables.is_empty() {
        text = format!("The read model has no month before {before}.\n");
    }
    Ok(text)
}
