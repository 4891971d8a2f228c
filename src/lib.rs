//! Ledgerline: audit events in, a chained and signed ledger per tenant, an immutable archive out, verified offline.
//!
//! ```text
//! audit.events ─▶ seal ─▶ ledger.entries ─┬─▶ notarize ─▶ ledger.checkpoints, ledger.heads
//!                 chain     (append-only) └─▶ archive  ─▶ segments, tiles, checkpoints
//!                                             verify: offline, from the archive and trusted keys alone
//! ```
//!
//! [`ledger`] is the format, pure: read it first, beside docs/FORMAT.md. [`stages`] hold one pure machine and one thin
//! runner each. Four traits are the seams where the world, or a fault, comes in: [`log::Log`], [`vault::Vault`],
//! [`signing::Signer`] and [`clock::Clock`].

#[cfg(not(target_pointer_width = "64"))]
compile_error!("offsets and lengths are 64-bit numbers: build for a 64-bit machine");

pub mod api;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
mod descriptors;
pub mod doctor;
pub mod formats;
pub mod http;
pub mod import;
pub mod ledger;
pub mod log;
pub mod mapping;
pub mod pause;
pub mod recovery;
pub mod scrub;
pub mod service;
pub mod signing;
pub mod stages;
pub mod store;
pub mod telemetry;
pub mod twin;
pub mod vault;
