//! What all clients of a cluster have in common: settings, where their errors and log lines go.

use super::url::{KafkaConfig, Password};
use crate::log::LogError;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request that asks the cluster something is waited for.
pub(super) const ASK_PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka reports numbers this often.
const STATISTICS_INTERVAL_MS: &str = "5000";
/// An error older than this says nothing of now.
const TROUBLE_LASTS: Duration = Duration::from_mins(1);

/// Settings that every client starts from.
///
/// # Errors
/// `Fatal` where the file of the password cannot be read.
pub(super) fn settings(config: &KafkaConfig) -> Result<ClientConfig, LogError> {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", &config.client_id)
        .set("security.protocol", config.security.protocol.as_str())
        .set("socket.keepalive.enable", "true")
        // A connection that was cut without a word is given up after this.
        .set("socket.timeout.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000")
        // A topic that somebody misspelt must not come into being.
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS)
        .set_log_level(RDKafkaLogLevel::Warning);
    let security = &config.security;
    let files = [
        ("ssl.ca.location", &security.ca_file),
        ("ssl.certificate.location", &security.certificate_file),
        ("ssl.key.location", &security.key_file),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            settings.set(name, file.display().to_string());
        }
    }
    if security.ca_file.is_none() {
        // Where this system keeps its certificates: the OpenSSL built in has no place of its own.
        settings.set("ssl.ca.location", "probe");
    }
    if let Some(sasl) = &security.sasl {
        settings
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", read_password(&sasl.password)?);
    }
    Ok(settings)
}

/// Settings of a client that only asks and administers.
pub(super) fn quiet_settings(config: &KafkaConfig) -> Result<ClientConfig, LogError> {
    let mut settings = settings(config)?;
    settings.set("statistics.interval.ms", "0");
    Ok(settings)
}

fn read_password(password: &Password) -> Result<String, LogError> {
    match password {
        Password::Value(value) => Ok(value.clone()),
        Password::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
            Err(error) => Err(LogError::Fatal {
                what: format!("sasl.password.file {} cannot be read: {error}", path.display()),
                source: Some(error.into()),
            }),
        },
    }
}

/// The last error that a client of this cluster reported by itself, beside any call: why a call gets no answer.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    last: Mutex<Option<Trouble>>,
}

#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub code: RDKafkaErrorCode,
    pub what: String,
    at: Instant,
}

impl Troubles {
    fn place(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what librdkafka reported.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        let mut place = self.place();
        // That all brokers are down follows from what was said of each.
        let says_more = code != RDKafkaErrorCode::AllBrokersDown || place.is_none();
        if says_more {
            let what = reason.to_owned();
            *place = Some(Trouble {
                code,
                what,
                at: Instant::now(),
            });
        }
        drop(place);
        metrics::counter!("ledgerline_kafka_errors_total").increment(1);
        tracing::debug!(target: "librdkafka", ?code, reason, "a client reports");
    }

    /// A broker answered.
    pub fn clear(&self) {
        *self.place() = None;
    }

    pub fn recent(&self) -> Option<Trouble> {
        self.place()
            .clone()
            .filter(|trouble| trouble.at.elapsed() < TROUBLE_LASTS)
    }
}

/// Sends a line of librdkafka where all lines go.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, message);
        }
    }
}
