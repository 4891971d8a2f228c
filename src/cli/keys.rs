//! `ledgerline keys`: the keys of a local signer, and public keys wherever their private halves are.

use super::Failure;
use super::arguments::Faults;
use super::verify::trusted_keys;
use crate::config::parse_url;
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::names::{is_kid, is_origin};
use crate::signing::local::{LocalKeysError, LocalSigner, RsaBits};
use crate::signing::{HeldKey, Signer as _};
use clap::{Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// List, add and retire the keys of a local signer, or print them as C2SP verifier keys.
///
/// The newest key of each algorithm that is not retired signs. Keys stay in their directory for good: what they have signed is verified
/// with them. A running `ledgerline run` sees a change when it is started again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The directory of keys; goes before --signer
    #[arg(long, value_name = "DIR", global = true)]
    keys: Option<PathBuf>,
    /// The signer, `file:DIR`
    #[arg(long, value_name = "URL", global = true, env = "LEDGERLINE_SIGNER")]
    signer: Option<String>,
    /// With list and vkey: the public keys of a JWKS instead, as `/v1/keys/jwks.json` answers it and the archive holds it: those in KMS too
    #[arg(long, value_name = "FILE", global = true)]
    jwks: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show all keys in the order in which they were made
    List,
    /// Make new keys; from the next start of `ledgerline run` on they are declared in the ledger and sign
    Add {
        /// Which keys to make
        #[arg(long, value_enum, default_value_t = Algs::Both)]
        alg: Algs,
        /// The new PS256 key's kid (`ISSUER_KID`) [default: its RFC 7638 thumbprint]
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        kid: Option<String>,
        /// Size of a new PS256 key: 2048, 3072 or 4096
        #[arg(long, value_name = "BITS", default_value = "2048")]
        rsa_bits: String,
    },
    /// Retire a key: from the next start of `ledgerline run` on the ledger declares it as retired, and it signs no more
    Retire {
        // One thumbprint in 64 begins with a hyphen.
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        kid: String,
    },
    /// Print keys as C2SP verifier keys, one a line: all that are not retired, or one
    Vkey {
        /// The partition whose notes are to be verified, <log name>/<partition>
        #[arg(long, value_name = "NAME")]
        origin: String,
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        kid: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Algs {
    #[value(name = "PS256")]
    Ps256,
    #[value(name = "Ed25519")]
    Ed25519,
    #[value(name = "both")]
    Both,
}

impl Algs {
    const fn list(self) -> &'static [Alg] {
        match self {
            Self::Ps256 => &[Alg::Ps256],
            Self::Ed25519 => &[Alg::Ed25519],
            Self::Both => &[Alg::Ps256, Alg::Ed25519],
        }
    }
}

/// The directory of keys, and the size of a new one.
fn check(args: &Args) -> Result<(PathBuf, RsaBits), Failure> {
    let mut faults = Faults::default();
    let dir = faults.take(directory(args));
    let mut bits = RsaBits::default();
    match &args.command {
        Command::Add { alg, kid, rsa_bits } => {
            match rsa_bits.parse().ok().and_then(RsaBits::from_bits) {
                Some(asked) => bits = asked,
                None => faults.add("--rsa-bits: must be 2048, 3072 or 4096"),
            }
            if kid.is_some() && *alg == Algs::Ed25519 {
                faults.add("--kid is for a PS256 key: an Ed25519 key has its thumbprint");
            }
            if let Some(kid) = kid.as_deref().filter(|kid| !is_kid(kid)) {
                faults.add(format!(
                    "--kid {kid:?} must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -"
                ));
            }
        }
        Command::Vkey { origin, .. } => faults.take(check_origin(origin)),
        Command::List | Command::Retire { .. } => {}
    }
    faults.done()?;
    Ok((dir, bits))
}

/// # Errors
/// Where the keys cannot be read or changed as asked.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.jwks {
        return super::print(of_jwks(args, path)?.as_bytes());
    }
    let (dir, rsa_bits) = check(args)?;
    let mut signer = LocalSigner::open(&dir).map_err(failure)?;
    let text = match &args.command {
        Command::List => list(&signer.keys(), args.json),
        Command::Add { alg, kid, .. } => {
            for alg in alg.list() {
                let kid = kid.as_deref().filter(|_| *alg == Alg::Ps256);
                signer.add(*alg, kid, rsa_bits).map_err(failure)?;
            }
            let next = "\nThe next start of `ledgerline run` declares what is new as leaves; then the keys marked `signs` sign.\n";
            changed(&signer, args.json, next)
        }
        Command::Retire { kid } => {
            signer.retire(kid).map_err(failure)?;
            let next = "\nThe next start of `ledgerline run` declares the retirement as a leaf. Keep the key's file: other changes may need it.\n";
            changed(&signer, args.json, next)
        }
        Command::Vkey { origin, kid } => vkeys(&signer.keys(), origin, kid.as_deref(), args.json)?,
    };
    super::print(text.as_bytes())
}

/// Public keys alone: which of them are retired, the ledger's leaves say.
fn of_jwks(args: &Args, path: &Path) -> Result<String, Failure> {
    let declared = |key| HeldKey { key, retired: false };
    match &args.command {
        Command::List => {
            let keys = trusted_keys(path)?;
            Ok(table(keys.iter().map(|key| (key, "declared")), args.json))
        }
        Command::Vkey { origin, kid } => {
            check_origin(origin)?;
            let held: Vec<_> = trusted_keys(path)?.into_iter().map(declared).collect();
            vkeys(&held, origin, kid.as_deref(), args.json)
        }
        Command::Add { .. } | Command::Retire { .. } => Err(Failure::usage(
            "--jwks is for `keys list` and `keys vkey`: a JWKS holds public keys; keys in KMS are added and retired by settings of `run` (docs/KEYS.md)",
        )),
    }
}

fn check_origin(origin: &str) -> Result<(), Failure> {
    if is_origin(origin) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--origin {origin:?} must be <log name>/<partition>, like ledger.example.com/audit/0"
    )))
}

fn directory(args: &Args) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.keys {
        return Ok(path.clone());
    }
    parse_url(args.signer.as_deref(), "file:", "file:keys").map_err(|what| {
        Failure::usage(format!(
            "--signer (or LEDGERLINE_SIGNER): {what}; or give --keys DIR. The keys of a service are made there"
        ))
    })
}

/// `signs`, `older` (another one signs) or `retired`.
fn state(keys: &[HeldKey], at: usize) -> &'static str {
    let Some(held) = keys.get(at) else { return "" };
    let newer = keys
        .iter()
        .skip(at + 1)
        .any(|other| other.key.alg == held.key.alg && !other.retired);
    match (held.retired, newer) {
        (true, _) => "retired",
        (false, true) => "older",
        (false, false) => "signs",
    }
}

fn list(keys: &[HeldKey], json: bool) -> String {
    let rows = keys
        .iter()
        .enumerate()
        .map(|(at, held)| (&held.key, state(keys, at)));
    table(rows, json)
}

/// Keys, each with its state.
fn table<'k>(rows: impl Iterator<Item = (&'k PublicKey, &'static str)> + Clone, json: bool) -> String {
    if json {
        let keys: Vec<_> = rows
            .map(|(key, state)| {
                serde_json::json!({"alg": key.alg.as_str(), "kid": key.kid, "spki": key.spki_base64(), "state": state})
            })
            .collect();
        return format!("{}\n", serde_json::json!({ "keys": keys }));
    }
    let width = rows
        .clone()
        .map(|(key, _)| key.kid.len())
        .max()
        .unwrap_or(0)
        .max(3);
    let lines = rows.map(|(key, state)| format!("{:width$}  {:7}  {state}\n", key.kid, key.alg.as_str()));
    std::iter::once(format!("{:width$}  ALG      STATE\n", "KID"))
        .chain(lines)
        .collect()
}

fn changed(signer: &LocalSigner, json: bool, next: &str) -> String {
    let mut text = list(&signer.keys(), json);
    if !json {
        text.push_str(next);
    }
    text
}

fn vkeys(keys: &[HeldKey], origin: &str, kid: Option<&str>, json: bool) -> Result<String, Failure> {
    let wanted: Vec<String> = keys
        .iter()
        .filter(|held| kid.map_or(!held.retired, |kid| held.key.kid == kid))
        .map(|held| held.key.vkey(origin))
        .collect();
    if let (Some(kid), true) = (kid, wanted.is_empty()) {
        return Err(Failure::usage(format!(
            "there is no key {kid}; `ledgerline keys list` shows the kids"
        )));
    }
    Ok(if json {
        format!("{}\n", serde_json::json!({ "vkeys": wanted }))
    } else {
        wanted.iter().fold(String::new(), |text, vkey| text + vkey + "\n")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failure(error: LocalKeysError) -> Failure {
    let message = error.to_string();
    match error {
        LocalKeysError::Io { .. } | LocalKeysError::Crypto => Failure::unreadable(message),
        LocalKeysError::Permissions { .. } | LocalKeysError::Damaged { .. } | LocalKeysError::Refused(_) => {
            Failure::usage(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_key_of_each_kind_that_is_not_retired_signs() {
        let held = |alg, retired| {
            let (kid, spki) = (String::new(), Vec::new());
            let key = PublicKey { alg, kid, spki };
            HeldKey { key, retired }
        };
        let keys = [
            held(Alg::Ps256, false),
            held(Alg::Ed25519, false),
            held(Alg::Ps256, false),
            held(Alg::Ed25519, true),
        ];
        let states: Vec<&str> = (0..4).map(|at| state(&keys, at)).collect();
        assert_eq!(states, ["older", "signs", "signs", "retired"]);
    }
}
