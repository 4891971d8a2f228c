//! What was seen of the answers: how many, how fast, and which were not as they should be.

use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Seen {
    waits_us: Vec<u64>,
    /// Answers of another status than the wanted one, and the connections that broke (0), by status.
    others: BTreeMap<u16, u64>,
}

impl Seen {
    pub fn right(&mut self, wait_us: u64) {
        self.waits_us.push(wait_us);
    }

    pub fn wrong(&mut self, status: u16) {
        *self.others.entry(status).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.waits_us.extend(other.waits_us);
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
    }

    /// `per_request`: events, or whatever a request is about.
    pub fn summary(mut self, seconds: f64, per_request: u64) -> Value {
        self.waits_us.sort_unstable();
        let (right, wrong) = (self.waits_us.len() as u64, self.others.values().sum::<u64>());
        json!({
            "requests": right,
            "requests_per_second": right as f64 / seconds,
            "events_per_second": (right * per_request) as f64 / seconds,
            "errors": wrong,
            "error_share": wrong as f64 / (right + wrong).max(1) as f64,
            "statuses": self.others,
            "p50_ms": self.at(0.5),
            "p95_ms": self.at(0.95),
            "p99_ms": self.at(0.99),
            "max_ms": self.at(1.0),
        })
    }

    fn at(&self, share: f64) -> Option<f64> {
        let last = self.waits_us.len().checked_sub(1)?;
        let place = (self.waits_us.len() as f64 * share) as usize;
        Some(self.waits_us[place.min(last)] as f64 / 1e3)
    }
}
