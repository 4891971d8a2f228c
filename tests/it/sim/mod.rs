//! A simulated world: the four seams (`Log`, `Vault`, `Signer`, `Clock`) over one shared state in memory, in which each call is
//! a numbered step and may meet a fault. No threads, no time, no tokio: the same plan and schedule give the same run.
//!
//! Each call yields once before it takes effect, so that the [`executor`] can let any other owner act between any two
//! calls. An owner that crashes loses its future, and with it all that it had in memory; it is then started anew.

mod call;
mod clock;
mod executor;
mod log;
mod plan;
mod self_test;
mod signer;
mod vault;
mod world;

pub use call::{Call, matrix};
pub use executor::{Executor, Schedule, block_on};
pub use log::SimLog;
pub use plan::{Fault, FaultKind, Plan, Random};
pub use world::{Defect, World, yield_once};
