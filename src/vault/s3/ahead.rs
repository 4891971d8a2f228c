//! Small objects that a reader has said it will want: fetched several at once, while it is busy with what it has. To a distant store each is a round trip.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// Objects on their way at once.
const AT_ONCE: usize = 16;
/// Objects that are kept until they are asked for, 16 MiB at most. What is expected beyond that is fetched when it is asked for.
const KEPT_MAX: usize = 1_024;
/// What is larger is not kept: tiles have 8 KiB at most, checkpoints less, but an object with such a name may be of any size.
pub(super) const OBJECT_BYTES_MAX: usize = 16 << 10;

type Fetched = oneshot::Receiver<Option<Vec<u8>>>;

/// What was expected and not asked for yet, by name.
#[derive(Default)]
pub(super) struct Ahead {
    coming: Mutex<HashMap<String, Fetched>>,
}

impl Ahead {
    /// Fetches `names` by `fetch`, which answers `None` for what is not there, too large, or could not be had. Forgets what was expected before.
    pub fn coming<F>(&self, threads: &Handle, names: Vec<String>, fetch: impl Fn(String) -> F)
    where
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut coming = HashMap::new();
        for name in names.into_iter().take(KEPT_MAX) {
            let (fetched, asked) = oneshot::channel();
            let (places, fetching) = (Arc::clone(&places), fetch(name.clone()));
            threads.spawn(async move {
                let place = places.acquire_owned().await;
                // Who no longer expects it needs no call.
                if place.is_ok() && !fetched.is_closed() {
                    // Nobody waits where it was forgotten meanwhile.
                    drop(fetched.send(fetching.await));
                }
            });
            coming.insert(name, asked);
        }
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = coming;
    }

    /// The object, once it is there; `None` where it was not expected or could not be had, so that the caller asks for it itself.
    pub fn take(&self, name: &str) -> Option<Vec<u8>> {
        let asked = self
            .coming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)?;
        asked.blocking_recv().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_was_expected_is_fetched_once_and_given_once() {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let (ahead, calls) = (Ahead::default(), Arc::new(AtomicUsize::new(0)));
        let expect = |names: &[&str]| {
            let calls = Arc::clone(&calls);
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ahead.coming(threads.handle(), names, move |name| {
                let calls = Arc::clone(&calls);
                async move {
                    calls.fetch_add(1, Ordering::Relaxed);
                    (name != "missing").then(|| name.into_bytes())
                }
            });
        };
        expect(&["a", "b", "missing"]);
        assert_eq!(ahead.take("a"), Some(b"a".to_vec()));
        assert_eq!(ahead.take("a"), None);
        assert_eq!(ahead.take("missing"), None);
        assert_eq!(ahead.take("never expected"), None);
        expect(&["c"]);
        assert_eq!(ahead.take("b"), None, "it was expected before");
        assert_eq!(ahead.take("c"), Some(b"c".to_vec()));
        assert!(calls.load(Ordering::Relaxed) <= 4);
    }
}
