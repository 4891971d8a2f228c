//! Which form a record has: by its headers where it is a CloudEvent, then by its first bytes, then by its content type. What nothing marks is JSON.

use super::{Headers, avro};
use crate::ledger::leaf::RejectCode;

/// What stands before a datum whose schema is in a registry: 00, and the schema's id.
pub(super) const FRAME_BYTES: usize = 5;
const FRAME: u8 = 0;
/// A longer content type is none.
const CONTENT_TYPE_BYTES_MAX: usize = 256;
const CONTENT_TYPE: &str = "content-type";
/// Before the names of a CloudEvent's attributes.
pub(super) const ATTRIBUTE_PREFIX: &str = "ce_";
const CLOUD_EVENTS: &str = "application/cloudevents";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// Marker, fingerprint, datum.
    AvroSingleObject,
    /// A datum of our schema.
    AvroPlain,
    /// A datum of a schema in a registry.
    AvroFramed {
        schema: u32,
    },
    /// All of it in the value.
    CloudEventStructured,
    /// Its data in the value, its attributes in headers.
    CloudEventBinary,
    /// Marked as one of these, and none.
    Broken {
        code: RejectCode,
        what: &'static str,
    },
}

impl Form {
    pub fn of(value: &[u8], headers: &Headers) -> Self {
        let content_type = content_type(headers);
        if let Some(content_type) = content_type.filter(|text| begins_with(text, CLOUD_EVENTS)) {
            return Self::of_cloud_event(content_type);
        }
        if is_cloud_event(headers) {
            return Self::CloudEventBinary;
        }
        match value {
            // No JSON, and no datum of our schema, begins with either.
            [first, second, ..] if [*first, *second] == avro::MARKER => Self::AvroSingleObject,
            [FRAME, rest @ ..] => Self::of_frame(rest),
            _ if content_type.is_some_and(is_avro) => Self::AvroPlain,
            _ => Self::Json,
        }
    }

    fn of_cloud_event(content_type: &str) -> Self {
        if essence(content_type).eq_ignore_ascii_case("application/cloudevents+json") {
            return Self::CloudEventStructured;
        }
        Self::Broken {
            code: RejectCode::InvalidCloudEvent,
            what: "the content type is one of CloudEvents in another form than application/cloudevents+json: other event formats and batches are not read",
        }
    }

    fn of_frame(rest: &[u8]) -> Self {
        match rest.first_chunk().map(|id| u32::from_be_bytes(*id)) {
            // Registries count from 1, in a signed number.
            Some(schema @ 1..=0x7FFF_FFFF) => Self::AvroFramed { schema },
            Some(_) | None => Self::Broken {
                code: RejectCode::InvalidAvro,
                what: "the record begins as one that is framed for a schema registry (00 at byte 0), and no schema id follows",
            },
        }
    }
}

/// The last header of that name: it is the one that Kafka's own clients show.
pub(super) fn content_type(headers: &Headers) -> Option<&str> {
    let (_, value) = headers.iter().rev().find(|(name, _)| is_content_type(name))?;
    let value = value.as_slice();
    (value.len() <= CONTENT_TYPE_BYTES_MAX)
        .then(|| std::str::from_utf8(value).ok())
        .flatten()
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE)
}

fn is_cloud_event(headers: &Headers) -> bool {
    headers
        .iter()
        .any(|(name, _)| name.strip_prefix(ATTRIBUTE_PREFIX) == Some("specversion"))
}

/// The headers without which a record would be another one. Of one that was decoded they are few and short.
pub(crate) fn deciding_headers(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    let attributes = headers
        .iter()
        .filter(|(name, _)| is_cloud_event(headers) && name.starts_with(ATTRIBUTE_PREFIX));
    let content_type = content_type(headers).map(|text| (CONTENT_TYPE.to_owned(), text.as_bytes().to_vec()));
    attributes.cloned().chain(content_type).collect()
}

/// A media type without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn is_avro(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.eq_ignore_ascii_case("application/avro") || essence.eq_ignore_ascii_case("avro/binary")
}

/// Whether it declares JSON, as CloudEvents have it: `*/json` or `*/*+json`.
pub(super) fn is_json(media_type: &str) -> bool {
    let Some((_, subtype)) = essence(media_type).split_once('/') else {
        return false;
    };
    let suffix = subtype.rsplit('+').next().unwrap_or(subtype);
    suffix.eq_ignore_ascii_case("json")
}

fn begins_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    fn form(value: &[u8], pairs: &[(&str, &str)]) -> Form {
        Form::of(value, &headers(pairs))
    }

    #[test]
    fn each_form_is_recognised_by_what_marks_it() {
        let structured = [
            "application/cloudevents+json",
            "application/cloudevents+json; charset=UTF-8",
            "Application/CloudEvents+JSON;charset=utf-8",
        ];
        for content_type in structured {
            assert_eq!(
                form(b"{}", &[("content-type", content_type)]),
                Form::CloudEventStructured
            );
        }
        assert_eq!(form(b"\xC3\x01", &[]), Form::AvroSingleObject);
        assert_eq!(form(b"\0\0\0\x01\x02", &[]), Form::AvroFramed { schema: 258 });
        for content_type in ["application/avro", "avro/binary", "AVRO/binary; v=1"] {
            assert_eq!(
                form(b"\x04e1", &[("Content-Type", content_type)]),
                Form::AvroPlain
            );
        }
        assert_eq!(
            form(
                b"{}",
                &[("ce_specversion", "0.3"), ("content-type", "application/avro")]
            ),
            Form::CloudEventBinary
        );
        for (value, content_type) in [
            (&b"{}"[..], "application/json"),
            (b"", "text/plain"),
            (b"\xC3", "application/octet-stream"),
            (b"\xEF\xBB\xBF{}", "application/vnd.acme+avro"),
        ] {
            assert_eq!(form(value, &[("content-type", content_type)]), Form::Json);
        }
    }

    #[test]
    fn first_bytes_go_before_a_content_type_and_headers_of_a_cloud_event_before_both() {
        let avro = ("content-type", "application/avro");
        assert_eq!(form(b"\xC3\x01", &[avro]), Form::AvroSingleObject);
        assert_eq!(form(b"\0\0\0\0\x07", &[avro]), Form::AvroFramed { schema: 7 });
        assert_eq!(
            form(b"\0\0\0\0\x07", &[("ce_specversion", "1.0")]),
            Form::CloudEventBinary
        );
        // Structured mode may repeat the attributes as headers.
        let both = [
            ("ce_specversion", "1.0"),
            ("content-type", "application/cloudevents+json"),
        ];
        assert_eq!(form(b"{}", &both), Form::CloudEventStructured);
    }

    #[test]
    fn frames_without_an_id_and_other_event_formats_are_broken() {
        for value in [&b"\0"[..], b"\0\0\0\0", b"\0\0\0\0\0", b"\0\x80\0\0\0rest"] {
            let Form::Broken { code, .. } = form(value, &[]) else {
                panic!("{value:?}")
            };
            assert_eq!(code, RejectCode::InvalidAvro);
        }
        for content_type in [
            "application/cloudevents+avro",
            "application/cloudevents-batch+json",
            "application/cloudevents",
        ] {
            let Form::Broken { code, .. } = form(b"[]", &[("content-type", content_type)]) else {
                panic!("{content_type}")
            };
            assert_eq!(code, RejectCode::InvalidCloudEvent);
        }
    }

    #[test]
    fn of_two_content_types_the_last_counts_and_a_long_one_is_none() {
        let two = [
            ("content-type", "application/avro"),
            ("content-type", "application/json"),
        ];
        assert_eq!(form(b"x", &two), Form::Json);
        let long = format!("application/avro;{}", " ".repeat(CONTENT_TYPE_BYTES_MAX));
        assert_eq!(form(b"x", &[("content-type", &long)]), Form::Json);
    }

    #[test]
    fn the_headers_that_decide_are_kept_and_decide_the_same() {
        let sent = headers(&[
            ("x", "y"),
            ("content-type", "text/plain"),
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("content-type", "application/json"),
        ]);
        let kept = deciding_headers(&sent);
        let expected = headers(&[
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("content-type", "application/json"),
        ]);
        assert_eq!(kept, expected);
        assert_eq!(deciding_headers(&headers(&[("ce_id", "1"), ("x", "y")])), []);
    }

    #[test]
    fn json_is_declared_by_its_subtype() {
        for yes in [
            "application/json",
            "text/JSON; charset=utf-8",
            "application/vnd.acme.v1+json",
        ] {
            assert!(is_json(yes), "{yes}");
        }
        for no in [
            "json",
            "application/jsonl",
            "application/xml",
            "",
            "application/json+xml",
        ] {
            assert!(!is_json(no), "{no}");
        }
    }
}
