//! Which lines are appended, and as what.

use super::IngestOptions;
use super::lines::Line;
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::event::EventParser;
use crate::ledger::leaf::RejectCode;
use crate::log::NewRecord;
use crate::mapping::Mapping;

/// Decides what becomes of a line.
pub(super) struct Judge {
    mapping: Option<Mapping>,
    parser: EventParser,
    record_bytes_max: usize,
    limits: Limits,
}

impl Judge {
    pub fn new(options: &IngestOptions, record_bytes_max: usize) -> Self {
        Self {
            mapping: options
                .mapping
                .clone()
                .map(|mapping| mapping.with_limits(options.limits)),
            parser: EventParser::new(options.limits),
            record_bytes_max,
            limits: options.limits,
        }
    }

    /// The tenant and the record to append.
    pub fn record(&mut self, line: Line, text: &[u8]) -> Result<(String, NewRecord), Refusal> {
        match line {
            Line::End => return Err(Refusal::new(RejectCode::Empty, "there is no line")),
            Line::TooLong => return Err(self.too_long()),
            Line::Whole => {}
            Line::Unended => return self.whole(text).map_err(unended),
        }
        self.whole(text)
    }

    fn whole(&mut self, text: &[u8]) -> Result<(String, NewRecord), Refusal> {
        let value = match &self.mapping {
            Some(mapping) => mapping.apply(text)?,
            None => text.to_vec(),
        };
        let tenant = self.parser.parse(&value)?.tenant_id;
        if value.len() > self.record_bytes_max {
            return Err(self.too_long());
        }
        let record = NewRecord {
            key: tenant.clone().into_bytes(),
            value,
            headers: Vec::new(),
        };
        Ok((tenant, record))
    }

    fn too_long(&self) -> Refusal {
        let detail = format!(
            "the event has more than {} bytes, which is what the log takes (its canonical form may have {}); send large content \
             elsewhere and its digest here",
            self.record_bytes_max, self.limits.event_bytes_max
        );
        Refusal::new(RejectCode::TooLarge, detail)
    }
}

/// The last line of a file that was cut off in the middle.
fn unended(mut refusal: Refusal) -> Refusal {
    refusal
        .detail
        .push_str("; this last line has no line end, so the file may be cut off");
    refusal
}
