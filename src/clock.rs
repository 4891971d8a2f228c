//! The only reader of wall time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type UnixMicros = i64;

/// A seam: tests give a clock that they move.
pub trait Clock: Send + Sync {
    /// The current wall time. MAY go backwards; callers MUST NOT rely on order.
    fn now(&self) -> UnixMicros;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMicros {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            // A clock set before 1970: the sealer compares with the last leaf and never goes back.
            Err(_) => 0,
        }
    }
}
