//! `ledgerline verify-proof`: a proof file against an event and trusted keys, with no archive at hand.

use super::Failure;
use super::arguments::read_limited;
use crate::ledger::canonical::Limits;
use crate::ledger::event::EventParser;
use crate::ledger::jwks::{self, JWKS_BYTES_MAX};
use crate::ledger::proof::{PROOF_BYTES_MAX, ProvenEntry, TlogProof, check_proof};
use crate::ledger::segment::LINE_BYTES_MAX;
use crate::ledger::time::write_sealed_at;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Check a proof file against an event and trusted keys, with no archive at hand.
///
/// The event may be in any JSON spelling: it is made canonical by the rules of sealing, then compared by SHA-256 with what was sealed.
/// Exit status: 0 the proof holds, 1 it does not, 2 usage or a key set without usable keys, 3 unreadable.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The proof file (c2sp.org/tlog-proof@v1)
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The audit event, JSON
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// The trusted public keys, a JWKS; take it from another place than the proof
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// # Errors
/// Where the proof does not hold, or a file cannot be read.
pub fn run(args: &Args) -> Result<(), Failure> {
    let jwks = read_limited(&args.jwks, JWKS_BYTES_MAX)?;
    let keys = jwks::parse(&jwks)
        .map_err(|error| Failure::usage(format!("the key set {}: {error}", args.jwks.display())))?;
    let proof = read_limited(&args.proof, PROOF_BYTES_MAX)?;
    let event = read_limited(&args.event, LINE_BYTES_MAX)?;
    let outcome = TlogProof::parse(&proof)
        .map_err(|error| format!("{}: {error}", args.proof.display()))
        .and_then(|proof| {
            let digest = event_digest(&args.event, &event)?;
            check_proof(&proof, &digest, &keys).map_err(|error| format!("{}: {error}", args.proof.display()))
        });
    report(args, outcome)
}

/// SHA-256 of the canonical event. Its size is bound by what a segment's line can hold: the limit that was configured for sealing is not
/// known here.
fn event_digest(path: &Path, event: &[u8]) -> Result<[u8; 32], String> {
    let limits = Limits {
        event_bytes_max: LINE_BYTES_MAX,
        ..Limits::default()
    };
    let event = EventParser::new(limits).parse(event).map_err(|refusal| {
        format!(
            "{}: no such event can have been sealed: {refusal}",
            path.display()
        )
    })?;
    Ok(Sha256::digest(&event.canonical).into())
}

fn report(args: &Args, outcome: Result<ProvenEntry, String>) -> Result<(), Failure> {
    let text = match (&outcome, args.json) {
        (Ok(entry), true) => json_valid(entry),
        (Ok(entry), false) => format!(
            "valid: entry {} of tenant {} was sealed at {}\n  leaf {} of {}; its checkpoint is signed by a trusted key\n",
            entry.sequence,
            entry.tenant,
            sealed_at(entry),
            entry.index,
            entry.origin
        ),
        (Err(reason), true) => format!(
            "{}\n",
            serde_json::json!({"verdict": "invalid", "reason": reason})
        ),
        (Err(_), false) => String::new(),
    };
    super::print(text.as_bytes())?;
    match outcome {
        Ok(_) => Ok(()),
        Err(_) if args.json => Err(Failure::invalid("")),
        Err(reason) => Err(Failure::invalid(format!("the proof does not hold: {reason}"))),
    }
}

fn json_valid(entry: &ProvenEntry) -> String {
    let object = serde_json::json!({
        "verdict": "valid",
        "tenant": entry.tenant,
        "sequence": entry.sequence,
        "sealed_at": sealed_at(entry),
        "origin": entry.origin,
        "index": entry.index,
    });
    format!("{object}\n")
}

fn sealed_at(entry: &ProvenEntry) -> String {
    let mut text = Vec::with_capacity(27);
    write_sealed_at(entry.sealed_at, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
