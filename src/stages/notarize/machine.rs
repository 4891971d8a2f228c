//! When to sign and when to write a snapshot. Pure; what is signed is the [`crate::stages::restore::Follower`]'s tree.

use crate::clock::UnixMicros;

#[derive(Debug, Clone)]
pub struct NotarizeConfig {
    /// At most one checkpoint a partition in this time, beside those at cuts: what KMS costs does not grow with tenants.
    pub checkpoint_interval_micros: i64,
    /// A snapshot is written at the first cut after this many bytes of segments..
    pub snapshot_bytes: u64,
    /// ..or after this time.
    pub snapshot_interval_micros: i64,
}

impl Default for NotarizeConfig {
    fn default() -> Self {
        Self {
            checkpoint_interval_micros: 1_000_000,
            snapshot_bytes: 128 << 20,
            snapshot_interval_micros: 10 * 60 * 1_000_000,
        }
    }
}

/// What is to be done at this size of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub checkpoint: bool,
    pub snapshot: bool,
}

/// What has been signed and stored so far, and so what is due.
#[derive(Debug, Clone)]
pub struct SignPolicy {
    config: NotarizeConfig,
    signed_size: u64,
    signed_at: UnixMicros,
    snapshot_at: UnixMicros,
    bytes_since_snapshot: u64,
}

impl SignPolicy {
    /// `signed_size` is the largest size whose checkpoint is known to be in the log, 0 for none.
    #[must_use]
    pub fn new(config: NotarizeConfig, signed_size: u64, now: UnixMicros) -> Self {
        Self {
            config,
            signed_size,
            signed_at: UnixMicros::MIN,
            snapshot_at: now,
            bytes_since_snapshot: 0,
        }
    }

    #[must_use]
    pub fn signed_size(&self) -> u64 {
        self.signed_size
    }

    /// After the leaf that made the tree `size` large. Every cut not signed before is due: the archive waits for it.
    #[must_use]
    pub fn after_cut(&mut self, size: u64, segment_bytes: u64, now: UnixMicros) -> Due {
        self.bytes_since_snapshot += segment_bytes;
        let aged = now.saturating_sub(self.snapshot_at) >= self.config.snapshot_interval_micros;
        Due {
            checkpoint: size > self.signed_size,
            snapshot: aged || self.bytes_since_snapshot >= self.config.snapshot_bytes,
        }
    }

    /// Between cuts, at the end of what could be read.
    #[must_use]
    pub fn after_batch(&self, size: u64, now: UnixMicros) -> bool {
        // A clock that went back counts as time passed: better one checkpoint more than none for as long as it lags.
        let waited = now < self.signed_at
            || now.saturating_sub(self.signed_at) >= self.config.checkpoint_interval_micros;
        size > self.signed_size && waited
    }

    pub fn signed(&mut self, size: u64, now: UnixMicros) {
        self.signed_size = self.signed_size.max(size);
        self.signed_at = now;
    }

    pub fn stored_snapshot(&mut self, now: UnixMicros) {
        self.snapshot_at = now;
        self.bytes_since_snapshot = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_checkpoint_an_interval_and_one_at_every_cut() {
        let mut policy = SignPolicy::new(NotarizeConfig::default(), 0, 0);
        assert!(policy.after_batch(3, 0));
        policy.signed(3, 0);
        assert!(!policy.after_batch(9, 999_999));
        assert!(policy.after_batch(9, 1_000_000));
        assert!(!policy.after_batch(3, 9_000_000));
        assert!(policy.after_cut(10, 1, 1).checkpoint);
        assert!(!policy.after_cut(3, 1, 1).checkpoint);
    }

    #[test]
    fn snapshots_come_at_cuts_by_bytes_or_time() {
        let mut policy = SignPolicy::new(NotarizeConfig::default(), 0, 0);
        assert!(!policy.after_cut(5, 127 << 20, 1).snapshot);
        assert!(policy.after_cut(6, 1 << 20, 1).snapshot);
        policy.stored_snapshot(1);
        assert!(!policy.after_cut(7, 1, 2).snapshot);
        assert!(policy.after_cut(8, 1, 1 + 600_000_000).snapshot);
    }
}
