//! From a record of a captured topic to one of `audit.captured`. Pure, and without state of its own: the same record in the same place becomes the same.

use super::change::{self, ReplicaIdentity};
use super::connect;
use super::envelope::{self, Message, NoChange, Op};
use super::mapping::{CaptureMapping, Kind, Payload};
use super::moved::{self, Moved};
use crate::ledger::canonical::{Refusal, span};
use crate::ledger::leaf::RejectCode;
use crate::ledger::names;
use crate::ledger::partition::{murmur2, partition_of};
use crate::log::{HEADERS_UNREADABLE, NewRecord, Record};
use crate::mapping::json::ObjectWriter;
use crate::stages::seal::VIA;
use std::borrow::Cow;

/// Header of a captured record that is no event: the code that it is to be rejected with. Only capture may write `audit.captured` (ACL).
pub const REFUSED: &str = "ledgerline-refused";

/// What a record of a captured topic becomes.
#[derive(Debug, PartialEq, Eq)]
pub enum Captured {
    /// A record for this partition of `audit.captured`.
    Record {
        partition: u32,
        record: NewRecord,
        /// Why it is no event, where it is none.
        refused: Option<Refusal>,
    },
    /// Two records: a row that one tenant loses and another one gets. In this order, since both may go to one partition.
    Moved {
        left: Box<Captured>,
        came: Box<Captured>,
    },
    /// The same as within, of an update without the row as it was, where the mapping says that whole rows come: the table, or the partition that the row is in, is
    /// not `REPLICA IDENTITY FULL`, so what comes of a row that it deletes is made up but for the key.
    WithoutBefore(Box<Captured>),
    /// It tells of no change.
    NoChange(NoChange),
}

/// Which of the events that a record becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The only one, or the last.
    Last,
    /// The one before it.
    Left,
}

/// Captures the records of one partition of a topic.
#[derive(Debug)]
pub struct CaptureMachine<'m> {
    pub mapping: &'m CaptureMapping,
    pub topic: &'m str,
    pub source_partition: u32,
    /// Which incarnation of the topic its offsets are of.
    pub incarnation: u64,
    /// Of the ledger.
    pub partitions: u32,
    /// The largest value that the log takes.
    pub record_bytes_max: usize,
}

/// Which partition of the ledger works on a partition of a captured topic, and rejects what of it has no tenant.
#[must_use]
pub fn home(topic: &str, source_partition: u32, partitions: u32) -> u32 {
    let of_topic = murmur2(topic.as_bytes()) & 0x7FFF_FFFF;
    of_topic.wrapping_add(source_partition) % partitions.max(1)
}

impl CaptureMachine<'_> {
    /// `key` and `value` are the record's, decoded.
    #[must_use]
    pub fn take(&self, record: &Record, key: &[u8], value: &[u8]) -> Captured {
        if record.headers.iter().any(|(name, _)| name == HEADERS_UNREADABLE) {
            let detail = "the record's headers cannot be read: the name of one is not UTF-8";
            return self.refused(record, Refusal::new(RejectCode::Unmapped, detail));
        }
        let mapped = match self.mapping.kind {
            Kind::Debezium => self.change(record, key, value),
            Kind::Outbox => self.outbox(record, key, value),
        };
        match mapped {
            Ok(Told::Change(change, op)) => self.event(record, Part::Last, &change, op),
            Ok(Told::WithoutBefore(change)) => {
                Captured::WithoutBefore(Box::new(self.event(record, Part::Last, &change, Op::Update)))
            }
            Ok(Told::Moved(moved)) => self.moved(record, &moved),
            Ok(Told::NoChange(kind)) => Captured::NoChange(kind),
            Err(refusal) => self.refused(record, refusal),
        }
    }

    fn moved(&self, record: &Record, moved: &Moved) -> Captured {
        let came = self.event(record, Part::Last, &moved.came, Op::Insert);
        let Some(left) = &moved.left else { return came };
        Captured::Moved {
            left: Box::new(self.event(record, Part::Left, left, Op::Delete)),
            came: Box::new(came),
        }
    }

    fn event(&self, record: &Record, part: Part, change: &[u8], op: Op) -> Captured {
        let Some(mapping) = self.mapping.of(op) else {
            let detail = format!("the mapping has no members for an op {}", op.as_str());
            let refusal = Refusal::new(RejectCode::Unmapped, detail);
            return self.refused_part(record, part, self.told(record, change), refusal);
        };
        match mapping.apply_to_sound(change) {
            Ok(mapped) if mapped.event.len() > self.record_bytes_max => {
                let detail = format!("the event has more than {} bytes", self.record_bytes_max);
                let refusal = Refusal::new(RejectCode::TooLarge, detail);
                self.refused_part(record, part, self.told(record, change), refusal)
            }
            Ok(mapped) => {
                let tenant = mapped.tenant.filter(|tenant| names::is_tenant(tenant));
                let partition = tenant
                    .as_deref()
                    .map_or_else(|| self.home(), |tenant| partition_of(tenant, self.partitions));
                Captured::Record {
                    partition,
                    record: NewRecord {
                        key: tenant.unwrap_or_default().into_bytes(),
                        value: mapped.event,
                        headers: vec![self.via(record, part)],
                    },
                    refused: None,
                }
            }
            Err(refusal) => {
                self.refused_part(record, part, self.told(record, change), of_deleted(op, refusal))
            }
        }
    }

    /// What is sealed of a record that is no event: its value. An event of an outbox is in its headers as much as in its value, so of that all that was told.
    fn told<'r>(&self, record: &'r Record, change: &'r [u8]) -> &'r [u8] {
        match self.mapping.kind {
            Kind::Outbox if change.len() <= self.record_bytes_max => change,
            Kind::Outbox | Kind::Debezium => &record.value,
        }
    }

    fn home(&self) -> u32 {
        home(self.topic, self.source_partition, self.partitions)
    }

    fn via(&self, record: &Record, part: Part) -> (String, Vec<u8>) {
        let source = format!("{}/{}", self.topic, self.source_partition);
        let via = match part {
            Part::Last => names::forwarded_from(&source, self.incarnation, record.offset),
            Part::Left => names::left_from(&source, self.incarnation, record.offset),
        };
        (VIA.to_owned(), via.into_bytes())
    }

    /// The record as it came, to be sealed as rejected.
    #[must_use]
    pub fn refused(&self, record: &Record, refusal: Refusal) -> Captured {
        self.refused_part(record, Part::Last, &record.value, refusal)
    }

    fn refused_part(&self, record: &Record, part: Part, value: &[u8], refusal: Refusal) -> Captured {
        let code = (REFUSED.to_owned(), refusal.code.as_str().as_bytes().to_vec());
        Captured::Record {
            partition: self.home(),
            record: NewRecord {
                key: Vec::new(),
                value: value.to_vec(),
                headers: vec![self.via(record, part), code],
            },
            refused: Some(refusal),
        }
    }

    fn change(&self, record: &Record, key: &[u8], value: &[u8]) -> Result<Told, Refusal> {
        let unmapped = |detail: String| Refusal::new(RejectCode::Unmapped, detail);
        let value = connect::plain(value).map_err(|error| unmapped(error.to_string()))?;
        let envelope = match envelope::read(&value).map_err(|error| unmapped(error.to_string()))? {
            Message::NoChange(kind) => return Ok(Told::NoChange(kind)),
            Message::Change(envelope) => envelope,
        };
        let key = connect::plain(key).map_err(|error| unmapped(error.to_string()))?;
        let key = (!key.is_empty() && key.as_ref() != b"null").then_some(key.as_ref());
        let identity = self.mapping.replica_identity;
        let change = change::write(&envelope, key, self.topic, record, identity)?;
        if let (Op::Update, Some(_), ReplicaIdentity::Full) = (envelope.op, envelope.before, identity)
            && let Some(mapping) = self.mapping.of(Op::Update)
            && let Some(moved) = moved::tell(&change, mapping, &envelope, key, self.topic, record)?
        {
            return Ok(Told::Moved(moved));
        }
        Ok(match (envelope.op, envelope.before, identity) {
            (Op::Update, None, ReplicaIdentity::Full) => Told::WithoutBefore(change),
            (op, _, ReplicaIdentity::Full | ReplicaIdentity::Key) => Told::Change(change, op),
        })
    }

    /// What the EventRouter writes: the payload as value, the aggregate's id as key, all else in headers.
    fn outbox(&self, record: &Record, key: &[u8], value: &[u8]) -> Result<Told, Refusal> {
        let Some(id) = header_id(record)? else {
            let plain = connect::plain(value).unwrap_or(Cow::Borrowed(value));
            return envelope::beside_events(&plain)
                .map(Told::NoChange)
                .ok_or_else(|| {
                    let detail = "the record has no header id: is this a topic of the EventRouter's?";
                    Refusal::new(RejectCode::Unmapped, detail)
                });
        };
        let payload = payload(value, self.mapping.payload)?;
        let mut json = Vec::with_capacity(value.len() + 512);
        let mut event = ObjectWriter::open(&mut json);
        event.text("op", Op::Insert.as_str());
        event.text("id", id);
        event.text("topic", self.topic);
        if !key.is_empty() {
            let text = span::string(key).map_or(Cow::Borrowed(key), |text| Cow::Owned(text.into_bytes()));
            change::write_text_or_base64(&text, event.begin("key"));
        }
        if let Some(payload) = payload {
            event.member("payload", &payload);
        }
        change::write_headers(record, &mut event)?;
        event.close();
        Ok(Told::Change(json, Op::Insert))
    }
}

/// What is missing in a deleted row is mostly so because its table does not have all of it sent.
fn of_deleted(op: Op, refusal: Refusal) -> Refusal {
    match (op, refusal.code) {
        (Op::Delete, RejectCode::MissingMember) => Refusal {
            detail: format!(
                "{}. Of a deleted row Debezium knows the key alone, unless the table has REPLICA IDENTITY FULL and the mapping says replica_identity = \"full\"",
                refusal.detail
            ),
            ..refusal
        },
        (Op::Insert | Op::Update | Op::Delete | Op::Read | Op::Truncate, _) => refusal,
    }
}

/// A record, told as the change that it is.
enum Told {
    /// JSON.
    Change(Vec<u8>, Op),
    /// An update's.
    WithoutBefore(Vec<u8>),
    Moved(Moved),
    NoChange(NoChange),
}

/// The event's id. Of two, or of one that is no text, none is taken: it would be a guess which event this is.
fn header_id(record: &Record) -> Result<Option<&str>, Refusal> {
    let ids: Vec<&[u8]> = envelope::headers(record)
        .filter(|(name, _)| *name == "id")
        .map(|(_, value)| value)
        .collect();
    let refused = |detail: &str| Refusal::new(RejectCode::Unmapped, detail);
    match ids.as_slice() {
        [] => Ok(None),
        [id] => std::str::from_utf8(id)
            .map(Some)
            .map_err(|_| refused("the header id is not UTF-8")),
        _ => Err(refused("the record has more than one header id")),
    }
}

/// The payload as JSON: what was written, whatever its type. `None` of a record without a value, whose row has NULL or an empty text there: which of them, a record
/// does not say.
fn payload(value: &[u8], form: Payload) -> Result<Option<Cow<'_, [u8]>>, Refusal> {
    let refused = |detail: &str| Refusal::new(RejectCode::InvalidJson, detail);
    let no_json = || {
        refused(
            "the payload of the outbox is no JSON: a column of text holds one value of JSON, a text in quotes",
        )
    };
    match form {
        _ if value.is_empty() => Ok(None),
        Payload::Json => span::value(value)
            .map(|sent| Some(Cow::Borrowed(sent)))
            .ok_or_else(no_json),
        Payload::Quoted => {
            let value = connect::plain(value).map_err(|error| refused(&error.to_string()))?;
            // As a converter of JSON writes NULL without a schema. JSON's own null is in quotes.
            if value.is_empty() || span::value(&value).is_some_and(|value| value == b"null") {
                return Ok(None);
            }
            let inside = span::string(&value).ok_or_else(|| {
                refused("the payload of the outbox is no string: the mapping says payload = \"quoted\"")
            })?;
            if inside.is_empty() {
                return Ok(None);
            }
            let sent = span::value(inside.as_bytes()).ok_or_else(no_json)?;
            Ok(Some(Cow::Owned(sent.to_vec())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::canonical::Limits;
    use crate::ledger::event::EventParser;

    const TABLE: &str = r#"
topics = ["app.public.t"]
event_id = "/row_id"
tenant_id = "/row/tenant"
occurred_at = "/row/at"
action = "/row/action"
data = "/row"
actor = { type = { constant = "user" }, id = "/row/actor" }
"#;

    const OUTBOX: &str = r#"
topics = ["app.outbox"]
record = "outbox"
event_id = "/id"
tenant_id = "/headers/tenant"
occurred_at = "/headers/createdAt"
action = "/headers/eventType"
data = "/payload"
actor = { type = { constant = "service" }, id = "/key" }
context = { traceparent = "/headers/traceparent" }
"#;

    fn record(key: &str, value: &str, headers: &[(&str, &str)]) -> Record {
        Record {
            offset: 9,
            timestamp_ms: 0,
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
        }
    }

    fn take(mapping: &str, topic: &str, record: &Record) -> Captured {
        let mapping = CaptureMapping::from_toml(mapping).unwrap();
        let machine = CaptureMachine {
            mapping: &mapping,
            topic,
            source_partition: 2,
            incarnation: 3,
            partitions: 7,
            record_bytes_max: 1_000,
        };
        machine.take(record, &record.key, &record.value)
    }

    fn insert(row: &str) -> Record {
        let value = format!(
            r#"{{"before":null,"after":{row},"op":"c","source":{{"db":"app","schema":"public","table":"t","lsn":5}}}}"#
        );
        record(r#"{"id":1}"#, &value, &[])
    }

    const ROW: &str =
        r#"{"id":1,"tenant":"acme","at":"2026-11-22T01:25:13Z","action":"login","actor":"carol"}"#;

    fn code(captured: &Captured) -> Option<&str> {
        match captured {
            Captured::Record { record, .. } => {
                let header = record.headers.iter().find(|(name, _)| name == REFUSED)?;
                std::str::from_utf8(&header.1).ok()
            }
            Captured::WithoutBefore(captured) => code(captured),
            Captured::Moved { .. } | Captured::NoChange(_) => None,
        }
    }

    #[test]
    fn a_change_goes_to_its_tenants_partition_with_where_it_was_captured() {
        let Captured::Record {
            partition,
            record,
            refused,
        } = take(TABLE, "app.public.t", &insert(ROW))
        else {
            panic!()
        };
        assert_eq!((partition, refused), (partition_of("acme", 7), None));
        assert_eq!(record.key, b"acme");
        assert_eq!(record.headers, [(VIA.to_owned(), b"app.public.t/2~3@9".to_vec())]);
        let expected = concat!(
            r#"{"action":"login","actor":{"id":"carol","type":"user"},"data":{"id":"1","tenant":"acme","at":"2026-11-22T01:25:13Z","#,
            r#""action":"login","actor":"carol"},"event_id":"app.public.t/1","occurred_at":"2026-11-22T01:25:13Z","tenant_id":"acme"}"#
        );
        assert_eq!(String::from_utf8(record.value).unwrap(), expected);
    }

    #[test]
    fn what_is_no_event_is_sent_as_it_came_to_be_rejected() {
        let no_tenant = insert(r#"{"id":1,"at":"2026-11-22T01:25:13Z","action":"login","actor":"carol"}"#);
        let large = insert(&ROW.replace("carol", &"x".repeat(1_000)));
        for (input, expected) in [
            (&no_tenant, "missing_member"),
            (&record("", "nothing", &[]), "unmapped"),
            (
                &record("7", &String::from_utf8(insert(ROW).value).unwrap(), &[]),
                "unmapped",
            ),
            (&large, "too_large"),
        ] {
            let captured = take(TABLE, "app.public.t", input);
            assert_eq!(code(&captured), Some(expected));
            let Captured::Record {
                partition,
                record,
                refused,
            } = captured
            else {
                panic!()
            };
            assert_eq!(partition, home("app.public.t", 2, 7));
            assert_eq!(record.value, input.value);
            assert!(!refused.unwrap().detail.contains("carol"));
        }
    }

    #[test]
    fn a_record_with_more_headers_than_an_event_takes_is_rejected_and_not_sealed_without_them() {
        let many = |bytes: usize| "x".repeat(bytes);
        let fits = record(r#"{"id":1}"#, &String::from_utf8(insert(ROW).value).unwrap(), &[]);
        for (headers, expected) in [((16 << 10) - 4, None), ((16 << 10) - 3, Some("too_large"))] {
            let value = many(headers);
            let with = |others: &[(&str, &str)], record: &Record| Record {
                headers: [others, &[("long", value.as_str())]]
                    .concat()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                    .collect(),
                ..record.clone()
            };
            // Debezium's own are not the event's.
            let own = [("__debezium.context.taskId", "0")];
            let captured = take(TABLE, "app.public.t", &with(&own, &fits));
            assert_eq!(code(&captured), expected);
            let outbox = record("42", "{}", &[]);
            let captured = take(OUTBOX, "app.outbox", &with(&OUTBOX_HEADERS, &outbox));
            assert_eq!(code(&captured), Some("too_large"));
        }
    }

    #[test]
    fn a_deleted_row_of_which_the_key_alone_is_known_is_rejected_with_what_to_do() {
        let value = r#"{"before":{"id":1,"tenant":"","action":""},"after":null,"op":"d","source":{"db":"app","schema":"public","table":"t","lsn":5}}"#;
        let Captured::Record { refused, .. } =
            take(TABLE, "app.public.t", &record(r#"{"id":1}"#, value, &[]))
        else {
            panic!()
        };
        let detail = refused.unwrap().detail;
        assert!(detail.contains("REPLICA IDENTITY FULL"), "{detail}");
    }

    #[test]
    fn an_update_without_the_row_as_it_was_is_told_of_where_whole_rows_are_promised() {
        let update = |before: &str| {
            let value = format!(
                r#"{{"before":{before},"after":{ROW},"op":"u","source":{{"db":"app","schema":"public","table":"t","lsn":5,"ts_us":0}}}}"#
            );
            record(r#"{"id":1}"#, &value, &[])
        };
        let updated = format!("{TABLE}update = {{ action = {{ constant = \"changed\" }} }}\n");
        let full = format!("replica_identity = \"full\"\n{updated}");
        let promised = take(&full, "app.public.t", &update("null"));
        let Captured::WithoutBefore(within) = promised else {
            panic!("{promised:?}")
        };
        assert_eq!(*within, take(&updated, "app.public.t", &update("null")));
        assert!(
            matches!(*within, Captured::Record { refused: None, .. }),
            "{within:?}"
        );
        let whole = take(&full, "app.public.t", &update(ROW));
        assert!(
            matches!(whole, Captured::Record { refused: None, .. }),
            "{whole:?}"
        );
    }

    #[test]
    fn a_tenant_that_is_none_is_left_to_the_sealer() {
        let captured = take(TABLE, "app.public.t", &insert(&ROW.replace("acme", "a cme")));
        let Captured::Record {
            partition,
            record,
            refused,
        } = captured
        else {
            panic!()
        };
        assert_eq!(
            (partition, refused, record.key.len()),
            (home("app.public.t", 2, 7), None, 0)
        );
    }

    fn quoted() -> String {
        OUTBOX.replace("record =", "payload = \"quoted\"\nrecord =")
    }

    const OUTBOX_HEADERS: [(&str, &str); 5] = [
        ("id", "e-1"),
        ("eventType", "OrderCreated"),
        ("tenant", "acme"),
        ("createdAt", "2026-11-22T01:25:13.126725Z"),
        ("traceparent", "00-1"),
    ];

    /// What the sealer makes of an outbox's payload.
    fn sealed(payload: &str) -> Result<String, RejectCode> {
        sealed_by(OUTBOX, payload)
    }

    fn sealed_by(mapping: &str, payload: &str) -> Result<String, RejectCode> {
        let captured = take(mapping, "app.outbox", &record("42", payload, &OUTBOX_HEADERS));
        if let Some(code) = code(&captured).and_then(RejectCode::parse) {
            return Err(code);
        }
        let Captured::Record { record, .. } = captured else {
            panic!()
        };
        let event = EventParser::new(Limits::default())
            .parse(&record.value)
            .map_err(|refusal| refusal.code)?;
        let event = String::from_utf8(event.canonical).unwrap();
        let (_, behind) = event.split_once(r#""data":"#).unwrap();
        Ok(behind.split_once(r#","event_id""#).unwrap().0.to_owned())
    }

    #[test]
    fn a_number_in_a_payload_is_sealed_exactly_or_rejected_and_never_rounded() {
        assert_eq!(
            sealed(r#"{"n":0.30000000000000004}"#).as_deref(),
            Ok(r#"{"n":0.30000000000000004}"#)
        );
        for number in ["12345678901234567.89", "9007199254740993", "1e400"] {
            let payload = format!(r#"{{"n":{number}}}"#);
            assert_eq!(sealed(&payload), Err(RejectCode::NumberNotExact), "{payload}");
            let payload = format!(r#""{{\"list\":[{number}]}}""#);
            let quoted = sealed_by(&quoted(), &payload);
            assert_eq!(quoted, Err(RejectCode::NumberNotExact), "{payload}");
        }
    }

    #[test]
    fn an_event_of_an_outbox_keeps_its_payload_as_it_was_written() {
        let headers = OUTBOX_HEADERS;
        let expected = concat!(
            r#"{"action":"OrderCreated","actor":{"id":"42","type":"service"},"context":{"traceparent":"00-1"},"#,
            r#""data":{"note": null, "total": 1.10},"event_id":"e-1","occurred_at":"2026-11-22T01:25:13.126725Z","tenant_id":"acme"}"#
        );
        for (mapping, value) in [
            (OUTBOX.to_owned(), r#"{"note": null, "total": 1.10}"#),
            (quoted(), r#""{\"note\": null, \"total\": 1.10}""#),
        ] {
            let captured = take(&mapping, "app.outbox", &record("42", value, &headers));
            let Captured::Record { record, .. } = captured else {
                panic!()
            };
            assert_eq!(String::from_utf8(record.value).unwrap(), expected);
        }
        assert_eq!(
            code(&take(OUTBOX, "app.outbox", &record("42", "no", &headers))),
            Some("invalid_json")
        );
        assert_eq!(
            code(&take(OUTBOX, "app.outbox", &record("42", "{}", &[]))),
            Some("unmapped")
        );
        assert_eq!(
            take(OUTBOX, "app.outbox", &record("42", "", &[])),
            Captured::NoChange(NoChange::Tombstone)
        );
    }

    #[test]
    fn a_payload_that_is_a_scalar_is_sealed_as_it_is() {
        for scalar in [
            "7",
            "1.5",
            "-0.25",
            "true",
            "false",
            "null",
            "\"text\"",
            "\"\"",
            "\"7\"",
            "\"null\"",
            r#""\"quoted\"""#,
            // Texts that somebody wrote, whatever is in them.
            "\"[1]\"",
            r#""{\"a\":1}""#,
        ] {
            assert_eq!(sealed(scalar).as_deref(), Ok(scalar));
            assert_eq!(sealed(&format!(" {scalar}\n")).as_deref(), Ok(scalar));
            // The same, put into a string by a converter of JSON, without its schema and with it.
            let mut string = Vec::new();
            crate::ledger::canonical::text::write_string(scalar, &mut string);
            let string = String::from_utf8(string).unwrap();
            assert_eq!(sealed_by(&quoted(), &string).as_deref(), Ok(scalar));
            let with_schema =
                format!(r#"{{"schema":{{"type":"string","optional":true}},"payload":{string}}}"#);
            assert_eq!(sealed_by(&quoted(), &with_schema).as_deref(), Ok(scalar));
        }
        assert_eq!(
            sealed_by(&quoted(), r#"" [1, \"a\"] ""#).as_deref(),
            Ok(r#"[1,"a"]"#)
        );
        for not_quoted in ["7", "{}", "\"no json\"", "plain text"] {
            let refused = sealed_by(&quoted(), not_quoted);
            assert_eq!(refused, Err(RejectCode::InvalidJson), "{not_quoted}");
        }
        for (payload, code) in [
            ("plain text", RejectCode::InvalidJson),
            ("7 8", RejectCode::InvalidJson),
            ("007", RejectCode::InvalidJson),
            ("NaN", RejectCode::InvalidJson),
            (" ", RejectCode::InvalidJson),
            ("9007199254740993", RejectCode::NumberNotExact),
            (r#""\ud800""#, RejectCode::LoneSurrogate),
            (r#""a\u0000""#, RejectCode::NulCharacter),
        ] {
            assert_eq!(sealed(payload), Err(code), "{payload}");
        }
    }

    #[test]
    fn an_event_without_a_payload_is_sealed_without_one() {
        let null = r#"{"schema":{"type":"string","optional":true},"payload":null}"#;
        for (mapping, value) in [
            (OUTBOX.to_owned(), ""),
            (quoted(), ""),
            (quoted(), "\"\""),
            (quoted(), "null"),
            (quoted(), null),
        ] {
            let captured = take(&mapping, "app.outbox", &record("42", value, &OUTBOX_HEADERS));
            let Captured::Record { record, refused, .. } = captured else {
                panic!()
            };
            let event = String::from_utf8(record.value).unwrap();
            assert_eq!(refused, None);
            assert!(
                event.contains(r#""event_id":"e-1""#) && !event.contains("data"),
                "{event}"
            );
        }
    }

    #[test]
    fn what_the_connector_of_an_outbox_tells_beside_its_events_is_counted_and_not_sealed() {
        let with_schema = r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"ts_ms"}]},"payload":{"ts_ms":1795310775106}}"#;
        for heartbeat in [
            "Struct{ts_ms=1795310775106}",
            r#"{"ts_ms":1795310775106}"#,
            with_schema,
        ] {
            let captured = take(
                OUTBOX,
                "app.outbox",
                &record("Struct{serverName=outbox}", heartbeat, &[]),
            );
            assert_eq!(captured, Captured::NoChange(NoChange::Heartbeat), "{heartbeat}");
        }
        // With an id it is an event, whatever is in it.
        assert_eq!(
            sealed(r#"{"ts_ms":1795310775106}"#).as_deref(),
            Ok(r#"{"ts_ms":1795310775106}"#)
        );
    }

    #[test]
    fn of_an_outbox_what_is_no_event_is_rejected_with_its_headers() {
        let no_tenant: Vec<(&str, &str)> = OUTBOX_HEADERS
            .into_iter()
            .filter(|(name, _)| *name != "tenant")
            .collect();
        let captured = take(OUTBOX, "app.outbox", &record("42", r#"{"n":1}"#, &no_tenant));
        assert_eq!(code(&captured), Some("missing_member"));
        let Captured::Record { record, .. } = captured else {
            panic!()
        };
        let expected = concat!(
            r#"{"op":"insert","id":"e-1","topic":"app.outbox","key":"42","payload":{"n":1},"headers":{"createdAt":"2026-11-22T01:25:13.126725Z","#,
            r#""eventType":"OrderCreated","id":"e-1","traceparent":"00-1"}}"#
        );
        assert_eq!(String::from_utf8(record.value).unwrap(), expected);
    }

    #[test]
    fn a_header_that_is_there_twice_or_is_no_text_decides_nothing() {
        let of = |changed: &[(&str, &[u8])]| {
            let mut record = record("42", "{}", &OUTBOX_HEADERS);
            let changed = changed
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()));
            record.headers.extend(changed);
            take(OUTBOX, "app.outbox", &record)
        };
        assert_eq!(code(&of(&[("id", &b"e-2"[..])])), Some("unmapped"));
        assert_eq!(code(&of(&[(HEADERS_UNREADABLE, &b""[..])])), Some("unmapped"));
        let Captured::Record { record, refused, .. } =
            of(&[("traceparent", &b"00-2"[..]), ("other", &b"\xff"[..])])
        else {
            panic!()
        };
        let event = String::from_utf8(record.value).unwrap();
        assert_eq!(refused, None);
        assert!(event.contains(r#""traceparent":["00-1","00-2"]"#), "{event}");
        // Of two tenants none is guessed: the sealer rejects what is no text there.
        let Captured::Record { record, .. } = of(&[("tenant", &b"globex"[..])]) else {
            panic!()
        };
        let judged = EventParser::new(Limits::default()).parse(&record.value);
        assert_eq!(
            judged.err().map(|refusal| refusal.code),
            Some(RejectCode::WrongMember)
        );
        assert_eq!(record.key, b"");
    }
}
