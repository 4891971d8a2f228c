//! Tests that need a real Kafka: `tests/stack up kafka` starts one. Each makes topics of its own in it.

mod captured;
mod completeness;
mod dead_letters;
mod end_to_end;
mod faults;
mod incarnations;
mod prometheus;
mod reading;
mod restore;
mod stock_producer;

use crate::process::{LOG_NAME, Service};
use crate::sealed::{Sealed, drain, read_archive};
use ledgerline::config::Settings;
use ledgerline::log::kafka::KafkaLog;
use ledgerline::log::kafka::topics::cluster::Cluster;
use ledgerline::log::kafka::topics::{TopicOptions, plan, wanted};
use ledgerline::log::kafka::url::KafkaConfig;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// What `tests/stack env` says of its Kafka.
///
/// # Panics
/// Where there is none: a test that cannot be run has not passed.
pub fn stack(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `tests/stack up kafka`, then `eval \"$(tests/stack env)\"`, then the tests")
    })
}

/// A name that no other test, nor an earlier run, has.
fn unique() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let nth = MADE.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{}-{nth}.", now.as_millis(), std::process::id())
}

/// Topics of one ledger.
pub struct Ledger {
    pub prefix: String,
}

impl Ledger {
    /// Makes topics of `partitions` each.
    pub async fn make(partitions: u32) -> Self {
        let ledger = Self::without_topics();
        ledger.make_topics(partitions).await;
        ledger
    }

    /// A name without topics.
    pub fn without_topics() -> Self {
        Self { prefix: unique() }
    }

    async fn make_topics(&self, partitions: u32) {
        let cluster = Cluster::new(self.config("")).unwrap();
        let options = TopicOptions {
            partitions,
            replication: 1,
            ..TopicOptions::default()
        };
        let changes = plan(&wanted(&options), &BTreeMap::new()).unwrap();
        cluster.apply(&changes).await.unwrap();
    }

    /// The URL, with more parameters, `&`-separated.
    pub fn url(&self, more: &str) -> String {
        let brokers = stack("LEDGERLINE_TEST_KAFKA");
        format!(
            "kafka://{brokers}/?topic.prefix={}&session.timeout.ms=3000&{more}",
            self.prefix
        )
    }

    pub fn config(&self, more: &str) -> KafkaConfig {
        KafkaConfig::parse(&self.url(more), None).expect("a URL")
    }

    pub fn log(&self) -> KafkaLog {
        KafkaLog::new(self.config(""), None)
    }

    pub fn topic(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }
}

/// Where instances of one ledger keep archive and keys.
pub struct Running<'l> {
    ledger: &'l Ledger,
    dir: TempDir,
}

impl<'l> Running<'l> {
    pub fn new(ledger: &'l Ledger) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { ledger, dir }
    }

    /// The arguments of `run`. Short intervals and small segments, so that every kind of write is under way at any time.
    pub fn arguments(&self, more_of_url: &str) -> Vec<String> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        vec![
            format!("--log={}", self.ledger.url(more_of_url)),
            format!("--archive=file:{}", at("archive")),
            format!("--signer=file:{}", at("keys")),
            format!("--log-name={LOG_NAME}"),
            "--cut-interval-ms=150".to_owned(),
            "--checkpoint-interval-ms=40".to_owned(),
            "--segment-bytes-max=65536".to_owned(),
            "--snapshot-bytes=100000".to_owned(),
        ]
    }

    pub fn archive(&self) -> String {
        self.dir.path().join("archive").display().to_string()
    }

    pub fn start(&self, more_of_url: &str) -> Service {
        Service::start_at(&self.arguments(more_of_url))
            .unwrap_or_else(|logs| panic!("it does not start:\n{logs}"))
    }

    /// Archives what is not archived yet, and reads the archive.
    pub fn drain_and_read(&self) -> Sealed {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let settings = Settings {
            log: Some(self.ledger.url("")),
            archive: Some(format!("file:{}", at("archive"))),
            signer: Some(format!("file:{}", at("keys"))),
            log_name: Some(LOG_NAME.to_owned()),
            ..Settings::default()
        };
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| scope.spawn(|| drain(&settings)).join().expect("stages that end"));
        });
        read_archive(&self.dir.path().join("archive"))
    }
}

/// Waits until instances that were started with nothing sealed have sealed so many entries together.
pub fn wait_until_sealed(services: &[&Service], entries: u64) {
    let (last, others) = services.split_last().expect("an instance");
    last.wait_for("/metrics", |metrics| {
        let of_others: f64 = others
            .iter()
            .map(|service| sealed_entries(&service.get("/metrics").1))
            .sum();
        (sealed_entries(metrics) + of_others) as u64 >= entries
    });
}

pub fn wait_for_kind(service: &Service, kind: &str, count: u64) {
    let name = format!("ledgerline_sealed_records_total{{kind=\"{kind}\"}}");
    service.wait_for("/metrics", |metrics| metric(metrics, &name) as u64 >= count);
}

/// Ends an instance in order.
pub fn stop(service: Service) {
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{status}\n{logs}");
}

fn sealed_entries(metrics: &str) -> f64 {
    metric(metrics, "ledgerline_sealed_records_total{kind=\"entry\"}")
}

/// The value of a series, 0 where it is not there yet.
pub fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().expect("a number"))
}
