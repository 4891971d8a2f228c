//! Names: which ones are allowed, and what each object of an archive is called (docs/FORMAT.md sections 4 and 6).

use crate::clock::UnixMicros;
use crate::ledger::time::utc_day;

/// 2^53 - 1, the largest integer that every JSON reader keeps.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// The class of a leaf without a tenant, and of every tenant that was given no other.
pub const DEFAULT_CLASS: &str = "default";

/// What [`is_tenant`] asks for, in words.
pub const TENANT_FORM: &str =
    "a string of 1 to 128 characters of A-Z a-z 0-9 . _ : @ -, the first a letter or digit";

#[must_use]
pub fn is_tenant(name: &str) -> bool {
    name.len() <= 128
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

/// `<log name>/<partition>`; the log name is not empty, and neither it nor a part of it is a path's `.` or `..`.
#[must_use]
pub fn is_origin(name: &str) -> bool {
    let Some((log_name, partition)) = name.rsplit_once('/') else {
        return false;
    };
    name.len() <= 200 && is_log_name(log_name) && parse_decimal(partition).is_some()
}

/// What an origin is without its partition: parts of `[a-z0-9.-]` between slashes, none empty and none beginning with a dot.
/// `keys` is taken: the archive's keys lie there.
#[must_use]
pub fn is_log_name(name: &str) -> bool {
    let part_ok = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
    };
    name.len() <= 190 && name != "keys" && !name.starts_with("keys/") && name.split('/').all(part_ok)
}

#[must_use]
pub fn is_kid(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

#[must_use]
pub fn is_class(name: &str) -> bool {
    name.len() <= 63
        && name
            .as_bytes()
            .first()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[must_use]
pub fn is_topic(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A decimal number without sign or leading zeros, at most 2^53 - 1.
#[must_use]
pub fn parse_decimal(text: &str) -> Option<u64> {
    parse_decimal_bytes(text.as_bytes())
}

/// The same, of bytes that need not be text.
pub(super) fn parse_decimal_bytes(digits: &[u8]) -> Option<u64> {
    let one_spelling = digits.len() == 1 || digits.first() != Some(&b'0');
    if !(1..=16).contains(&digits.len()) || !one_spelling {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })?;
    (value <= INTEGER_MAX).then_some(value)
}

/// `<topic>/<partition>`, what offsets count in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePartition<'a> {
    pub topic: &'a str,
    pub partition: u64,
}

/// Splits `<topic>/<partition>@<offset>`.
#[must_use]
pub fn parse_source_position(text: &str) -> Option<(SourcePartition<'_>, u64)> {
    let (source, offset) = text.rsplit_once('@')?;
    Some((parse_source(source)?, parse_decimal(offset)?))
}

/// Splits `<topic>/<partition>`.
#[must_use]
pub fn parse_source(text: &str) -> Option<SourcePartition<'_>> {
    let (topic, partition) = text.rsplit_once('/')?;
    Some(SourcePartition {
        topic: is_topic(topic).then_some(topic)?,
        partition: parse_decimal(partition)?,
    })
}

/// `<log name>/<partition>`.
#[must_use]
pub fn origin(log_name: &str, partition: u32) -> String {
    format!("{log_name}/{partition}")
}

/// The object that holds the leaves `first` to `last` of one class; `cut_at` is the cut's `sealed_at`.
#[must_use]
pub fn segment(origin: &str, class: &str, cut_at: UnixMicros, first: u64, last: u64) -> String {
    format!(
        "{origin}/class={class}/date={}/{first:020}-{last:020}.ndjson.zst",
        utc_day(cut_at)
    )
}

#[must_use]
pub fn checkpoint(origin: &str, size: u64) -> String {
    format!("{origin}/checkpoints/{size:020}")
}

/// The JWKS of the first `keys` declared keys.
#[must_use]
pub fn jwks(keys: usize) -> String {
    format!("keys/jwks-{keys}.json")
}
