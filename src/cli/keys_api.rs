//! `ledgerline keys-api`: keys of the HTTP API, issued and ended.

use super::Failure;
use super::arguments::Faults;
use crate::api::caller::{Scope, Scopes};
use crate::api::issued::pepper::{self, Peppers};
use crate::api::issued::{signed, text};
use crate::api::keys::check_scopes;
use crate::api::network::Allowlist;
use crate::api::rate;
use crate::ledger::names;
use crate::store::api_keys::{ApiKeys, Grant, KeyRow, LIST_MAX, NewKey, Revoked};
use crate::store::{self, StoreError};
use serde_json::json;
use std::time::Duration;

/// Without the id: somebody may have given the whole key.
const UNKNOWN: &str =
    "in use has this id, which is the part between ll_live_ and the next _: `keys-api list` shows all";
const OVERLAP_HOURS_MAX: u64 = 24 * 90;

/// Issue, list, rotate and revoke keys of the HTTP API
///
/// They are kept in the database of `run --database`, as digests under a pepper: `API_KEY_PEPPERS` in the environment, as `1:SECRET`, or a file of that named by `API_KEY_PEPPERS_FILE`;
/// `run` has the same. A key is printed once, when it is made. What is done is an entry in the ledger of the key's tenant, which an instance that serves the API appends.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Box<CreateArgs>),
    List(ListArgs),
    Rotate(RotateArgs),
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct Database {
    /// The database, as `run` has it; the password comes from PGPASSWORD, a .pgpass file or the URL
    #[arg(long, value_name = "URL", env = "LEDGERLINE_DATABASE", hide_env_values = true)]
    database: String,
}

/// Issue a key, and print it: it is nowhere else
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ledgerline keys-api create --tenant acme --scope write --scope read --network 203.0.113.0/24 --expires-in-days 365"
)]
struct CreateArgs {
    #[command(flatten)]
    database: Database,
    /// Whose key it is; left out with the scope auditor, and only then
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// What it may: write, read, verify or auditor; may be repeated
    #[arg(long, value_name = "SCOPE", required = true)]
    scope: Vec<String>,
    /// From where it may be used; may be repeated [default: from everywhere]
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// A limit of its own for requests that only read, as BURST:PER_SECOND [default: its tenant's]
    #[arg(long, value_name = "LIMIT")]
    limit_default: Option<String>,
    /// A limit of its own for requests that write
    #[arg(long, value_name = "LIMIT")]
    limit_writes: Option<String>,
    /// A limit of its own for requests about webhooks
    #[arg(long, value_name = "LIMIT")]
    limit_webhooks: Option<String>,
    /// Its requests are signed (docs/SECURITY.md): a secret to sign by is printed, and nothing that could be sent
    #[arg(long)]
    signed: bool,
    /// It ends by itself after so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3_650))]
    expires_in_days: Option<u64>,
}

/// Print the keys, a JSON object a line, without their secrets
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    database: Database,
    /// Of this tenant alone
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

/// Issue a key like another one, which goes on beside it for a while and then ends
#[derive(Debug, clap::Args)]
struct RotateArgs {
    #[command(flatten)]
    database: Database,
    /// The id of the key: the part behind ll_live_
    #[arg(value_name = "ID")]
    id: String,
    /// For how many hours the old key goes on
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = clap::value_parser!(u64).range(0..=OVERLAP_HOURS_MAX))]
    overlap_hours: u64,
}

/// End a key; every instance that reaches the database takes it no more a few seconds later
#[derive(Debug, clap::Args)]
struct RevokeArgs {
    #[command(flatten)]
    database: Database,
    /// The id of the key: the part behind ll_live_
    #[arg(value_name = "ID")]
    id: String,
}

/// # Errors
/// `Usage` for arguments, `Invalid` where there is no such key, `Unreadable` where the database fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = match &args.command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
        Command::Rotate(args) => rotate(args),
        Command::Revoke(args) => revoke(args),
    }?;
    super::print(text.as_bytes())
}

impl Database {
    /// Asks the tables of keys.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&ApiKeys) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let options = store::parse_url(&self.database)
            .map_err(|what| Failure::usage(format!("--database (or LEDGERLINE_DATABASE): {what}")))?;
        super::runtime()?
            .block_on(async { question(&ApiKeys::new(&options)).await })
            .map_err(|error| Failure::unreadable(super::chain(&error)))
    }
}

/// A key that is new.
struct Made {
    key: NewKey,
    /// What is sent.
    whole: String,
    /// What is signed by instead.
    signing_secret: String,
}

impl Made {
    fn new() -> Result<Self, Failure> {
        let peppers = Peppers::of_environment().map_err(Failure::usage)?;
        let peppers =
            peppers.ok_or_else(|| Failure::usage(format!("{} {}", pepper::VARIABLE, pepper::FORM)))?;
        let no_bytes = |error: getrandom::Error| {
            Failure::unreadable(format!("the system gives no random bytes: {error}"))
        };
        let (id, whole) = text::make().map_err(no_bytes)?;
        let digest = peppers.digest(whole.as_bytes());
        let digest = digest.ok_or_else(|| Failure::unreadable("the key cannot be digested"))?;
        Ok(Self {
            signing_secret: signed::secret(&peppers, &id),
            key: NewKey {
                id,
                digest,
                pepper_version: peppers.newest(),
            },
            whole,
        })
    }

    /// Either of the secrets, and nowhere else.
    fn shown_once(&self, is_signed: bool) -> String {
        let shown = if is_signed {
            json!({"id": self.key.id, "signing_secret": self.signing_secret})
        } else {
            json!({"id": self.key.id, "key": self.whole})
        };
        format!("{shown}\n")
    }
}

fn create(args: &CreateArgs) -> Result<String, Failure> {
    let grant = args.grant()?;
    let lives_for = args
        .expires_in_days
        .map(|days| Duration::from_hours(days.saturating_mul(24)));
    let made = Made::new()?;
    args.database
        .ask(async |keys| keys.create(&made.key, &grant, lives_for).await)?;
    Ok(made.shown_once(grant.signed))
}

impl CreateArgs {
    fn grant(&self) -> Result<Grant, Failure> {
        let mut faults = Faults::default();
        let scopes: Vec<Scope> = self.scope.iter().filter_map(|name| Scope::parse(name)).collect();
        if scopes.len() < self.scope.len() {
            faults.add(format!("--scope must be one of {}", Scope::names()));
        } else if let Err(what) = check_scopes(self.tenant.is_some(), Scopes::of(&scopes)) {
            faults.add(what);
        }
        check_tenant(self.tenant.as_deref(), &mut faults);
        let networks = (!self.network.is_empty()).then(|| check_networks(&self.network, &mut faults));
        let mut limit = |flag: &str, text: &Option<String>| {
            if let Some(Err(what)) = text.as_deref().map(rate::parse_own) {
                faults.add(format!("{flag} {what}"));
            }
            text.clone()
        };
        let grant = Grant {
            tenant: self.tenant.clone(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            networks,
            limit_default: limit("--limit-default", &self.limit_default),
            limit_writes: limit("--limit-writes", &self.limit_writes),
            limit_webhooks: limit("--limit-webhooks", &self.limit_webhooks),
            signed: self.signed,
        };
        faults.done()?;
        Ok(grant)
    }
}

fn check_tenant(tenant: Option<&str>, faults: &mut Faults) {
    if tenant.is_some_and(|tenant| !names::is_tenant(tenant)) {
        faults.add(format!("--tenant must be {}", names::TENANT_FORM));
    }
}

/// Networks as they are stored: as they were written, and each of them one.
pub(super) fn check_networks(networks: &[String], faults: &mut Faults) -> Vec<String> {
    match Allowlist::of(networks) {
        Allowlist::Only(_) => {}
        Allowlist::Unreadable(what) => faults.add(format!("--network: {what}")),
    }
    networks.to_vec()
}

fn list(args: &ListArgs) -> Result<String, Failure> {
    let rows = args
        .database
        .ask(async |keys| keys.list(args.tenant.as_deref()).await)?;
    if rows.len() as i64 >= LIST_MAX {
        eprintln!("ledgerline: only the first {LIST_MAX} are shown: name a tenant");
    }
    Ok(rows.iter().map(line).collect())
}

fn line(row: &KeyRow) -> String {
    let value = json!({
        "id": row.id,
        "tenant": row.grant.tenant,
        "scopes": row.grant.scopes,
        "signed": row.grant.signed,
        "networks": row.grant.networks,
        "limits": {"default": row.grant.limit_default, "writes": row.grant.limit_writes, "webhooks": row.grant.limit_webhooks},
        "pepper_version": row.pepper_version,
        "created_ms": row.created_ms,
        "expires_ms": row.expires_ms,
        "revoked_ms": row.revoked_ms,
        "rotated_from": row.rotated_from,
        "last_used_ms": row.last_used_ms,
    });
    format!("{value}\n")
}

fn rotate(args: &RotateArgs) -> Result<String, Failure> {
    let made = Made::new()?;
    let overlap = Duration::from_hours(args.overlap_hours);
    let rotated = args
        .database
        .ask(async |keys| keys.rotate(&args.id, &made.key, overlap).await)?;
    rotated
        .map(|grant| made.shown_once(grant.signed))
        .ok_or_else(|| Failure::invalid(format!("no key {UNKNOWN}; nothing was done")))
}

fn revoke(args: &RevokeArgs) -> Result<String, Failure> {
    match args.database.ask(async |keys| keys.revoke(&args.id).await)? {
        Revoked::Now => Ok(format!("{} is revoked\n", args.id)),
        Revoked::Before => Ok(format!("{} was revoked before\n", args.id)),
        Revoked::Missing => Err(Failure::invalid(format!("no key {UNKNOWN}"))),
    }
}
