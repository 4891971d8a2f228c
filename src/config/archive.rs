//! Where the archive goes and how it is kept there: settings of `run`, and those that reading takes too.

use super::{Fault, parse_url};
use crate::ledger::names;
use crate::vault::location::{Bucket, Location, S3_SCHEME};
use crate::vault::s3::{
    Access, CALL_TIMEOUT_DEFAULT, LockMode, RETENTION_DAYS_DEFAULT, RETENTION_DAYS_MAX, Retention, S3Config,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an archive in S3 is reached by, for reading and for writing. Credentials and the region are found as AWS's own tools find them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessSettings {
    /// With s3://: the address of a store that is not AWS, as `http://HOST:9000`; AWS_ENDPOINT_URL_S3 counts too.
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_ENDPOINT",
        value_name = "URL",
        hide_short_help = true
    )]
    pub archive_endpoint: Option<String>,

    /// With s3://: the bucket is named in the path and not in the host's name, as stores that are not AWS mostly want it.
    #[arg(long, env = "LEDGERLINE_ARCHIVE_PATH_STYLE", hide_short_help = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub archive_path_style: bool,

    /// With s3://: how long one call may take, with the largest object on its way [default: 60000].
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_TIMEOUT_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub archive_timeout_ms: Option<String>,
}

/// What writing to S3 adds.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct S3Settings {
    #[command(flatten)]
    pub access: AccessSettings,

    /// With s3://, required: the Object Lock mode of every object. `compliance`: nobody can delete it before its time, the account's root included.
    /// `governance`: who may bypass it can.
    #[arg(long, env = "LEDGERLINE_ARCHIVE_LOCK", value_name = "MODE")]
    pub archive_lock: Option<String>,

    /// With s3://: how many days objects are locked, from when their cut was sealed [default: 2557, seven years].
    #[arg(long, env = "LEDGERLINE_ARCHIVE_RETENTION_DAYS", value_name = "DAYS")]
    pub archive_retention_days: Option<String>,

    /// With s3://: another number of days for an archive class, `CLASS=DAYS`; may be repeated, in the variable separated by commas.
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_CLASS_RETENTION_DAYS",
        value_name = "CLASS=DAYS",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub archive_class_retention_days: Vec<String>,

    /// With s3://: encrypt by this KMS key, an id or an ARN; without it, as the bucket encrypts by itself.
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_KMS_KEY",
        value_name = "KEY",
        hide_short_help = true
    )]
    pub archive_kms_key: Option<String>,

    /// With s3://: the storage class of segments, as STANDARD_IA; one that can be read at once [default: STANDARD].
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_STORAGE_CLASS",
        value_name = "CLASS",
        hide_short_help = true
    )]
    pub archive_storage_class: Option<String>,
}

/// Where the archive is, and how it is kept there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveConfig {
    Directory(PathBuf),
    S3(Box<S3Config>),
}

impl ArchiveConfig {
    /// Its path; `None` for one that is no directory.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::S3(_) => None,
        }
    }
}

/// Classes whose objects cannot be read at once: an archiver reads what it goes on from, and a verifier everything.
const STORAGE_CLASSES: [&str; 5] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
];

/// The archive's settings; what is wrong with them is added to `faults`.
pub fn check(url: Option<&str>, settings: &S3Settings, faults: &mut Vec<Fault>) -> ArchiveConfig {
    match parse_location(url) {
        Ok(Location::S3(bucket)) => ArchiveConfig::S3(Box::new(check_s3(bucket, settings, faults))),
        Ok(Location::Directory(path)) => {
            faults.extend(settings_of_s3(settings));
            ArchiveConfig::Directory(path)
        }
        Err(what) => {
            faults.push(fault("archive", "LEDGERLINE_ARCHIVE", what));
            ArchiveConfig::Directory(PathBuf::new())
        }
    }
}

/// Reads `file:DIR` or `s3://BUCKET/PREFIX`.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_location(url: Option<&str>) -> Result<Location, String> {
    match url {
        Some(text) if text.starts_with(S3_SCHEME) => Bucket::parse(text).map(Location::S3),
        Some(text) => parse_url(Some(text), "file:", "file:archive")
            .map(Location::Directory)
            .map_err(|what| format!("{what}; or begin with {S3_SCHEME} and name a bucket")),
        None => Err("is required, for example file:archive or s3://audit-archive/ledger".to_owned()),
    }
}

/// What is set although it says nothing of a directory: a mistake to be told of, not to be passed over.
fn settings_of_s3(settings: &S3Settings) -> Option<Fault> {
    let set = [
        settings
            .archive_lock
            .is_some()
            .then_some(("archive-lock", "LEDGERLINE_ARCHIVE_LOCK")),
        settings
            .archive_retention_days
            .is_some()
            .then_some(("archive-retention-days", "LEDGERLINE_ARCHIVE_RETENTION_DAYS")),
        settings
            .archive_kms_key
            .is_some()
            .then_some(("archive-kms-key", "LEDGERLINE_ARCHIVE_KMS_KEY")),
    ];
    let (key, variable) = set.into_iter().flatten().next()?;
    Some(fault(
        key,
        variable,
        "is read only with --archive s3://BUCKET/PREFIX",
    ))
}

fn check_s3(bucket: Bucket, settings: &S3Settings, faults: &mut Vec<Fault>) -> S3Config {
    S3Config {
        access: check_access(bucket, &settings.access, faults),
        retention: Retention {
            mode: lock_mode(settings.archive_lock.as_deref(), faults),
            days: days(settings.archive_retention_days.as_deref(), faults),
            days_of_class: days_of_class(&settings.archive_class_retention_days, faults),
        },
        kms_key: settings.archive_kms_key.clone(),
        storage_class: storage_class(settings.archive_storage_class.as_deref(), faults),
    }
}

/// How the bucket is reached; what is wrong is added to `faults`.
pub fn check_access(bucket: Bucket, settings: &AccessSettings, faults: &mut Vec<Fault>) -> Access {
    let endpoint = settings.archive_endpoint.clone();
    if endpoint.as_deref().is_some_and(|url| !is_endpoint(url)) {
        let what = "must be http://HOST:PORT or https://HOST:PORT, with nothing behind";
        faults.push(fault("archive-endpoint", "LEDGERLINE_ARCHIVE_ENDPOINT", what));
    }
    let call_timeout = match settings.archive_timeout_ms.as_deref().map(str::parse::<u64>) {
        None => CALL_TIMEOUT_DEFAULT,
        Some(Ok(ms)) if (100..=3_600_000).contains(&ms) => Duration::from_millis(ms),
        Some(Ok(_) | Err(_)) => {
            let what = "must be a whole number from 100 to 3600000";
            faults.push(fault("archive-timeout-ms", "LEDGERLINE_ARCHIVE_TIMEOUT_MS", what));
            CALL_TIMEOUT_DEFAULT
        }
    };
    Access {
        bucket,
        endpoint,
        path_style: settings.archive_path_style,
        call_timeout,
    }
}

fn is_endpoint(url: &str) -> bool {
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(|c: char| matches!(c, '/' | '@' | '?' | '#') || c.is_whitespace())
    })
}

/// It cannot be taken back, so that it is not chosen for anybody.
fn lock_mode(text: Option<&str>, faults: &mut Vec<Fault>) -> LockMode {
    let what = match text.map(LockMode::parse) {
        Some(Some(mode)) => return mode,
        Some(None) => "must be compliance or governance",
        None => {
            "is required with --archive s3://: compliance, where nobody can delete an object before its time, or governance, where who may bypass it can, \
             as for a trial"
        }
    };
    faults.push(fault("archive-lock", "LEDGERLINE_ARCHIVE_LOCK", what));
    LockMode::Governance
}

fn parse_days(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|days| (1..=RETENTION_DAYS_MAX).contains(days))
}

fn days(text: Option<&str>, faults: &mut Vec<Fault>) -> u32 {
    match text.map(parse_days) {
        None => RETENTION_DAYS_DEFAULT,
        Some(Some(days)) => days,
        Some(None) => {
            let what = format!("must be a whole number from 1 to {RETENTION_DAYS_MAX}");
            faults.push(fault(
                "archive-retention-days",
                "LEDGERLINE_ARCHIVE_RETENTION_DAYS",
                what,
            ));
            RETENTION_DAYS_DEFAULT
        }
    }
}

fn days_of_class(texts: &[String], faults: &mut Vec<Fault>) -> BTreeMap<String, u32> {
    let pair = |text: &String| {
        let (class, days) = text.split_once('=')?;
        names::is_class(class).then_some((class.to_owned(), parse_days(days)?))
    };
    texts.iter().map(pair).collect::<Option<_>>().unwrap_or_else(|| {
        let what = format!("must be CLASS=DAYS, the days a whole number from 1 to {RETENTION_DAYS_MAX}");
        faults.push(fault(
            "archive-class-retention-days",
            "LEDGERLINE_ARCHIVE_CLASS_RETENTION_DAYS",
            what,
        ));
        BTreeMap::new()
    })
}

fn storage_class(text: Option<&str>, faults: &mut Vec<Fault>) -> Option<String> {
    let text = text?;
    if !STORAGE_CLASSES.contains(&text) {
        let what = format!(
            "must be one whose objects can be read at once: {}; a rule of the bucket may move old segments to others",
            STORAGE_CLASSES.join(", ")
        );
        faults.push(fault(
            "archive-storage-class",
            "LEDGERLINE_ARCHIVE_STORAGE_CLASS",
            what,
        ));
    }
    Some(text.to_owned())
}

fn fault(key: &'static str, variable: &'static str, what: impl Into<String>) -> Fault {
    Fault {
        key,
        variable,
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str, settings: &S3Settings) -> (ArchiveConfig, Vec<&'static str>) {
        let mut faults = Vec::new();
        let config = check(Some(url), settings, &mut faults);
        (config, faults.iter().map(|fault| fault.key).collect())
    }

    #[test]
    fn a_bucket_needs_no_more_than_its_lock_mode() {
        let settings = S3Settings {
            archive_lock: Some("compliance".to_owned()),
            ..S3Settings::default()
        };
        let (config, faults) = checked("s3://audit/ledger", &settings);
        assert!(faults.is_empty());
        let ArchiveConfig::S3(config) = config else {
            panic!()
        };
        assert_eq!(
            (config.retention.mode, config.retention.days),
            (LockMode::Compliance, 2_557)
        );
        assert_eq!(
            checked("s3://audit/ledger", &S3Settings::default()).1,
            ["archive-lock"]
        );
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let settings = S3Settings {
            access: AccessSettings {
                archive_endpoint: Some("localhost:9000".to_owned()),
                archive_path_style: true,
                archive_timeout_ms: Some("0".to_owned()),
            },
            archive_lock: Some("off".to_owned()),
            archive_retention_days: Some("0".to_owned()),
            archive_class_retention_days: vec!["Long=1".to_owned()],
            archive_kms_key: None,
            archive_storage_class: Some("DEEP_ARCHIVE".to_owned()),
        };
        let all = [
            "archive-endpoint",
            "archive-timeout-ms",
            "archive-lock",
            "archive-retention-days",
            "archive-class-retention-days",
            "archive-storage-class",
        ];
        assert_eq!(checked("s3://audit", &settings).1, all);
        assert_eq!(checked("s3://A", &settings).1, ["archive"]);
    }

    #[test]
    fn what_is_said_of_a_bucket_says_nothing_of_a_directory() {
        let settings = S3Settings {
            archive_lock: Some("compliance".to_owned()),
            ..S3Settings::default()
        };
        assert_eq!(checked("file:archive", &settings).1, ["archive-lock"]);
        assert!(checked("file:archive", &S3Settings::default()).1.is_empty());
    }
}
