//! Reading a leaf: loosely, then written again and compared, so that there is no strict parser to trust. Where the origin is known, entries are
//! read by [`entry`] first.

use super::{
    Body, GENESIS_KEYS_MAX, KeyAction, LEAF_BYTES_MAX, Leaf, LeafError, PARTITIONS_MAX, RejectCode, entry,
};
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::names::{self, INTEGER_MAX};
use crate::ledger::time::parse_sealed_at;
use crate::ledger::{Digest, base64};
use data_encoding::HEXLOWER;

impl<'a> Leaf<'a> {
    /// Reads a leaf.
    ///
    /// # Errors
    /// Whatever docs/FORMAT.md section 4 makes a reader refuse in a leaf seen alone. What needs its neighbours (order, chains,
    /// sources) is not looked at here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LeafError> {
        Self::parse_of("", bytes, &mut Vec::with_capacity(bytes.len()))
    }

    /// The same, faster for many leaves of one partition: an origin that is `known_origin`, which is one by its form or empty, is not
    /// judged again, and `canonical` is only lent for its memory.
    ///
    /// # Errors
    /// The same.
    pub fn parse_of(
        known_origin: &'a str,
        bytes: &'a [u8],
        canonical: &mut Vec<u8>,
    ) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLarge);
        }
        if !known_origin.is_empty()
            && let Some(entry) = entry::parse(known_origin, bytes)
        {
            return Ok(entry);
        }
        let members = Members::parse(bytes).ok_or(LeafError::Syntax)?;
        if members.number("v")? != 1 {
            return Err(LeafError::Version);
        }
        let leaf = Leaf {
            index: members.number("index")?,
            origin: members.text_where("origin", |origin| {
                (!origin.is_empty() && origin == known_origin) || names::is_origin(origin)
            })?,
            sealed_at: parse_sealed_at(members.text("sealed_at")?.as_bytes())
                .ok_or(LeafError::Member("sealed_at"))?,
            body: Body::parse(&members)?,
        };
        // Whatever the loose parser let through (white space, order, unknown or repeated members) differs here.
        canonical.clear();
        leaf.write(canonical);
        if canonical.as_slice() == bytes {
            Ok(leaf)
        } else {
            Err(LeafError::NotCanonical)
        }
    }
}

impl<'a> Body<'a> {
    fn parse(m: &Members<'a>) -> Result<Self, LeafError> {
        let position = || m.text_where("source", |s| names::parse_source_position(s).is_some());
        let tenant = || m.text_where("tenant", names::is_tenant);
        Ok(match m.text("kind")? {
            "genesis" => Self::Genesis {
                keys: m.keys("keys")?,
                ledger: m.text_where("ledger", is_ledger_id)?,
                partitions: m.number_in("partitions", 1, PARTITIONS_MAX)?,
            },
            "entry" => Self::Entry {
                event: m.digest("event")?,
                prev: m.digest("prev")?,
                sequence: m.number_in("sequence", 1, INTEGER_MAX)?,
                source: position()?,
                tenant: tenant()?,
            },
            "duplicate" => Self::Duplicate {
                of: m.number("of")?,
                source: position()?,
                tenant: if m.has("tenant") { Some(tenant()?) } else { None },
            },
            "rejected" => Self::Rejected {
                code: RejectCode::parse(m.text("code")?).ok_or(LeafError::Member("code"))?,
                raw: m.digest("raw")?,
                raw_bytes: m.number("raw_bytes")?,
                source: position()?,
                tenant: if m.has("tenant") { Some(tenant()?) } else { None },
            },
            "rerouted" => Self::Rerouted {
                partition: m.number_in("partition", 0, PARTITIONS_MAX - 1)?,
                source: position()?,
                tenant: tenant()?,
            },
            "source" => Self::Source {
                from: if m.has("from") { m.number("from")? } else { 0 },
                incarnation: m.number_in("incarnation", 1, INTEGER_MAX)?,
                source: m.text_where("source", |s| names::parse_source(s).is_some())?,
            },
            "cut" => Self::Cut {
                from: m.number("from")?,
            },
            "key" => Self::Key {
                action: KeyAction::parse(m.text("action")?).ok_or(LeafError::Member("action"))?,
                key: m.key()?,
                proof: m.base64("proof")?,
            },
            "hold" => Self::Hold {
                class: m.text_where("class", names::is_class)?,
                on: m.bool("on")?,
            },
            _ => return Err(LeafError::Kind),
        })
    }
}

fn is_ledger_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// More than any kind has.
const MEMBERS_MAX: usize = 12;

/// The members of a flat object, found but not judged: `Leaf::parse` writes what it made of them and compares.
struct Members<'a> {
    found: [(&'a str, Value<'a>); MEMBERS_MAX],
    count: usize,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    /// A number, `true` or `false`.
    Bare(&'a str),
    /// The inside of an array of flat objects.
    Array(&'a str),
}

impl<'a> Members<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (members, rest) = Self::parse_object(text)?;
        rest.is_empty().then_some(members)
    }

    /// One `{"name":value,..}` at the start of `text`, and what follows it.
    fn parse_object(text: &'a str) -> Option<(Self, &'a str)> {
        let mut members = Members {
            found: [("", Value::Bare("")); MEMBERS_MAX],
            count: 0,
        };
        let mut rest = text.strip_prefix('{')?;
        loop {
            let (name, after_name) = rest.strip_prefix('"')?.split_once('"')?;
            let (value, after_value) = Self::parse_value(after_name.strip_prefix(':')?)?;
            *members.found.get_mut(members.count)? = (name, value);
            members.count += 1;
            match after_value.as_bytes().first()? {
                b',' => rest = &after_value[1..],
                b'}' => return Some((members, &after_value[1..])),
                _ => return None,
            }
        }
    }

    fn parse_value(text: &'a str) -> Option<(Value<'a>, &'a str)> {
        match text.as_bytes().first()? {
            b'"' => {
                let (value, rest) = text[1..].split_once('"')?;
                Some((Value::Text(value), rest))
            }
            b'[' => {
                let (value, rest) = text[1..].split_once(']')?;
                Some((Value::Array(value), rest))
            }
            _ => {
                let end = text.find([',', '}'])?;
                Some((Value::Bare(&text[..end]), &text[end..]))
            }
        }
    }

    fn get(&self, name: &'static str) -> Option<Value<'a>> {
        self.found[..self.count]
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    fn has(&self, name: &'static str) -> bool {
        self.get(name).is_some()
    }

    fn text(&self, name: &'static str) -> Result<&'a str, LeafError> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Bare(_) | Value::Array(_)) | None => Err(LeafError::Member(name)),
        }
    }

    fn text_where(&self, name: &'static str, allowed: impl Fn(&str) -> bool) -> Result<&'a str, LeafError> {
        self.text(name).and_then(|text| {
            if allowed(text) {
                Ok(text)
            } else {
                Err(LeafError::Member(name))
            }
        })
    }

    fn bare(&self, name: &'static str) -> Result<&'a str, LeafError> {
        match self.get(name) {
            Some(Value::Bare(text)) => Ok(text),
            Some(Value::Text(_) | Value::Array(_)) | None => Err(LeafError::Member(name)),
        }
    }

    fn number(&self, name: &'static str) -> Result<u64, LeafError> {
        names::parse_decimal(self.bare(name)?).ok_or(LeafError::Member(name))
    }

    fn number_in(&self, name: &'static str, least: u64, most: u64) -> Result<u64, LeafError> {
        let value = self.number(name)?;
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(LeafError::Member(name))
        }
    }

    fn bool(&self, name: &'static str) -> Result<bool, LeafError> {
        match self.bare(name)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(LeafError::Member(name)),
        }
    }

    fn digest(&self, name: &'static str) -> Result<Digest, LeafError> {
        let text = self.text(name)?.as_bytes();
        let mut digest = [0; 32];
        if text.len() != 64 {
            return Err(LeafError::Member(name));
        }
        HEXLOWER
            .decode_mut(text, &mut digest)
            .map_err(|_| LeafError::Member(name))?;
        Ok(digest)
    }

    fn base64(&self, name: &'static str) -> Result<Vec<u8>, LeafError> {
        base64::decode(self.text(name)?.as_bytes()).ok_or(LeafError::Member(name))
    }

    fn key(&self) -> Result<PublicKey, LeafError> {
        Ok(PublicKey {
            alg: Alg::parse(self.text("alg")?).ok_or(LeafError::Member("alg"))?,
            kid: self.text_where("kid", names::is_kid)?.to_owned(),
            spki: self.base64("spki")?,
        })
    }

    fn keys(&self, name: &'static str) -> Result<Vec<PublicKey>, LeafError> {
        let Some(Value::Array(mut rest)) = self.get(name) else {
            return Err(LeafError::Member(name));
        };
        let mut keys = Vec::new();
        while keys.len() < GENESIS_KEYS_MAX {
            let (members, after) = Self::parse_object(rest).ok_or(LeafError::Member(name))?;
            keys.push(members.key()?);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                // Something else than the array's end is not written again, so the comparison refuses it.
                None => return Ok(keys),
            }
        }
        Err(LeafError::Member(name))
    }
}
