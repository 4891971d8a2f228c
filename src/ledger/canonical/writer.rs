//! Reads JSON in any spelling and writes its canonical form in the same pass.
//!
//! The output grows as the input is read. Of each open object the spans of its members in the output are kept; if they
//! came in order, as most do, closing the object costs nothing, else its members are copied into order.

use super::text::{byte_decides, compare_names};
use super::{DEPTH_CEILING, Fault, Limits, scan, text};
use crate::ledger::leaf::RejectCode;
use crate::ledger::number;
use std::cmp::Ordering;

/// Memory of a writer, to be used again for the next value.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The canonical form.
    pub out: Vec<u8>,
    /// The members of the open objects, outermost first; of the outermost object alone at the end.
    members: Vec<Member>,
    reordered: Vec<u8>,
}

/// A member of an object: `"name":value` from `start` to `end` in the output.
#[derive(Debug, Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
    /// Where its name begins in the input.
    input_at: usize,
    /// [`order_key`] of its name.
    order_key: u64,
}

impl Scratch {
    /// The members of the outermost object in order, names without quotes and values, both in canonical spelling. None if
    /// the value was no object.
    pub fn root_members(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.members
            .iter()
            .map(|m| (m.name(&self.out), &self.out[m.name_end + 1..m.end]))
    }
}

impl Member {
    /// The name without its quotes.
    fn name(self, out: &[u8]) -> &[u8] {
        &out[self.start + 1..self.name_end - 1]
    }

    fn compare(&self, other: &Self, out: &[u8]) -> Ordering {
        match self.order_key.cmp(&other.order_key) {
            Ordering::Equal => compare_names(self.name(out), other.name(out)),
            _ if self.order_key == 0 || other.order_key == 0 => {
                compare_names(self.name(out), other.name(out))
            }
            decided @ (Ordering::Less | Ordering::Greater) => decided,
        }
    }
}

pub(crate) struct Writer<'i, 's> {
    bytes: &'i [u8],
    at: usize,
    scratch: &'s mut Scratch,
    depth_max: usize,
    bytes_max: usize,
}

impl<'i, 's> Writer<'i, 's> {
    pub fn new(input: &'i str, scratch: &'s mut Scratch, limits: &Limits) -> Self {
        scratch.out.clear();
        scratch.members.clear();
        Self {
            bytes: input.as_bytes(),
            at: 0,
            scratch,
            depth_max: limits.depth_max.min(DEPTH_CEILING),
            bytes_max: limits.event_bytes_max,
        }
    }

    /// Reads the whole input as one value.
    pub fn document(mut self) -> Result<(), Fault> {
        self.skip_white_space();
        if self.peek() == Some(b'{') {
            self.object(1)?;
        } else {
            self.value(1)?;
        }
        self.skip_white_space();
        if self.at < self.bytes.len() {
            let what = "something follows the value; one value is due, and after it only white space,";
            return Err(Fault::new(RejectCode::TrailingData, self.at, what));
        }
        Ok(())
    }

    /// Any value; `depth` is what it has if it is an array or object.
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'{') => {
                let base = self.scratch.members.len();
                self.object(depth)?;
                self.scratch.members.truncate(base);
            }
            Some(b'[') => self.array(depth)?,
            Some(_) => self.literal()?,
            None => return Err(Fault::json(self.at, "the input ends where a value is due,")),
        }
        if self.scratch.out.len() > self.bytes_max {
            return Err(Fault::new(RejectCode::TooLarge, self.at, ""));
        }
        Ok(())
    }

    /// An object. Leaves its members, in order, at the end of the scratch's.
    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'{', depth)?;
        let base = self.scratch.members.len();
        let mut in_order = true;
        if self.peek() != Some(b'}') {
            loop {
                in_order &= self.member_name(base)?;
                self.value(depth + 1)?;
                let end = self.scratch.out.len();
                if let Some(member) = self.scratch.members.last_mut() {
                    member.end = end;
                }
                if !self.comma(b'}', "a comma or } is due")? {
                    break;
                }
            }
        }
        if !in_order {
            self.sort_members(base)?;
        }
        self.close(b'}');
        if self.scratch.out.len() > self.bytes_max {
            return Err(Fault::new(RejectCode::TooLarge, self.at, ""));
        }
        Ok(())
    }

    /// A name and its colon. Answers whether it belongs behind the names before it.
    fn member_name(&mut self, base: usize) -> Result<bool, Fault> {
        let (start, input_at) = (self.scratch.out.len(), self.at);
        if self.peek() != Some(b'"') {
            return Err(Fault::json(self.at, "a member name in double quotes is due"));
        }
        self.string()?;
        let name_end = self.scratch.out.len();
        self.skip_white_space();
        if self.peek() != Some(b':') {
            return Err(Fault::json(self.at, "a colon is due after the member name,"));
        }
        self.at += 1;
        self.scratch.out.push(b':');
        self.skip_white_space();
        let member = Member {
            start,
            name_end,
            end: name_end,
            input_at,
            order_key: order_key(&self.scratch.out[start + 1..name_end - 1]),
        };
        let out = &self.scratch.out;
        let order = match self.scratch.members.get(base..).and_then(<[Member]>::last) {
            Some(before) => before.compare(&member, out),
            None => Ordering::Less,
        };
        self.scratch.members.push(member);
        match order {
            Ordering::Less => Ok(true),
            Ordering::Greater => Ok(false),
            Ordering::Equal => Err(duplicate(input_at)),
        }
    }

    /// Puts the members from `base` on, and their bytes, in order.
    fn sort_members(&mut self, base: usize) -> Result<(), Fault> {
        let Scratch {
            out,
            members,
            reordered,
        } = &mut *self.scratch;
        let members = &mut members[base..];
        let Some(start) = members.first().map(|m| m.start) else {
            return Ok(());
        };
        members.sort_unstable_by(|a, b| a.compare(b, out));
        let twice = members
            .windows(2)
            .find(|pair| pair[0].name(out) == pair[1].name(out));
        if let Some(pair) = twice {
            return Err(duplicate(pair[0].input_at.max(pair[1].input_at)));
        }
        reordered.clear();
        reordered.extend_from_slice(&out[start..]);
        out.truncate(start);
        for member in members {
            if out.len() > start {
                out.push(b',');
            }
            let moved = out.len();
            out.extend_from_slice(&reordered[member.start - start..member.end - start]);
            member.name_end = moved + (member.name_end - member.start);
            (member.start, member.end) = (moved, out.len());
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'[', depth)?;
        if self.peek() != Some(b']') {
            loop {
                self.value(depth + 1)?;
                if !self.comma(b']', "a comma or ] is due")? {
                    break;
                }
            }
        }
        self.close(b']');
        Ok(())
    }

    fn open(&mut self, bracket: u8, depth: usize) -> Result<(), Fault> {
        if depth > self.depth_max {
            let what = "arrays and objects are nested more than";
            return Err(Fault::new(RejectCode::TooDeep, self.at, what));
        }
        self.at += 1;
        self.scratch.out.push(bracket);
        self.skip_white_space();
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.at += 1;
        self.scratch.out.push(bracket);
    }

    /// After an element: steps over a comma, and answers whether there was one; else `close` must be next.
    fn comma(&mut self, close: u8, due: &'static str) -> Result<bool, Fault> {
        self.skip_white_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.scratch.out.push(b',');
                self.skip_white_space();
                Ok(true)
            }
            Some(byte) if byte == close => Ok(false),
            Some(_) => Err(Fault::json(self.at, due)),
            None => Err(Fault::json(self.at, "the input ends inside an array or object,")),
        }
    }

    /// A string: runs without escapes are copied whole.
    #[inline]
    fn string(&mut self) -> Result<(), Fault> {
        let mut run = self.at;
        self.at += 1;
        loop {
            self.at = scan::plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.scratch.out.extend_from_slice(&self.bytes[run..self.at]);
                    return Ok(());
                }
                Some(b'\\') => {
                    let (character, end) = text::read_escape(self.bytes, self.at)?;
                    self.scratch.out.extend_from_slice(&self.bytes[run..self.at]);
                    text::write_char(character, &mut self.scratch.out);
                    (run, self.at) = (end, end);
                }
                Some(_) => {
                    let what = "a control character stands bare in a string; escape it as \\u00xx";
                    return Err(Fault::json(self.at, what));
                }
                None => return Err(Fault::json(self.at, "the input ends inside a string,")),
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let end = scan::number_end(self.bytes, self.at).map_err(|at| {
            Fault::json(
                at,
                "this is no JSON number (no leading zeros, digits after . and e)",
            )
        })?;
        number::write_canonical(&self.bytes[self.at..end], &mut self.scratch.out).map_err(|_| {
            let what = "a 64-bit double does not hold this number exactly; send it as a string:";
            Fault::new(RejectCode::NumberNotExact, self.at, what)
        })?;
        self.at = end;
        Ok(())
    }

    fn literal(&mut self) -> Result<(), Fault> {
        let end = scan::literal_end(self.bytes, self.at)
            .ok_or_else(|| Fault::json(self.at, "a JSON value is due"))?;
        self.scratch.out.extend_from_slice(&self.bytes[self.at..end]);
        self.at = end;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_white_space(&mut self) {
        self.at = scan::skip_white_space(self.bytes, self.at);
    }
}

/// The first eight bytes of a name as a number that orders as the names do; 0 where these bytes do not tell.
///
/// Names hold no U+0000, so the zeros behind a short one are below all else.
fn order_key(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = name.len().min(first.len());
    first[..len].copy_from_slice(&name[..len]);
    if first.iter().all(|b| byte_decides(*b)) {
        u64::from_be_bytes(first)
    } else {
        0
    }
}

fn duplicate(input_at: usize) -> Fault {
    Fault::new(
        RejectCode::DuplicateKey,
        input_at,
        "an object has two members of the name",
    )
}
