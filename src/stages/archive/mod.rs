//! archive: between two cuts, one segment a class, the tiles that the cut's size completes, the keys, and last the cut's
//! checkpoint, which says that all of it is there. The same objects on every run: a crash anywhere writes the missing ones.

mod holds;
mod key_sets;
mod machine;
mod runner;
mod storing;
mod telling;

pub use holds::{HOLDS_MAX, HoldChange, HoldProgress, archived_size, hold_progress};
pub use machine::{ArchiveMachine, Classes, Finished, Segment};
pub(crate) use runner::{Archived, GROUP, store_place};
pub use runner::{Archiver, newest_checkpoint};
