//! Reads a bucket's policy for the one statement that is asked for. It does not evaluate policies: what they allow is found out by trying.

use serde_json::Value;

/// Whether a statement denies everything to everybody, on the whole bucket, where the connection has no TLS.
#[must_use]
pub fn denies_without_tls(policy: &str, bucket: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else {
        return false;
    };
    let statements = policy.get("Statement").map(one_or_many).unwrap_or_default();
    statements.iter().any(|statement| is_tls_only(statement, bucket))
}

fn is_tls_only(statement: &Value, bucket: &str) -> bool {
    let has = |name: &str, wanted: &dyn Fn(&str) -> bool| {
        let values = statement.get(name).map(one_or_many).unwrap_or_default();
        values.into_iter().filter_map(Value::as_str).any(wanted)
    };
    let resource = |suffix: &str| {
        let end = format!(":s3:::{bucket}{suffix}");
        has("Resource", &|is| {
            is == "*"
                || (is.starts_with("arn:")
                    && (is.ends_with(&end) || is.ends_with(&format!(":s3:::{bucket}*"))))
        })
    };
    statement.get("Effect").and_then(Value::as_str) == Some("Deny")
        && statement.get("Principal").is_some_and(is_everybody)
        && has("Action", &|is| is == "*" || is.eq_ignore_ascii_case("s3:*"))
        && resource("")
        && resource("/*")
        && statement.get("Condition").is_some_and(is_without_tls)
}

fn is_everybody(principal: &Value) -> bool {
    let all = |value: &Value| one_or_many(value).into_iter().any(|one| one == "*");
    all(principal) || principal.get("AWS").is_some_and(all)
}

/// Nothing but this one: conditions that are together must all hold, so another one would let something through.
fn is_without_tls(condition: &Value) -> bool {
    let only = |value: &Value| match value.as_object() {
        Some(members) if members.len() == 1 => members
            .iter()
            .next()
            .map(|(name, value)| (name.clone(), value.clone())),
        Some(_) | None => None,
    };
    let Some((operator, keys)) = only(condition) else {
        return false;
    };
    let Some((key, value)) = only(&keys) else {
        return false;
    };
    matches!(operator.as_str(), "Bool" | "BoolIfExists")
        && key.eq_ignore_ascii_case("aws:SecureTransport")
        && one_or_many(&value)
            .into_iter()
            .all(|value| *value == "false" || *value == false)
}

/// A policy writes one thing without the brackets of a list.
fn one_or_many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statement() -> Value {
        json!({
            "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": ["arn:aws:s3:::audit", "arn:aws:s3:::audit/*"],
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        })
    }

    fn denies(statement: &Value) -> bool {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow" }, statement] });
        denies_without_tls(&policy.to_string(), "audit")
    }

    #[test]
    fn a_denial_of_everything_without_tls_is_found_in_each_spelling() {
        assert!(denies(&statement()));
        for (member, value) in [
            ("Principal", json!({ "AWS": "*" })),
            ("Principal", json!({ "AWS": ["*"] })),
            ("Action", json!(["s3:*"])),
            ("Resource", json!("*")),
            ("Resource", json!("arn:aws-cn:s3:::audit*")),
            (
                "Condition",
                json!({ "BoolIfExists": { "AWS:securetransport": [false] } }),
            ),
        ] {
            let mut other = statement();
            other[member] = value;
            assert!(denies(&other), "{other}");
        }
        let alone = json!({ "Statement": statement() }).to_string();
        assert!(denies_without_tls(&alone, "audit"));
    }

    #[test]
    fn a_denial_that_leaves_something_out_is_none() {
        for (member, value) in [
            ("Effect", json!("Allow")),
            ("Principal", json!({ "AWS": "arn:aws:iam::1:role/x" })),
            ("Action", json!("s3:GetObject")),
            ("Resource", json!("arn:aws:s3:::audit/*")),
            ("Resource", json!(["arn:aws:s3:::other", "arn:aws:s3:::other/*"])),
            ("Condition", json!({ "Bool": { "aws:SecureTransport": "true" } })),
            (
                "Condition",
                json!({ "Bool": { "aws:SecureTransport": "false" }, "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } }),
            ),
            ("Condition", json!({})),
        ] {
            let mut other = statement();
            other[member] = value;
            assert!(!denies(&other), "{other}");
        }
        assert!(!denies_without_tls("{", "audit"));
        assert!(!denies_without_tls("{}", "audit"));
    }
}
