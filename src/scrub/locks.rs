//! Asks for locks, several at once. A store that does not tell one of them has not stopped the pass: that is said of the version.

use super::finding::Finding;
use super::machine::untold_lock;
use crate::pause::jittered;
use crate::vault::VaultError;
use crate::vault::s3::{ObjectVersion, S3Versions, VersionLock};
use futures_util::future::join_all;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a step asks again on its last try, over all its versions: a store that answers some calls is let answer, and one that answers none is not asked for hours.
const AGAIN_MAX: u32 = 8;
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// Whether the caller steps again where a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    More,
    /// It has tried for long: a lock that the store does not tell now, although it lists, is a finding and holds nobody up.
    Last,
}

/// What is known of the lock of a version.
pub(super) enum Asked {
    Told(VersionLock),
    /// Since it was listed.
    Gone,
    Refused(Finding),
}

/// How versions are asked for their locks.
pub(super) struct Asking<'s> {
    pub store: &'s S3Versions,
    pub at_once: usize,
    pub tries: Tries,
}

impl Asking<'_> {
    /// In the order of `versions`.
    ///
    /// # Errors
    /// Where the store is away, and where it is to be asked again.
    pub async fn locks(
        &self,
        versions: &[&ObjectVersion],
        is_to_be_held: impl Fn(&ObjectVersion) -> bool,
    ) -> Result<Vec<Asked>, VaultError> {
        let mut locks = Vec::with_capacity(versions.len());
        let again = AtomicU32::new(match self.tries {
            Tries::More => 0,
            Tries::Last => AGAIN_MAX,
        });
        for some in versions.chunks(self.at_once.max(1)) {
            let asked = some
                .iter()
                .map(|version| self.lock(version, is_to_be_held(version), &again));
            for (version, lock) in some.iter().zip(join_all(asked).await) {
                locks.push(self.of_one(version, lock)?);
            }
        }
        if locks.iter().any(|lock| matches!(lock, Asked::Refused(_))) {
            // It is of those versions as long as the store answers.
            self.store.page("", None, 1).await?;
        }
        Ok(locks)
    }

    async fn lock(
        &self,
        version: &ObjectVersion,
        is_to_be_held: bool,
        again: &AtomicU32,
    ) -> Result<Option<VersionLock>, VaultError> {
        let take = |left: u32| left.checked_sub(1);
        loop {
            let asked = self.store.lock(version, is_to_be_held).await;
            let is_for_later = matches!(asked, Err(VaultError::Retry { .. }));
            if !is_for_later
                || again
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_err()
            {
                return asked;
            }
            tokio::time::sleep(jittered(AGAIN_PAUSE)).await;
        }
    }

    fn of_one(
        &self,
        version: &ObjectVersion,
        lock: Result<Option<VersionLock>, VaultError>,
    ) -> Result<Asked, VaultError> {
        match (lock, self.tries) {
            (Ok(Some(lock)), _) => Ok(Asked::Told(lock)),
            (Ok(None), _) => Ok(Asked::Gone),
            (Err(VaultError::Fatal { what, .. }), _) | (Err(VaultError::Retry { what, .. }), Tries::Last) => {
                Ok(Asked::Refused(untold_lock(version, &what)))
            }
            (Err(error @ VaultError::Retry { .. }), Tries::More) => Err(error),
        }
    }
}
