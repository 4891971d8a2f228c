//! capture: topics of Debezium → `audit.captured`, by mapping files. In order and at least once, each event with the position that it was captured at:
//! the sealer keeps a high-water mark for each captured partition, which makes it exactly once.
//!
//! A captured record is read ([`envelope`]), told as a change ([`change`], [`columns`]), made an event ([`mapping`]), and sent to the partition of
//! its tenant. What cannot be made an event goes there too, to be sealed as rejected: nothing that a connector wrote is dropped, except
//! what tells of no change at all, which is counted.

pub mod avro;
mod batch;
pub mod change;
pub mod columns;
pub mod connect;
pub mod decode;
pub mod envelope;
mod machine;
pub mod mapping;
mod moved;
mod runner;
pub mod source;

pub use change::ReplicaIdentity;
pub use envelope::{NoChange, Op};
pub use machine::{CaptureMachine, Captured, REFUSED, home};
pub use mapping::{CaptureMapping, Kind, Payload};
pub use runner::{Capturer, READY_BYTES_MAX};
