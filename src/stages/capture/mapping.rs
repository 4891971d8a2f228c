//! Mapping files of captured topics: one file says which topics, and how their changes become audit events.
//!
//! ```toml
//! topics = ["app.public.audit_logs"]   # Debezium's topics, by their whole names
//! record = "debezium"                  # or "outbox": events of an outbox table, through Debezium's EventRouter
//! replica_identity = "key"             # or "full": what Debezium knows of a row that is gone
//! payload = "json"                     # or "quoted"; of an outbox: how the record holds it
//! tenant_id = "/row/tenant_id"         # from here on as in every mapping file; pointers go into the change
//!
//! [update]                             # members that are others in updates; so too [delete], [truncate], [read]
//! action = { constant = "audit_log.changed" }
//! ```
//!
//! Inserts, what a snapshot reads, and what is imported are events by the file's own members: the same row is the same event. The
//! others are no such event, and unless the file says otherwise they tell what the database did: see [`CHANGED`].

use super::change::ReplicaIdentity;
use super::envelope::Op;
use crate::ledger::names::is_topic;
use crate::mapping::parse::{self, Faults};
use crate::mapping::{Mapping, MappingError};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Topics of one file.
const TOPICS_MAX: usize = 64;

/// Members of updates, deletes and truncates that a file says nothing of. Who changed the row, Postgres does not tell.
const CHANGED: &str = r#"
event_id = "/id"
occurred_at = "/committed_at"
action = { join = ["/table", "/op"], separator = "." }
data = ""
actor = { type = { constant = "database" }, id = "/database" }
"#;

/// How the records of some topics become audit events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureMapping {
    pub topics: Vec<String>,
    pub kind: Kind,
    pub payload: Payload,
    pub replica_identity: ReplicaIdentity,
    /// By what happened; of an outbox, all are [`Op::Insert`].
    by_op: BTreeMap<Op, Mapping>,
}

/// Whose records they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes of a table.
    Debezium,
    /// Events that an application wrote into an outbox table.
    Outbox,
}

/// How a record of an outbox holds the payload. The record does not say: `"[1]"` is a text of four characters by the one, and a list by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Payload {
    /// The record's value is the payload, as a converter of text writes what is JSON.
    #[default]
    Json,
    /// The record's value is one string, and in it is the payload, as converters of JSON and Avro write a column of text.
    Quoted,
}

impl CaptureMapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// All faults at once, as [`Mapping::from_toml`].
    pub fn from_toml(text: &str) -> Result<Self, MappingError> {
        let mut faults = Faults::default();
        let found = parse::table(text, &mut faults).and_then(|table| read(table, &mut faults));
        faults.done(found)
    }

    /// How a change becomes an event.
    #[must_use]
    pub fn of(&self, op: Op) -> Option<&Mapping> {
        self.by_op.get(&op)
    }
}

fn read(mut table: Table, faults: &mut Faults) -> Option<CaptureMapping> {
    let topics = topics(table.remove("topics").as_ref(), faults);
    let kind = choice(
        &mut table,
        "record",
        &[("debezium", Kind::Debezium), ("outbox", Kind::Outbox)],
        faults,
    );
    let has_payload = table.contains_key("payload");
    let payloads = [("json", Payload::Json), ("quoted", Payload::Quoted)];
    let payload = choice(&mut table, "payload", &payloads, faults);
    if has_payload && kind == Some(Kind::Debezium) {
        faults.add("payload: only an outbox has one (record = \"outbox\")".to_owned());
    }
    let identities = [("key", ReplicaIdentity::Key), ("full", ReplicaIdentity::Full)];
    let replica_identity = choice(&mut table, "replica_identity", &identities, faults);
    let sections: Vec<(Op, Option<Value>)> = [Op::Read, Op::Update, Op::Delete, Op::Truncate]
        .into_iter()
        .map(|op| (op, table.remove(op.as_str())))
        .collect();
    let kind = kind?;
    let mut by_op = BTreeMap::new();
    by_op.extend(parse::read(&table, faults).map(|mapping| (Op::Insert, mapping)));
    for (op, section) in sections {
        if kind == Kind::Outbox {
            if section.is_some() {
                faults.add(format!(
                    "{}: an outbox has events alone, and no changes",
                    op.as_str()
                ));
            }
            continue;
        }
        let merged = merged(&table, op, section, faults);
        by_op.extend(
            merged
                .and_then(|table| faults.within(op.as_str(), |faults| parse::read(&table, faults)))
                .map(|mapping| (op, mapping)),
        );
    }
    Some(CaptureMapping {
        topics: topics?,
        kind,
        payload: payload?,
        replica_identity: replica_identity?,
        by_op,
    })
}

/// The file's members, over them those that hold for such changes unless the file says otherwise, over them what it says.
fn merged(base: &Table, op: Op, section: Option<Value>, faults: &mut Faults) -> Option<Table> {
    let mut table = base.clone();
    match op {
        // An event of the row itself.
        Op::Insert | Op::Read => {}
        Op::Update | Op::Delete | Op::Truncate => {
            let changed: Table = CHANGED.parse().unwrap_or_default();
            table.extend(changed);
            for member in ["targets", "context"] {
                table.remove(member);
            }
        }
    }
    match section {
        None => {}
        Some(Value::Table(section)) => table.extend(section),
        Some(_) => {
            let op = op.as_str();
            faults.add(format!(
                "{op}: must be a table [{op}] of members that are others there"
            ));
            return None;
        }
    }
    Some(table)
}

fn topics(value: Option<&Value>, faults: &mut Faults) -> Option<Vec<String>> {
    let names = match value {
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>(),
        Some(_) | None => None,
    };
    let Some(names) = names.filter(|names| (1..=TOPICS_MAX).contains(&names.len())) else {
        faults.add(format!(
            "topics: must be a list of 1 to {TOPICS_MAX} names of Debezium's topics, such as [\"app.public.audit_logs\"]"
        ));
        return None;
    };
    let before = names.len();
    let good: Vec<String> = names
        .iter()
        .filter(|name| is_topic(name))
        .map(|name| (*name).to_owned())
        .collect();
    for name in names.iter().filter(|name| !is_topic(name)) {
        faults.add(format!(
            "topics: {name:?} is no name of a topic: that has 1 to 200 of the characters a-z, A-Z, 0-9, '.', '_' and '-'. Debezium writes _ for any other in a table's name"
        ));
    }
    (good.len() == before).then_some(good)
}

/// One of some words; the first where the file has none.
fn choice<T: Copy>(table: &mut Table, key: &str, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let Some(value) = table.remove(key) else {
        return words.first().map(|(_, choice)| *choice);
    };
    let found = value
        .as_str()
        .and_then(|text| words.iter().find(|(word, _)| *word == text));
    if found.is_none() {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        faults.add(format!("{key}: must be {}", words.join(" or ")));
    }
    found.map(|(_, choice)| *choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
topics = ["app.public.audit_logs"]
event_id = "/row_id"
tenant_id = "/row/tenant"
occurred_at = "/row/created_at"
action = "/row/action"
data = "/row"
actor = { type = "/row/actor_type", id = "/row/actor" }
context = { region = "/row/region" }

[delete]
action = { constant = "audit_log.deleted" }
"#;

    const CHANGE: &[u8] = br#"{"op":"delete","id":"app.public.audit_logs/7@5/delete","row_id":"app.public.audit_logs/7","database":"app",
        "table":"audit_logs","row":{"tenant":"acme","action":"login","actor":"carol","actor_type":"user","region":"eu",
        "created_at":"2026-11-22T01:25:13Z"},"committed_at":"2026-11-23T00:00:00.000000Z"}"#;

    fn event(op: Op) -> String {
        let mapping = CaptureMapping::from_toml(FILE).unwrap();
        String::from_utf8(mapping.of(op).unwrap().apply(CHANGE).unwrap()).unwrap()
    }

    #[test]
    fn inserts_reads_and_imports_of_a_row_are_one_event() {
        let insert = event(Op::Insert);
        assert!(
            insert.contains(r#""event_id":"app.public.audit_logs/7","occurred_at":"2026-11-22T01:25:13Z""#),
            "{insert}"
        );
        assert!(insert.contains(r#""context":{"region":"eu"}"#), "{insert}");
        assert_eq!(insert, event(Op::Read));
    }

    #[test]
    fn other_changes_tell_what_the_database_did() {
        let update = event(Op::Update);
        for part in [
            r#""action":"audit_logs.delete""#,
            r#""actor":{"id":"app","type":"database"}"#,
            r#""event_id":"app.public.audit_logs/7@5/delete""#,
            r#""occurred_at":"2026-11-23T00:00:00.000000Z""#,
            r#""tenant_id":"acme""#,
        ] {
            assert!(update.contains(part), "{update}");
        }
        assert!(!update.contains("context"), "{update}");
    }

    #[test]
    fn a_section_says_what_is_otherwise_in_its_changes() {
        assert!(event(Op::Delete).contains(r#""action":"audit_log.deleted""#));
    }

    #[test]
    fn all_faults_are_told_at_once_with_the_section() {
        let file = "topics = [\"a b\"]\nrecord = \"csv\"\nreplica_identity = 7\n[update]\nnosuch = \"/x\"\n";
        let error = CaptureMapping::from_toml(file).unwrap_err().to_string();
        for part in [
            "topics: \"a b\" is no name of a topic",
            "record: must be debezium or outbox",
            "replica_identity: must be key or full",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = CaptureMapping::from_toml(&FILE.replace("[delete]", "[delete]\nnosuch = \"/x\"\n"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("delete.nosuch: no such member"), "{error}");
        let outbox = FILE.replace("topics =", "record = \"outbox\"\ntopics =");
        assert!(
            CaptureMapping::from_toml(&outbox)
                .unwrap_err()
                .to_string()
                .contains("an outbox has events alone")
        );
    }

    #[test]
    fn an_outbox_has_one_mapping() {
        let file = FILE.replace("topics =", "record = \"outbox\"\ntopics =");
        let file = file.split("[delete]").next().unwrap();
        let mapping = CaptureMapping::from_toml(file).unwrap();
        assert_eq!((mapping.kind, mapping.of(Op::Update)), (Kind::Outbox, None));
        assert!(mapping.of(Op::Insert).is_some());
    }

    #[test]
    fn an_outbox_alone_says_how_its_records_hold_the_payload() {
        let of = |first: &str| {
            let file = FILE.replace("topics =", &format!("{first}\ntopics ="));
            let file = file.split("[delete]").next().unwrap();
            CaptureMapping::from_toml(file)
                .map(|mapping| mapping.payload)
                .map_err(|error| error.to_string())
        };
        assert_eq!(of("record = \"outbox\""), Ok(Payload::Json));
        assert_eq!(of("record = \"outbox\"\npayload = \"json\""), Ok(Payload::Json));
        assert_eq!(
            of("record = \"outbox\"\npayload = \"quoted\""),
            Ok(Payload::Quoted)
        );
        for (first, told) in [
            ("payload = \"json\"", "payload: only an outbox has one"),
            (
                "record = \"outbox\"\npayload = \"text\"",
                "payload: must be json or quoted",
            ),
        ] {
            let error = of(first).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
