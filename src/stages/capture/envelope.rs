//! Debezium's envelope, as the JSON converter writes it: what happened to which row. Reads, and judges nothing.
//!
//! With `schemas.enable` the envelope lies in `payload`, and its schema beside it ([`super::connect`] reads that one). Not
//! here: what the columns' values mean ([`super::columns`]), and what becomes of them ([`super::change`]).

use crate::ledger::canonical::{span, text};
use crate::log::Record;

/// What happened to a row (Debezium's `op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Insert,
    Update,
    Delete,
    /// The row was there when a snapshot was taken.
    Read,
    /// The whole table was emptied. Of no row.
    Truncate,
}

impl Op {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Truncate => "truncate",
        }
    }

    fn parse(code: &str) -> Option<Self> {
        match code {
            "c" => Some(Self::Insert),
            "u" => Some(Self::Update),
            "d" => Some(Self::Delete),
            "r" => Some(Self::Read),
            "t" => Some(Self::Truncate),
            // "m": a message that was written to the log of Postgres, of no table.
            _ => None,
        }
    }
}

/// A record that tells of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub op: Op,
    /// JSON objects, spelled as they were sent.
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
    pub origin: Origin,
}

/// Where in the database a change was made, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub database: String,
    pub schema: String,
    pub table: String,
    /// Byte position in the log of Postgres. Of a snapshot's row: where the snapshot was taken.
    pub lsn: Option<String>,
    pub transaction: Option<String>,
    /// When the transaction committed, in microseconds; when the snapshot was taken.
    pub committed_micros: Option<i64>,
}

/// What a record of a topic of Debezium's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    Change(Box<Envelope<'a>>),
    /// It tells of no row, and there is nothing in it to seal.
    NoChange(NoChange),
}

/// Records that are counted and go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChange {
    /// A key without a value, behind a delete: for compaction.
    Tombstone,
    Heartbeat,
    /// Begin or end of a transaction.
    Transaction,
}

impl NoChange {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Heartbeat => "heartbeat",
            Self::Transaction => "transaction",
        }
    }
}

/// Why a record's value is no envelope. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the value is no JSON object")]
    NotAnObject,
    #[error("{0} is missing, or is of another type than Debezium's")]
    Member(&'static str),
    #[error("the op is none of c, u, d, r and t")]
    Op,
    #[error("the change has no row: an op {0} has one")]
    NoRow(&'static str),
}

/// The members of a JSON object, found by their names.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    members: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Object<'a> {
    pub fn parse(json: &'a [u8]) -> Option<Self> {
        span::members(json).map(|members| Self { members })
    }

    /// JSON of the first member of that name, `null` being none.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let value = self
            .members
            .iter()
            .find(|(spelled, _)| *spelled == name.as_bytes())?
            .1;
        (value != b"null").then_some(value)
    }

    pub fn string(&self, name: &str) -> Option<String> {
        span::string(self.get(name)?)
    }

    /// A whole number's token, or the text of a string.
    pub fn digits(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        let token = span::string(value).or_else(|| String::from_utf8(value.to_vec()).ok())?;
        let digits = token.strip_prefix('-').unwrap_or(&token);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(token)
    }

    pub fn has(&self, name: &str) -> bool {
        self.members
            .iter()
            .any(|(spelled, _)| text::plain(spelled).as_deref() == Some(name))
    }

    pub fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?)
    }

    /// Names, still escaped and without their quotes, with the JSON of their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.members.iter().copied()
    }
}

/// Reads the value of a record: an envelope, or something else that Debezium writes.
///
/// # Errors
/// Where it is neither.
pub fn read(value: &[u8]) -> Result<Message<'_>, EnvelopeError> {
    if value.is_empty() {
        return Ok(Message::NoChange(NoChange::Tombstone));
    }
    let payload = Object::parse(value).ok_or(EnvelopeError::NotAnObject)?;
    match payload.string("op") {
        Some(op) => change(&payload, &op).map(|envelope| Message::Change(Box::new(envelope))),
        None => no_change(&payload)
            .map(Message::NoChange)
            .ok_or(EnvelopeError::Member("op")),
    }
}

/// The members of a record of a transaction. The last is not there before Debezium 2.1.
const TRANSACTION: [&str; 5] = ["status", "id", "event_count", "data_collections", "ts_ms"];

/// What the connector itself tells, to the member: a row that was flattened on its way (`ExtractNewRecordState`) may have a status, an id and a time too, and
/// must not be taken for it.
fn no_change(payload: &Object<'_>) -> Option<NoChange> {
    let has_only = |names: &[&str]| {
        payload
            .iter()
            .all(|(name, _)| names.iter().any(|known| name == known.as_bytes()))
    };
    let has_status = matches!(payload.string("status").as_deref(), Some("BEGIN" | "END"));
    let has_all = payload.string("id").is_some() && TRANSACTION[..4].iter().all(|name| payload.has(name));
    if has_only(&TRANSACTION[4..]) && payload.digits("ts_ms").is_some() {
        Some(NoChange::Heartbeat)
    } else if has_only(&TRANSACTION) && has_status && has_all {
        Some(NoChange::Transaction)
    } else {
        None
    }
}

fn change<'a>(payload: &Object<'a>, op: &str) -> Result<Envelope<'a>, EnvelopeError> {
    let op = Op::parse(op).ok_or(EnvelopeError::Op)?;
    let (before, after) = (payload.get("before"), payload.get("after"));
    match op {
        Op::Insert | Op::Update | Op::Read if after.is_none() => {
            return Err(EnvelopeError::NoRow(op.as_str()));
        }
        Op::Insert | Op::Update | Op::Read | Op::Delete | Op::Truncate => {}
    }
    let source = payload.object("source").ok_or(EnvelopeError::Member("source"))?;
    Ok(Envelope {
        op,
        before,
        after,
        origin: origin(&source)?,
    })
}

fn origin(source: &Object<'_>) -> Result<Origin, EnvelopeError> {
    let named = |name: &'static str| source.string(name).ok_or(EnvelopeError::Member(name));
    let number = |name: &str| source.digits(name).and_then(|digits| digits.parse::<i64>().ok());
    let from_millis = || number("ts_ms").and_then(|millis| millis.checked_mul(1_000));
    Ok(Origin {
        database: named("db")?,
        schema: named("schema")?,
        table: named("table")?,
        lsn: source.digits("lsn"),
        transaction: source.digits("txId"),
        committed_micros: number("ts_us").or_else(from_millis),
    })
}

/// What a connector of an outbox tells beside its events, which its router passes on as it is; `None` where it is neither that nor empty. A converter of text writes
/// what Connect calls a struct.
pub(super) fn beside_events(value: &[u8]) -> Option<NoChange> {
    let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let time = value
        .strip_prefix(b"Struct{ts_ms=")
        .and_then(|rest| rest.strip_suffix(b"}"));
    if time.is_some_and(is_digits) {
        return Some(NoChange::Heartbeat);
    }
    match read(value) {
        Ok(Message::NoChange(kind)) => Some(kind),
        Ok(Message::Change(_)) | Err(_) => None,
    }
}

/// The headers of a record, but for those that Debezium puts on every one of them.
pub(super) fn headers(record: &Record) -> impl Iterator<Item = (&str, &[u8])> {
    let all = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()));
    all.filter(|(name, _)| !name.starts_with("__debezium.context."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &str = r#"{"before":null,"after":{"id":3,"actor":"carol"},"source":{"version":"3.7.0.Final",
        "ts_ms":1795310713121,"snapshot":"false","db":"app","sequence":"[\"26699272\",\"26699272\"]","ts_us":1795310713121573,
        "schema":"public","table":"audit_logs","txId":746,"lsn":26699272},"transaction":null,"op":"c","ts_ms":1795310713434}"#;

    fn envelope(json: &str) -> Envelope<'_> {
        match read(json.as_bytes()) {
            Ok(Message::Change(envelope)) => *envelope,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_insert_is_read_with_where_and_when_it_was_made() {
        let found = envelope(INSERT);
        assert_eq!((found.op, found.before), (Op::Insert, None));
        assert_eq!(found.after, Some(&br#"{"id":3,"actor":"carol"}"#[..]));
        let expected = Origin {
            database: "app".to_owned(),
            schema: "public".to_owned(),
            table: "audit_logs".to_owned(),
            lsn: Some("26699272".to_owned()),
            transaction: Some("746".to_owned()),
            committed_micros: Some(1_795_310_713_121_573),
        };
        assert_eq!(found.origin, expected);
    }

    #[test]
    fn an_older_debezium_gives_milliseconds_alone() {
        let json = INSERT.replace("\"ts_us\":1795310713121573,", "");
        assert_eq!(
            envelope(&json).origin.committed_micros,
            Some(1_795_310_713_121_000)
        );
    }

    #[test]
    fn what_tells_of_no_row_is_known_as_such() {
        for (value, kind) in [
            ("", NoChange::Tombstone),
            (r#"{"ts_ms":1795310775106}"#, NoChange::Heartbeat),
            (
                r#"{"status":"BEGIN","id":"763:26878168","event_count":null,"data_collections":null,"ts_ms":1}"#,
                NoChange::Transaction,
            ),
        ] {
            assert_eq!(read(value.as_bytes()), Ok(Message::NoChange(kind)), "{value}");
        }
    }

    #[test]
    fn what_a_connector_of_an_outbox_tells_beside_its_events_is_known_as_such_and_nothing_else_is() {
        for (value, kind) in [
            ("", NoChange::Tombstone),
            ("Struct{ts_ms=1795310775106}", NoChange::Heartbeat),
            (r#"{"ts_ms":1795310775106}"#, NoChange::Heartbeat),
        ] {
            assert_eq!(beside_events(value.as_bytes()), Some(kind), "{value}");
        }
        for value in [
            "Struct{ts_ms=}",
            "Struct{ts_ms=1,tenant_id=acme}",
            "Struct{ts_ms=now}",
            r#"{"ts_ms":1,"tenant_id":"acme"}"#,
            "{}",
            "7",
        ] {
            assert_eq!(beside_events(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_told_by_what_it_lacks() {
        for (value, error) in [
            ("nothing", EnvelopeError::NotAnObject),
            ("[]", EnvelopeError::NotAnObject),
            (r#"{"op":"c""#, EnvelopeError::NotAnObject),
            ("{}", EnvelopeError::Member("op")),
            // Rows without an envelope, which may have what the connector's own records have.
            (
                r#"{"id":7,"status":"active","tenant_id":"acme"}"#,
                EnvelopeError::Member("op"),
            ),
            (r#"{"id":"7","status":"END"}"#, EnvelopeError::Member("op")),
            (
                r#"{"id":"7","status":"active","event_count":1,"data_collections":null,"ts_ms":1}"#,
                EnvelopeError::Member("op"),
            ),
            (
                r#"{"id":"7","status":"END","event_count":1,"data_collections":null,"ts_ms":1,"tenant_id":"acme"}"#,
                EnvelopeError::Member("op"),
            ),
            (r#"{"ts_ms":1,"tenant_id":"acme"}"#, EnvelopeError::Member("op")),
            (r#"{"ts_ms":"now"}"#, EnvelopeError::Member("op")),
            (r#"{"op":"m"}"#, EnvelopeError::Op),
            (r#"{"op":"c","after":null}"#, EnvelopeError::NoRow("insert")),
            (r#"{"op":"u","before":{}}"#, EnvelopeError::NoRow("update")),
            (r#"{"op":"t"}"#, EnvelopeError::Member("source")),
            (
                r#"{"op":"t","source":{"db":"a","schema":"b"}}"#,
                EnvelopeError::Member("table"),
            ),
            (
                r#"{"op":"t","source":{"db":1,"schema":"b","table":"c"}}"#,
                EnvelopeError::Member("db"),
            ),
        ] {
            assert_eq!(read(value.as_bytes()), Err(error), "{value}");
        }
    }
}
