//! How often `run` checks its read model, and how fast.

use super::Reader;
use std::time::Duration;

const DAY_MS: u64 = 24 * 3_600_000;
const ROWS_PER_SECOND_DEFAULT: u64 = 2_000;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuditSettings {
    /// How long after a check of the read model's rows the next one begins; 0 for never [default: 86400000, a day].
    #[arg(
        long,
        env = "LEDGERLINE_INDEX_CHECK_INTERVAL_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub index_check_interval_ms: Option<String>,

    /// About how many rows a second that check looks at [default: 2000].
    #[arg(
        long,
        env = "LEDGERLINE_INDEX_CHECK_ROWS_PER_SECOND",
        value_name = "N",
        hide_short_help = true
    )]
    pub index_check_rows_per_second: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub interval: Duration,
    pub rows_per_second: u32,
}

/// `None` where it is turned off. What is wrong is noted.
pub(super) fn check(settings: &AuditSettings, r: &mut Reader<'_>) -> Option<AuditConfig> {
    let interval_ms = r.number(
        "index-check-interval-ms",
        "LEDGERLINE_INDEX_CHECK_INTERVAL_MS",
        settings.index_check_interval_ms.as_deref(),
        DAY_MS,
        0..=366 * DAY_MS,
    );
    let rows = r.number(
        "index-check-rows-per-second",
        "LEDGERLINE_INDEX_CHECK_ROWS_PER_SECOND",
        settings.index_check_rows_per_second.as_deref(),
        ROWS_PER_SECOND_DEFAULT,
        1..=1_000_000,
    );
    (interval_ms > 0).then(|| AuditConfig {
        interval: Duration::from_millis(interval_ms),
        rows_per_second: u32::try_from(rows).unwrap_or(u32::MAX),
    })
}
