//! What is wrong with a cluster, or with how it is configured, is said; what may get better is waited for.

use super::{Ledger, Running, stack, stop};
use crate::process::{LOG_NAME, Service, ledgerline, program, stderr};
use ledgerline::log::kafka::KafkaLog;
use ledgerline::log::kafka::url::KafkaConfig;
use ledgerline::log::record::LedgerRecord;
use ledgerline::log::topic::{self, AUDIT_EVENTS};
use ledgerline::log::{Log, LogError, NewRecord};
use std::process::Output;
use std::time::Duration;

fn topics_apply(ledger: &Ledger, more: &[&str]) -> Output {
    let log = format!("--log={}", ledger.url(""));
    ledgerline(&[&["topics", "apply", &log, "--replication=1"], more].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `ledgerline run` that ends by itself; what it said.
fn run_fails(arguments: &[String]) -> String {
    let output = program()
        .arg("run")
        .arg("--listen=127.0.0.1:0")
        .args(arguments)
        .output()
        .unwrap();
    assert!(!output.status.success());
    stderr(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_once_checked_and_refused_with_another_number_of_partitions() {
    let ledger = Ledger::without_topics();
    let dry = topics_apply(&ledger, &["--partitions=2", "--dry-run"]);
    assert!(
        stdout(&dry).contains("7 of 7 topics would be made or changed"),
        "{dry:?}"
    );
    assert!(matches!(
        ledger.log().partitions(AUDIT_EVENTS).await,
        Err(LogError::Fatal { .. })
    ));
    let made = topics_apply(&ledger, &["--partitions=2"]);
    assert!(
        stdout(&made).contains("7 of 7 topics made or changed"),
        "{made:?}"
    );
    let again = topics_apply(&ledger, &["--partitions=2", "--json"]);
    let again: serde_json::Value = serde_json::from_str(&stdout(&again)).unwrap();
    let kept = again["topics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|topic| topic["action"] == "keep");
    assert_eq!(kept.count(), 7, "{again}");
    let other = topics_apply(&ledger, &["--partitions=3"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        stderr(&other).contains("has 2 partitions, 3 are wanted"),
        "{}",
        stderr(&other)
    );
    let longer = topics_apply(&ledger, &["--partitions=2", "--ledger-retention-days=90"]);
    assert!(stdout(&longer).contains("2592000000 -> 7776000000"), "{longer:?}");
    let kept = topics_apply(&ledger, &["--partitions=2"]);
    assert!(
        stdout(&kept).contains("0 of 7 topics"),
        "a default lowers nothing: {kept:?}"
    );
    let many = ledgerline(&["topics", "apply", &format!("--log={}x", ledger.url("client.id="))]);
    assert_eq!(many.status.code(), Some(1));
    assert!(stderr(&many).contains("12"), "{}", stderr(&many));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_and_another_number_of_partitions_end_a_run_with_what_to_do() {
    let ledger = Ledger::without_topics();
    let running = Running::new(&ledger);
    let said = run_fails(&running.arguments(""));
    assert!(
        said.contains("there is no audit.events") && said.contains("ledgerline topics apply"),
        "{said}"
    );
    let ledger = Ledger::make(2).await;
    let running = Running::new(&ledger);
    let said = run_fails(&[running.arguments(""), vec!["--partitions=3".to_owned()]].concat());
    assert!(said.contains("has 2 partitions, but 3 are configured"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_cannot_be_reached_are_waited_for_and_readiness_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let service = Service::start_at(&[
        // The discard port of this machine: nobody listens.
        "--log=kafka://127.0.0.1:9/".to_owned(),
        format!("--archive=file:{}", at("archive")),
        format!("--signer=file:{}", at("keys")),
        format!("--log-name={LOG_NAME}"),
    ]);
    let service = service.unwrap_or_else(|logs| panic!("it must wait:\n{logs}"));
    let said = service.wait_for("/readyz", |body| body.contains("waits for Kafka at 127.0.0.1:9"));
    assert!(said.contains("\"ready\":false"), "{said}");
    service.signal("TERM");
    assert!(service.wait().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_somebody_added_stop_the_ledger_and_it_begins_no_chain_in_them() {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    use rdkafka::client::DefaultClientContext;
    let ledger = Ledger::make(2).await;
    let running = Running::new(&ledger);
    let service = running.start("");
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    stop(service);
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .create()
        .unwrap();
    let names = topic::ALL.map(|topic| ledger.topic(topic));
    let more = names
        .iter()
        .map(|name| NewPartitions::new(name, 3))
        .collect::<Vec<_>>();
    admin
        .create_partitions(&more, &AdminOptions::new())
        .await
        .unwrap();
    let said = run_fails(&running.arguments(""));
    assert!(
        said.contains("created with 2 partitions, ledger.entries has 3"),
        "{said}"
    );
    let log = ledger.log();
    log.end(topic::LEDGER_ENTRIES, 2).await.unwrap();
    for record in log
        .read(topic::LEDGER_ENTRIES, 2, 0, 100, 1_000_000)
        .await
        .unwrap()
    {
        let decoded = ledgerline::log::record::decode(&record.value).unwrap();
        assert!(matches!(decoded, LedgerRecord::Fence { .. }), "{decoded:?}");
    }
}

/// The ledger's cluster by another listener.
fn secure(ledger: &Ledger, brokers: &str, parameters: &str, password: Option<&str>) -> KafkaLog {
    let url = format!("kafka://{brokers}/?topic.prefix={}&{parameters}", ledger.prefix);
    KafkaLog::new(KafkaConfig::parse(&url, password).unwrap(), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_every_sasl_mechanism_work() {
    let ledger = Ledger::make(1).await;
    let (user, password) = (
        stack("LEDGERLINE_TEST_KAFKA_USERNAME"),
        stack("LEDGERLINE_TEST_KAFKA_PASSWORD"),
    );
    let (ca, certificate, key) = (
        stack("LEDGERLINE_TEST_KAFKA_CA"),
        stack("LEDGERLINE_TEST_KAFKA_CERTIFICATE"),
        stack("LEDGERLINE_TEST_KAFKA_KEY"),
    );
    let mut logs = vec![secure(
        &ledger,
        &stack("LEDGERLINE_TEST_KAFKA_SSL"),
        &format!(
            "security.protocol=ssl&ssl.ca.location={ca}&ssl.certificate.location={certificate}&ssl.key.location={key}"
        ),
        None,
    )];
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let sasl = format!("sasl.mechanism={mechanism}&sasl.username={user}");
        let plaintext = format!("security.protocol=sasl_plaintext&{sasl}");
        let tls = format!("security.protocol=sasl_ssl&ssl.ca.location={ca}&{sasl}");
        logs.push(secure(
            &ledger,
            &stack("LEDGERLINE_TEST_KAFKA_SASL_PLAINTEXT"),
            &plaintext,
            Some(&password),
        ));
        logs.push(secure(
            &ledger,
            &stack("LEDGERLINE_TEST_KAFKA_SASL_SSL"),
            &tls,
            Some(&password),
        ));
    }
    for (n, log) in logs.iter().enumerate() {
        let record = NewRecord {
            value: b"x".to_vec(),
            ..NewRecord::default()
        };
        assert_eq!(
            log.append(AUDIT_EVENTS, 0, vec![record]).await.unwrap().first,
            n as u64
        );
        assert_eq!(
            log.read(AUDIT_EVENTS, 0, 0, 100, 1_000).await.unwrap().len(),
            n + 1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_said_at_once_and_names_no_secret() {
    let ledger = Ledger::make(1).await;
    let sasl = "security.protocol=sasl_plaintext&sasl.mechanism=SCRAM-SHA-512&sasl.username=nobody";
    let brokers = stack("LEDGERLINE_TEST_KAFKA_SASL_PLAINTEXT");
    let log = secure(&ledger, &brokers, sasl, Some("hunter2"));
    let refused = log.prepare().await.unwrap_err();
    assert!(matches!(refused, LogError::Fatal { .. }), "{refused:?}");
    let said = format!("{refused} {refused:?}");
    assert!(
        said.contains("refuses the login") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_topic_is_too_small_for_is_refused_for_good() {
    use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
    use rdkafka::client::DefaultClientContext;
    let ledger = Ledger::make(1).await;
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .create()
        .unwrap();
    let topic = ledger.topic(AUDIT_EVENTS);
    let small = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "1000");
    admin.alter_configs([&small], &AdminOptions::new()).await.unwrap();
    let log = ledger.log();
    // The broker heeds it a moment later.
    let unfit = loop {
        match log.prepare().await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(unfit) => break unfit.to_string(),
        }
    };
    assert!(
        unfit.contains("audit.events has max.message.bytes=1000"),
        "{unfit}"
    );
    // Random enough not to be compressed away.
    let value = (0..20_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let large = NewRecord {
        value,
        ..NewRecord::default()
    };
    let small = NewRecord {
        value: b"x".to_vec(),
        ..NewRecord::default()
    };
    let refused = log
        .append(AUDIT_EVENTS, 0, vec![large.clone()])
        .await
        .unwrap_err();
    assert!(matches!(refused, LogError::Fatal { .. }), "{refused:?}");
    assert!(refused.to_string().contains("max.message.bytes"), "{refused}");
    // Behind it the log is good, with another producer, and nothing of a refused batch comes later.
    assert_eq!(
        log.append(AUDIT_EVENTS, 0, vec![small.clone()])
            .await
            .unwrap()
            .first,
        0
    );
    let refused = log
        .append(AUDIT_EVENTS, 0, vec![small.clone(), large])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LogError::Unknown { .. } | LogError::Fatal { .. }),
        "{refused:?}"
    );
    let next = log.append(AUDIT_EVENTS, 0, vec![small]).await.unwrap().first;
    assert!((1..=2).contains(&next), "{next}");
}
