//! Leaves: what one accepted record says, and the exact bytes that say it (docs/FORMAT.md section 4).
//!
//! A leaf is written by [`Leaf::write`] alone. It is read by parsing loosely and writing again: bytes that differ are
//! refused, so there is one form and no parser to trust.

use super::Digest;
use super::base64;
use super::key::{Alg, PublicKey};
use super::names::{self, INTEGER_MAX};
use super::time::{parse_sealed_at, write_sealed_at};
use crate::clock::UnixMicros;
use data_encoding::{BASE64, HEXLOWER};

/// The largest leaf, in bytes.
pub const LEAF_BYTES_MAX: usize = 4_096;
/// Most keys that a genesis leaf declares.
pub const GENESIS_KEYS_MAX: usize = 8;
/// Most partitions of a ledger.
pub const PARTITIONS_MAX: u64 = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    pub index: u64,
    pub origin: &'a str,
    pub sealed_at: UnixMicros,
    pub body: Body<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    Genesis {
        keys: Vec<PublicKey>,
        ledger: &'a str,
        partitions: u64,
    },
    Entry {
        event: Digest,
        prev: Digest,
        sequence: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Duplicate {
        of: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Rejected {
        code: RejectCode,
        raw: Digest,
        raw_bytes: u64,
        source: &'a str,
        tenant: Option<&'a str>,
    },
    Rerouted {
        partition: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Source {
        incarnation: u64,
        source: &'a str,
    },
    Cut {
        from: u64,
    },
    Key {
        action: KeyAction,
        key: PublicKey,
        proof: Vec<u8>,
    },
    Hold {
        class: &'a str,
        on: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAction {
    Add,
    Retire,
}

/// Why an input was refused: the closed list of docs/FORMAT.md section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectCode {
    Empty,
    ByteOrderMark,
    InvalidUtf8,
    InvalidJson,
    TrailingData,
    LoneSurrogate,
    NulCharacter,
    DuplicateKey,
    NumberNotExact,
    TooDeep,
    TooLarge,
    NotAnObject,
    MissingMember,
    WrongMember,
    InvalidTenantId,
    InvalidTime,
    Conflict,
}

impl RejectCode {
    pub const ALL: [RejectCode; 17] = [
        Self::Empty,
        Self::ByteOrderMark,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::TrailingData,
        Self::LoneSurrogate,
        Self::NulCharacter,
        Self::DuplicateKey,
        Self::NumberNotExact,
        Self::TooDeep,
        Self::TooLarge,
        Self::NotAnObject,
        Self::MissingMember,
        Self::WrongMember,
        Self::InvalidTenantId,
        Self::InvalidTime,
        Self::Conflict,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ByteOrderMark => "byte_order_mark",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::TrailingData => "trailing_data",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NulCharacter => "nul_character",
            Self::DuplicateKey => "duplicate_key",
            Self::NumberNotExact => "number_not_exact",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::NotAnObject => "not_an_object",
            Self::MissingMember => "missing_member",
            Self::WrongMember => "wrong_member",
            Self::InvalidTenantId => "invalid_tenant_id",
            Self::InvalidTime => "invalid_time",
            Self::Conflict => "conflict",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl Body<'_> {
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Genesis { .. } => "genesis",
            Self::Entry { .. } => "entry",
            Self::Duplicate { .. } => "duplicate",
            Self::Rejected { .. } => "rejected",
            Self::Rerouted { .. } => "rerouted",
            Self::Source { .. } => "source",
            Self::Cut { .. } => "cut",
            Self::Key { .. } => "key",
            Self::Hold { .. } => "hold",
        }
    }

    /// The tenant whose record this is, where one was read. Decides the archive class.
    #[must_use]
    pub const fn tenant(&self) -> Option<&str> {
        match self {
            Self::Entry { tenant, .. } | Self::Duplicate { tenant, .. } | Self::Rerouted { tenant, .. } => {
                Some(tenant)
            }
            Self::Rejected { tenant, .. } => *tenant,
            Self::Genesis { .. }
            | Self::Source { .. }
            | Self::Cut { .. }
            | Self::Key { .. }
            | Self::Hold { .. } => None,
        }
    }

    /// The source position that this record consumed.
    #[must_use]
    pub const fn source(&self) -> Option<&str> {
        match self {
            Self::Entry { source, .. }
            | Self::Duplicate { source, .. }
            | Self::Rejected { source, .. }
            | Self::Rerouted { source, .. } => Some(source),
            Self::Genesis { .. }
            | Self::Source { .. }
            | Self::Cut { .. }
            | Self::Key { .. }
            | Self::Hold { .. } => None,
        }
    }
}

/// Why bytes are no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("a leaf has at most {LEAF_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the leaf is not a flat JSON object of the format")]
    Syntax,
    #[error("the leaf has an unknown version")]
    Version,
    #[error("the leaf has an unknown kind")]
    Kind,
    #[error("the leaf's member {0} is missing or wrong")]
    Member(&'static str),
    #[error("the leaf is not in canonical form, or has a member too many")]
    NotCanonical,
}

impl Leaf<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "nine kinds, each spelled out as in the specification"
    )]
    /// Appends the leaf's bytes to `out`: members in the order of RFC 8785. Values MUST already be within the format's
    /// patterns, none of which needs an escape.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (index, kind) = (self.index, self.body.kind());
        let mut o = ObjectWriter::open(out);
        match &self.body {
            Body::Genesis {
                keys,
                ledger,
                partitions,
            } => {
                o.number("index", index)
                    .keys("keys", keys)
                    .text("kind", kind)
                    .text("ledger", ledger);
                o.text("origin", self.origin)
                    .number("partitions", *partitions)
                    .time("sealed_at", self.sealed_at);
            }
            Body::Entry {
                event,
                prev,
                sequence,
                source,
                tenant,
            } => {
                o.digest("event", event)
                    .number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.digest("prev", prev)
                    .time("sealed_at", self.sealed_at)
                    .number("sequence", *sequence);
                o.text("source", source).text("tenant", tenant);
            }
            Body::Duplicate { of, source, tenant } => {
                o.number("index", index)
                    .text("kind", kind)
                    .number("of", *of)
                    .text("origin", self.origin);
                o.time("sealed_at", self.sealed_at)
                    .text("source", source)
                    .text("tenant", tenant);
            }
            Body::Rejected {
                code,
                raw,
                raw_bytes,
                source,
                tenant,
            } => {
                o.text("code", code.as_str())
                    .number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.digest("raw", raw)
                    .number("raw_bytes", *raw_bytes)
                    .time("sealed_at", self.sealed_at);
                o.text("source", source);
                if let Some(tenant) = tenant {
                    o.text("tenant", tenant);
                }
            }
            Body::Rerouted {
                partition,
                source,
                tenant,
            } => {
                o.number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.number("partition", *partition)
                    .time("sealed_at", self.sealed_at);
                o.text("source", source).text("tenant", tenant);
            }
            Body::Source { incarnation, source } => {
                o.number("incarnation", *incarnation)
                    .number("index", index)
                    .text("kind", kind);
                o.text("origin", self.origin)
                    .time("sealed_at", self.sealed_at)
                    .text("source", source);
            }
            Body::Cut { from } => {
                o.number("from", *from).number("index", index).text("kind", kind);
                o.text("origin", self.origin).time("sealed_at", self.sealed_at);
            }
            Body::Key { action, key, proof } => {
                o.text("action", action.as_str())
                    .text("alg", key.alg.as_str())
                    .number("index", index);
                o.text("kid", &key.kid)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.text("proof", &BASE64.encode(proof))
                    .time("sealed_at", self.sealed_at);
                o.text("spki", &key.spki_base64());
            }
            Body::Hold { class, on } => {
                o.text("class", class)
                    .number("index", index)
                    .text("kind", kind)
                    .bool("on", *on);
                o.text("origin", self.origin).time("sealed_at", self.sealed_at);
            }
        }
        o.number("v", 1).close();
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(448);
        self.write(&mut out);
        out
    }
}

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
    pub fn parse_of(known_origin: &str, bytes: &'a [u8], canonical: &mut Vec<u8>) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLarge);
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
            sealed_at: parse_sealed_at(members.text("sealed_at")?).ok_or(LeafError::Member("sealed_at"))?,
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
                tenant: tenant()?,
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

impl KeyAction {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Retire => "retire",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Add, Self::Retire]
            .into_iter()
            .find(|action| action.as_str() == text)
    }
}

/// What the `proof` of a `key` leaf signs.
#[must_use]
pub fn key_proof_message(origin: &str, action: KeyAction, key: &PublicKey) -> Vec<u8> {
    format!(
        "ledgerline key v1\n{origin}\n{}\n{}\n{}\n",
        action.as_str(),
        key.kid,
        key.spki_base64()
    )
    .into_bytes()
}

fn is_ledger_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Writes one flat object, comma by comma.
struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> ObjectWriter<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn name(&mut self, name: &str) {
        self.out
            .extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
        self
    }

    fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        write_decimal(value, self.out);
        self
    }

    fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    fn digest(&mut self, name: &str, value: &Digest) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        let at = self.out.len();
        self.out.resize(at + 64, 0);
        HEXLOWER.encode_mut(value, &mut self.out[at..]);
        self.out.push(b'"');
        self
    }

    fn time(&mut self, name: &str, value: UnixMicros) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        write_sealed_at(value, self.out);
        self.out.push(b'"');
        self
    }

    fn keys(&mut self, name: &str, keys: &[PublicKey]) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        for (n, key) in keys.iter().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            ObjectWriter::open(self.out)
                .text("alg", key.alg.as_str())
                .text("kid", &key.kid)
                .text("spki", &key.spki_base64())
                .close();
        }
        self.out.push(b']');
        self
    }

    fn close(&mut self) {
        self.out.push(b'}');
    }
}

fn write_decimal(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
                None if after.is_empty() => return Ok(keys),
                None => break,
            }
        }
        Err(LeafError::Member(name))
    }
}
