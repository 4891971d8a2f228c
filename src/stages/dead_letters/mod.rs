//! dead-letters: a record in `ledger.dead-letters` for each `rejected` leaf, with the input's bytes, the reason and the source position. A view of
//! `ledger.entries`: nothing is decided here, and the archive holds the same inputs for good.
//!
//! Each letter carries the place behind its leaf, so that the newest one says where to go on (docs/adr/0016-dead-letters-say-where-they-were-read.md). Every
//! rejected input has its letter; after a failure some have two.

mod letter;
mod machine;
mod runner;

pub use letter::{Letter, REPLAY_OF};
pub use machine::{FirstSeen, LetterMachine};
pub use runner::LetterWriter;
