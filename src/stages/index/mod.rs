//! Index: accepted leaves into the read model, rows and place in one transaction. What is in the tables follows from the log alone, and can be had anew.
//!
//! Not a check of the ledger: chains are the notary's to verify. Digests are compared, so that no row shows bytes that were not sealed.

mod machine;
mod members;
mod rebuild;
mod runner;

pub use machine::{IndexMachine, LeafRow};
pub use members::Members;
pub use rebuild::{Rebuild, take_over};
pub use runner::Indexer;
