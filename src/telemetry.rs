//! Logs as JSON lines on standard error, metrics for Prometheus. Neither ever holds a payload, a secret, or, in metrics, a
//! tenant: the number of series must not grow with tenants.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// The variable that sets what is logged, as `info` or `ledgerline=debug,sqlx=warn`.
const LEVEL_VARIABLE: &str = "LEDGERLINE_LOG_LEVEL";

/// Seconds from sealing to signing: the aim is a p99 of 1.5 s at the default interval.
const LAG_BUCKETS_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 5.0, 30.0, 300.0];

/// Begins logging, if nothing in this process has begun it before.
pub fn init_logs() {
    let filter = EnvFilter::try_from_env(LEVEL_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call (in tests) keeps the first subscriber.
    drop(subscriber.try_init());
}

/// Installs the recorder and describes every metric.
///
/// # Errors
/// Where another recorder is installed.
pub fn init_metrics() -> Result<PrometheusHandle, String> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("ledgerline_sealed_to_signed_seconds".into()),
            &LAG_BUCKETS_SECONDS,
        )
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("cannot set up metrics: {error}"))?;
    describe_counter!(
        "ledgerline_sealed_records_total",
        Unit::Count,
        "Records sealed, by kind of leaf"
    );
    describe_counter!(
        "ledgerline_rejected_records_total",
        Unit::Count,
        "Inputs rejected, by code"
    );
    describe_counter!(
        "ledgerline_checkpoints_signed_total",
        Unit::Count,
        "Checkpoints signed and stored in the log"
    );
    describe_counter!(
        "ledgerline_archived_objects_total",
        Unit::Count,
        "Objects created in the archive"
    );
    describe_counter!(
        "ledgerline_archived_bytes_total",
        Unit::Bytes,
        "Bytes of objects created in the archive"
    );
    describe_counter!(
        "ledgerline_archive_forks_total",
        Unit::Count,
        "Archive objects that exist with other content"
    );
    describe_counter!(
        "ledgerline_stage_retries_total",
        Unit::Count,
        "Steps that failed and are tried again, by stage"
    );
    describe_gauge!(
        "ledgerline_stage_index",
        Unit::Count,
        "Index that a stage has reached, by stage and partition"
    );
    describe_gauge!(
        "ledgerline_stopped_partitions",
        Unit::Count,
        "Partitions that a stage will not go on with, by stage"
    );
    describe_counter!(
        "ledgerline_skipped_records_total",
        Unit::Count,
        "Records that the acceptance rule skips, by reason"
    );
    describe_gauge!(
        "ledgerline_unsigned_age_seconds",
        Unit::Seconds,
        "How long the oldest unsigned leaf has waited, by partition"
    );
    describe_histogram!(
        "ledgerline_sealed_to_signed_seconds",
        Unit::Seconds,
        "How long the oldest leaf of a checkpoint had waited when it was stored"
    );
    Ok(handle)
}
