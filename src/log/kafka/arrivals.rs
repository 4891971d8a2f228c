//! Who waits for records of a partition, of any topic, is told when some have come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    by_partition: Mutex<HashMap<u32, watch::Sender<u64>>>,
}

impl Arrivals {
    fn map(&self) -> MutexGuard<'_, HashMap<u32, watch::Sender<u64>>> {
        self.by_partition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, partition: u32) -> watch::Receiver<u64> {
        self.map()
            .entry(partition)
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    /// Something came that may be for any of them.
    pub fn ring_all(&self) {
        for arrivals in self.map().values() {
            arrivals.send_modify(|count| *count += 1);
        }
    }

    pub fn ring(&self, partitions: &[u32]) {
        let map = self.map();
        for partition in partitions {
            if let Some(arrivals) = map.get(partition) {
                arrivals.send_modify(|count| *count += 1);
            }
        }
    }
}
