//! What a row becomes: an event of its tenant, or what is sealed as rejected.

use super::column;
use super::page;
use super::table::Table;
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::event::EventParser;
use crate::ledger::leaf::RejectCode;
use crate::ledger::partition::partition_of;
use crate::log::{NewRecord, Record};
use crate::mapping::Mapping;
use crate::mapping::json::ObjectWriter;
use crate::stages::capture::change;
use crate::stages::capture::envelope::{Envelope, Origin};
use crate::stages::capture::{Op, REFUSED, ReplicaIdentity, home};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Judges the rows of one table.
pub(super) struct Judge<'a> {
    pub table: &'a Table,
    pub mapping: &'a Mapping,
    pub partitions: u32,
    pub record_bytes_max: usize,
    parser: EventParser,
}

/// A record, and why it is none of an event.
pub(super) struct Judged {
    pub partition: u32,
    pub record: NewRecord,
    /// With the row's key.
    pub refused: Option<(String, Refusal)>,
}

impl<'a> Judge<'a> {
    pub fn new(
        table: &'a Table,
        mapping: &'a Mapping,
        limits: Limits,
        partitions: u32,
        record_bytes_max: usize,
    ) -> Self {
        Self {
            table,
            mapping,
            partitions,
            record_bytes_max,
            parser: EventParser::new(limits),
        }
    }

    /// A row of [`page::query`], whose columns behind the table's are `places` and which of them are inexact.
    pub fn judge(&mut self, row: &PgRow, places: usize) -> Result<Judged, sqlx::Error> {
        let (key, json) = self.read(row)?;
        let numbers: String = row.try_get(self.table.columns.len() + places)?;
        Ok(self.judge_row(&key, json, &numbers))
    }

    fn judge_row(&mut self, key: &[u8], json: Vec<u8>, inexact: &str) -> Judged {
        let event = match self.inexact(inexact) {
            None => self.event(key, &json),
            Some(refusal) => Err(refusal),
        };
        match event {
            Ok((tenant, event)) => Judged {
                partition: partition_of(&tenant, self.partitions),
                record: NewRecord {
                    key: tenant.into_bytes(),
                    value: event,
                    headers: Vec::new(),
                },
                refused: None,
            },
            Err(refusal) => self.refused(key, json, refusal),
        }
    }

    /// What no log takes whole is told by its key: the import goes on, and who reads the letter finds the row.
    fn refused(&self, key: &[u8], json: Vec<u8>, refusal: Refusal) -> Judged {
        let value = if json.len() > self.record_bytes_max {
            key.to_vec()
        } else {
            json
        };
        let code = refusal.code.as_str().as_bytes().to_vec();
        Judged {
            partition: home(&self.table.full_name(), 0, self.partitions),
            record: NewRecord {
                key: Vec::new(),
                value,
                headers: vec![(REFUSED.to_owned(), code)],
            },
            refused: Some((String::from_utf8_lossy(key).into_owned(), refusal)),
        }
    }

    /// Key and row as JSON, as Debezium sends them.
    fn read(&self, row: &PgRow) -> Result<(Vec<u8>, Vec<u8>), sqlx::Error> {
        let (mut key, mut json) = (Vec::new(), Vec::new());
        let (mut key_writer, mut row_writer) = (ObjectWriter::open(&mut key), ObjectWriter::open(&mut json));
        for (at, column) in self.table.columns.iter().enumerate() {
            let value: Option<String> = row.try_get(at)?;
            let reading = column.expression.reading;
            column::write(value.as_deref(), reading, row_writer.begin(&column.name));
            if self.table.key.contains(&column.name) {
                column::write(value.as_deref(), reading, key_writer.begin(&column.name));
            }
        }
        key_writer.close();
        row_writer.close();
        Ok((key, json))
    }

    /// A row that holds a value which cannot be written as Debezium would: an event that says another one is not made of it.
    fn inexact(&self, numbers: &str) -> Option<Refusal> {
        let names = page::inexact_names(self.table, numbers);
        let what = format!(
            "a year before 1 or after 9999, an array of several dimensions or an infinite interval cannot be written as Debezium writes it: {}",
            names.join(", ")
        );
        (!names.is_empty()).then(|| Refusal::new(RejectCode::Unmapped, what))
    }

    fn event(&mut self, key: &[u8], row: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
        // Before the mapping: of one that is larger, no event is small enough to be worth its memory.
        self.fits(row, "row")?;
        let envelope = Envelope {
            op: Op::Read,
            before: None,
            after: Some(row),
            origin: self.origin(),
        };
        let no_headers = Record {
            offset: 0,
            timestamp_ms: 0,
            key: Vec::new(),
            value: Vec::new(),
            headers: Vec::new(),
        };
        let change = change::write(&envelope, Some(key), "", &no_headers, ReplicaIdentity::Key)?;
        let mapped = self.mapping.apply_to_sound(&change)?;
        self.fits(&mapped.event, "event")?;
        // Judged here: whoever imports sees at once what is no event, and can mend it.
        let event = self.parser.parse(&mapped.event)?;
        Ok((event.tenant_id, mapped.event))
    }

    fn fits(&self, json: &[u8], what: &str) -> Result<(), Refusal> {
        if json.len() > self.record_bytes_max {
            let detail = format!("the {what} has more than {} bytes", self.record_bytes_max);
            return Err(Refusal::new(RejectCode::TooLarge, detail));
        }
        Ok(())
    }

    fn origin(&self) -> Origin {
        Origin {
            database: self.table.database.clone(),
            schema: self.table.schema.clone(),
            table: self.table.name.clone(),
            lsn: None,
            transaction: None,
            committed_micros: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    const MAPPING: &str = r#"
event_id = "/row_id"
tenant_id = { constant = "acme" }
occurred_at = "/row/at"
action = { constant = "a" }
data = "/row"
[actor]
type = { constant = "user" }
id = { constant = "u" }
"#;

    fn judged(json: &str, inexact: &str) -> Judged {
        let (table, mapping) = (table(), Mapping::from_toml(MAPPING).unwrap());
        let mut judge = Judge::new(&table, &mapping, Limits::default(), 3, 1_000);
        judge.judge_row(br#"{"id":7}"#, json.as_bytes().to_vec(), inexact)
    }

    fn code(judged: &Judged) -> Option<RejectCode> {
        judged.refused.as_ref().map(|(_, refusal)| refusal.code)
    }

    #[test]
    fn a_row_becomes_an_event_of_its_tenant() {
        let found = judged(r#"{"id":7,"at":"2026-01-02T03:04:05Z"}"#, "");
        assert_eq!(
            (code(&found), found.record.key.as_slice()),
            (None, b"acme".as_slice())
        );
    }

    #[test]
    fn a_row_that_no_log_takes_is_refused_and_told_by_its_key() {
        let long = "x".repeat(1_000);
        let found = judged(
            &format!(r#"{{"id":7,"at":"2026-01-02T03:04:05Z","text":"{long}"}}"#),
            "",
        );
        assert_eq!(code(&found), Some(RejectCode::TooLarge));
        assert_eq!(found.record.value, br#"{"id":7}"#);
        // Its event alone is too large.
        let shorter = "x".repeat(900);
        let row = format!(r#"{{"id":7,"at":"2026-01-02T03:04:05Z","text":"{shorter}"}}"#);
        let found = judged(&row, "");
        assert_eq!(code(&found), Some(RejectCode::TooLarge));
        assert_eq!(found.record.value, row.as_bytes());
    }

    #[test]
    fn a_row_with_a_value_that_is_inexact_is_refused_whole() {
        let row = r#"{"id":7,"at":"0044-03-15 00:00:00+00 BC"}"#;
        let found = judged(row, "1");
        assert_eq!(code(&found), Some(RejectCode::Unmapped));
        let (key, refusal) = found.refused.unwrap();
        assert_eq!(
            (key.as_str(), found.record.value.as_slice()),
            (r#"{"id":7}"#, row.as_bytes())
        );
        assert!(refusal.to_string().contains(": at"), "{refusal}");
    }
}
