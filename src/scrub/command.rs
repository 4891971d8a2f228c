//! What to type where something was found: a command of AWS's own tool, with every value that the scrub knows. Pure; nothing here is run.

use super::finding::{Finding, Kind};
use super::machine::time;
use crate::vault::s3::{Access, LockMode};

/// What to type first. `None` where that is for a person to find out, or where the key cannot be typed.
#[must_use]
pub fn command(finding: &Finding, access: &Access) -> Option<String> {
    let version = finding.version.as_deref()?;
    let (operation, more) = match finding.kind {
        Kind::DeleteMarker => ("delete-object", String::new()),
        Kind::SecondVersion => {
            return Some(list_versions(finding, access)).filter(|_| is_typed(&finding.name));
        }
        Kind::NotLocked | Kind::ShortRetention => retention(finding, "")?,
        // Another mode than it has, also a stronger one, is taken from who bypasses alone.
        Kind::WeakMode => retention(finding, " --bypass-governance-retention")?,
        Kind::HoldMissing => ("put-object-legal-hold", " --legal-hold Status=ON".to_owned()),
        Kind::UntoldLock => ("get-object-retention", String::new()),
        Kind::UnknownKey | Kind::Uncovered | Kind::Missing | Kind::Content => return None,
    };
    let key = quoted(&access.bucket.key(&finding.name));
    let bucket = &access.bucket.bucket;
    is_typed(&finding.name).then(|| {
        format!(
            "aws s3api {operation}{} --bucket {bucket} --key {key} --version-id {}{more}",
            endpoint(access),
            quoted(version)
        )
    })
}

/// How a version is locked anew.
fn retention(finding: &Finding, bypass: &str) -> Option<(&'static str, String)> {
    let relock = finding.relock?;
    let mode = match relock.mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    };
    // The tool takes no parts of a second.
    let until = time(relock.until).replace(".000000Z", "Z");
    let more = format!(" --retention Mode={mode},RetainUntilDate={until}{bypass}");
    Some(("put-object-retention", more))
}

fn list_versions(finding: &Finding, access: &Access) -> String {
    format!(
        "aws s3api list-object-versions{} --bucket {} --prefix {}",
        endpoint(access),
        access.bucket.bucket,
        quoted(&access.bucket.key(&finding.name))
    )
}

fn endpoint(access: &Access) -> String {
    let endpoint = access.endpoint.as_ref();
    endpoint.map_or_else(String::new, |url| format!(" --endpoint-url {url}"))
}

fn is_typed(name: &str) -> bool {
    !name.chars().any(char::is_control)
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'=' | b':');
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Relock;
    use super::*;
    use crate::vault::location::Bucket;
    use std::time::Duration;

    fn typed(kind: Kind, name: &str, endpoint: Option<&str>) -> Option<String> {
        let access = Access {
            bucket: Bucket::parse("s3://audit/ledger").unwrap(),
            endpoint: endpoint.map(ToOwned::to_owned),
            path_style: false,
            call_timeout: Duration::from_secs(1),
        };
        let finding = Finding {
            kind,
            name: name.to_owned(),
            version: Some("v1".to_owned()),
            what: String::new(),
            relock: Some(Relock {
                mode: LockMode::Compliance,
                until: 86_400,
                short_by: 1,
            }),
        };
        command(&finding, &access)
    }

    #[test]
    fn every_value_that_is_known_is_filled_in() {
        for (kind, bypass) in [
            (Kind::NotLocked, ""),
            (Kind::ShortRetention, ""),
            (Kind::WeakMode, " --bypass-governance-retention"),
        ] {
            let expected = format!(
                "aws s3api put-object-retention --bucket audit --key ledger/a/0/tile/0/000.p/7 --version-id v1 \
                 --retention Mode=COMPLIANCE,RetainUntilDate=1970-01-02T00:00:00Z{bypass}"
            );
            assert_eq!(typed(kind, "a/0/tile/0/000.p/7", None), Some(expected));
        }
        assert_eq!(
            typed(Kind::DeleteMarker, "x", Some("http://127.0.0.1:1")).as_deref(),
            Some(
                "aws s3api delete-object --endpoint-url http://127.0.0.1:1 --bucket audit --key ledger/x --version-id v1"
            )
        );
        assert_eq!(
            typed(Kind::SecondVersion, "x", None).as_deref(),
            Some("aws s3api list-object-versions --bucket audit --prefix ledger/x")
        );
        let hold = typed(Kind::HoldMissing, "x", None).unwrap();
        assert!(hold.ends_with("--version-id v1 --legal-hold Status=ON"), "{hold}");
    }

    #[test]
    fn a_key_is_one_word_whatever_is_in_it() {
        let typed = |name: &str| typed(Kind::UntoldLock, name, None);
        let quoted = typed("it's $(x)").unwrap();
        assert!(quoted.contains(r"--key 'ledger/it'\''s $(x)' "), "{quoted}");
        assert_eq!(typed("a\nb"), None);
    }

    #[test]
    fn where_a_person_must_find_out_first_there_is_none() {
        for kind in [Kind::UnknownKey, Kind::Uncovered, Kind::Missing, Kind::Content] {
            assert_eq!(typed(kind, "x", None), None);
        }
    }
}
