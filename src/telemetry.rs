//! Logs as JSON lines on standard error, metrics for Prometheus. Neither ever holds a payload, a secret, or, in metrics, a
//! tenant: the number of series must not grow with tenants.

mod described;

use crate::config::StageName;
use crate::ledger::leaf::RejectCode;
use crate::log::reader::Skip;
use metrics::counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What is logged unless it is set.
pub const LOG_LEVEL_DEFAULT: &str = "info,sqlx=warn";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Histograms keep every value until they are tended; scrapes tend them, and without scrapes this does.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Seconds from sealing to signing: the aim is a p99 of 1.5 s at the default interval.
const LAG_BUCKETS_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 5.0, 30.0, 300.0];

/// Seconds of a request: the aims are 0.2 for half of them, 0.5 for 95 in 100, 1 for 99.
const REQUEST_BUCKETS_SECONDS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Whether `text` says what is logged: levels and `TARGET=LEVEL`, separated by commas. Stricter than the filter itself, to which a
/// misspelt level is the name of a target.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    let is_directive = |directive: &str| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("all", directive));
        !target.is_empty() && LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    };
    text.split(',').all(is_directive) && EnvFilter::try_new(text).is_ok()
}

/// What the crates of AWS log below `warn` may hold requests with their headers, and so what signs them.
const QUIET_TARGET: &str = "aws";

/// `level`, with the crates of AWS at `warn` where it would have them say more: it must name one of them (`aws_smithy_runtime=debug`) to be heeded for that.
fn quiet(level: &str) -> String {
    let says_more = |directive: &str| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        let is_more = ["info", "debug", "trace"]
            .iter()
            .any(|more| more.eq_ignore_ascii_case(level));
        is_more && QUIET_TARGET.starts_with(target)
    };
    let names_it = |directive: &str| {
        directive
            .split_once('=')
            .is_some_and(|(target, _)| target == QUIET_TARGET)
    };
    if level.split(',').any(says_more) && !level.split(',').any(names_it) {
        // Of two directives the one with the longer target counts.
        return format!("{level},{QUIET_TARGET}=warn");
    }
    level.to_owned()
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(quiet(level)).unwrap_or_else(|_| EnvFilter::new(quiet(LOG_LEVEL_DEFAULT)))
}

/// Begins logging, if nothing in this process has begun it before. `level` is one of [`is_log_level`].
pub fn init_logs(level: &str) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        // It would report a broken standard error on standard error, and panic there.
        .log_internal_errors(false)
        .with_env_filter(filter(level))
        .with_writer(std::io::stderr);
    // A second call (in tests) keeps the first subscriber.
    drop(subscriber.try_init());
}

/// Tends histograms for ever.
pub async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
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
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("ledgerline_api_request_duration_seconds".into()),
                &REQUEST_BUCKETS_SECONDS,
            )
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("cannot set up metrics: {error}"))?;
    described::describe();
    begin_counters();
    Ok(handle)
}

/// Counters whose labels are a closed list begin at 0: of one that begins at 1, `increase()` does not see the first event, which is the one to
/// alert on.
fn begin_counters() {
    counter!("ledgerline_archive_forks_total").increment(0);
    for code in RejectCode::ALL {
        counter!("ledgerline_rejected_records_total", "code" => code.as_str()).increment(0);
        counter!("ledgerline_dead_letters_total", "code" => code.as_str()).increment(0);
    }
    for outcome in ["found", "refused", "unknown", "failed"] {
        counter!("ledgerline_schema_registry_requests_total", "outcome" => outcome).increment(0);
    }
    for outcome in ["accepted", "refused", "later", "unknown"] {
        counter!("ledgerline_api_submitted_records_total", "outcome" => outcome).increment(0);
    }
    for stage in StageName::ALL {
        counter!("ledgerline_stage_retries_total", "stage" => stage.as_str()).increment(0);
    }
    for reason in Skip::ALL {
        counter!("ledgerline_skipped_records_total", "reason" => reason.as_str()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of lines of this program and of AWS's crates.
    fn logged(level: &str) -> Vec<&'static str> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(level))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "ledgerline::vault", "our debug");
            tracing::debug!(target: "aws_smithy_runtime::client", "smithy debug");
            tracing::info!(target: "aws_config::profile", "config info");
            tracing::trace!(target: "aws_sdk_s3::operation", "s3 trace");
            tracing::warn!(target: "aws_sdk_kms::config", "kms warn");
        });
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        ["our debug", "smithy debug", "config info", "s3 trace", "kms warn"]
            .into_iter()
            .filter(|line| text.contains(line))
            .collect()
    }

    #[test]
    fn aws_crates_say_no_more_than_warnings_unless_one_is_named() {
        for (level, expected) in [
            ("info", &["kms warn"][..]),
            ("debug", &["our debug", "kms warn"]),
            ("TRACE", &["our debug", "kms warn"]),
            ("warn", &["kms warn"]),
            ("error", &[]),
            ("off", &[]),
            ("ledgerline=debug", &["our debug"]),
            ("error,a=trace", &["kms warn"]),
            ("debug,aws=error", &["our debug"]),
            (
                "debug,aws_smithy_runtime=debug",
                &["our debug", "smithy debug", "kms warn"],
            ),
            ("info,aws_sdk_s3=trace", &["s3 trace", "kms warn"]),
            ("warn,aws=info", &["config info", "kms warn"]),
            (LOG_LEVEL_DEFAULT, &["kms warn"]),
        ] {
            assert_eq!(logged(level), expected, "{level}");
        }
    }
}
