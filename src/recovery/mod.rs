//! Recovery: the log of a ledger made anew from its archive, where the log itself was lost (`ledgerline restore`, docs/OPERATIONS.md).
//!
//! ```text
//! archive ─▶ view ─┬▶ replay (the fold of every leaf, held against the signed checkpoint) ─▶ target (checkpoint, fence, snapshot; what lies below is trimmed)
//!                  └▶ unsigned (what lies behind the last checkpoint: a cut, whole, or nothing that is taken) ─▶ append (its leaves, behind the snapshot)
//! ```
//!
//! What is made looks like a log whose old records retention has taken: owners, notaries and archivers go on from its snapshot as they do from any
//! other, and none of them knows that there was a recovery. It is not how a stage starts after a crash, which is [`crate::stages::restore`].
//!
//! Leaves that were sealed after the last archived cut are not in the archive, so they are lost with the log, unless the topics that they were
//! sealed from still hold their records: those are then sealed again, behind the cut.

mod append;
mod cuts;
mod judge;
mod lines;
mod recovered;
mod replay;
mod target;
mod unsigned;
mod view;

pub use cuts::Cuts;
pub use lines::{CutLines, Line};
pub use recovered::Recovered;
pub use replay::{ReplayError, Replayed, replay};
pub use target::{Found, Refused, Restored, find, write};
pub use unsigned::{UnsignedCut, UnsignedError};
pub use view::View;
