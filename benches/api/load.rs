//! The loops over requests: `--connections` threads with a connection each, for `--seconds` after `--warmup` seconds that do not count.
//!
//! With `--rate 0` each sends when it has its answer. With a rate, request `n` is due at `n / rate`, and its time counts from then on, whether or not a connection was free:
//! what waits for a slow answer is slow too.

use crate::arguments::Arguments;
use crate::http::Connection;
use crate::requests::{Target, Writes};
use crate::seen::Seen;
use serde_json::Value;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Events from `--first` on, in requests of `--batch`, to `POST /v1/events` with `--query`.
pub fn write(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let writes = Writes::new(arguments)?;
    let first: u64 = arguments.number("first")?;
    let plan = Plan::new(arguments, arguments.number("status")?)?;
    let seen = plan.run(|n| writes.request(first / writes.batch() + n))?;
    Ok(seen.summary(plan.seconds, writes.batch()))
}

/// The lines `tenant path` of `--paths`, again and again.
pub fn read(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let target = Target::new(arguments)?;
    let text = std::fs::read_to_string(arguments.text("paths")?)?;
    let requests: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(tenant, path)| target.get(tenant, path))
        .collect();
    let plan = Plan::new(arguments, 200)?;
    let count = requests.len() as u64;
    let seen = plan.run(|n| Ok(requests[(n % count) as usize].clone()))?;
    Ok(seen.summary(plan.seconds, 1))
}

struct Plan {
    address: String,
    connections: u64,
    warmup: f64,
    seconds: f64,
    rate: f64,
    /// Every other answer is an error.
    status: u16,
}

impl Plan {
    fn new(arguments: &Arguments, status: u16) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            address: arguments.text("address")?.to_owned(),
            connections: arguments.number("connections")?,
            warmup: arguments.number("warmup")?,
            seconds: arguments.number("seconds")?,
            rate: arguments.number("rate")?,
            status,
        })
    }

    fn run(
        &self,
        request: impl Fn(u64) -> Result<String, Box<dyn Error>> + Sync,
    ) -> Result<Seen, Box<dyn Error>> {
        let (next, begun) = (AtomicU64::new(0), Instant::now());
        let seen = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections)
                .map(|_| {
                    scope.spawn(|| {
                        self.connection(&next, begun, &request)
                            .map_err(|error| error.to_string())
                    })
                })
                .collect();
            let each = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .map_err(|_| "a connection's thread broke off".to_owned())?
            });
            each.collect::<Result<Vec<Seen>, String>>()
        })?;
        let mut all = Seen::default();
        for one in seen {
            all.add(one);
        }
        Ok(all)
    }

    fn connection(
        &self,
        next: &AtomicU64,
        begun: Instant,
        request: &impl Fn(u64) -> Result<String, Box<dyn Error>>,
    ) -> Result<Seen, Box<dyn Error>> {
        let (mut seen, mut answer) = (Seen::default(), Vec::new());
        let mut connection = Connection::new(&self.address);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let text = request(n)?;
            let Some(from) = self.due(n, begun) else {
                return Ok(seen);
            };
            let status = connection.ask(&text, b"", &mut answer).unwrap_or(0);
            if from.duration_since(begun).as_secs_f64() < self.warmup {
                continue;
            }
            if status == self.status {
                seen.right(from.elapsed().as_micros() as u64);
            } else {
                seen.wrong(status);
            }
        }
    }

    /// Waits for it. From when its time counts; none where the time is over.
    fn due(&self, n: u64, begun: Instant) -> Option<Instant> {
        let end = Duration::from_secs_f64(self.warmup + self.seconds);
        if self.rate == 0.0 {
            let now = Instant::now();
            return (now.duration_since(begun) < end).then_some(now);
        }
        let due = Duration::from_secs_f64(n as f64 / self.rate);
        if due >= end {
            return None;
        }
        thread::sleep(due.saturating_sub(begun.elapsed()));
        Some(begun + due)
    }
}
