//! What a connector wrote: records of a captured topic, each with what it must become, known from how it was made.

use crate::sim::Random;
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::log::NewRecord;
use serde_json::{Value, json};

pub const TOPIC: &str = "app.public.t";
/// Of two partitions of the ledger, the first three have one and the others the other.
const TENANTS: [&str; 6] = ["acme", "globex", "initech", "umbrella", "stark", "wayne"];
const AT: &str = "2026-11-22T01:25:13Z";

pub const MAPPING: &str = r#"
topics = ["app.public.t"]
replica_identity = "full"
event_id = "/row_id"
tenant_id = "/row/tenant"
occurred_at = "/row/at"
action = "/row/action"
data = "/row"
actor = { type = { constant = "user" }, id = "/row/actor" }

[update]
event_id = "/id"
occurred_at = "/row/at"
action = "/row/action"
data = "/row"
actor = { type = { constant = "user" }, id = "/row/actor" }

[delete]
event_id = "/id"
occurred_at = "/row/at"
action = { constant = "deleted" }
data = "/key"
actor = { type = { constant = "user" }, id = "/row/actor" }
"#;

/// What a record must become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Event {
        tenant: String,
        id: String,
        canonical: Vec<u8>,
    },
    Refused(RejectCode),
    /// It tells of no change.
    Nothing,
}

#[derive(Debug, Clone)]
pub struct Change {
    pub record: NewRecord,
    pub told: Told,
    /// What else, before it: of a row that got another tenant, the event of the one that it left.
    pub left: Option<Told>,
}

/// Changes of one table in the making.
pub struct Making {
    random: Random,
    /// Row and number of its last change; the number is in the row too.
    rows: Vec<(u64, u64)>,
    next_row: u64,
    lsn: u64,
    made: Vec<Change>,
}

impl Making {
    /// Rows are counted from `first_row` on, so that two tables share none.
    pub fn new(seed: u64, first_row: u64) -> Self {
        Self {
            random: Random::new(seed),
            rows: Vec::new(),
            next_row: first_row,
            lsn: 1_000 + first_row,
            made: Vec::new(),
        }
    }

    pub fn all(mut self, kinds: &[&str]) -> Vec<Change> {
        for kind in kinds {
            self.add(kind);
        }
        self.made
    }

    /// So many of these kinds, by the seed.
    pub fn some(mut self, kinds: &[&str], count: usize) -> Vec<Change> {
        for _ in 0..count {
            let kind = kinds[self.below(kinds.len())];
            self.add(kind);
        }
        self.made
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound.max(1) as u64)).unwrap()
    }

    fn add(&mut self, kind: &str) {
        self.lsn += 1;
        let change = match kind {
            "insert" => self.insert(),
            "update" => self.of_known_row(Self::update),
            "delete" => self.of_known_row(Self::delete),
            "move" => self.of_known_row(Self::moved),
            // A snapshot reads the row as it was inserted: the same event.
            "read" => self.of_known_row(|making, (row, _)| making.row_event("r", row, 0)),
            // The row was deleted and inserted again, as something else.
            "again" => self.of_known_row(|making, (row, _)| making.row_event("c", row, making.lsn)),
            // What Connect sends once more after a crash.
            "repeat" => {
                let is_event = |change: &&Change| matches!(change.told, Told::Event { .. });
                let events: Vec<Change> = self.made.iter().filter(is_event).cloned().collect();
                let at = self.below(events.len());
                events.get(at).cloned().unwrap_or_else(|| self.insert())
            }
            "tombstone" => nothing(r#"{"id":1}"#, ""),
            "heartbeat" => nothing("", r#"{"ts_ms":1}"#),
            "garbage" => refused("", "no envelope", RejectCode::Unmapped),
            "no key" => {
                let value = self.envelope("c", "null", &row_of(self.next_row, 0));
                refused("", &value, RejectCode::Unmapped)
            }
            "no tenant" => {
                let value = self.envelope("c", "null", r#"{"id":1}"#);
                refused(r#"{"id":1}"#, &value, RejectCode::MissingMember)
            }
            other => panic!("no kind {other}"),
        };
        self.made.push(change);
    }

    fn of_known_row(&mut self, make: impl FnOnce(&mut Self, (u64, u64)) -> Change) -> Change {
        let at = self.below(self.rows.len());
        match self.rows.get(at).copied() {
            Some(row) => make(self, row),
            None => self.insert(),
        }
    }

    fn insert(&mut self) -> Change {
        let row = self.next_row;
        self.next_row += 1;
        self.rows.push((row, 0));
        self.row_event("c", row, 0)
    }

    fn row_event(&self, op: &str, row: u64, number: u64) -> Change {
        let value = self.envelope(op, "null", &row_of(row, number));
        let id = format!("{TOPIC}/{row}");
        event(row, &value, id, &format!("a-{number}"), &data_of(row, number))
    }

    fn update(&mut self, (row, before): (u64, u64)) -> Change {
        let number = self.lsn;
        self.rows
            .iter_mut()
            .filter(|known| known.0 == row)
            .for_each(|known| known.1 = number);
        let value = self.envelope("u", &row_of(row, before), &row_of(row, number));
        let id = format!("{TOPIC}/{row}@{}/update", self.lsn);
        event(row, &value, id, &format!("a-{number}"), &data_of(row, number))
    }

    fn delete(&mut self, (row, number): (u64, u64)) -> Change {
        let value = self.envelope("d", &row_of(row, number), "null");
        let id = format!("{TOPIC}/{row}@{}/delete", self.lsn);
        event(row, &value, id, "deleted", &json!({ "id": row.to_string() }))
    }

    /// To a tenant of the same partition of the ledger, or of the other one. Nothing else happens to the row then.
    fn moved(&mut self, (row, before): (u64, u64)) -> Change {
        self.rows.retain(|known| known.0 != row);
        let (lsn, other) = (self.lsn, tenant_of(row + 1));
        let to_other = |json: &str| json.replace(tenant_of(row), other);
        let value = self.envelope("u", &row_of(row, before), &to_other(&row_of(row, lsn)));
        let mut data = data_of(row, lsn);
        data["tenant"] = other.into();
        let id = |op| format!("{TOPIC}/{row}@{lsn}/{op}");
        Change {
            told: told(other, id("insert"), &format!("a-{lsn}"), &data),
            left: Some(told(
                tenant_of(row),
                id("delete"),
                "deleted",
                &json!({ "id": row.to_string() }),
            )),
            ..change(&format!(r#"{{"id":{row}}}"#), &value, Told::Nothing)
        }
    }

    fn envelope(&self, op: &str, before: &str, after: &str) -> String {
        format!(
            r#"{{"before":{before},"after":{after},"op":"{op}","source":{{"db":"app","schema":"public","table":"t","lsn":{},"ts_us":1795310713122162}}}}"#,
            self.lsn
        )
    }
}

fn tenant_of(row: u64) -> &'static str {
    TENANTS[usize::try_from(row).unwrap() % TENANTS.len()]
}

fn row_of(row: u64, number: u64) -> String {
    let tenant = tenant_of(row);
    format!(r#"{{ "id":{row},"tenant":"{tenant}","at":"{AT}","action":"a-{number}","actor":"u\u002d1" }}"#)
}

fn data_of(row: u64, number: u64) -> Value {
    let action = format!("a-{number}");
    json!({ "id": row.to_string(), "tenant": tenant_of(row), "at": AT, "action": action, "actor": "u-1" })
}

fn event(row: u64, value: &str, id: String, action: &str, data: &Value) -> Change {
    let told = told(tenant_of(row), id, action, data);
    change(&format!(r#"{{"id":{row}}}"#), value, told)
}

fn told(tenant: &str, id: String, action: &str, data: &Value) -> Told {
    let event = json!({
        "event_id": id, "tenant_id": tenant, "occurred_at": AT, "action": action, "actor": { "type": "user", "id": "u-1" }, "data": data
    });
    Told::Event {
        tenant: tenant.to_owned(),
        id,
        canonical: serde_json_canonicalizer::to_vec(&event).unwrap(),
    }
}

fn refused(key: &str, value: &str, code: RejectCode) -> Change {
    change(key, value, Told::Refused(code))
}

fn nothing(key: &str, value: &str) -> Change {
    change(key, value, Told::Nothing)
}

fn change(key: &str, value: &str, told: Told) -> Change {
    let record = NewRecord {
        key: key.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
        headers: Vec::new(),
    };
    Change {
        record,
        told,
        left: None,
    }
}
