//! The Avro schemas under schemas/ against their committed first versions.

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value;

const SCHEMAS: [(&str, &str, &str); 2] = [
    (
        "audit_event",
        include_str!("../../schemas/audit_event.avsc"),
        include_str!("../../schemas/v1/audit_event.avsc"),
    ),
    (
        "ledger_record",
        include_str!("../../schemas/ledger_record.avsc"),
        include_str!("../../schemas/v1/ledger_record.avsc"),
    ),
];

#[test]
fn what_the_first_version_wrote_is_read_by_todays_schema_and_the_other_way() {
    for (name, today, first) in SCHEMAS {
        let (today, first) = (
            Schema::parse_str(today).unwrap(),
            Schema::parse_str(first).unwrap(),
        );
        assert!(
            SchemaCompatibility::can_read(&first, &today).is_ok(),
            "{name}: not backward compatible"
        );
        assert!(
            SchemaCompatibility::can_read(&today, &first).is_ok(),
            "{name}: not forward compatible"
        );
    }
}

#[test]
fn a_schema_that_adds_a_required_field_is_found_incompatible() {
    let (_, today, first) = SCHEMAS[1];
    let with_required = today.replacen(
        "\"fields\": [",
        "\"fields\": [{\"name\": \"added\", \"type\": \"string\"},",
        1,
    );
    let (later, first) = (
        Schema::parse_str(&with_required).unwrap(),
        Schema::parse_str(first).unwrap(),
    );
    assert!(SchemaCompatibility::can_read(&first, &later).is_err());
}

#[test]
fn every_field_of_every_schema_is_documented() {
    fn undocumented(schema: &serde_json::Value, at: &str, found: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(object) => {
                let named = object.contains_key("name");
                if named && !object.contains_key("doc") {
                    found.push(format!("{at}.{}", object["name"]));
                }
                for (member, value) in object {
                    undocumented(value, &format!("{at}.{member}"), found);
                }
            }
            serde_json::Value::Array(values) => {
                for value in values {
                    undocumented(value, at, found);
                }
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    for (name, today, _) in SCHEMAS {
        let mut found = Vec::new();
        undocumented(&serde_json::from_str(today).unwrap(), name, &mut found);
        assert_eq!(found, [] as [String; 0]);
    }
}

#[test]
fn an_audit_event_with_required_members_alone_has_the_other_members_absent() {
    let schema = Schema::parse_str(SCHEMAS[0].1).unwrap();
    let text = |value: &str| Value::String(value.to_owned());
    let actor = Value::Record(vec![
        ("type".to_owned(), text("user")),
        ("id".to_owned(), text("u1")),
    ]);
    let event = Value::Record(vec![
        ("event_id".to_owned(), text("e1")),
        ("tenant_id".to_owned(), text("t1")),
        ("occurred_at".to_owned(), text("2026-11-22T10:00:00Z")),
        ("action".to_owned(), text("login")),
        ("actor".to_owned(), actor),
    ]);
    let Value::Record(members) = event.resolve(&schema).unwrap() else {
        panic!("a record stays one");
    };
    let absent: Vec<&str> = members
        .iter()
        .filter(|(_, value)| *value == Value::Union(0, Box::new(Value::Null)))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(absent, ["targets", "context", "data"]);
}
