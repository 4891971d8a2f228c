//! A real Prometheus scrapes a running instance, evaluates the rules that ship with it, and promtool finds nothing wrong with what it scraped.

use super::end_to_end::Oracle;
use super::stock_producer::StockProducer;
use super::{Ledger, Running, stack, stop, wait_until_sealed};
use ledgerline::log::topic::AUDIT_EVENTS;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 2;
/// How long the test waits for a scrape, which comes every second.
const PATIENCE: Duration = Duration::from_mins(2);

/// The file that tells Prometheus whom to scrape, as long as this lives.
struct Target(std::path::PathBuf);

impl Target {
    fn new(name: &str, address: &str) -> Self {
        let name = name.trim_end_matches('.');
        let path =
            std::path::Path::new(&stack("LEDGERLINE_TEST_PROMETHEUS_TARGETS")).join(format!("{name}.json"));
        let targets = json!([{ "targets": [address], "labels": { "ledger": name } }]);
        // Renamed, so that half a file is never read.
        let half = path.with_extension("half");
        std::fs::write(&half, targets.to_string()).unwrap();
        std::fs::rename(&half, &path).unwrap();
        Self(path)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn get(path: &str) -> Value {
    let mut stream = TcpStream::connect(stack("LEDGERLINE_TEST_PROMETHEUS")).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn query(expression: &str) -> Vec<(Value, f64)> {
    let hex = data_encoding::HEXUPPER.encode(expression.as_bytes());
    let encoded: Vec<String> = hex
        .as_bytes()
        .chunks(2)
        .map(|two| format!("%{}", String::from_utf8_lossy(two)))
        .collect();
    let encoded = encoded.concat();
    let answer = get(&format!("/api/v1/query?query={encoded}"));
    let results = answer["data"]["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone();
    let sample = |result: &Value| {
        (
            result["metric"].clone(),
            result["value"][1].as_str().unwrap().parse().unwrap(),
        )
    };
    results.iter().map(sample).collect()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_scrapes_it_evaluates_its_rules_and_promtool_finds_nothing_wrong() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    let target = Target::new(&ledger.prefix, &service.address);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    oracle.produce(&producer, 120);
    wait_until_sealed(&[&service], oracle.count());
    let of = format!("{{ledger=\"{}\"}}", ledger.prefix.trim_end_matches('.'));
    let sum = |metric: &str| -> f64 {
        query(&format!("sum({metric}{of})"))
            .first()
            .map_or(0.0, |(_, value)| *value)
    };
    wait_until("what was sealed is not scraped", || {
        sum("ledgerline_sealed_records_total") >= 120.0 && sum("ledgerline_checkpoints_signed_total") > 0.0
    });
    wait_until("an owner of each partition is not seen", || {
        query(&format!("ledgerline_stage_index{of}")).len() >= 3 * PARTITIONS as usize
    });
    for metric in [
        "ledgerline_ledger_partitions",
        "ledgerline_fences_total",
        "ledgerline_log_retention_seconds",
        "ledgerline_kafka_broker_round_trip_avg_seconds",
    ] {
        wait_until(metric, || sum(metric) > 0.0);
    }
    check_rules();
    check_metrics(&service.get("/metrics").1);
    drop(target);
    stop(service);
    assert_eq!(running.drain_and_read().events, oracle.events);
}

/// All rules that ship are loaded, and each can be evaluated.
fn check_rules() {
    let shipped = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/prometheus/ledgerline.rules.yml"
    ))
    .unwrap();
    let shipped = shipped
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut shipped: Vec<&str> = shipped.collect();
    shipped.sort_unstable();
    shipped.dedup();
    assert!(shipped.len() > 10);
    let loaded = || -> Vec<(String, String)> {
        let groups = get("/api/v1/rules?type=alert");
        let groups = groups["data"]["groups"].as_array().unwrap().clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let text = |rule: &Value, name: &str| rule[name].as_str().unwrap().to_owned();
        rules
            .map(|rule| (text(rule, "name"), text(rule, "health")))
            .collect()
    };
    wait_until("a rule cannot be evaluated", || {
        loaded().iter().all(|(_, health)| health == "ok")
    });
    let mut names: Vec<String> = loaded().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, shipped);
}

/// `promtool check metrics`: syntax, and names and help as they should be.
fn check_metrics(metrics: &str) {
    let mut promtool = Command::new(stack("LEDGERLINE_TEST_PROMTOOL"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
