//! What an answer of the registry says. Pure.

use crate::formats::avro::{DOCUMENT_BYTES_MAX, Schema};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Confluent's code of an id that no schema has.
const SCHEMA_NOT_FOUND: i64 = 40_403;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// The text of what is said to be an Avro schema.
    Document(String),
    /// It is there, and nothing can be read by it, now or later.
    Unusable(String),
    NotThere,
}

#[derive(Deserialize)]
struct Found {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Failed {
    error_code: i64,
}

/// `Err` where the answer says nothing of the schema: it is asked for again.
pub(super) fn judge(status: u16, body: &[u8]) -> Result<Fetched, String> {
    match status {
        200 => serde_json::from_slice::<Found>(body)
            .map(Found::judge)
            .map_err(|_| "it answers with something else than a schema: is the URL right?".to_owned()),
        404 => match serde_json::from_slice::<Failed>(body) {
            Ok(Failed {
                error_code: SCHEMA_NOT_FOUND,
            }) => Ok(Fetched::NotThere),
            Ok(Failed { .. }) | Err(_) => Err(
                "it answers with status 404, and not that the schema is unknown: is the URL right?"
                    .to_owned(),
            ),
        },
        401 | 403 => Err(format!(
            "it refuses the login with status {status}: see {} and {}",
            super::USER_VARIABLE,
            super::PASSWORD_VARIABLE
        )),
        _ => Err(format!("it answers with status {status}")),
    }
}

impl Found {
    fn judge(self) -> Fetched {
        let unusable = |why: &str| Fetched::Unusable(why.to_owned());
        if self.kind.is_some_and(|kind| kind != "AVRO") {
            return unusable("it is in the registry, and not Avro");
        }
        if self.references.is_some_and(|references| !references.is_empty()) {
            return unusable("it refers to other schemas, which is not read: register it in one piece");
        }
        if self.schema.len() > DOCUMENT_BYTES_MAX {
            return Fetched::Unusable(format!("its document has more than {DOCUMENT_BYTES_MAX} bytes"));
        }
        Fetched::Document(self.schema)
    }
}

/// The schema in `document`, by which audit events can be read; `Err` says why not.
pub(super) fn of_audit_events(document: &str) -> Result<Schema, String> {
    let schema =
        Schema::parse(document).map_err(|fault| format!("its document is no Avro schema: {fault}"))?;
    if schema.resolves() {
        Ok(schema)
    } else {
        Err("it does not resolve to ledgerline.AuditEvent (schemas/audit_event.avsc)".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::AUDIT_EVENT_SCHEMA;
    use serde_json::json;

    fn found(answer: &serde_json::Value) -> Result<Fetched, String> {
        judge(200, answer.to_string().as_bytes())
    }

    fn why_not(document: &str) -> String {
        of_audit_events(document).unwrap_err()
    }

    #[test]
    fn a_document_is_taken_as_it_stands() {
        for answer in [
            json!({"schema": AUDIT_EVENT_SCHEMA}),
            json!({"schema": AUDIT_EVENT_SCHEMA, "schemaType": "AVRO", "references": [], "maxId": 7}),
            json!({"schema": AUDIT_EVENT_SCHEMA, "references": null}),
        ] {
            assert_eq!(
                found(&answer),
                Ok(Fetched::Document(AUDIT_EVENT_SCHEMA.to_owned()))
            );
        }
        assert!(of_audit_events(AUDIT_EVENT_SCHEMA).is_ok());
    }

    #[test]
    fn what_audit_events_cannot_be_read_by_says_why() {
        let deep = format!(
            "{}\"int\"{}",
            r#"{"type":"array","items":"#.repeat(200),
            "}".repeat(200)
        );
        for document in ["not a schema", &deep] {
            assert!(why_not(document).contains("not JSON"));
        }
        assert!(why_not("\"string\"").contains("does not resolve"));
    }

    #[test]
    fn a_schema_that_will_never_do_is_unusable_with_a_reason() {
        for (answer, reason) in [
            (json!({"schema": "{}", "schemaType": "PROTOBUF"}), "not Avro"),
            (
                json!({"schema": AUDIT_EVENT_SCHEMA, "references": [{"name": "a"}]}),
                "in one piece",
            ),
            (
                json!({"schema": "x".repeat(DOCUMENT_BYTES_MAX + 1)}),
                "more than 262144",
            ),
        ] {
            let Ok(Fetched::Unusable(why)) = found(&answer) else {
                panic!("{reason}")
            };
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn only_the_registrys_own_word_says_that_there_is_none() {
        let not_found = br#"{"error_code":40403,"message":"Schema 7 not found"}"#;
        assert_eq!(judge(404, not_found), Ok(Fetched::NotThere));
        let deep = "[".repeat(1 << 20);
        for (status, body) in [
            (404, &b"<html>not here</html>"[..]),
            (404, br#"{"error_code":404}"#),
            (500, not_found),
            (503, b""),
            (302, b""),
            (401, b""),
            (403, b""),
            (200, b""),
            (200, b"<html>login</html>"),
            (200, br#"{"schema":7}"#),
            (200, br#"{"message":"ok"}"#),
            (200, b"\xff\xfe"),
            (200, deep.as_bytes()),
        ] {
            assert!(judge(status, body).is_err(), "{status}");
        }
        let refused = judge(401, b"").unwrap_err();
        assert!(refused.contains("LEDGERLINE_SCHEMA_REGISTRY_USER"), "{refused}");
    }
}
