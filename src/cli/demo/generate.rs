//! Made-up audit events of about 1.2 KB, in any number: the same ones every time.

use std::io::{self, BufRead, Read};

const ACTIONS: [&str; 8] = [
    "document.upload",
    "document.read",
    "access.grant",
    "access.deny",
    "session.begin",
    "session.end",
    "role.change",
    "export.create",
];
/// Pads `data` so that an event has about 1.2 KB, like the audit records of common services.
const PADDING: &str =
    "The quick brown fox jumps over the lazy dog while seventeen auditors take careful notes of each step. ";
const BATCH_EVENTS: u64 = 256;

/// A reader of `events` lines for `tenants` tenants.
pub(super) struct Generator {
    next: u64,
    events: u64,
    tenants: u64,
    lines: Vec<u8>,
    at: usize,
}

impl Generator {
    pub(super) fn new(events: u64, tenants: u64) -> Self {
        Self {
            next: 0,
            events,
            tenants,
            lines: Vec::new(),
            at: 0,
        }
    }

    fn refill(&mut self) {
        self.lines.clear();
        self.at = 0;
        let until = self.events.min(self.next + BATCH_EVENTS);
        for n in self.next..until {
            write_event(n, self.tenants, &mut self.lines);
        }
        self.next = until;
    }
}

impl Read for Generator {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Generator {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.lines.len() {
            self.refill();
        }
        Ok(&self.lines[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.lines.len());
    }
}

/// One line. Neighbouring numbers differ in every field, as real events do.
pub fn write_event(n: u64, tenants: u64, out: &mut Vec<u8>) {
    // Splitmix: spreads the numbers, so that tenants are not served in turn.
    let mut mixed = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let tenant = mixed % tenants.max(1);
    let action = ACTIONS[(mixed >> 8) as usize % ACTIONS.len()];
    let (minute, second) = (n / 60 % 60, n % 60);
    let event = format!(
        concat!(
            "{{\"event_id\":\"evt-{:012}\",\"tenant_id\":\"tenant-{:05}\",\"occurred_at\":\"2026-11-22T10:{:02}:{:02}.{:03}Z\",",
            "\"action\":\"{}\",\"actor\":{{\"type\":\"user\",\"id\":\"user-{}\",\"name\":\"Zoë Müller\",\"mfa\":true}},",
            "\"targets\":[{{\"type\":\"document\",\"id\":\"doc-{:x}\"}},{{\"type\":\"folder\",\"id\":\"folder-{}\"}}],",
            "\"context\":{{\"ip\":\"192.0.2.{}\",\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\",",
            "\"request_id\":\"{:016x}\",\"location\":{{\"country\":\"DE\",\"city\":\"Köln\",\"lat\":50.9375,\"lon\":6.9603}}}},",
            "\"data\":{{\"bytes\":{},\"ratio\":{}.{},\"tags\":[\"audit\",\"sample\",\"q{}\"],\"outcome\":\"success\",\"note\":\"{}\"}}}}\n"
        ),
        n,
        tenant,
        minute,
        second,
        n % 1_000,
        action,
        mixed % 997,
        mixed >> 20,
        mixed % 64,
        mixed % 254 + 1,
        mixed,
        mixed % 10_000_000,
        mixed % 9 + 1,
        mixed % 999 + 1,
        mixed % 4 + 1,
        PADDING.repeat(6),
    );
    out.extend_from_slice(event.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::canonical::Limits;
    use crate::ledger::event::EventParser;

    #[test]
    fn every_generated_event_is_one_that_sealing_takes() {
        let mut parser = EventParser::new(Limits::default());
        let lines: Vec<String> = Generator::new(600, 7).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 600);
        for line in &lines {
            assert!((1_100..1_350).contains(&line.len()), "{}", line.len());
            parser.parse(line.as_bytes()).unwrap();
        }
    }
}
