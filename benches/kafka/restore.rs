//! What a new owner does before it seals: restores every partition, one after another, with the product's own code. The time in reads is told apart.

use crate::arguments::Arguments;
use async_trait::async_trait;
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::names;
use ledgerline::log::kafka::KafkaLog;
use ledgerline::log::kafka::url::KafkaConfig;
use ledgerline::log::lease::Assignments;
use ledgerline::log::{Appended, Committed, Log, LogError, NewRecord, Offset, Record, topic};
use ledgerline::stages::restore::{Follower, PartitionConfig};
use serde_json::{Value, json};
use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub fn measure(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let log = Timed {
        log: KafkaLog::new(KafkaConfig::parse(arguments.text("log")?, None)?, None),
        asked_micros: AtomicU64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut total, mut tenants, mut records) = (0.0, 0, 0);
    for partition in 0..runtime.block_on(log.partitions(topic::LEDGER_ENTRIES))? {
        let config = PartitionConfig {
            origin: names::origin(arguments.text("log-name")?, partition),
            partition,
            limits: Limits::default(),
            window_entries_max: arguments.number("window")?,
            archived: None,
        };
        let begun = Instant::now();
        let follower = runtime.block_on(async {
            let mut follower = Follower::restore(&log, &config).await?;
            let from = follower.reader.position().offset;
            follower.catch_up(&log, None).await?;
            records += follower.reader.position().offset - from;
            follower.check_reached_signed().map(|()| follower)
        })?;
        total += begun.elapsed().as_secs_f64();
        tenants += follower.state.heads.len();
    }
    let reading = log.asked_micros.load(Ordering::Relaxed) as f64 / 1e6;
    Ok(
        json!({"seconds": total, "reading_seconds": reading, "beyond_seconds": total - reading, "tenants": tenants, "tail_records": records}),
    )
}

/// The log, with the time that its callers wait for it.
struct Timed {
    log: KafkaLog,
    asked_micros: AtomicU64,
}

impl Timed {
    async fn time<T>(&self, asked: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let answer = asked.await;
        self.asked_micros
            .fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl Log for Timed {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        self.log.append(topic, partition, records).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        let read = self.log.read(topic, partition, from, records_max, bytes_max);
        self.time(read).await
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.time(self.log.end(topic, partition)).await
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.time(self.log.start(topic, partition)).await
    }

    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.time(self.log.find(topic)).await
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        self.log.trim(topic, partition, before).await
    }

    async fn join(&self, role: &str) -> Result<Assignments, LogError> {
        self.log.join(role).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.time(self.log.partitions(topic)).await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError> {
        self.log.commit(group, topic, partition, position).await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        self.log.committed(group, topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        self.log.record_bytes_max()
    }
}
