//! `ledgerline doctor`.

mod print;

use super::verify::trusted_keys;
use super::{Exit, Failure};
use crate::config::{Settings, describe};
use crate::doctor::{Examination, Outcome, catalog, examine};
use std::path::PathBuf;

/// Before serving: prove by trying that bucket, permissions, keys and topics are as they must be
///
/// Takes the settings of `run`, with the credentials of `run`, and tries what can be tried: puts a locked probe, holds and releases it, puts it again, shortens its retention, deletes
/// it, bypasses its lock, changes the bucket's policy to what it is. All but the first two must be refused. For what is wrong it says why it matters and which
/// command mends it; what it could not find out is `unknown`, never good.
///
/// The probes are below PREFIX/.doctor/, which no verifier reads. They are locked for a day, or for as long as the archive where the bucket's policy takes
/// nothing shorter, and stay until then: a lock that doctor could take back would be none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ledgerline doctor                        with the variables that `run` is started with\n  ledgerline doctor --jwks operator.jwks.json\n  \
                  ledgerline doctor --accept transition    a cheaper class is not wanted here\n  ledgerline doctor --list                 what is examined, how and why\n\n\
                  Ends with 0 where nothing is at fault, with 1 where something is (with --strict, also where something is unknown), with 2 where the settings are\n\
                  wrong. What is not tried, because it would do harm if it were allowed: releasing holds of the archive, deleting the bucket or its policy, changing or deleting KMS\n\
                  keys. deploy/aws holds the policies that deny it."
)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    /// The keys that verifiers are told to trust (RFC 7517): what signs must be among them
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Know of a fault, or of what is unknown: it is told, and is none; may be given several times
    #[arg(long, value_name = "CHECK")]
    accept: Vec<String>,
    /// Take what is unknown for a fault
    #[arg(long)]
    strict: bool,
    /// Print what is examined, which actions are to be allowed and denied, and do nothing
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// `Usage` for settings, `Invalid` where something is at fault.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.list {
        let text = if args.json {
            print::list_json()
        } else {
            print::list()
        };
        return super::print(text.as_bytes());
    }
    if let Some(unknown) = args.accept.iter().find(|id| catalog::find(id).is_none()) {
        return Err(Failure::usage(format!(
            "--accept {unknown}: there is no such check; `ledgerline doctor --list` names them"
        )));
    }
    let config = args
        .settings
        .check()
        .map_err(|faults| Failure::usage(describe(&faults)))?;
    let jwks = args.jwks.as_deref().map(trusted_keys).transpose()?;
    let mut found = super::runtime()?.block_on(examine(&config, jwks.as_deref()));
    accept(&mut found, &args.accept);
    let text = if args.json {
        print::json(&found)
    } else {
        print::table(&found)
    };
    super::print(text.as_bytes())?;
    verdict(&found, args.strict)
}

fn accept(found: &mut Examination, ids: &[String]) {
    for finding in &mut found.findings {
        let known = ids.iter().any(|id| id == finding.check.id);
        if known && matches!(finding.outcome, Outcome::Fault | Outcome::Unknown) {
            finding.outcome = Outcome::Accepted;
        }
    }
}

fn verdict(found: &Examination, strict: bool) -> Result<(), Failure> {
    let counts = |outcome| outcome == Outcome::Fault || (strict && outcome == Outcome::Unknown);
    let wrong: Vec<&str> = found
        .findings
        .iter()
        .filter(|finding| counts(finding.outcome))
        .map(|finding| finding.check.id)
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Invalid,
        message: format!("not fit to serve: {}", wrong.join(", ")),
    })
}
