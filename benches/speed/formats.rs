//! The forms of an event on one core: each from bytes to the JSON text that is judged, against the `apache-avro` crate merely reading the same
//! datum, and `serde_json` the same envelope, into values.

use crate::{median, time};
use apache_avro::types::Value;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use ledgerline::cli::demo::write_event;
use ledgerline::formats::{AUDIT_EVENT_SCHEMA, Decoded, EVENT_TYPE, Formats, Schemas};
use ledgerline::ledger::canonical::Limits;
use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;

const EVENTS: u64 = 50_000;
const TENANTS: u64 = 1_000;
const ROUNDS: usize = 5;
/// Members of an event that the schema has fields for.
const FIELDS: [&str; 8] = [
    "event_id",
    "tenant_id",
    "occurred_at",
    "action",
    "actor",
    "targets",
    "context",
    "data",
];

pub fn print() -> Result<(), Box<dyn Error>> {
    let events = (0..EVENTS).map(event).collect::<Result<Vec<_>, _>>()?;
    let schema = Schema::parse_str(AUDIT_EVENT_SCHEMA)?;
    let data = events
        .iter()
        .map(|event| Ok(to_avro_datum(&schema, datum(event)?)?))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let envelopes: Vec<Vec<u8>> = events.iter().map(envelope).collect();
    let avro = [("content-type".to_owned(), b"application/avro".to_vec())];
    let cloud = [(
        "content-type".to_owned(),
        b"application/cloudevents+json".to_vec(),
    )];
    println!("Forms of an event, one core, {EVENTS} events, bytes in, JSON text out");
    compare(
        ("Avro, plain", "apache-avro to Value (ceiling)"),
        || decode_all(&data, &avro),
        || {
            data.iter()
                .filter(|bytes| from_avro_datum(&schema, &mut bytes.as_slice(), None).is_ok())
                .count()
        },
    )?;
    compare(
        ("CloudEvent, structured", "serde_json to Value (ceiling)"),
        || decode_all(&envelopes, &cloud),
        || {
            envelopes
                .iter()
                .filter(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).is_ok())
                .count()
        },
    )?;
    println!();
    Ok(())
}

/// Prints what each of two takes, medians of alternating rounds; every record MUST be read by both.
fn compare(
    names: (&str, &str),
    own: impl Fn() -> usize,
    ceiling: impl Fn() -> usize,
) -> Result<(), Box<dyn Error>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (seconds, work) in [(&mut theirs, &ceiling as &dyn Fn() -> usize), (&mut ours, &own)] {
            let (taken, read) = time(work);
            if black_box(read) as u64 != EVENTS {
                return Err(format!("{}: {read} of {EVENTS} were read", names.0).into());
            }
            seconds.push(taken * 1e6 / EVENTS as f64);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("  {:<33} {theirs:>7.2} µs/event", names.1);
    println!(
        "  {:<33} {ours:>7.2} µs/event   ratio {:.2}",
        names.0,
        theirs / ours
    );
    Ok(())
}

fn decode_all(values: &[Vec<u8>], headers: &[(String, Vec<u8>)]) -> usize {
    let (formats, schemas) = (Formats::new(Limits::default()), Schemas::default());
    let json = |value: &&Vec<u8>| matches!(formats.decode(value, headers, &schemas), Ok(Decoded::Json(_)));
    values.iter().filter(json).count()
}

fn event(n: u64) -> Result<serde_json::Value, serde_json::Error> {
    let mut line = Vec::new();
    write_event(n, TENANTS, &mut line);
    serde_json::from_slice(&line)
}

fn envelope(event: &serde_json::Value) -> Vec<u8> {
    let id = &event["event_id"];
    serde_json::json!({"specversion": "1.0", "id": id, "source": "/bench", "type": EVENT_TYPE, "data": event})
        .to_string()
        .into_bytes()
}

/// The event as the schema has it.
fn datum(event: &serde_json::Value) -> Result<Value, Box<dyn Error>> {
    let members = event.as_object().ok_or("an event is an object")?;
    let actor = members["actor"].as_object().ok_or("an actor is an object")?;
    let name = |value: &serde_json::Value| Value::String(value.as_str().unwrap_or_default().to_owned());
    let optional = |name: &str, value: &dyn Fn(&serde_json::Value) -> Value| match members.get(name) {
        Some(member) => Value::Union(1, Box::new(value(member))),
        None => Value::Union(0, Box::new(Value::Null)),
    };
    let mut fields: Vec<(&str, Value)> = FIELDS[..4]
        .iter()
        .map(|field| (*field, name(&members[*field])))
        .collect();
    let attributes = texts(actor.iter().filter(|(key, _)| *key != "type" && *key != "id"));
    fields.push((
        "actor",
        record(vec![
            ("type", name(&actor["type"])),
            ("id", name(&actor["id"])),
            ("attributes", attributes),
        ]),
    ));
    fields.push((
        "targets",
        optional("targets", &|value| {
            Value::Array(value.as_array().into_iter().flatten().map(text).collect())
        }),
    ));
    fields.push((
        "context",
        optional("context", &|value| texts(value.as_object().into_iter().flatten())),
    ));
    fields.push(("data", optional("data", &text)));
    fields.push((
        "extra",
        texts(members.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()))),
    ));
    Ok(record(fields))
}

fn text(value: &serde_json::Value) -> Value {
    Value::String(value.to_string())
}

fn texts<'a>(members: impl Iterator<Item = (&'a String, &'a serde_json::Value)>) -> Value {
    Value::Map(
        members
            .map(|(name, value)| (name.clone(), text(value)))
            .collect::<HashMap<_, _>>(),
    )
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
