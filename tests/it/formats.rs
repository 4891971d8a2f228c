//! The forms in which an audit event may come: the same event in each is the same bytes; what cannot be read is rejected with its own bytes or
//! waited for, never passed over.

mod registry;

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};
use ledgerline::formats::registry::{Registry, RegistryConfig};
use ledgerline::formats::{AUDIT_EVENT_SCHEMA, Decoded, EVENT_DATASCHEMA, EVENT_TYPE, Formats, HeldUp};
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::event::EventParser;
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::log::Record;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use registry::{Behaviour, FakeRegistry};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

mod capturing;
mod sealing;

/// CRC-64-AVRO of the schema, little-endian: docs/FORMATS.md.
const FINGERPRINT: [u8; 8] = [0x87, 0xFD, 0xAF, 0x86, 0x42, 0xDF, 0xDB, 0xCC];
const OWN: u32 = 7;
/// As a producer may have it: other fields, in another order.
const EVOLVED: u32 = 4_000_000;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse_str(AUDIT_EVENT_SCHEMA).unwrap());
static EVOLVED_DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut schema: serde_json::Value = serde_json::from_str(AUDIT_EVENT_SCHEMA).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.reverse();
    let more = r#"{"name":"note","type":["null",{"type":"array","items":"double"}],"default":null,"doc":""}"#;
    fields.insert(3, serde_json::from_str(more).unwrap());
    schema.to_string()
});
static EVOLVED_SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse_str(&EVOLVED_DOCUMENT).unwrap());

pub type Headers = Vec<(String, Vec<u8>)>;

/// An event as its members: JSON texts where the schema carries such.
#[derive(Debug, Clone)]
pub struct Event {
    pub names: [String; 4],
    pub actor: [String; 2],
    pub attributes: BTreeMap<String, String>,
    pub targets: Option<Vec<String>>,
    pub context: Option<BTreeMap<String, String>>,
    pub data: Option<String>,
    pub extra: BTreeMap<String, String>,
}

pub fn plain_event(id: &str, tenant: &str) -> Event {
    Event {
        names: [id, tenant, "2026-11-22T10:00:00Z", "a.b"].map(str::to_owned),
        actor: ["user", "u1"].map(str::to_owned),
        attributes: [("mfa".to_owned(), "true".to_owned())].into(),
        targets: Some(vec!["{\"id\":1.50}".to_owned()]),
        context: Some([("correlation_id".to_owned(), "\"cor-1\"".to_owned())].into()),
        data: Some("[1e2,\"ü\"]".to_owned()),
        extra: BTreeMap::new(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

impl Event {
    pub fn json(&self) -> String {
        let mut members: Vec<(String, String)> = ["event_id", "tenant_id", "occurred_at", "action"]
            .iter()
            .zip(&self.names)
            .map(|(name, text)| ((*name).to_owned(), quoted(text)))
            .collect();
        let names = [("type", &self.actor[0]), ("id", &self.actor[1])];
        let names = names.map(|(name, text)| (name.to_owned(), quoted(text)));
        let actor: Vec<_> = names.into_iter().chain(self.attributes.clone()).collect();
        members.push(("actor".to_owned(), object(actor)));
        if let Some(targets) = &self.targets {
            members.push(("targets".to_owned(), format!("[{}]", targets.join(","))));
        }
        if let Some(context) = &self.context {
            members.push(("context".to_owned(), object(context.clone())));
        }
        if let Some(data) = &self.data {
            members.push(("data".to_owned(), data.clone()));
        }
        members.extend(self.extra.clone());
        object(members)
    }

    fn value(&self) -> Value {
        let text = |text: &String| Value::String(text.clone());
        let map = |map: &BTreeMap<String, String>| {
            Value::Map(
                map.iter()
                    .map(|(name, json)| (name.clone(), text(json)))
                    .collect::<HashMap<_, _>>(),
            )
        };
        let optional = |value: Option<Value>| match value {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(value) => Value::Union(1, Box::new(value)),
        };
        let actor = Value::Record(vec![
            ("type".into(), text(&self.actor[0])),
            ("id".into(), text(&self.actor[1])),
            ("attributes".into(), map(&self.attributes)),
        ]);
        let targets = self
            .targets
            .as_ref()
            .map(|all| Value::Array(all.iter().map(text).collect()));
        Value::Record(vec![
            ("event_id".into(), text(&self.names[0])),
            ("tenant_id".into(), text(&self.names[1])),
            ("occurred_at".into(), text(&self.names[2])),
            ("action".into(), text(&self.names[3])),
            ("actor".into(), actor),
            ("targets".into(), optional(targets)),
            ("context".into(), optional(self.context.as_ref().map(map))),
            ("data".into(), optional(self.data.as_ref().map(text))),
            ("extra".into(), map(&self.extra)),
        ])
    }

    pub fn datum(&self) -> Vec<u8> {
        to_avro_datum(&SCHEMA, self.value()).unwrap()
    }

    /// The same in every form, by name.
    pub fn forms(&self) -> Vec<(&'static str, Vec<u8>, Headers)> {
        let json = self.json();
        let evolved = to_avro_datum(&EVOLVED_SCHEMA, self.value().resolve(&EVOLVED_SCHEMA).unwrap()).unwrap();
        let envelope = |marked: &str, data: &str| {
            format!("{{\"specversion\":\"1.0\",\"id\":\"x\",\"source\":\"/s\",{marked},{data}}}").into_bytes()
        };
        let by_type = format!("\"type\":\"{EVENT_TYPE}\"");
        let by_schema = format!("\"type\":\"t\",\"dataschema\":\"{EVENT_DATASCHEMA}\"");
        let base64 = data_encoding::BASE64.encode(json.as_bytes());
        let cloud_event = headers(&[("content-type", "application/cloudevents+json; charset=UTF-8")]);
        let attributes = headers(&[
            ("ce_specversion", "1.0"),
            ("ce_id", "x"),
            ("ce_source", "/s"),
            ("ce_type", EVENT_TYPE),
            ("content-type", "application/json"),
        ]);
        vec![
            ("json", json.clone().into_bytes(), vec![]),
            (
                "json with a content type",
                json.clone().into_bytes(),
                headers(&[("content-type", "application/json")]),
            ),
            (
                "single-object",
                [&[0xC3, 0x01], &FINGERPRINT[..], &self.datum()].concat(),
                vec![],
            ),
            (
                "plain",
                self.datum(),
                headers(&[("content-type", "application/avro")]),
            ),
            (
                "plain, the other name",
                self.datum(),
                headers(&[("content-type", "avro/binary")]),
            ),
            ("framed", framed(OWN, &self.datum()), vec![]),
            ("framed, evolved", framed(EVOLVED, &evolved), vec![]),
            (
                "structured",
                envelope(&by_type, &format!("\"data\":{json}")),
                cloud_event.clone(),
            ),
            (
                "structured, base64",
                envelope(&by_schema, &format!("\"data_base64\":\"{base64}\"")),
                cloud_event,
            ),
            ("binary", json.into_bytes(), attributes),
        ]
    }
}

fn object(members: impl IntoIterator<Item = (String, String)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, json)| format!("{}:{json}", quoted(&name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub fn framed(schema: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &schema.to_be_bytes()[..], datum].concat()
}

pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn records(inputs: Vec<(Vec<u8>, Headers)>) -> Vec<Record> {
    let record = |(offset, (value, headers))| Record {
        offset,
        timestamp_ms: 0,
        key: vec![],
        value,
        headers,
    };
    (0..).zip(inputs).map(record).collect()
}

pub async fn registry_with_schemas() -> Arc<FakeRegistry> {
    let registry = FakeRegistry::start().await;
    registry.has(OWN, AUDIT_EVENT_SCHEMA);
    registry.has(EVOLVED, &EVOLVED_DOCUMENT);
    registry
}

pub fn formats(registry: &FakeRegistry) -> Formats {
    let config = RegistryConfig::parse(&registry.url, None, None).unwrap();
    Formats::new(Limits::default()).with_registry(Some(Registry::new(config).unwrap()))
}

fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just(" true ".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        (any::<i16>(), 0..9_u8).prop_map(|(n, d)| format!("{n}.{d}0")),
        "[a-zé\"\\\\\n😀]{0,8}".prop_map(|text| quoted(&text)),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("[ {}]", all.join(" ,"))),
            prop::collection::btree_map("[a-zü]{0,4}", inner, 0..3).prop_map(object),
        ]
    })
}

fn event() -> impl Strategy<Value = Event> {
    let map = || prop::collection::btree_map("x[a-z_é\"]{0,6}", json(), 0..4);
    let name = || "[a-zA-Z0-9é\"\\\\ ]{1,20}";
    (
        (
            name(),
            "[A-Za-z0-9][A-Za-z0-9._:@-]{0,20}",
            name(),
            name(),
            name(),
        ),
        map(),
        prop::option::of(prop::collection::vec(json(), 0..4)),
        prop::option::of(map()),
        prop::option::of(json()),
        map(),
    )
        .prop_map(
            |((id, tenant, action, kind, actor), attributes, targets, context, data, extra)| Event {
                names: [id, tenant, "2026-11-22T10:00:00.5+01:00".to_owned(), action],
                actor: [kind, actor],
                attributes,
                targets,
                context,
                data,
                extra,
            },
        )
}

#[test]
fn the_same_event_in_every_form_is_the_same_bytes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(registry_with_schemas());
    let formats = formats(&registry);
    let mut runner = TestRunner::new(Config::with_cases(256));
    runner
        .run(&event(), |event| {
            let expected = EventParser::new(Limits::default())
                .parse(event.json().as_bytes())
                .unwrap();
            let (names, inputs): (Vec<_>, Vec<_>) = event
                .forms()
                .into_iter()
                .map(|(name, value, headers)| (name, (value, headers)))
                .unzip();
            let records = records(inputs);
            let (decoded, held_up) = runtime.block_on(formats.decode_all(&records));
            prop_assert_eq!(held_up, None);
            for ((name, record), decoded) in names.iter().zip(&records).zip(&decoded) {
                let found = EventParser::new(Limits::default())
                    .parse(decoded.json(&record.value).unwrap())
                    .unwrap();
                prop_assert_eq!(&found, &expected, "{}", name);
            }
            prop_assert_eq!(decoded.len(), names.len());
            Ok(())
        })
        .unwrap();
    assert_eq!(registry.asked(), 2, "each schema is asked for once");
}

#[test]
fn cut_and_flipped_records_of_every_form_are_events_or_refusals() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(registry_with_schemas());
    let formats = formats(&registry);
    for (name, value, headers) in plain_event("e1", "acme").forms() {
        // Other schema ids would be asked for one by one.
        let from = if name.starts_with("framed") { 5 } else { 0 };
        let mut inputs = Vec::new();
        for at in from..value.len() {
            inputs.push((value[..at].to_vec(), headers.clone()));
            for bit in 0..8 {
                let mut flipped = value.clone();
                flipped[at] ^= 1 << bit;
                inputs.push((flipped, headers.clone()));
            }
        }
        // A flip can make the mark of a frame; nothing is behind that id.
        inputs.retain(|(value, _)| from > 0 || value.first() != Some(&0));
        let records = records(inputs);
        let (decoded, held_up) = runtime.block_on(formats.decode_all(&records));
        assert_eq!((decoded.len(), held_up), (records.len(), None), "{name}");
        for (record, decoded) in records.iter().zip(&decoded) {
            if let Ok(json) = decoded.json(&record.value) {
                drop(EventParser::new(Limits::default()).parse(json));
            }
        }
    }
}

fn codes(decoded: &[Decoded]) -> Vec<Option<RejectCode>> {
    decoded
        .iter()
        .map(|decoded| match decoded {
            Decoded::Refused(refusal) => Some(refusal.code),
            Decoded::AsSent | Decoded::Json(_) => None,
        })
        .collect()
}

async fn decode(formats: &Formats, ids: &[u32]) -> (Vec<Decoded>, Option<HeldUp>) {
    let datum = plain_event("e1", "acme").datum();
    let inputs = ids.iter().map(|id| (framed(*id, &datum), vec![])).collect();
    formats.decode_all(&records(inputs)).await
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_refused_and_asked_for_again_and_a_useless_one_kept() {
    let registry = registry_with_schemas().await;
    registry.has(8, "\"string\"");
    registry.has(9, "not a schema");
    let formats = formats(&registry);
    let refused = Some(RejectCode::UnknownSchema);
    let (decoded, held_up) = decode(&formats, &[OWN, 8, 5, 9, OWN]).await;
    assert_eq!(
        (codes(&decoded), held_up),
        (vec![None, refused, refused, refused, None], None)
    );
    assert_eq!(registry.asked(), 4);
    decode(&formats, &[8, 9, OWN]).await;
    assert_eq!(registry.asked(), 4);
    registry.has(5, AUDIT_EVENT_SCHEMA);
    assert_eq!(codes(&decode(&formats, &[5]).await.0), [None]);
    // No detail holds anything of the record or of the schema.
    for decoded in decoded {
        if let Decoded::Refused(refusal) = decoded {
            assert!(!refusal.detail.contains("acme") && !refusal.detail.contains("not a schema"));
        }
    }
}

#[tokio::test]
async fn whatever_else_a_registry_does_is_waited_for() {
    let registry = registry_with_schemas().await;
    let formats = formats(&registry);
    for behaviour in [
        Behaviour::Says(500, b"{}".to_vec()),
        Behaviour::Says(503, vec![]),
        Behaviour::Says(401, vec![]),
        Behaviour::Says(403, vec![]),
        Behaviour::Says(302, vec![]),
        Behaviour::Says(404, b"<html>".to_vec()),
        Behaviour::Says(200, b"garbage".to_vec()),
        Behaviour::Says(200, "[".repeat(1 << 19).into_bytes()),
        Behaviour::Says(500, vec![b'x'; 2 << 20]),
        Behaviour::HangsUp,
        Behaviour::Silent,
    ] {
        registry.behaves(behaviour.clone());
        let (decoded, held_up) = decode(&formats, &[OWN]).await;
        let Some(HeldUp::Waits { what }) = held_up else {
            panic!("{held_up:?}")
        };
        assert!(
            decoded.is_empty() && what.contains("waits for the schema registry at http://127.0.0.1:"),
            "{what}"
        );
    }
    registry.behaves(Behaviour::Answers);
    assert_eq!(codes(&decode(&formats, &[OWN]).await.0), [None]);
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_its_limit() {
    let registry = FakeRegistry::start().await;
    registry.behaves(Behaviour::Endless);
    let formats = formats(&registry);
    let (decoded, held_up) = decode(&formats, &[OWN]).await;
    assert_eq!(
        (codes(&decoded), held_up),
        (vec![Some(RejectCode::UnknownSchema)], None)
    );
}

#[tokio::test]
async fn a_registry_that_is_not_there_or_speaks_no_tls_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let plain = FakeRegistry::start().await;
    for url in [format!("http://{address}"), plain.url.replace("http:", "https:")] {
        let config = RegistryConfig::parse(&url, None, None).unwrap();
        let formats = Formats::new(Limits::default()).with_registry(Some(Registry::new(config).unwrap()));
        let (_, held_up) = decode(&formats, &[OWN]).await;
        assert!(
            matches!(held_up, Some(HeldUp::Waits { .. })),
            "{url}: {held_up:?}"
        );
    }
}

#[tokio::test]
async fn many_schemas_are_asked_for_few_at_a_time_and_none_is_passed_over() {
    let registry = FakeRegistry::start().await;
    let ids: Vec<u32> = (1..=30).collect();
    for id in &ids {
        registry.has(*id, AUDIT_EVENT_SCHEMA);
    }
    let formats = formats(&registry);
    let (mut done, mut rounds) = (0, 0);
    while done < ids.len() {
        let (decoded, held_up) = decode(&formats, &ids[done..]).await;
        assert!(!decoded.is_empty() && matches!(held_up, None | Some(HeldUp::NextBatch)));
        done += decoded.len();
        rounds += 1;
        assert!(registry.asked() <= 8 * rounds);
    }
    assert_eq!((rounds, registry.asked()), (4, 30));
}

#[tokio::test]
async fn a_login_is_sent_and_a_path_kept() {
    let registry = FakeRegistry::start().await;
    let url = format!("{}/apis/ccompat/v7/", registry.url);
    let config = RegistryConfig::parse(&url, Some("u".to_owned()), Some("hunter2".to_owned())).unwrap();
    let formats = Formats::new(Limits::default()).with_registry(Some(Registry::new(config).unwrap()));
    registry.behaves(Behaviour::Says(401, vec![]));
    let (_, held_up) = decode(&formats, &[OWN]).await;
    let head = registry.heads().pop().unwrap();
    assert!(head.starts_with("GET /apis/ccompat/v7/schemas/ids/7 "), "{head}");
    let login = format!("Basic {}", data_encoding::BASE64.encode(b"u:hunter2"));
    assert!(head.contains(&login));
    assert!(!format!("{held_up:?} {formats:?}").contains("hunter2"));
}

#[tokio::test]
async fn without_a_registry_a_framed_record_waits_for_a_person() {
    let formats = Formats::new(Limits::default());
    let mut inputs = vec![(plain_event("e", "acme").json().into_bytes(), vec![])];
    inputs.push((framed(OWN, b""), vec![]));
    let (decoded, held_up) = formats.decode_all(&records(inputs)).await;
    assert_eq!(
        (codes(&decoded), held_up),
        (vec![None], Some(HeldUp::NoRegistry { schema: OWN }))
    );
}
