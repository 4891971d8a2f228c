//! `ledgerline demo`.

use super::Failure;

/// Stub.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// # Errors
/// Stub.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Err(Failure::usage("not built yet"))
}
