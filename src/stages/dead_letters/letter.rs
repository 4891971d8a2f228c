//! A letter, and the record of `ledger.dead-letters` that it is: the input as value, the tenant as key, all else in headers.

use crate::clock::UnixMicros;
use crate::ledger::leaf::RejectCode;
use crate::ledger::names::{self, parse_decimal};
use crate::ledger::time::{parse_sealed_at, write_sealed_at};
use crate::log::reader::Position;
use crate::log::{NewRecord, Record};

const REASON: &str = "ledgerline-reason";
const SOURCE: &str = "ledgerline-source";
const ORIGIN: &str = "ledgerline-origin";
const INDEX: &str = "ledgerline-index";
const SEALED_AT: &str = "ledgerline-sealed-at";
const TENANT: &str = "ledgerline-tenant";
const VIA: &str = "ledgerline-via";
const POSITION: &str = "ledgerline-position";
/// On an input that was replayed: `<origin>/<index>` of the leaf that rejected it. For people; nothing is decided by it.
pub const REPLAY_OF: &str = "ledgerline-replay-of";

/// What a rejected leaf says, with the input that it rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'r> {
    pub origin: &'r str,
    pub index: u64,
    pub reason: RejectCode,
    /// `<topic>/<partition>@<offset>`, where the input was sealed from.
    pub source: &'r str,
    /// Where a forwarded input was first.
    pub via: Option<&'r str>,
    pub sealed_at: UnixMicros,
    pub tenant: Option<&'r str>,
    pub raw: &'r [u8],
    /// The place behind the leaf: every rejected leaf before it has its letter.
    pub next: Position,
}

impl<'r> Letter<'r> {
    #[must_use]
    pub fn to_record(&self) -> NewRecord {
        let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut sealed_at = Vec::new();
        write_sealed_at(self.sealed_at, &mut sealed_at);
        let mut headers = vec![
            text(REASON, self.reason.as_str()),
            text(SOURCE, self.source),
            text(ORIGIN, self.origin),
            text(INDEX, &self.index.to_string()),
            (SEALED_AT.to_owned(), sealed_at),
            text(POSITION, &self.next.to_string()),
        ];
        headers.extend(self.tenant.map(|tenant| text(TENANT, tenant)));
        headers.extend(self.via.map(|via| text(VIA, via)));
        NewRecord {
            key: self.tenant.unwrap_or_default().as_bytes().to_vec(),
            value: self.raw.to_vec(),
            headers,
        }
    }

    /// `None` where the record is no letter: then somebody else wrote it.
    #[must_use]
    pub fn parse(record: &'r Record) -> Option<Self> {
        let find = |wanted: &str| {
            let (_, value) = record.headers.iter().find(|(name, _)| name == wanted)?;
            std::str::from_utf8(value).ok()
        };
        let letter = Self {
            origin: find(ORIGIN).filter(|origin| names::is_origin(origin))?,
            index: parse_decimal(find(INDEX)?)?,
            reason: RejectCode::parse(find(REASON)?)?,
            source: find(SOURCE).filter(|source| names::parse_source_position(source).is_some())?,
            via: find(VIA),
            sealed_at: parse_sealed_at(find(SEALED_AT)?.as_bytes())?,
            tenant: find(TENANT),
            raw: &record.value,
            next: find(POSITION)?.parse().ok()?,
        };
        (letter.next.index == letter.index + 1).then_some(letter)
    }

    /// `<origin>/<index>`: what the leaf is called everywhere.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.origin, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter<'static> {
        Letter {
            origin: "ledger.example.com/audit/3",
            index: 17,
            reason: RejectCode::InvalidTime,
            source: "audit.rerouted/3@9",
            via: Some("audit.events/1@4"),
            sealed_at: 1_795_305_600_000_001,
            tenant: Some("acme"),
            raw: b"{\"tenant_id\":\"acme\"}",
            next: Position {
                offset: 40,
                epoch: 2,
                session: [7; 16],
                index: 18,
            },
        }
    }

    fn read_back(record: NewRecord) -> Record {
        Record {
            offset: 5,
            timestamp_ms: 0,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for letter in [
            letter(),
            Letter {
                tenant: None,
                via: None,
                raw: b"",
                ..letter()
            },
        ] {
            let record = read_back(letter.to_record());
            assert_eq!(record.key, letter.tenant.unwrap_or_default().as_bytes());
            assert_eq!(record.value, letter.raw);
            assert_eq!(Letter::parse(&record), Some(letter));
        }
    }

    #[test]
    fn what_lacks_a_part_or_names_another_place_is_no_letter() {
        let whole = read_back(letter().to_record());
        for missing in [REASON, SOURCE, ORIGIN, INDEX, SEALED_AT, POSITION] {
            let mut record = whole.clone();
            record.headers.retain(|(name, _)| name != missing);
            assert_eq!(Letter::parse(&record), None, "{missing}");
        }
        let elsewhere = Letter {
            index: 16,
            ..letter()
        };
        assert_eq!(Letter::parse(&read_back(elsewhere.to_record())), None);
    }
}
