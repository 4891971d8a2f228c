//! From produced to readable: sends events at a steady rate and reads them back from where they end up, in one process and by one clock.
//!
//! An event is found again by its id, whatever it is wrapped in. Read committed, as readers of a transactional writer must.

use crate::arguments::Arguments;
use crate::broker::{self, PATIENCE};
use crate::input::{Source, steadily};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;
use serde_json::{Value, json};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ID: &[u8] = b"\"event_id\":\"evt-";
const ID_DIGITS: usize = 12;
const TICK: Duration = Duration::from_millis(1);
/// Not counted at the beginning.
const SETTLING_SECONDS: u64 = 3;

/// Events 0 up to `--first` are in the input already: the load begins when they are through.
pub fn measure(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (first, rate): (u64, u64) = (arguments.number("first")?, arguments.number("rate")?);
    let seconds: u64 = arguments.number("seconds")?;
    let count = rate * (seconds + SETTLING_SECONDS);
    let output = Output::open(arguments)?;
    output.wait_for(first)?;
    let begun = Instant::now();
    let sent_at: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let waits = std::thread::scope(|scope| -> Result<Vec<u64>, Box<dyn Error>> {
        let loading =
            scope.spawn(|| load(arguments, first, rate, begun, &sent_at).map_err(|error| error.to_string()));
        let waits = output.waits(first, begun, &sent_at, rate * SETTLING_SECONDS);
        loading.join().map_err(|_| "the load broke off")??;
        waits
    })?;
    Ok(summary(waits, count - rate * SETTLING_SECONDS, rate))
}

fn summary(mut waits: Vec<u64>, expected: u64, rate: u64) -> Value {
    waits.sort_unstable();
    let at = |share: f64| {
        let place = (waits.len() as f64 * share) as usize;
        waits.get(place).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
    };
    json!({
        "rate": rate,
        "expected": expected,
        "seen": waits.len(),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "p999_ms": at(0.999),
        "max_ms": waits.last().map(|micros| *micros as f64 / 1e3),
    })
}

fn load(
    arguments: &Arguments,
    first: u64,
    rate: u64,
    begun: Instant,
    sent_at: &[AtomicU64],
) -> Result<(), Box<dyn Error>> {
    let mut source = Source::new(arguments, "1")?;
    steadily(rate, sent_at.len() as u64, |n| {
        sent_at[n as usize].store(begun.elapsed().as_micros() as u64, Ordering::Release);
        source.send(first + n)
    })?;
    source.finish()
}

struct Output(BaseConsumer);

impl Output {
    fn open(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let topic = arguments.text("output")?;
        let consumer = broker::consumer(
            broker::client(arguments)?
                .set("isolation.level", "read_committed")
                .set("fetch.wait.max.ms", "100"),
        )?;
        let begun = Instant::now();
        let mut partitions = broker::partitions(&consumer, topic)?;
        while partitions == 0 && begun.elapsed() < PATIENCE {
            std::thread::sleep(TICK * 50);
            partitions = broker::partitions(&consumer, topic)?;
        }
        let mut places = TopicPartitionList::new();
        for partition in 0..partitions {
            places.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&places)?;
        Ok(Self(consumer))
    }

    /// The next event; none where nothing comes for a long time.
    fn next(&self) -> Result<Option<u64>, Box<dyn Error>> {
        let begun = Instant::now();
        while begun.elapsed() < 2 * PATIENCE {
            match self.0.poll(TICK * 100) {
                None => {}
                Some(message) => {
                    if let Some(n) = message?.payload().and_then(event_number) {
                        return Ok(Some(n));
                    }
                }
            }
        }
        Ok(None)
    }

    fn wait_for(&self, events: u64) -> Result<(), Box<dyn Error>> {
        for seen in 0..events {
            self.next()?
                .ok_or_else(|| format!("only {seen} of {events} events came"))?;
        }
        Ok(())
    }

    /// Microseconds of every event after the first `skipped`, until the last one came.
    fn waits(
        &self,
        first: u64,
        begun: Instant,
        sent_at: &[AtomicU64],
        skipped: u64,
    ) -> Result<Vec<u64>, Box<dyn Error>> {
        let mut waits = Vec::with_capacity(sent_at.len());
        for seen in 0..sent_at.len() {
            let n = self
                .next()?
                .ok_or_else(|| format!("only {seen} of {} events came", sent_at.len()))?;
            let now = begun.elapsed().as_micros() as u64;
            let n = n.checked_sub(first).ok_or("an event came twice")?;
            let sent = sent_at.get(n as usize).ok_or("an event that was not sent")?;
            if n >= skipped {
                waits.push(now.saturating_sub(sent.load(Ordering::Acquire)));
            }
        }
        Ok(waits)
    }
}

/// The number in the event's id.
fn event_number(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(ID.len()).position(|window| window == ID)?;
    let digits = bytes.get(at + ID.len()..at + ID.len() + ID_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
