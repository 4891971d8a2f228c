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

/// The position that a record was forwarded from: `<topic>/<partition>@<offset>`, and behind the partition `~<incarnation>` where that is not the
/// first, because an offset of a topic that was made anew is another one.
#[must_use]
pub fn forwarded_from(source: &str, incarnation: u64, offset: u64) -> String {
    if incarnation <= 1 {
        format!("{source}@{offset}")
    } else {
        format!("{source}~{incarnation}@{offset}")
    }
}

/// What stands behind the partition in a position of which two events were made: in that of the first. Each has a mark of its own, since both may be of one
/// partition of the ledger, and what is at a mark already counts as sealed.
pub const LEFT: &str = "!left";

/// The position that a captured record stands at, of the first of two events that were made of it: of a row that left a tenant.
#[must_use]
pub fn left_from(source: &str, incarnation: u64, offset: u64) -> String {
    let mut place = forwarded_from(source, incarnation, offset);
    place.insert_str(place.rfind('@').unwrap_or(place.len()), LEFT);
    place
}

/// The topic partition of what [`forwarded_from`] and [`left_from`] write.
#[must_use]
pub fn parse_forwarded_from(text: &str) -> Option<SourcePartition<'_>> {
    let (place, offset) = text.rsplit_once('@')?;
    parse_decimal(offset)?;
    let place = place.strip_suffix(LEFT).unwrap_or(place);
    let source = match place.split_once('~') {
        None => place,
        Some((source, incarnation)) => parse_decimal(incarnation).filter(|n| *n > 1).map(|_| source)?,
    };
    parse_source(source)
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

/// The Parquet twin of the segment of this name ([`segment`]).
#[must_use]
pub fn twin(segment: &str) -> String {
    format!("{}.parquet", segment.trim_end_matches(".ndjson.zst"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each rule, what it just allows, and what it just refuses.
    type Row = (
        &'static str,
        fn(&str) -> bool,
        &'static [&'static str],
        &'static [&'static str],
    );

    const ROWS: &[Row] = &[
        (
            "tenant",
            is_tenant,
            &["a", "9", "A.b_c:d@e-f"],
            &["", ".a", "-a", "a/b", "a b", "é", "a\n"],
        ),
        (
            "log name",
            is_log_name,
            &["a", "a.b-c/9", "keysx", "x/keys"],
            &["", "/a", "a/", "a//b", ".", "a/..", "A", "a_b", "keys", "keys/a"],
        ),
        (
            "origin",
            is_origin,
            &["a/0", "a/b/12"],
            &["a", "/0", "a/", "a/00", "a/x", "A/0", "keys/0"],
        ),
        ("kid", is_kid, &["-", "A.b_c:d@e-f9"], &["", "a/b", "a b", "é"]),
        ("class", is_class, &["a", "9-a"], &["", "-a", "A", "a_b", "a.b"]),
        ("topic", is_topic, &[".", "A.b_c-9"], &["", "a/b", "a:b", "a@b"]),
    ];

    #[test]
    fn each_name_has_its_characters() {
        for (what, rule, allowed, refused) in ROWS {
            for name in *allowed {
                assert!(rule(name), "{what} {name:?}");
            }
            for name in *refused {
                assert!(!rule(name), "{what} {name:?}");
            }
        }
    }

    #[test]
    fn each_name_may_fill_its_length_and_not_pass_it() {
        for (rule, end, most) in [
            (is_tenant as fn(&str) -> bool, "", 128),
            (is_log_name, "", 190),
            (is_origin, "/1234567890", 200),
            (is_kid, "", 128),
            (is_class, "", 63),
            (is_topic, "", 200),
        ] {
            let of_length = |bytes: usize| "a".repeat(bytes - end.len()) + end;
            assert!(rule(&of_length(most)), "{most}");
            assert!(!rule(&of_length(most + 1)), "{most} and one");
        }
    }

    #[test]
    fn decimals_have_one_spelling_and_a_largest_value() {
        for (text, value) in [("0", 0), ("7", 7), ("10", 10), ("9007199254740991", INTEGER_MAX)] {
            assert_eq!(parse_decimal(text), Some(value));
        }
        for bad in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1.0",
            "1e3",
            "9007199254740992",
            "10000000000000000",
            "99999999999999999999",
        ] {
            assert_eq!(parse_decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_source_is_split_at_its_last_slash_and_its_last_at() {
        let source = SourcePartition {
            topic: "audit.events",
            partition: 3,
        };
        assert_eq!(parse_source("audit.events/3"), Some(source.clone()));
        assert_eq!(parse_source_position("audit.events/3@12"), Some((source, 12)));
        for bad in ["", "a", "a/", "/1", "a/01", "a/b/1", "a/1@2"] {
            assert_eq!(parse_source(bad), None, "{bad}");
        }
        for bad in ["a/1", "a/1@", "a/1@02", "@1", "a@1", "a/1@2@3"] {
            assert_eq!(parse_source_position(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_forwarded_position_names_the_incarnation_where_it_is_not_the_first() {
        let source = parse_source("audit.events/3");
        for (incarnation, text) in [(1, "audit.events/3@12"), (2, "audit.events/3~2@12")] {
            assert_eq!(forwarded_from("audit.events/3", incarnation, 12), text);
            assert_eq!(parse_forwarded_from(text), source);
        }
        for (incarnation, text) in [(1, "app.t/3!left@12"), (2, "app.t/3~2!left@12")] {
            assert_eq!(left_from("app.t/3", incarnation, 12), text);
            assert_eq!(parse_forwarded_from(text), parse_source("app.t/3"));
        }
        for bad in [
            "audit.events/3",
            "audit.events/3!left!left@12",
            "audit.events/3!left~2@12",
            "audit.events/3!right@12",
            "audit.events/3~1@12",
            "audit.events/3~02@12",
            "audit.events/3~@12",
            "audit.events/3~2@x",
            "audit.events~2/3@1",
        ] {
            assert_eq!(parse_forwarded_from(bad), None, "{bad}");
        }
    }
}
