//! `ledgerline tenants`: what holds for all issued keys of a tenant.

use super::Failure;
use super::arguments::Faults;
use super::keys_api::{Database, check_networks};
use crate::ledger::names;
use crate::store::api_keys::LIST_MAX;
use crate::store::api_keys::tenants::TenantRow;
use serde_json::json;

/// List tenants of the HTTP API, and say from where their keys may be used
///
/// Of keys that `keys-api` issues. Tenants of a file of keys are bound in that file. What is said is an entry in the tenant's ledger.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Set(SetArgs),
}

/// Print the tenants that have keys, or of which something is said, a JSON object a line
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    database: Database,
}

/// Say from where all issued keys of a tenant may be used; instances know it a few seconds later
#[derive(Debug, clap::Args)]
struct SetArgs {
    #[command(flatten)]
    database: Database,
    #[arg(value_name = "TENANT")]
    tenant: String,
    /// From this network; may be repeated. Those that were said before count no more
    #[arg(long, value_name = "NETWORK", required_unless_present = "from_everywhere")]
    network: Vec<String>,
    /// From everywhere, as far as a key is not bound itself
    #[arg(long, conflicts_with = "network")]
    from_everywhere: bool,
}

/// # Errors
/// `Usage` for arguments, `Unreadable` where the database fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = match &args.command {
        Command::List(args) => list(args),
        Command::Set(args) => set(args),
    }?;
    super::print(text.as_bytes())
}

fn list(args: &ListArgs) -> Result<String, Failure> {
    let rows = args.database.ask(async |keys| keys.tenants().await)?;
    if rows.len() as i64 >= LIST_MAX {
        eprintln!("ledgerline: only the first {LIST_MAX} are shown");
    }
    Ok(rows.iter().map(line).collect())
}

fn line(row: &TenantRow) -> String {
    format!(
        "{}\n",
        json!({"tenant": row.id, "keys": row.keys, "networks": row.networks})
    )
}

fn set(args: &SetArgs) -> Result<String, Failure> {
    let mut faults = Faults::default();
    if !names::is_tenant(&args.tenant) {
        faults.add(format!("TENANT must be {}", names::TENANT_FORM));
    }
    let networks = (!args.from_everywhere).then(|| check_networks(&args.network, &mut faults));
    faults.done()?;
    args.database
        .ask(async |keys| keys.set_networks(&args.tenant, networks.as_deref()).await)?;
    let from = networks.map_or_else(|| "everywhere".to_owned(), |networks| networks.join(", "));
    Ok(format!("keys of {} may be used from {from}\n", args.tenant))
}
