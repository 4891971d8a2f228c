//! Avro: against the `apache-avro` crate, and against writers that mean harm.

use super::*;
use apache_avro::rabin::Rabin;
use apache_avro::types::Value;
use apache_avro::{GenericSingleObjectWriter, to_avro_datum};
use std::collections::HashMap;

type CrateSchema = apache_avro::Schema;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(entries: &[(&str, &str)]) -> Value {
    let entries = entries
        .iter()
        .map(|(name, json)| ((*name).to_owned(), text(json)));
    Value::Map(entries.collect::<HashMap<_, _>>())
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn fields() -> Vec<(&'static str, Value)> {
    let actor = record(vec![
        ("type", text("user")),
        ("id", text("u\"1")),
        ("attributes", texts(&[("mfa", " true ")])),
    ]);
    vec![
        ("event_id", text("e1")),
        ("tenant_id", text("acme")),
        ("occurred_at", text("2026-11-22T10:00:00Z")),
        ("action", text("a.b")),
        ("actor", actor),
        (
            "targets",
            some(Value::Array(vec![text("{\"id\": 1.50}"), text("\"x\"")])),
        ),
        ("context", some(texts(&[("ip", "\"192.0.2.1\"")]))),
        ("data", some(text("null"))),
        ("extra", texts(&[("schema", "[1,{}]")])),
    ]
}

const JSON: &str = r#"{"event_id":"e1","tenant_id":"acme","occurred_at":"2026-11-22T10:00:00Z","action":"a.b","actor":{"type":"user","id":"u\"1","mfa":true},"targets":[{"id": 1.50},"x"],"context":{"ip":"192.0.2.1"},"data":null,"schema":[1,{}]}"#;

fn own() -> Schema {
    Schema::of_audit_events()
}

fn encode(document: &str, value: Value) -> Vec<u8> {
    to_avro_datum(&CrateSchema::parse_str(document).unwrap(), value).unwrap()
}

/// Reads what the crate writes by this schema.
fn read(document: &str, value: Value) -> Result<String, Refusal> {
    let datum = encode(document, value);
    let schema = Schema::parse(document).unwrap();
    assert!(schema.resolves(), "{document}");
    event(&datum, &schema).map(|json| String::from_utf8(json).unwrap())
}

fn with(name: &str, value: Value) -> Value {
    let mut fields = fields();
    fields.iter_mut().find(|(field, _)| *field == name).unwrap().1 = value;
    record(fields)
}

fn refused(value: Value) -> String {
    let refusal = read(AUDIT_EVENT_SCHEMA, value).unwrap_err();
    assert_eq!(refusal.code, RejectCode::InvalidAvro);
    refusal.detail
}

#[test]
fn the_example_of_the_documents_is_read() {
    let example = include_str!("../../../docs/FORMATS.md")
        .split("```")
        .find_map(|block| block.strip_prefix("avro\n"));
    let (bytes, event) = example.and_then(|text| text.trim().split_once('\n')).unwrap();
    let bytes: Vec<u8> = bytes
        .split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let read = single_object(&bytes, &own()).unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), event);
}

#[test]
fn the_fingerprint_is_the_one_of_the_schema() {
    let schema = CrateSchema::parse_str(AUDIT_EVENT_SCHEMA).unwrap();
    assert_eq!(schema.fingerprint::<Rabin>().bytes, FINGERPRINT);
}

#[test]
fn what_the_crate_writes_is_read_member_by_member() {
    assert_eq!(read(AUDIT_EVENT_SCHEMA, record(fields())).unwrap(), JSON);
    let schema = CrateSchema::parse_str(AUDIT_EVENT_SCHEMA).unwrap();
    let mut single = Vec::new();
    GenericSingleObjectWriter::new_with_capacity(&schema, 64)
        .unwrap()
        .write_value(record(fields()), &mut single)
        .unwrap();
    assert_eq!(single_object(&single, &own()).unwrap(), JSON.as_bytes());
    let null = || Value::Union(0, Box::new(Value::Null));
    let mut least = fields();
    for (name, value) in &mut least {
        match *name {
            "targets" | "context" | "data" => *value = null(),
            "extra" => *value = texts(&[]),
            _ => {}
        }
    }
    let least = read(AUDIT_EVENT_SCHEMA, record(least)).unwrap();
    assert!(least.ends_with(r#""mfa":true}}"#), "{least}");
}

#[test]
fn another_fingerprint_is_an_unknown_schema_and_half_of_one_no_avro() {
    let single = [
        MARKER.as_slice(),
        &FINGERPRINT,
        &encode(AUDIT_EVENT_SCHEMA, record(fields())),
    ]
    .concat();
    assert!(single_object(&single, &own()).is_ok());
    let mut other = single.clone();
    other[9] ^= 1;
    assert_eq!(
        single_object(&other, &own()).unwrap_err().code,
        RejectCode::UnknownSchema
    );
    for length in 2..single.len() {
        let refusal = single_object(&single[..length], &own()).unwrap_err();
        assert_eq!(refusal.code, RejectCode::InvalidAvro, "{length}");
    }
    let longer = [single.as_slice(), &[0]].concat();
    assert!(
        single_object(&longer, &own())
            .unwrap_err()
            .detail
            .contains("bytes behind it")
    );
}

#[test]
fn a_text_that_is_not_one_json_value_cannot_become_other_members() {
    for injected in [
        "1,\"tenant_id\":\"evil\"",
        "",
        " ",
        "1}",
        "\"a",
        "{\"a\":1",
        "1 2",
        "//",
    ] {
        assert!(refused(with("data", some(text(injected)))).contains("data: a string in it"));
        assert!(refused(with("extra", texts(&[("x", injected)]))).contains("extra: a string in it"));
        assert!(
            refused(with("context", some(texts(&[("x", injected)])))).contains("context: a string in it")
        );
        assert!(
            refused(with("targets", some(Value::Array(vec![text(injected)]))))
                .contains("targets: a string in it")
        );
    }
    // A name is written as one, whatever it holds.
    let named = read(AUDIT_EVENT_SCHEMA, with("extra", texts(&[("a\":1,\"b", "2")]))).unwrap();
    assert!(named.ends_with(r#","a\":1,\"b":2}"#), "{named}");
}

#[test]
fn names_that_have_fields_of_their_own_are_refused_in_the_maps() {
    for name in SECTION_1 {
        assert!(refused(with("extra", texts(&[(name, "1")]))).contains("extra: a name in it"));
    }
    for name in ACTOR_NAMES {
        let actor = record(vec![
            ("type", text("user")),
            ("id", text("u1")),
            ("attributes", texts(&[(name, "\"x\"")])),
        ]);
        assert!(refused(with("actor", actor)).contains("actor.attributes: a name in it"));
    }
}

#[test]
fn a_writer_with_other_fields_in_another_order_is_resolved() {
    let writer = r#"{"type":"record","name":"AuditEvent","namespace":"com.acme","fields":[
        {"name":"list","type":["null","AuditEvent"],"default":null},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["a","b"]}},
        {"name":"action","type":"bytes"},
        {"name":"many","type":{"type":"array","items":{"type":"map","values":["null","double","long"]}}},
        {"name":"actor","type":["null",{"type":"record","name":"Actor","fields":[{"name":"id","type":"string"},{"name":"since","type":"long"},{"name":"type","type":["string","null"]}]}]},
        {"name":"occurred_at","type":"string"},
        {"name":"sum","type":{"type":"fixed","name":"Sum","size":2}},
        {"name":"tenant_id","type":["null","string"]},
        {"name":"data","type":"string"},
        {"name":"flag","type":"boolean"},
        {"name":"event_id","type":{"type":"string","logicalType":"uuid"}}]}"#;
    let event = |tenant: Value| {
        let actor = record(vec![
            ("id", text("u1")),
            ("since", Value::Long(-7)),
            ("type", Value::Union(0, Box::new(text("user")))),
        ]);
        let many = HashMap::from([("x".to_owned(), Value::Union(1, Box::new(Value::Double(1.5))))]);
        record(vec![
            ("list", Value::Union(0, Box::new(Value::Null))),
            ("kind", Value::Enum(1, "b".to_owned())),
            ("action", Value::Bytes(b"a.b".to_vec())),
            ("many", Value::Array(vec![Value::Map(many)])),
            ("actor", some(actor)),
            ("occurred_at", text("2026-11-22T10:00:00Z")),
            ("sum", Value::Fixed(2, vec![0xFF, 0])),
            ("tenant_id", tenant),
            ("data", text("{}")),
            ("flag", Value::Boolean(true)),
            ("event_id", text("0b9d4e2c-6a1e-4f5e-9d57-3c1b7f7f2a10")),
        ])
    };
    let json = read(writer, event(some(text("acme")))).unwrap();
    assert_eq!(
        json,
        r#"{"action":"a.b","actor":{"id":"u1","type":"user"},"occurred_at":"2026-11-22T10:00:00Z","tenant_id":"acme","data":{},"event_id":"0b9d4e2c-6a1e-4f5e-9d57-3c1b7f7f2a10"}"#
    );
    let refusal = read(writer, event(Value::Union(0, Box::new(Value::Null)))).unwrap_err();
    assert_eq!(refusal.code, RejectCode::InvalidAvro);
    assert!(
        refusal.detail.contains("tenant_id: the branch"),
        "{}",
        refusal.detail
    );
}

#[test]
fn a_writer_without_what_an_event_needs_does_not_resolve() {
    let base = Schema::parse(AUDIT_EVENT_SCHEMA).unwrap();
    assert!(base.resolves());
    for (from, to) in [
        ("\"name\": \"AuditEvent\"", "\"name\": \"Order\""),
        ("\"name\": \"Actor\"", "\"name\": \"Person\""),
        (
            "\"name\": \"event_id\",\n      \"type\": \"string\"",
            "\"name\": \"event_id\", \"type\": \"long\"",
        ),
        ("\"name\": \"tenant_id\"", "\"name\": \"tenant\""),
        ("[\"null\", \"string\"]", "[\"null\", \"long\"]"),
        (
            "{\"type\": \"array\", \"items\": \"string\"}",
            "{\"type\": \"array\", \"items\": \"int\"}",
        ),
    ] {
        let changed = AUDIT_EVENT_SCHEMA.replacen(from, to, 1);
        assert_ne!(changed, AUDIT_EVENT_SCHEMA, "{from}");
        // A union with null resolves as far as null is written.
        let resolves = Schema::parse(&changed).unwrap().resolves();
        assert_eq!(resolves, from.starts_with('[') || from.starts_with('{'), "{to}");
    }
    for (from, to, told) in [
        (
            "\"name\": \"AuditEvent\"",
            "\"name\": \"Order\"",
            "must be called AuditEvent",
        ),
        (
            "\"name\": \"Actor\"",
            "\"name\": \"Person\"",
            "actor is a record of another name: it must be called Actor",
        ),
        (
            "\"name\": \"tenant_id\"",
            "\"name\": \"tenant\"",
            "it has no field tenant_id",
        ),
        (
            "\"name\": \"event_id\",\n      \"type\": \"string\"",
            "\"name\": \"event_id\", \"type\": [\"null\", \"long\"]",
            "event_id is of another type",
        ),
    ] {
        let changed = AUDIT_EVENT_SCHEMA.replacen(from, to, 1);
        assert_ne!(changed, AUDIT_EVENT_SCHEMA, "{from}");
        let misfit = Schema::parse(&changed).unwrap().misfit().unwrap();
        assert!(misfit.contains(told), "{misfit}");
    }
    assert_eq!(base.misfit(), None);
    for document in [
        r#""string""#,
        "[]",
        r#"{"type":"map","values":"string"}"#,
        r#"["null"]"#,
    ] {
        assert!(!Schema::parse(document).unwrap().resolves(), "{document}");
    }
}

#[test]
fn hostile_lengths_are_believed_only_as_far_as_there_are_bytes() {
    let datum = encode(AUDIT_EVENT_SCHEMA, record(fields()));
    let huge = [[0xFE].as_slice(), &[0xFF; 8], &[1]].concat();
    for at in 0..datum.len() {
        let hostile = [&datum[..at], &huge, &datum[at..]].concat();
        // Within a string it may be content; nowhere may it cost more than it is.
        if let Ok(json) = event(&hostile, &own()) {
            assert!(json.len() < 8 * hostile.len());
        }
    }
}

#[test]
fn every_bit_may_be_wrong() {
    let datum = encode(AUDIT_EVENT_SCHEMA, record(fields()));
    for at in 0..datum.len() {
        for bit in 0..8 {
            let mut wrong = datum.clone();
            wrong[at] ^= 1 << bit;
            if let Err(refusal) = event(&wrong, &own()) {
                assert_eq!(refusal.code, RejectCode::InvalidAvro);
            }
        }
        assert!(event(&datum[..at], &own()).is_err(), "{at}");
    }
}
