//! Accepts exactly the canonical forms: one pass over the bytes, no memory.

use super::text::{compare_names, minimal_escape_end};
use super::{DEPTH_CEILING, Limits, Refusal, canonicalize, scan};
use crate::ledger::leaf::RejectCode;
use crate::ledger::number;
use std::cmp::Ordering;

/// Objects nested deeper than this are checked, but their members are not shown to a visitor.
const VISITED_DEPTH_MAX: usize = 2;

/// Steps over canonical JSON. `None` means: not canonical. [`explain`] then says why.
pub(crate) struct Checker<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_max: usize,
}

impl<'a> Checker<'a> {
    pub fn new(text: &'a str, limits: &Limits) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            depth_max: limits.depth_max.min(DEPTH_CEILING),
        }
    }

    /// One value of any kind, and nothing else.
    pub fn document(mut self) -> Option<()> {
        self.value(1, &mut |_, _, _| ())?;
        self.end()
    }

    /// One object at `depth`, and nothing else. `visit` is given the depth, the name, without quotes, and the value of each member down to
    /// depth 2, those of an inner object before the member that it is the value of.
    pub fn object_document(
        mut self,
        depth: usize,
        mut visit: impl FnMut(usize, &'a [u8], &'a [u8]),
    ) -> Option<()> {
        self.object(depth, &mut visit)?;
        self.end()
    }

    fn end(&self) -> Option<()> {
        (self.at == self.bytes.len()).then_some(())
    }

    fn value<V: FnMut(usize, &'a [u8], &'a [u8])>(&mut self, depth: usize, visit: &mut V) -> Option<()> {
        match *self.bytes.get(self.at)? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => self.object(depth, visit),
            b'[' => self.array(depth, visit),
            _ => {
                self.at = scan::literal_end(self.bytes, self.at)?;
                Some(())
            }
        }
    }

    fn object<V: FnMut(usize, &'a [u8], &'a [u8])>(&mut self, depth: usize, visit: &mut V) -> Option<()> {
        self.open(b'{', depth)?;
        if self.take(b'}') {
            return Some(());
        }
        let mut before: Option<&[u8]> = None;
        loop {
            let name_at = self.at;
            self.string()?;
            let name = &self.bytes[name_at + 1..self.at - 1];
            if before.is_some_and(|before| compare_names(before, name) != Ordering::Less) {
                return None;
            }
            before = Some(name);
            if !self.take(b':') {
                return None;
            }
            let value_at = self.at;
            self.value(depth + 1, visit)?;
            if depth <= VISITED_DEPTH_MAX {
                visit(depth, name, &self.bytes[value_at..self.at]);
            }
            if !self.take(b',') {
                return self.take(b'}').then_some(());
            }
        }
    }

    fn array<V: FnMut(usize, &'a [u8], &'a [u8])>(&mut self, depth: usize, visit: &mut V) -> Option<()> {
        self.open(b'[', depth)?;
        if self.take(b']') {
            return Some(());
        }
        loop {
            self.value(depth + 1, visit)?;
            if !self.take(b',') {
                return self.take(b']').then_some(());
            }
        }
    }

    fn open(&mut self, bracket: u8, depth: usize) -> Option<()> {
        (depth <= self.depth_max && self.take(bracket)).then_some(())
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "most calls of a checker are this one, for a dozen bytes each"
    )]
    fn string(&mut self) -> Option<()> {
        if !self.take(b'"') {
            return None;
        }
        loop {
            self.at = scan::plain_end(self.bytes, self.at);
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at = minimal_escape_end(self.bytes, self.at)?,
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let end = scan::number_end(self.bytes, self.at).ok()?;
        let token = &self.bytes[self.at..end];
        self.at = end;
        number::is_canonical(token).then_some(())
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }
}

/// Says why the [`Checker`] did not take `bytes`, by the slow way.
#[cold]
pub(crate) fn explain(bytes: &[u8], limits: &Limits) -> Refusal {
    match canonicalize(bytes, limits) {
        Err(refusal) => refusal,
        Ok(_) if bytes.len() > limits.event_bytes_max => Refusal::too_large(limits),
        Ok(canonical) => {
            let at = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            let detail = format!(
                "the bytes are not in the form of RFC 8785: they differ from it at byte {at} (white space, the order of \
                 members, an escape, or the spelling of a number)"
            );
            Refusal::new(RejectCode::InvalidJson, detail)
        }
    }
}
