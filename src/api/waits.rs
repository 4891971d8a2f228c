//! Those who wait for their events to be sealed or signed: one task asks the read model for all of them at once, whichever instance owns the partitions.

use super::submit::Level;
use crate::ledger::Digest;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::proof::TlogProof;
use crate::pause::jittered;
use crate::store::read::{Proven, ReadError, Reads, Sealed};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How often is asked, while anybody waits.
const INTERVAL: Duration = Duration::from_millis(50);
/// Where the database does not answer.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// Events of one question.
const ASKED_MAX: usize = 500;

/// An event that is waited for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub event_id: String,
    /// Of its canonical form: an entry of this id may be of another event.
    pub sha256: Digest,
}

/// What is known of one.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub sealed: Option<Sealed>,
    pub proof: Option<TlogProof>,
    /// An entry of this event id has other content.
    pub is_conflict: bool,
    /// No proof can be given: it is asked for no more.
    is_damaged: bool,
}

impl Known {
    fn note_proof(&mut self, proven: Proven) {
        match proven {
            Proven::Proof(proof) => self.proof = Some(proof),
            Proven::NotYet => {}
            Proven::Damaged(error) => {
                let (partition, index) = self
                    .sealed
                    .as_ref()
                    .map(|leaf| (leaf.partition, leaf.index))
                    .unzip();
                // Once for each who waits: it is asked for no more.
                tracing::error!(partition, index, %error, "no proof of a leaf can be given: `ledgerline index rebuild` makes the read model anew");
                self.is_damaged = true;
            }
        }
    }

    const fn lacks_proof(&self) -> bool {
        self.proof.is_none() && !self.is_damaged
    }

    /// Whether it is as was wished.
    pub fn is(&self, level: Level) -> bool {
        match level {
            Level::Sealed => self.sealed.is_some(),
            Level::Signed => self.proof.is_some(),
        }
    }
}

/// All who wait. How many may, the caller bounds.
#[derive(Default)]
pub struct Waits {
    state: Mutex<State>,
    /// Somebody has come.
    bell: Notify,
}

#[derive(Default)]
struct State {
    /// Nobody waits any more: the process is ending.
    is_over: bool,
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
}

struct Waiter {
    tenant: Arc<str>,
    level: Level,
    wanted: Vec<Wanted>,
    known: Vec<Known>,
    done: Arc<Notify>,
}

/// Names an event of a waiter.
type Place = (u64, usize);

/// Takes a waiter away when it is dropped.
struct Registered<'w> {
    waits: &'w Waits,
    number: u64,
}

impl Waits {
    /// What is known of each event once all are as wanted, at `deadline`, or when the process ends.
    pub async fn wait(
        &self,
        tenant: Arc<str>,
        level: Level,
        wanted: Vec<Wanted>,
        deadline: Instant,
    ) -> Vec<Known> {
        let done = Arc::new(Notify::new());
        let registered = self.register(Waiter {
            tenant,
            level,
            known: vec![Known::default(); wanted.len()],
            wanted,
            done: Arc::clone(&done),
        });
        // Late: what is known is the answer.
        drop(timeout_at(deadline, done.notified()).await);
        let mut state = self.state();
        let known = state.waiting.get_mut(&registered.number);
        let known = known
            .map(|waiter| std::mem::take(&mut waiter.known))
            .unwrap_or_default();
        drop(state);
        known
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waiter: Waiter) -> Registered<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        if state.is_over {
            waiter.done.notify_one();
        }
        state.waiting.insert(number, waiter);
        drop(state);
        self.bell.notify_one();
        Registered { waits: self, number }
    }

    /// Answers all who wait, and whoever comes: nothing is sealed here any more.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        for waiter in state.waiting.values() {
            waiter.done.notify_one();
        }
    }

    /// Asks for all who wait, for ever.
    pub async fn serve(&self, reads: &Reads) -> Infallible {
        loop {
            if self.state().waiting.is_empty() {
                self.bell.notified().await;
                continue;
            }
            let pause = match self.ask(reads).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "what is waited for cannot be asked now");
                    FAILURE_PAUSE
                }
            };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    async fn ask(&self, reads: &Reads) -> Result<(), ReadError> {
        for places in self.open(|known, _| known.sealed.is_none()).chunks(ASKED_MAX) {
            let found = reads.sealed(&self.names(places)).await?;
            self.note_sealed(places, &found);
        }
        let unsigned =
            self.open(|known, level| level == Level::Signed && known.sealed.is_some() && known.lacks_proof());
        for places in unsigned.chunks(ASKED_MAX) {
            let (places, leaves) = self.leaves(places);
            let proofs = reads.proofs(&leaves).await?;
            self.note_proofs(&places, proofs);
        }
        Ok(())
    }

    /// The events of which `is_open` says that something is to be asked.
    fn open(&self, is_open: impl Fn(&Known, Level) -> bool) -> Vec<Place> {
        let state = self.state();
        let mut places = Vec::new();
        for (number, waiter) in &state.waiting {
            for (at, known) in waiter.known.iter().enumerate() {
                if is_open(known, waiter.level) {
                    places.push((*number, at));
                }
            }
        }
        places
    }

    fn names(&self, places: &[Place]) -> Vec<(String, String)> {
        let state = self.state();
        let name = |(number, at): &Place| {
            let waiter = state.waiting.get(number)?;
            let event_id = waiter.wanted.get(*at)?.event_id.clone();
            Some((waiter.tenant.to_string(), event_id))
        };
        let mut names: Vec<_> = places.iter().filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn note_sealed(&self, places: &[Place], found: &[Sealed]) {
        let by_name: BTreeMap<(&str, &str), &Sealed> = found
            .iter()
            .map(|sealed| ((sealed.tenant.as_str(), sealed.event_id.as_str()), sealed))
            .collect();
        let mut state = self.state();
        for (number, at) in places {
            let Some(waiter) = state.waiting.get_mut(number) else {
                continue;
            };
            let (Some(wanted), Some(known)) = (waiter.wanted.get(*at), waiter.known.get_mut(*at)) else {
                continue;
            };
            if let Some(sealed) = by_name.get(&(&*waiter.tenant, wanted.event_id.as_str())) {
                known.is_conflict = event_of(sealed) != Some(wanted.sha256);
                known.sealed = (!known.is_conflict).then(|| (*sealed).clone());
            }
            waiter.tell();
        }
    }

    /// Those of the places that still are there, with their leaves.
    fn leaves(&self, places: &[Place]) -> (Vec<Place>, Vec<Sealed>) {
        let state = self.state();
        let leaf = |place: &Place| {
            let known = state.waiting.get(&place.0)?.known.get(place.1)?;
            Some((*place, known.sealed.clone()?))
        };
        places.iter().filter_map(leaf).unzip()
    }

    fn note_proofs(&self, places: &[Place], proofs: Vec<Proven>) {
        let mut state = self.state();
        for ((number, at), proven) in places.iter().zip(proofs) {
            let Some(waiter) = state.waiting.get_mut(number) else {
                continue;
            };
            if let Some(known) = waiter.known.get_mut(*at) {
                known.note_proof(proven);
            }
            waiter.tell();
        }
    }
}

impl Waiter {
    fn tell(&self) {
        // Empty once its answer was taken. What is damaged does not get better while he waits.
        if !self.known.is_empty()
            && self
                .known
                .iter()
                .all(|known| known.is(self.level) || known.is_damaged)
        {
            self.done.notify_one();
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waits.state().waiting.remove(&self.number);
    }
}

/// The digest of the event that an entry seals.
pub fn event_of(sealed: &Sealed) -> Option<Digest> {
    match Leaf::parse(&sealed.leaf).ok()?.body {
        Body::Entry { event, .. } => Some(event),
        Body::Genesis { .. }
        | Body::Duplicate { .. }
        | Body::Rejected { .. }
        | Body::Rerouted { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Key { .. }
        | Body::Hold { .. } => None,
    }
}
