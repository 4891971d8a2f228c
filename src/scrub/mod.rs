//! Is the archive still what was stored? Looks at every version of every name, at each one's lock, and verifies the content with the verifier of
//! [`crate::ledger::verify`], which this is no second of.
//!
//! A [`Pass`] has three parts: names are listed for what they say of cuts ([`crate::vault::known`]); versions are looked at, a page at a time, and judged ([`machine`]);
//! the content is verified up to the last cut that was whole. Between any two steps it may be dropped, and be gone on with from its [`position`], by
//! another process too: what it finds does not depend on that. It reads, and changes nothing.

pub mod command;
mod content;
pub mod finding;
mod locks;
pub mod machine;
mod missing;
mod pass;
pub mod position;
pub mod scope;

pub use finding::{Finding, Kind, Relock};
pub use locks::Tries;
pub use pass::{Demands, OnProgress, Pass, ScrubError, Stepped, Store, VERSIONS_AT_ONCE};
pub use position::{At, Completed, Counts, Position, Running};
pub use scope::Scope;
