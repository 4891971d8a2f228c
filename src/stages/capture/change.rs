//! A captured change as the JSON object that mapping files point into. Pure.
//!
//! ```text
//! {"op":"update","id":"app.public.t/7@26700152/update","row_id":"app.public.t/7","database":"app","schema":"public","table":"t",
//!  "key":{"id":"7"},"row":{..},"before":{..},"unchanged":["notes"],"lsn":"26700152","transaction":"749",
//!  "committed_at":"2026-11-22T01:25:13.122162Z","topic":"app.public.t","headers":{"traceparent":".."}}
//! ```
//!
//! What Debezium does not know is not there. Of a deleted row it knows no more than the key, unless the table's replica identity
//! is full: what it sends in the other columns then are placeholders of its own (`""`, the epoch), and they are left out.

use super::columns::{self, NoRow};
use super::envelope::{Envelope, Object, Op, headers};
use crate::ledger::canonical::{Refusal, text};
use crate::ledger::event::NAME_BYTES_MAX;
use crate::ledger::leaf::RejectCode;
use crate::ledger::time::write_sealed_at;
use crate::log::Record;
use crate::mapping::json::{ObjectWriter, write_list};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Header names and values of one record, in bytes: a record with more is refused.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Names and values may be empty.
const HEADERS_MAX: usize = 1_024;
/// Of the digest of a row that stands in its id.
const ROW_DIGEST_BYTES: usize = 16;

/// Whether Debezium knows all columns of a row that is gone (`REPLICA IDENTITY FULL`), or its key alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplicaIdentity {
    #[default]
    Key,
    Full,
}

/// Why an envelope cannot be told as a change. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("the key or the row of the change is no JSON object of values")]
    NoRow,
    #[error("the change has no position in the log of Postgres (source.lsn)")]
    NoPosition,
    #[error(
        "the table has no primary key: its rows cannot be told apart, so a change that comes again could not be told from another one"
    )]
    NoIdentity,
    #[error(
        "the record's headers are more than {HEADERS_MAX}, or have more than {HEADER_BYTES_MAX} bytes: an event holds them, or is none"
    )]
    Headers,
}

impl ChangeError {
    /// What the record is sealed as.
    #[must_use]
    pub const fn code(self) -> RejectCode {
        match self {
            Self::NoRow | Self::NoPosition | Self::NoIdentity => RejectCode::Unmapped,
            Self::Headers => RejectCode::TooLarge,
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<NoRow> for ChangeError {
    fn from(_: NoRow) -> Self {
        Self::NoRow
    }
}

/// The change of `envelope`, which came as `record`.
///
/// # Errors
/// Where it has no identity of its own: two changes must never be taken for one.
pub fn write(
    envelope: &Envelope<'_>,
    key: Option<&[u8]>,
    topic: &str,
    record: &Record,
    identity: ReplicaIdentity,
) -> Result<Vec<u8>, ChangeError> {
    write_as(Row::Same, envelope, key, topic, record, identity)
}

/// Which row a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// The one that its key names.
    Same,
    /// Of the same key, but another tenant's from this change on: a row of its own, which is called as the change that it came by. The row before it, which may come
    /// back, has the key's name.
    Came,
}

pub(super) fn write_as(
    which: Row,
    envelope: &Envelope<'_>,
    key: Option<&[u8]>,
    topic: &str,
    record: &Record,
    identity: ReplicaIdentity,
) -> Result<Vec<u8>, ChangeError> {
    let origin = &envelope.origin;
    let key_texts = key
        .map(|key| columns::texts(key).ok_or(ChangeError::NoRow))
        .transpose()?;
    let (row, unchanged) = row(which, envelope, key, identity)?;
    let mut json = Vec::with_capacity(row.len() + 512);
    let mut change = ObjectWriter::open(&mut json);
    change.text("op", envelope.op.as_str());
    let place = joined(&[&origin.database, &origin.schema, &origin.table], '.');
    let mut ids = Ids::of(envelope, &place, key_texts.as_deref(), &row)?;
    if which == Row::Came {
        ids.row = Some(ids.change.clone());
    }
    change.text("id", &bounded(ids.change));
    if let Some(row_id) = ids.row {
        change.text("row_id", &bounded(row_id));
    }
    change.text("database", &origin.database);
    change.text("schema", &origin.schema);
    change.text("table", &origin.table);
    change.text("topic", topic);
    if let Some(key) = key {
        columns::write_row(key, change.begin("key"))?;
    }
    if !row.is_empty() {
        change.member("row", &row);
    }
    // Where the identity is the key, and an update changes it, `before` has the key and made-up values.
    if let (Op::Update, Some(before), ReplicaIdentity::Full) = (envelope.op, envelope.before, identity) {
        columns::write_row(before, change.begin("before"))?;
    }
    if !unchanged.is_empty() {
        let write = |name: &String, out: &mut Vec<u8>| {
            text::write_string(name, out);
            Some(())
        };
        write_list(&unchanged, change.begin("unchanged"), write).ok_or(ChangeError::NoRow)?;
    }
    if let Some(lsn) = &origin.lsn {
        change.text("lsn", lsn);
    }
    if let Some(transaction) = &origin.transaction {
        change.text("transaction", transaction);
    }
    if let Some(micros) = origin.committed_micros {
        write_time(micros, change.begin("committed_at"));
    }
    write_headers(record, &mut change)?;
    change.close();
    Ok(json)
}

/// The row as it is now; of a deleted one, what is known of it. Empty where nothing is.
fn row(
    which: Row,
    envelope: &Envelope<'_>,
    key: Option<&[u8]>,
    identity: ReplicaIdentity,
) -> Result<(Vec<u8>, columns::Unchanged), ChangeError> {
    // Numbers get quotes.
    let mut json = Vec::with_capacity(envelope.after.or(envelope.before).map_or(0, |row| row.len() + 64));
    let mut unchanged = columns::Unchanged::new();
    match (envelope.op, envelope.after, envelope.before) {
        (Op::Update, Some(after), _) => unchanged = columns::write_updated(after, &mut json)?,
        // It was written by an update.
        (Op::Insert, Some(after), _) if which == Row::Came => {
            unchanged = columns::write_updated(after, &mut json)?;
        }
        (Op::Insert | Op::Read, Some(after), _) => columns::write_row(after, &mut json)?,
        (Op::Delete, _, Some(before)) => match identity {
            ReplicaIdentity::Full => columns::write_row(before, &mut json)?,
            ReplicaIdentity::Key => {
                let key = key.and_then(Object::parse);
                let is_known = |name: &str| key.as_ref().is_some_and(|key| key.has(name));
                columns::write_columns(before, is_known, &mut json)?;
            }
        },
        (Op::Insert | Op::Update | Op::Read, None, _) | (Op::Delete, _, None) | (Op::Truncate, _, _) => {}
    }
    Ok((json, unchanged))
}

/// What a change and its row are called. The same change has the same id however often it is delivered, and no other change has it.
struct Ids {
    change: String,
    /// Of a row with a primary key: one for its insert, every snapshot's read and every import of it.
    row: Option<String>,
}

impl Ids {
    fn of(
        envelope: &Envelope<'_>,
        place: &str,
        key: Option<&[String]>,
        row: &[u8],
    ) -> Result<Self, ChangeError> {
        let (op, origin) = (envelope.op, &envelope.origin);
        let lsn = || origin.lsn.as_deref().ok_or(ChangeError::NoPosition);
        let row_id = key.map(|key| format!("{place}/{}", joined(key, ',')));
        let change = match (op, &row_id) {
            // The statements of one transaction may share a position; of one row they do not.
            (Op::Insert | Op::Update | Op::Delete, Some(row_id)) => {
                format!("{row_id}@{}/{}", lsn()?, op.as_str())
            }
            (Op::Truncate, _) => format!("{place}@{}/{}", lsn()?, op.as_str()),
            // A snapshot that is taken again reads a row that is the same as the same.
            (Op::Read, Some(row_id)) => format!("{row_id}/read/{}", digest(row)),
            // Debezium's place in the transaction (total_order) is no identity: after a restart within a transaction it is another one.
            (Op::Insert | Op::Update | Op::Delete | Op::Read, None) => return Err(ChangeError::NoIdentity),
        };
        Ok(Self { change, row: row_id })
    }
}

/// Texts as one, of which no other texts are made: what joins them, and what begins a key, is escaped within them.
fn joined<T: AsRef<str>>(texts: &[T], by: char) -> String {
    let mut all = String::new();
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            all.push(by);
        }
        for character in text.as_ref().chars() {
            if matches!(character, '\\' | '/' | '@') || character == by {
                all.push('\\');
            }
            all.push(character);
        }
    }
    all
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    HEXLOWER.encode(&digest[..ROW_DIGEST_BYTES])
}

/// An id that an event can have: of a long one, or one that a line of a log could not show, its digest.
fn bounded(id: String) -> String {
    if id.len() <= NAME_BYTES_MAX && !id.contains(char::is_control) {
        id
    } else {
        format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(id.as_bytes())))
    }
}

/// The record's own headers. All of them or an error: an event without some would say that there were no others. Of a name that is there more than once all values
/// are told, as a list: which of them counts is not for this to say.
pub(super) fn write_headers(record: &Record, change: &mut ObjectWriter<'_>) -> Result<(), ChangeError> {
    let (mut count, mut bytes) = (0, 0);
    let mut by_name: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (name, value) in headers(record) {
        (count, bytes) = (count + 1, bytes + name.len() + value.len());
        if count > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            return Err(ChangeError::Headers);
        }
        by_name.entry(name).or_default().push(value);
    }
    if by_name.is_empty() {
        return Ok(());
    }
    let mut object = ObjectWriter::open(change.begin("headers"));
    for (name, values) in by_name {
        match values.as_slice() {
            [value] => write_text_or_base64(value, object.begin(name)),
            values => {
                let write = |value: &&[u8], out: &mut Vec<u8>| {
                    write_text_or_base64(value, out);
                    Some(())
                };
                write_list(values, object.begin(name), write).ok_or(ChangeError::NoRow)?;
            }
        }
    }
    object.close();
    Ok(())
}

/// Text; of other bytes an object, which is not taken for text.
pub(super) fn write_text_or_base64(value: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(value) {
        Ok(value) => text::write_string(value, out),
        Err(_) => {
            let mut object = ObjectWriter::open(out);
            object.text("base64", &BASE64.encode(value));
            object.close();
        }
    }
}

fn write_time(micros: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    write_sealed_at(micros, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::envelope::{Message, read};
    use super::*;

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            offset: 3,
            timestamp_ms: 0,
            key: Vec::new(),
            value: Vec::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
        }
    }

    fn envelope(op: &str, before: &str, after: &str, transaction: &str) -> String {
        format!(
            r#"{{"before":{before},"after":{after},"source":{{"db":"app","schema":"public","table":"t","txId":749,"lsn":26700152,
            "ts_us":1795310713122162}},"transaction":{transaction},"op":"{op}"}}"#
        )
    }

    fn change_of(json: &str, key: Option<&str>, identity: ReplicaIdentity) -> Result<String, ChangeError> {
        let Ok(Message::Change(envelope)) = read(json.as_bytes()) else {
            panic!("{json}")
        };
        let record = record(&[
            ("traceparent", "00-1"),
            ("__debezium.context.taskId", "0"),
            ("traceparent", "2"),
        ]);
        write(
            &envelope,
            key.map(str::as_bytes),
            "app.public.t",
            &record,
            identity,
        )
        .map(|json| String::from_utf8(json).unwrap())
    }

    const KEY: Option<&str> = Some(r#"{"id":7}"#);

    #[test]
    fn a_change_says_what_is_known_and_nothing_else() {
        let json = envelope(
            "u",
            r#"{"id":7,"n":1}"#,
            r#"{"id":7,"n":2,"notes":"__debezium_unavailable_value"}"#,
            "null",
        );
        let expected = concat!(
            r#"{"op":"update","id":"app.public.t/7@26700152/update","row_id":"app.public.t/7","database":"app","schema":"public","#,
            r#""table":"t","topic":"app.public.t","key":{"id":"7"},"row":{"id":"7","n":"2"},"before":{"id":"7","n":"1"},"#,
            r#""unchanged":["notes"],"lsn":"26700152","transaction":"749","committed_at":"2026-11-22T01:25:13.122162Z","#,
            r#""headers":{"traceparent":["00-1","2"]}}"#
        );
        assert_eq!(
            change_of(&json, KEY, ReplicaIdentity::Full).as_deref(),
            Ok(expected)
        );
        let key_alone = change_of(&json, KEY, ReplicaIdentity::Key).unwrap();
        assert!(!key_alone.contains("\"before\""), "{key_alone}");
        assert!(key_alone.contains(r#""unchanged":["notes"]"#), "{key_alone}");
    }

    #[test]
    fn of_a_deleted_row_placeholders_are_left_out_where_only_the_key_is_known() {
        let json = envelope(
            "d",
            r#"{"id":7,"actor":"","at":"1970-01-01T00:00:00.000000Z"}"#,
            "null",
            "null",
        );
        let key_alone = change_of(&json, KEY, ReplicaIdentity::Key).unwrap();
        assert!(key_alone.contains(r#""row":{"id":"7"}"#), "{key_alone}");
        assert!(!key_alone.contains("1970"), "{key_alone}");
        let whole = change_of(&json, KEY, ReplicaIdentity::Full).unwrap();
        assert!(
            whole.contains(r#""row":{"id":"7","actor":"","at":"1970-01-01T00:00:00.000000Z"}"#),
            "{whole}"
        );
    }

    #[test]
    fn a_text_that_is_what_debezium_writes_for_a_value_not_sent_is_kept_but_in_an_updated_row() {
        let row = r#"{"id":7,"notes":"__debezium_unavailable_value"}"#;
        let kept = r#""notes":"__debezium_unavailable_value""#;
        for json in [
            envelope("c", "null", row, "null"),
            envelope("r", "null", row, "null"),
            envelope("d", row, "null", "null"),
            envelope("u", row, r#"{"id":7,"notes":"n"}"#, "null"),
        ] {
            let change = change_of(&json, KEY, ReplicaIdentity::Full).unwrap();
            assert!(change.contains(kept) && !change.contains("unchanged"), "{change}");
        }
        let update = envelope("u", "null", row, "null");
        let change = change_of(&update, KEY, ReplicaIdentity::Full).unwrap();
        assert!(
            !change.contains(kept) && change.contains(r#""unchanged":["notes"]"#),
            "{change}"
        );
    }

    #[test]
    fn rows_that_a_snapshot_reads_again_have_the_id_that_they_had_unless_they_changed() {
        let read = |row: &str| {
            let json = change_of(&envelope("r", "null", row, "null"), KEY, ReplicaIdentity::Key).unwrap();
            let at = json.find("\"id\":").unwrap();
            json[at..].split(',').next().unwrap().to_owned()
        };
        assert_eq!(read(r#"{"id":7,"n":1}"#), read(r#"{"id":7,"n":1}"#));
        assert_ne!(read(r#"{"id":7,"n":1}"#), read(r#"{"id":7,"n":2}"#));
    }

    #[test]
    fn without_a_key_a_change_has_no_identity_unless_it_is_of_the_whole_table() {
        let json = envelope("c", "null", r#"{"n":1}"#, r#"{"id":"749:1","total_order":2}"#);
        assert_eq!(
            change_of(&json, None, ReplicaIdentity::Key),
            Err(ChangeError::NoIdentity)
        );
        let truncate = change_of(&envelope("t", "null", "null", "null"), None, ReplicaIdentity::Key).unwrap();
        assert!(
            truncate.contains(r#""id":"app.public.t@26700152/truncate""#),
            "{truncate}"
        );
    }

    #[test]
    fn headers_are_told_all_of_them_whatever_is_in_them_or_the_record_is_refused() {
        let told = |headers: &[(&str, &[u8])]| {
            let mut record = record(&[]);
            record.headers = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect();
            let mut json = Vec::new();
            let mut change = ObjectWriter::open(&mut json);
            write_headers(&record, &mut change)?;
            change.close();
            Ok(String::from_utf8(json).unwrap())
        };
        let of = |json: &str| Ok::<_, ChangeError>(format!(r#"{{"headers":{json}}}"#));
        let (one, two, empty) = (&b"1"[..], &b"2"[..], &b""[..]);
        assert_eq!(told(&[]), Ok("{}".to_owned()));
        assert_eq!(told(&[("b", two), ("a", empty)]), of(r#"{"a":"","b":"2"}"#));
        assert_eq!(
            told(&[("a", one), ("b", two), ("a", two), ("a", one)]),
            of(r#"{"a":["1","2","1"],"b":"2"}"#)
        );
        assert_eq!(
            told(&[("a", &b"\xff\x00"[..]), ("b", one), ("b", &b"\xfe"[..])]),
            of(r#"{"a":{"base64":"/wA="},"b":["1",{"base64":"/g=="}]}"#)
        );
        // Repeats count, and so do headers of no bytes.
        let half = vec![b'x'; HEADER_BYTES_MAX / 2];
        assert_eq!(told(&[("a", &half), ("a", &half)]), Err(ChangeError::Headers));
        let nothing = vec![("", empty); HEADERS_MAX + 1];
        assert!(told(&nothing[1..]).is_ok());
        assert_eq!(told(&nothing), Err(ChangeError::Headers));
    }

    #[test]
    fn keys_of_several_columns_are_told_apart_and_long_ones_are_digested() {
        assert_ne!(joined(&["a,b", "c"], ','), joined(&["a", "b,c"], ','));
        assert_ne!(joined(&["a\\", "c"], ','), joined(&["a", "\\c"], ','));
        let long = bounded("x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!((&long[..7], long.len()), ("sha256:", 71));
        assert!(bounded("a\nb".to_owned()).starts_with("sha256:"));
        assert_eq!(bounded("x".repeat(NAME_BYTES_MAX)).len(), NAME_BYTES_MAX);
    }
}
