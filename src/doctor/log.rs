//! The log: its topics, whose ledger is in it, and whether the API may write there.

use super::{Findings, catalog};
use crate::config::{Config, LogConfig};
use crate::log::kafka::topics::cluster::Cluster;
use crate::log::kafka::topics::{Action, TopicOptions, faults, plan, wanted};
use crate::log::kafka::url::KafkaConfig;
use crate::log::{BoxError, topic};
use crate::service::open_log_that_exists;
use crate::stages::restore::ledger_name;
use std::time::Duration;

/// How long the log is asked for its first leaf.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    let reached = match &config.log {
        LogConfig::Embedded(path) if !path.exists() => {
            let what = "the first start makes the embedded log, and its topics with it";
            findings.not_applicable(&catalog::TOPICS, what);
            findings.not_applicable(&catalog::LOG_NAME, "there is no log yet");
            findings.not_applicable(&catalog::EVENTS, "there is no log yet");
            return;
        }
        LogConfig::Embedded(_) => {
            findings.not_applicable(&catalog::TOPICS, "the embedded log keeps its topics by itself");
            true
        }
        LogConfig::Kafka(kafka) => Box::pin(topics(kafka, config.partitions, findings)).await,
    };
    if reached {
        Box::pin(name(config, findings)).await;
    } else {
        findings.unknown(&catalog::LOG_NAME, "not tried: see `topics`", Vec::new());
    }
    let check = &catalog::EVENTS;
    match (&config.log, &config.api) {
        (LogConfig::Embedded(_), _) => {
            findings.not_applicable(check, "the embedded log asks nobody who he is");
        }
        (LogConfig::Kafka(_), None) => findings.not_applicable(check, "there is no --api"),
        (LogConfig::Kafka(_), Some(_)) if !reached => {
            findings.unknown(check, "not tried: see `topics`", Vec::new());
        }
        (LogConfig::Kafka(kafka), Some(_)) => Box::pin(events(kafka, findings)).await,
    }
}

async fn events(kafka: &KafkaConfig, findings: &mut Findings) {
    let check = &catalog::EVENTS;
    let name = kafka.topic(topic::AUDIT_EVENTS);
    let may = async { Cluster::new(kafka.clone())?.may_write(topic::AUDIT_EVENTS).await }.await;
    match may {
        Ok(true) => findings.good(check, format!("{name} would take what is written")),
        Ok(false) => {
            let grant = format!(
                "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:NAME --operation Write --topic {name}",
                kafka.brokers
            );
            findings.fault(
                check,
                format!("writing to {name} is refused to this user"),
                vec![grant],
            );
        }
        Err(error) => findings.unknown(check, error.to_string(), Vec::new()),
    }
}

/// Whether there are topics to be read from.
async fn topics(kafka: &KafkaConfig, partitions: Option<u32>, findings: &mut Findings) -> bool {
    let check = &catalog::TOPICS;
    let apply = || {
        let partitions = partitions.map_or_else(String::new, |n| format!(" --partitions {n}"));
        format!("ledgerline topics apply{partitions}")
    };
    let found = async { Cluster::new(kafka.clone())?.find().await }.await;
    let found = match found {
        Ok(found) => found.topics,
        Err(error) => {
            let mend = "see --log (or LEDGERLINE_LOG), the brokers, and the user's permissions";
            findings.fault(check, error.to_string(), vec![mend.to_owned()]);
            return false;
        }
    };
    let wrong = faults(&found);
    if !wrong.is_empty() {
        findings.fault(check, wrong.join("; "), vec![apply()]);
        return topic::ALL.iter().all(|topic| found.contains_key(topic));
    }
    let entries = found.get(topic::LEDGER_ENTRIES).map(|topic| topic.partitions);
    let options = TopicOptions {
        partitions: partitions.or(entries).unwrap_or_default(),
        ..TopicOptions::default()
    };
    let changes = match plan(&wanted(&options), &found) {
        Ok(changes) => changes,
        Err(what) => {
            findings.fault(check, what, vec![apply()]);
            return true;
        }
    };
    let differ: Vec<String> = changes
        .iter()
        .filter(|change| change.action != Action::Keep)
        .map(|change| {
            let settings: Vec<&str> = change.settings.iter().map(|(name, _, _)| *name).collect();
            format!("{} ({})", kafka.topic(change.topic), settings.join(", "))
        })
        .collect();
    let unread = found.values().any(|topic| topic.settings.is_none());
    if !differ.is_empty() {
        let what = format!("not as they should be: {}", differ.join("; "));
        findings.fault(check, what, vec![format!("{} --dry-run", apply()), apply()]);
    } else if unread {
        let what = "the settings of some topics cannot be read";
        let mend = "grant describe-configs on the topics to this user (ACL)";
        findings.unknown(check, what, vec![mend.to_owned()]);
    } else {
        let replicas = found.values().map(|topic| topic.replication).min().unwrap_or(0);
        let what = format!("{} topics, {replicas} replicas or more", found.len());
        findings.good(check, what);
    }
    true
}

async fn name(config: &Config, findings: &mut Findings) {
    let check = &catalog::LOG_NAME;
    let found = tokio::time::timeout(PATIENCE, found_name(config)).await;
    match found {
        Ok(Ok(Some(name))) if name == config.log_name => findings.good(check, format!("it is {name}")),
        Ok(Ok(Some(name))) => {
            let what = format!("it is {name}, and --log-name is {}", config.log_name);
            let mend = format!("export LEDGERLINE_LOG_NAME={name}, or give another --log");
            findings.fault(check, what, vec![mend]);
        }
        Ok(Ok(None)) => findings.not_applicable(check, "nothing is sealed yet"),
        Ok(Err(error)) => findings.unknown(check, format!("cannot be found out: {error}"), Vec::new()),
        Err(_) => findings.unknown(check, "the log does not answer", Vec::new()),
    }
}

async fn found_name(config: &Config) -> Result<Option<String>, BoxError> {
    let log = open_log_that_exists(&config.log).await?;
    let name = ledger_name(log.as_ref()).await;
    // What cannot be closed is closed with the process.
    drop(log.close().await);
    Ok(name?)
}
