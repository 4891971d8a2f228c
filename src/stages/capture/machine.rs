//! From a record of a captured topic to one of `audit.captured`. Pure, and without state of its own: the same record in the same place becomes the same.

use super::change::{self, ReplicaIdentity};
use super::connect;
use super::envelope::{self, Message, NoChange, Object, Op};
use super::mapping::{CaptureMapping, Kind};
use super::moved::{self, Moved};
use crate::ledger::canonical::{Refusal, span};
use crate::ledger::leaf::RejectCode;
use crate::ledger::names;
use crate::ledger::partition::{murmur2, partition_of};
use crate::log::{NewRecord, Record};
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
        let mapped = match self.mapping.kind {
            Kind::Debezium => self.change(record, key, value),
            Kind::Outbox => self.outbox(record, key, value),
        };
        match mapped {
            Ok(Told::Change(change, op)) => self.event(record, Part::Last, &change, op),
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
            return self.refused_part(record, part, Refusal::new(RejectCode::Unmapped, detail));
        };
        match mapping.apply_to_sound(change) {
            Ok(mapped) if mapped.event.len() > self.record_bytes_max => {
                let detail = format!("the event has more than {} bytes", self.record_bytes_max);
                self.refused_part(record, part, Refusal::new(RejectCode::TooLarge, detail))
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
            Err(refusal) => self.refused_part(record, part, of_deleted(op, refusal)),
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
        self.refused_part(record, Part::Last, refusal)
    }

    fn refused_part(&self, record: &Record, part: Part, refusal: Refusal) -> Captured {
        let code = (REFUSED.to_owned(), refusal.code.as_str().as_bytes().to_vec());
        Captured::Record {
            partition: self.home(),
            record: NewRecord {
                key: Vec::new(),
                value: record.value.clone(),
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
        Ok(Told::Change(change, envelope.op))
    }

    /// What the EventRouter writes: the payload as value, the aggregate's id as key, all else in headers.
    fn outbox(&self, record: &Record, key: &[u8], value: &[u8]) -> Result<Told, Refusal> {
        let id = envelope::headers(record).find(|(name, _)| *name == "id");
        let Some((_, id)) = id else {
            if value.is_empty() {
                return Ok(Told::NoChange(NoChange::Tombstone));
            }
            let detail = "the record has no header id: is this a topic of the EventRouter's?";
            return Err(Refusal::new(RejectCode::Unmapped, detail));
        };
        let payload = payload(value)?;
        let mut json = Vec::with_capacity(value.len() + 512);
        let mut event = ObjectWriter::open(&mut json);
        event.text("op", Op::Insert.as_str());
        event.text("id", id);
        event.text("topic", self.topic);
        if let Some(key) = std::str::from_utf8(key).ok().filter(|key| !key.is_empty()) {
            event.text(
                "key",
                &span::string(key.as_bytes()).unwrap_or_else(|| key.to_owned()),
            );
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
    Moved(Moved),
    NoChange(NoChange),
}

/// The payload as JSON: what was sent, whatever its type; of a string that holds an object or array, that, as a converter writes it that was given text. A
/// string that holds a scalar stays the string: it may be one that was written. `None` of a record without a value, whose row has NULL or an empty text there:
/// which of them, a record does not say.
fn payload(value: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let detail =
        "the payload of the outbox is no JSON: a column of text holds one value of JSON, a text in quotes";
    let sent = span::value(value).ok_or_else(|| Refusal::new(RejectCode::InvalidJson, detail))?;
    let inside = span::string(sent).filter(|inside| {
        Object::parse(inside.as_bytes()).is_some() || span::elements(inside.as_bytes()).is_some()
    });
    Ok(Some(inside.map_or(Cow::Borrowed(sent), |inside| {
        Cow::Owned(inside.trim_ascii().as_bytes().to_vec())
    })))
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

    const OUTBOX_HEADERS: [(&str, &str); 5] = [
        ("id", "e-1"),
        ("eventType", "OrderCreated"),
        ("tenant", "acme"),
        ("createdAt", "2026-11-22T01:25:13.126725Z"),
        ("traceparent", "00-1"),
    ];

    /// What the sealer makes of an outbox's payload.
    fn sealed(payload: &str) -> Result<String, RejectCode> {
        let captured = take(OUTBOX, "app.outbox", &record("42", payload, &OUTBOX_HEADERS));
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
            for payload in [
                format!(r#"{{"n":{number}}}"#),
                format!(r#""{{\"list\":[{number}]}}""#),
            ] {
                assert_eq!(sealed(&payload), Err(RejectCode::NumberNotExact), "{payload}");
            }
        }
    }

    #[test]
    fn an_event_of_an_outbox_keeps_its_payload_as_it_was_written() {
        let headers = OUTBOX_HEADERS;
        let expected = concat!(
            r#"{"action":"OrderCreated","actor":{"id":"42","type":"service"},"context":{"traceparent":"00-1"},"#,
            r#""data":{"note": null, "total": 1.10},"event_id":"e-1","occurred_at":"2026-11-22T01:25:13.126725Z","tenant_id":"acme"}"#
        );
        for value in [
            r#"{"note": null, "total": 1.10}"#,
            r#""{\"note\": null, \"total\": 1.10}""#,
        ] {
            let captured = take(OUTBOX, "app.outbox", &record("42", value, &headers));
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
        ] {
            assert_eq!(sealed(scalar).as_deref(), Ok(scalar));
            assert_eq!(sealed(&format!(" {scalar}\n")).as_deref(), Ok(scalar));
        }
        // Text that a converter put into a string.
        assert_eq!(sealed(r#"" [1, \"a\"] ""#).as_deref(), Ok(r#"[1,"a"]"#));
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
        let captured = take(OUTBOX, "app.outbox", &record("42", "", &OUTBOX_HEADERS));
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
