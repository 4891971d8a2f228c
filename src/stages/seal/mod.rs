//! seal: the only writer of `ledger.entries`. Turns each input record into exactly one accepted record: `entry`,
//! `duplicate`, `rejected` or `rerouted`.

mod adopt;
mod correlation;
mod hold;
mod key_changes;
mod leading;
mod machine;
mod runner;
mod session;
pub mod sources;

pub use adopt::{Adopted, Adoption, From, Refused, adopt};
pub use hold::{HoldRefused, declare_hold};
pub use machine::{Input, Judgement, SealConfig, SealError, SealMachine, Sealed};
pub use runner::{Random, Sealer, VIA};
