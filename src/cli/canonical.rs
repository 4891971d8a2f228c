//! `ledgerline canonical`: what an integrator compares their own canonical bytes with.

use super::Failure;
use crate::ledger::canonical::{Limits, canonicalize};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest input, in bytes: room for white space and escapes around a canonical form of 1 MiB.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Print the canonical (RFC 8785) bytes of one JSON value, by the rules by which events are sealed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints exactly the canonical bytes, without a line end behind them. Exit status 1, with the reason on \
                        standard error, where sealing would refuse the value."
)]
pub struct Args {
    /// The file that holds the value; - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Print the SHA-256 of the canonical bytes in hex, and a line end, instead of the bytes
    #[arg(long)]
    hash: bool,
}

/// # Errors
/// `Invalid` for a value that sealing would refuse, `Unreadable` for a file that cannot be read.
pub fn run(args: &Args) -> Result<(), Failure> {
    let input = read(&args.file)?;
    let canonical = canonicalize(&input, &Limits::default())
        .map_err(|refusal| Failure::invalid(format!("{}: {refusal}", args.file.display())))?;
    if args.hash {
        let digest = HEXLOWER.encode(&Sha256::digest(&canonical));
        super::print(format!("{digest}\n").as_bytes())
    } else {
        super::print(&canonical)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_end(&mut input)
    } else {
        File::open(file).and_then(|opened| opened.take(INPUT_BYTES_MAX + 1).read_to_end(&mut input))
    };
    read.map_err(|e| Failure::unreadable(format!("{} cannot be read: {e}", file.display())))?;
    if input.len() as u64 > INPUT_BYTES_MAX {
        let message = format!(
            "{}: more than {INPUT_BYTES_MAX} bytes (too_large)",
            file.display()
        );
        return Err(Failure::invalid(message));
    }
    Ok(input)
}
