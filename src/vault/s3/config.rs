//! How the archive in S3 is reached and how it is kept. Checked values; where they come from is [`crate::config`].

use crate::aws;
use crate::clock::UnixMicros;
use crate::vault::Keep;
use crate::vault::location::Bucket;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use std::collections::BTreeMap;
use std::time::Duration;

/// Seven years, whichever leap days they hold.
pub const RETENTION_DAYS_DEFAULT: u32 = 2_557;
/// What Object Lock takes at most: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// How long a call may take, with the largest object on its way.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_mins(1);

const SECOND: UnixMicros = 1_000_000;
const DAY: UnixMicros = 24 * 3_600 * SECOND;

/// How objects are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub bucket: Bucket,
    /// Of a store that is not AWS; `None`: the one of the region.
    pub endpoint: Option<String>,
    /// The bucket in the path, and not in the host's name.
    pub path_style: bool,
    pub call_timeout: Duration,
}

impl Access {
    /// Where the store is: by the setting, or by AWS's own variables; `None`: where the region's is.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.endpoint.clone().or_else(|| aws::endpoint("S3"))
    }

    /// As [`Self::address`], for a person.
    #[must_use]
    pub fn at(&self) -> String {
        self.address().unwrap_or_else(|| "AWS".to_owned())
    }
}

/// What writing adds to [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    pub access: Access,
    pub retention: Retention,
    /// SSE-KMS by this key; `None`: as the bucket encrypts by itself.
    pub kms_key: Option<String>,
    /// Of segments. Tiles, checkpoints and keys are small and read at every start: they stay in the bucket's first class.
    pub storage_class: Option<String>,
}

/// Who may shorten a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Who has the permission `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody, the root of the account included.
    Compliance,
}

impl LockMode {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "governance" => Some(Self::Governance),
            "compliance" => Some(Self::Compliance),
            _ => None,
        }
    }

    /// As a put names it.
    #[must_use]
    pub fn of_put(self) -> ObjectLockMode {
        match self {
            Self::Governance => ObjectLockMode::Governance,
            Self::Compliance => ObjectLockMode::Compliance,
        }
    }

    /// Until so many seconds since 1970, for an object that is there.
    #[must_use]
    pub fn until(self, seconds: i64) -> ObjectLockRetention {
        let mode = match self {
            Self::Governance => ObjectLockRetentionMode::Governance,
            Self::Compliance => ObjectLockRetentionMode::Compliance,
        };
        ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(DateTime::from_secs(seconds))
            .build()
    }
}

/// How long objects are locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub days: u32,
    /// Classes that are kept for another time.
    pub days_of_class: BTreeMap<String, u32>,
}

impl Retention {
    /// The second, since 1970, up to which an object is locked. Of what all classes need it is the latest that a segment of the same cut has.
    #[must_use]
    pub fn until(&self, keep: Keep<'_>) -> i64 {
        let days = match keep.class {
            Some(class) => self.days_of_class.get(class).copied().unwrap_or(self.days),
            None => self.days_of_class.values().copied().fold(self.days, u32::max),
        };
        // Up to the next whole second: stores keep no parts of one.
        let until = keep.sealed_at.saturating_add(i64::from(days) * DAY);
        until.div_euclid(SECOND) + i64::from(until.rem_euclid(SECOND) > 0)
    }
}

impl Retention {
    /// The fewest days for which a segment is locked, and the class whose they are; `None` for those that have no time of their own.
    #[must_use]
    pub fn shortest(&self) -> (u32, Option<&str>) {
        let of_classes = self.days_of_class.iter();
        of_classes
            .map(|(class, days)| (*days, Some(class.as_str())))
            .fold(
                (self.days, None),
                |least, other| {
                    if other.0 < least.0 { other } else { least }
                },
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(sealed_at: UnixMicros, class: Option<&str>) -> Keep<'_> {
        Keep {
            sealed_at,
            class,
            hold: false,
        }
    }

    #[test]
    fn retention_counts_from_the_sealed_time_and_what_all_need_is_kept_longest() {
        let retention = Retention {
            mode: LockMode::Compliance,
            days: 10,
            days_of_class: BTreeMap::from([("short".to_owned(), 1), ("long".to_owned(), 100)]),
        };
        let until = |class| retention.until(keep(0, class)) / 86_400;
        assert_eq!(
            [
                until(Some("default")),
                until(Some("short")),
                until(Some("long")),
                until(None)
            ],
            [10, 1, 100, 100]
        );
        assert_eq!(retention.shortest(), (1, Some("short")));
        assert_eq!(retention.until(keep(1, Some("short"))), 86_401);
        assert_eq!(retention.until(keep(SECOND, Some("short"))), 86_401);
    }

    #[test]
    fn compliance_is_the_stronger_mode() {
        assert!(LockMode::Compliance > LockMode::Governance);
        assert_eq!(LockMode::parse("COMPLIANCE"), Some(LockMode::Compliance));
        assert_eq!(LockMode::parse("off"), None);
    }
}
