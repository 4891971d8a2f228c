//! notarize: verifies what was sealed, byte by byte, and only then signs it. Writes `ledger.checkpoints` and, at cuts,
//! snapshots to `ledger.heads`.
//!
//! Two notaries at once are harmless: they sign the same tree. On any violation a notary signs nothing more for its partition; the
//! others go on.

mod machine;
mod runner;

pub use machine::{Due, NotarizeConfig, SignPolicy};
pub use runner::Notary;
