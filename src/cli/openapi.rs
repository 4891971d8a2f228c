//! `ledgerline openapi`: the description of the HTTP API.

use super::Failure;
use crate::api::openapi;

/// Print the OpenAPI document of the HTTP API, as `run --api` serves it at /v1/openapi.json
#[derive(Debug, clap::Args)]
pub struct Args {}

/// # Errors
/// `Unreadable` where standard output fails.
pub fn run(_args: &Args) -> Result<(), Failure> {
    super::print(openapi::document().as_bytes())
}
