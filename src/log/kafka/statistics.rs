//! librdkafka's numbers as metrics. Labels are topic, partition and broker, nothing that grows with tenants.

use super::url::KafkaConfig;
use crate::log::Offset;
use metrics::{Unit, describe_counter, describe_gauge};
use rdkafka::statistics::{Statistics, Window};

const MICROS_PER_SECOND: f64 = 1e6;

/// What the metrics of this module mean.
pub fn describe() {
    describe_gauge!(
        "ledgerline_kafka_lag_records",
        Unit::Count,
        "Offsets between what was read of a partition and its last stable offset, by topic and partition"
    );
    describe_gauge!(
        "ledgerline_kafka_unstable_records",
        Unit::Count,
        "Offsets that open transactions of producers keep from being read, by topic and partition"
    );
    describe_gauge!(
        "ledgerline_kafka_fetch_queue_bytes",
        Unit::Bytes,
        "Fetched and not read yet, by topic and partition"
    );
    describe_gauge!(
        "ledgerline_kafka_produce_queue_bytes",
        Unit::Bytes,
        "Appended and not acknowledged yet"
    );
    describe_gauge!(
        "ledgerline_kafka_produce_queue_records",
        Unit::Count,
        "Records appended and not acknowledged yet"
    );
    describe_gauge!(
        "ledgerline_kafka_broker_round_trip_avg_seconds",
        Unit::Seconds,
        "Mean time from a request to a broker to its answer, by broker"
    );
    describe_gauge!(
        "ledgerline_kafka_broker_round_trip_p99_seconds",
        Unit::Seconds,
        "99th percentile of the time from a request to a broker to its answer, by broker"
    );
    describe_counter!(
        "ledgerline_kafka_errors_total",
        Unit::Count,
        "Errors that Kafka clients reported"
    );
    describe_counter!(
        "ledgerline_kafka_producers_total",
        Unit::Count,
        "Producers made: more than one means that one failed and was replaced"
    );
    describe_counter!(
        "ledgerline_kafka_rebalances_total",
        Unit::Count,
        "Changes of the partitions that the group gives to this process"
    );
    describe_gauge!(
        "ledgerline_kafka_assigned_partitions",
        Unit::Count,
        "Partitions that the group gives to this process"
    );
}

/// The numbers of a producer. Round trips are taken here alone: those of consumers hold the broker's waiting for records.
pub(super) fn producer(name: &'static str, statistics: &Statistics) {
    metrics::gauge!("ledgerline_kafka_produce_queue_bytes", "producer" => name)
        .set(statistics.msg_size as f64);
    metrics::gauge!("ledgerline_kafka_produce_queue_records", "producer" => name)
        .set(statistics.msg_cnt as f64);
    for broker in statistics.brokers.values() {
        let Some(Window { avg, p99, cnt, .. }) = &broker.rtt else {
            continue;
        };
        if broker.nodeid < 0 || *cnt == 0 {
            continue;
        }
        let label = broker.nodeid.to_string();
        metrics::gauge!("ledgerline_kafka_broker_round_trip_avg_seconds", "producer" => name, "broker" => label.clone())
            .set(*avg as f64 / MICROS_PER_SECOND);
        metrics::gauge!("ledgerline_kafka_broker_round_trip_p99_seconds", "producer" => name, "broker" => label)
            .set(*p99 as f64 / MICROS_PER_SECOND);
    }
}

/// What is known of a partition that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub partition: u32,
    pub read_to: Offset,
    pub unread_bytes: usize,
}

/// The numbers of a consumer that reads `topic`.
pub(super) fn consumer(
    config: &KafkaConfig,
    topic: &'static str,
    statistics: &Statistics,
    readings: &[Reading],
) {
    let Some(known) = statistics.topics.get(&config.topic(topic)) else {
        return;
    };
    for reading in readings {
        let number = reading.partition.to_string();
        let Some(partition) = i32::try_from(reading.partition)
            .ok()
            .and_then(|partition| known.partitions.get(&partition))
        else {
            continue;
        };
        metrics::gauge!("ledgerline_kafka_fetch_queue_bytes", "topic" => topic, "partition" => number.clone())
            .set(partition.fetchq_size as f64 + reading.unread_bytes as f64);
        let (Ok(stable), Ok(end)) = (
            Offset::try_from(partition.ls_offset),
            Offset::try_from(partition.hi_offset),
        ) else {
            // Not known yet.
            continue;
        };
        metrics::gauge!("ledgerline_kafka_lag_records", "topic" => topic, "partition" => number.clone())
            .set(stable.saturating_sub(reading.read_to) as f64);
        metrics::gauge!("ledgerline_kafka_unstable_records", "topic" => topic, "partition" => number)
            .set(end.saturating_sub(stable) as f64);
    }
}

/// Of a partition that is read no more nothing is known.
pub(super) fn forget(topic: &'static str, partition: u32) {
    let number = partition.to_string();
    metrics::gauge!("ledgerline_kafka_fetch_queue_bytes", "topic" => topic, "partition" => number.clone())
        .set(f64::NAN);
    metrics::gauge!("ledgerline_kafka_lag_records", "topic" => topic, "partition" => number.clone())
        .set(f64::NAN);
    metrics::gauge!("ledgerline_kafka_unstable_records", "topic" => topic, "partition" => number)
        .set(f64::NAN);
}
