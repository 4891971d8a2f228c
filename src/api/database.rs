//! Turns at the database: as many as there are connections, half of them for one tenant at most. Who finds none waits, in the order in which he came.
//!
//! A question whose asker is gone goes on in the database until its statement ends, and so does its turn.

use super::limits::Full;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The turns of a service.
#[derive(Debug)]
pub struct Turns {
    whole: Arc<Semaphore>,
    share: usize,
    /// Nobody waits longer.
    patience: Duration,
    /// No statement takes longer.
    statement_max: Duration,
    /// Of those that have a turn, or wait for one.
    shares: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
    /// The last one who had a turn found the database away: that is why others wait.
    is_away: AtomicBool,
}

/// A turn, until it is [`Turn::done`].
#[derive(Debug)]
pub struct Turn {
    permits: Option<[OwnedSemaphorePermit; 2]>,
    statement_max: Duration,
}

impl Turns {
    #[must_use]
    pub fn new(connections: u32, patience: Duration, statement_max: Duration) -> Self {
        let whole = usize::try_from(connections).unwrap_or(1);
        Self {
            whole: Arc::new(Semaphore::new(whole)),
            share: whole.div_ceil(2),
            patience,
            statement_max,
            shares: Mutex::default(),
            is_away: AtomicBool::new(false),
        }
    }

    /// What became of a turn.
    pub fn note(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// # Errors
    /// Where none came in time: of the holder's share, or of all.
    pub async fn take(&self, holder: &Arc<str>) -> Result<Turn, Full> {
        let deadline = Instant::now() + self.patience;
        // First of the share: whoever waits there takes nothing of the others'.
        let own = within(deadline, self.share_of(holder)).await.ok_or(Full::Share)?;
        let of_all = within(deadline, Arc::clone(&self.whole))
            .await
            .ok_or(Full::Whole)?;
        Ok(Turn {
            permits: Some([own, of_all]),
            statement_max: self.statement_max,
        })
    }

    fn share_of(&self, holder: &Arc<str>) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(holder).and_then(Weak::upgrade) {
            return share;
        }
        // It has no more than there are requests under way.
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(Arc::clone(holder), Arc::downgrade(&share));
        share
    }
}

async fn within(deadline: Instant, semaphore: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // None is ever closed.
    timeout_at(deadline, semaphore.acquire_owned()).await.ok()?.ok()
}

impl Turn {
    /// The database has answered.
    pub fn done(mut self) {
        self.permits = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(permits) = self.permits.take() else {
            return;
        };
        let statement_max = self.statement_max;
        // Without a runtime the process ends, and its connections with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(statement_max).await;
                drop(permits);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn a_tenant_has_half_of_the_turns_and_another_gets_the_rest() {
        let turns = Turns::new(4, SHORT, LONG);
        let (acme, globex): (Arc<str>, Arc<str>) = ("acme".into(), "globex".into());
        let mut taken = vec![turns.take(&acme).await.unwrap(), turns.take(&acme).await.unwrap()];
        assert_eq!(turns.take(&acme).await.unwrap_err(), Full::Share);
        taken.push(turns.take(&globex).await.unwrap());
        taken.push(turns.take(&globex).await.unwrap());
        assert_eq!(turns.take(&"initech".into()).await.unwrap_err(), Full::Whole);
        taken.remove(0).done();
        taken.push(turns.take(&"initech".into()).await.unwrap());
        taken.into_iter().for_each(Turn::done);
        turns.take(&acme).await.unwrap().done();
        assert_eq!(turns.shares.lock().unwrap().len(), 1, "others are forgotten");
    }

    #[tokio::test]
    async fn who_goes_away_keeps_his_turn_until_his_statement_has_ended() {
        let (for_long, for_short) = (Turns::new(4, SHORT, LONG), Turns::new(4, LONG, SHORT));
        let acme: Arc<str> = "acme".into();
        for turns in [&for_long, &for_short] {
            drop(turns.take(&acme).await.unwrap());
            drop(turns.take(&acme).await.unwrap());
        }
        assert_eq!(for_long.take(&acme).await.unwrap_err(), Full::Share);
        for_short.take(&acme).await.unwrap().done();
    }
}
