//! Events as an application would send them: a stock producer, the tenant as the key, the partitioner of the Java clients.

use crate::arguments::Arguments;
use crate::broker::{self, PATIENCE};
use ledgerline::cli::demo::write_event;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);

pub struct Source {
    producer: ThreadedProducer<Refusals>,
    topic: String,
    tenants: u64,
    line: Vec<u8>,
}

#[derive(Default)]
pub struct Refusals(AtomicU64);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Source {
    pub fn new(arguments: &Arguments, linger_ms: &str) -> Result<Self, Box<dyn Error>> {
        let producer = broker::client(arguments)?
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("compression.type", "zstd")
            .set("linger.ms", linger_ms)
            .set("batch.size", "262144")
            .create_with_context(Refusals::default())?;
        Ok(Self {
            producer,
            topic: arguments.text("input")?.to_owned(),
            tenants: arguments.number("tenants")?,
            line: Vec::new(),
        })
    }

    /// Sends event number `n`.
    pub fn send(&mut self, n: u64) -> Result<(), Box<dyn Error>> {
        self.line.clear();
        write_event(n, self.tenants, &mut self.line);
        let event = self.line.trim_ascii();
        let text = std::str::from_utf8(event)?;
        let tenant = text.split("\"tenant_id\":\"").nth(1);
        let tenant = tenant
            .and_then(|rest| rest.split('"').next())
            .ok_or("an event without a tenant")?;
        let mut record = BaseRecord::to(&self.topic).key(tenant).payload(event);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until all was taken.
    pub fn finish(&self) -> Result<(), Box<dyn Error>> {
        self.producer.flush(2 * PATIENCE)?;
        match self.producer.context().0.load(Ordering::Relaxed) {
            0 => Ok(()),
            refused => Err(format!("{refused} events were not taken").into()),
        }
    }
}

/// Sends events `--first` up to, not including, `--until`.
pub fn fill(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let mut source = Source::new(arguments, "50")?;
    let (first, until): (u64, u64) = (arguments.number("first")?, arguments.number("until")?);
    for n in first..until {
        source.send(n)?;
    }
    source.finish()?;
    Ok(json!({"events": until - first}))
}

/// Sends events from `--first` on at `--rate` a second until it is killed.
pub fn load(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let mut source = Source::new(arguments, "1")?;
    let first: u64 = arguments.number("first")?;
    steadily(arguments.number("rate")?, u64::MAX, |n| source.send(first + n))?;
    source.finish()?;
    Ok(json!({}))
}

/// Calls `send` for 0 up to `count` at `rate` a second.
pub fn steadily(
    rate: u64,
    count: u64,
    mut send: impl FnMut(u64) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut sent = 0;
    while sent < count {
        let due = begun.elapsed().as_micros() as u64 * rate / 1_000_000;
        while sent < due.min(count) {
            send(sent)?;
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}
