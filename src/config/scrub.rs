//! How often `run` scrubs its archive, and how fast.

use super::Reader;
use std::time::Duration;

const DAY_MS: u64 = 24 * 3_600_000;
const CALLS_PER_SECOND_DEFAULT: u32 = 50;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct ScrubSettings {
    /// How often the archive is scrubbed: no pass begins sooner after the one before; 0 for never [default: 604800000, a week]. Of the settings of `ledgerline scrub`
    /// there are this one and --scrub-calls-per-second: the archive is held against what `run` archives with, its own keys are taken (that command has --jwks), and how
    /// far a pass is stands in the log.
    #[arg(
        long,
        env = "LEDGERLINE_SCRUB_INTERVAL_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub scrub_interval_ms: Option<String>,

    /// About how many objects a second the scrub of this process looks at, and then reads: a call each, or up to three where a lock must be asked for [default: 50].
    #[arg(
        long,
        env = "LEDGERLINE_SCRUB_CALLS_PER_SECOND",
        value_name = "N",
        hide_short_help = true
    )]
    pub scrub_calls_per_second: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubConfig {
    pub interval: Duration,
    pub calls_per_second: u32,
}

/// `None` where it is turned off. What is wrong is noted.
pub(super) fn check(settings: &ScrubSettings, r: &mut Reader<'_>) -> Option<ScrubConfig> {
    let interval_ms = r.number(
        "scrub-interval-ms",
        "LEDGERLINE_SCRUB_INTERVAL_MS",
        settings.scrub_interval_ms.as_deref(),
        7 * DAY_MS,
        0..=366 * DAY_MS,
    );
    let calls_per_second = r.number(
        "scrub-calls-per-second",
        "LEDGERLINE_SCRUB_CALLS_PER_SECOND",
        settings.scrub_calls_per_second.as_deref(),
        CALLS_PER_SECOND_DEFAULT.into(),
        1..=10_000,
    );
    (interval_ms > 0).then(|| ScrubConfig {
        interval: Duration::from_millis(interval_ms),
        calls_per_second: u32::try_from(calls_per_second).unwrap_or(CALLS_PER_SECOND_DEFAULT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(interval: Option<&str>, rate: Option<&str>) -> (Option<ScrubConfig>, Vec<&'static str>) {
        let settings = ScrubSettings {
            scrub_interval_ms: interval.map(ToOwned::to_owned),
            scrub_calls_per_second: rate.map(ToOwned::to_owned),
        };
        let mut reader = Reader {
            settings: &crate::config::Settings::default(),
            faults: Vec::new(),
        };
        let config = check(&settings, &mut reader);
        (config, reader.faults.iter().map(|fault| fault.key).collect())
    }

    #[test]
    fn it_is_once_a_week_unless_it_is_set_and_0_turns_it_off() {
        let (config, faults) = checked(None, None);
        let config = config.unwrap();
        assert!(faults.is_empty());
        assert_eq!(
            (config.interval, config.calls_per_second),
            (Duration::from_hours(7 * 24), 50)
        );
        assert_eq!(checked(Some("0"), None), (None, vec![]));
        assert_eq!(
            checked(Some("daily"), Some("0")).1,
            ["scrub-interval-ms", "scrub-calls-per-second"]
        );
    }
}
