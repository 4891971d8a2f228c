//! What a pass judges by: two that differ in it are not one pass.

use crate::config::LogConfig;
use crate::config::archive::ArchiveConfig;
use std::path::Path;

/// Flags and their values, none of them secret.
pub(super) type Judged = Vec<(&'static str, String)>;

/// All but --jwks, by which the content is judged in one step.
pub(super) fn judged(archive: &ArchiveConfig, log: Option<&LogConfig>) -> Judged {
    let mut judged = vec![("--log", log.map_or_else(none, log_of))];
    match archive {
        ArchiveConfig::Directory(path) => judged.push(("--archive", absolute(path))),
        ArchiveConfig::S3(config) => {
            let (access, retention) = (&config.access, &config.retention);
            // The client takes it where no flag is given.
            let elsewhere = || std::env::var("AWS_ENDPOINT_URL_S3").ok();
            let endpoint = access.endpoint.clone().or_else(elsewhere);
            let of_class = retention.days_of_class.iter();
            let of_class: Vec<String> = of_class.map(|(class, days)| format!("{class}={days}")).collect();
            let of_class = (!of_class.is_empty()).then(|| of_class.join(","));
            judged.extend([
                ("--archive", access.bucket.to_string()),
                ("--archive-endpoint", endpoint.unwrap_or_else(none)),
                ("--archive-lock", retention.mode.of_put().as_str().to_lowercase()),
                ("--archive-retention-days", retention.days.to_string()),
                ("--archive-class-retention-days", of_class.unwrap_or_else(none)),
            ]);
        }
    }
    judged
}

fn log_of(log: &LogConfig) -> String {
    match log {
        LogConfig::Embedded(path) => absolute(path),
        // With what its topics begin with.
        LogConfig::Kafka(config) => format!("{}/{}", config.brokers, config.topic("")),
    }
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

fn none() -> String {
    "none".to_owned()
}
