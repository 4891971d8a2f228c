//! Mapping files: how a JSON record of any shape becomes an audit event, without code.
//!
//! A mapping is a TOML file (connectors/cloudtrail.toml is one to begin from). For each member of the audit event it says
//! where in the record the value stands:
//!
//! ```toml
//! tenant_id = "/eventSource"                         # a JSON pointer (RFC 6901)
//! action    = ["/eventName", "/eventType"]           # the first of these that is there
//! event_id  = { join = ["/auditID", "/stage"], separator = ":" }
//!
//! [actor]
//! type = { from = "/user/kind", default = "user" }   # where the record has none
//! id   = { from = "/user/number", as_text = true }   # a number or boolean, taken by its token
//!
//! [context]
//! collector = { constant = "edge-1" }                # the same in every event
//! ```
//!
//! A value that is absent, `null` or `""` is not there. Nothing is altered to fit: a tenant outside its pattern is refused when
//! the event is sealed. The whole record is kept in `data`, spelled as it was sent, unless `data` points elsewhere.

pub(crate) mod json;
mod lacking;
pub(crate) mod parse;
mod pointer;

use crate::ledger::canonical::{Limits, Refusal, canonicalize, span, text};
use crate::ledger::leaf::RejectCode;
use json::ObjectWriter;
pub use lacking::Lacking;
use pointer::Pointer;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

/// The largest mapping file, in bytes.
pub const MAPPING_BYTES_MAX: usize = 64 * 1024;

/// A mapping file that was read and found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    limits: Limits,
    event_id: Source,
    tenant_id: Source,
    occurred_at: Source,
    action: Source,
    /// `type`, `id` and whatever else the file names.
    actor: Vec<(String, Source)>,
    targets: Option<Source>,
    context: Option<Context>,
    data: Pointer,
}

/// Where a member's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    from: From,
    /// JSON of what is taken where the record has nothing.
    default: Option<Vec<u8>>,
    /// Numbers and booleans become strings of their token.
    as_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// The first that is there.
    First(Vec<Pointer>),
    /// All of them as text, one behind the other. Not there if one of them is not.
    Join { parts: Vec<Pointer>, separator: String },
    /// JSON.
    Constant(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Context {
    /// An object of the record.
    Whole(Source),
    /// An object made of these members, as far as they are there.
    Members(Vec<(String, Source)>),
}

/// What a record became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// JSON, not judged.
    pub event: Vec<u8>,
    /// Its tenant, where that is a string.
    pub tenant: Option<String>,
}

/// What is wrong with a mapping file: every fault, each with the key's name and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mapping has faults:\n  {}", faults.join("\n  "))]
pub struct MappingError {
    pub faults: Vec<String>,
}

/// A record whose members have been found.
struct Record<'a> {
    json: &'a [u8],
    members: Members<'a>,
    /// Of the objects within it that pointers went through: most go through the same one.
    within: RefCell<Vec<Within<'a>>>,
}

/// Names, as they are spelled, and values.
type Members<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A value, and its members; `None` where it is no object.
type Within<'a> = (&'a [u8], Option<Rc<Members<'a>>>);

impl<'a> Record<'a> {
    fn read(json: &'a [u8]) -> Result<Self, Refusal> {
        // Behind a valid value only white space can be trimmed, such as the CR of a file with CRLF.
        let json = json.trim_ascii();
        let members = span::members(json).ok_or_else(|| {
            let detail = "a mapping takes records that are JSON objects; this is another value";
            Refusal::new(RejectCode::NotAnObject, detail)
        })?;
        Ok(Self {
            json,
            members,
            within: RefCell::default(),
        })
    }

    /// The members of an object that is the value of one of its members; read once.
    fn members_of(&self, value: &'a [u8]) -> Option<Rc<Members<'a>>> {
        let mut within = self.within.borrow_mut();
        // No two values have one place.
        if let Some((_, members)) = within.iter().find(|(known, _)| known.as_ptr() == value.as_ptr()) {
            return members.clone();
        }
        let members = span::members(value).map(Rc::new);
        within.push((value, members.clone()));
        members
    }
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// All faults at once: unknown keys, members that are missing, pointers that are none, constants that no event could
    /// hold there.
    pub fn from_toml(text: &str) -> Result<Self, MappingError> {
        parse::mapping(text)
    }

    /// Judges records by these limits in place of the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The tokens of the pointer that an event's time is taken from first; `None` where it is a constant, or joined.
    #[must_use]
    pub fn time_pointer(&self) -> Option<&[String]> {
        match &self.occurred_at.from {
            From::First(pointers) => pointers.first().map(Pointer::tokens),
            From::Join { .. } | From::Constant(_) => None,
        }
    }

    /// The audit event of `record` as JSON, to be judged by [`crate::ledger::event::EventParser`] like any other.
    ///
    /// # Errors
    /// A record that docs/FORMAT.md section 2 refuses, is no object, or lacks what a required member is to be made of.
    pub fn apply(&self, record: &[u8]) -> Result<Vec<u8>, Refusal> {
        canonicalize(record, &self.limits)?;
        self.apply_to_sound(record).map(|mapped| mapped.event)
    }

    /// As [`Mapping::apply`], of a record that Ledgerline made: whether it is an object is looked at, and nothing else.
    ///
    /// # Errors
    /// A record that is no object, or lacks what a required member is to be made of.
    pub fn apply_to_sound(&self, record: &[u8]) -> Result<Mapped, Refusal> {
        let record = Record::read(record)?;
        let mut out = Vec::with_capacity(record.json.len() + 512);
        let mut event = ObjectWriter::open(&mut out);
        event.member("action", &self.action.required("action", &record)?);
        event.member("actor", &self.actor_of(&record)?);
        if let Some(context) = self.context_of(&record) {
            event.member("context", &context);
        }
        if let Some(data) = self.data.find(&record) {
            event.member("data", data);
        }
        event.member("event_id", &self.event_id.required("event_id", &record)?);
        event.member("occurred_at", &self.occurred_at.required("occurred_at", &record)?);
        if let Some(targets) = self.targets.as_ref().and_then(|source| source.value(&record)) {
            event.member("targets", &targets);
        }
        let tenant = self.tenant_id.required("tenant_id", &record)?;
        event.member("tenant_id", &tenant);
        event.close();
        Ok(Mapped {
            tenant: span::string(&tenant),
            event: out,
        })
    }

    /// JSON of the tenant that `record` would be of if its member `member` had the value that its member `other` has. `None` where it has no tenant then.
    #[must_use]
    pub fn tenant_if(&self, record: &[u8], member: &str, other: &str) -> Option<Vec<u8>> {
        let mut record = Record::read(record).ok()?;
        let place = |name: &str| {
            let mut names = record.members.iter().map(|(spelled, _)| *spelled);
            names.position(|spelled| spelled == name.as_bytes())
        };
        let (member, other) = (place(member)?, place(other)?);
        record.members[member].1 = record.members[other].1;
        self.tenant_id.value(&record).map(Cow::into_owned)
    }

    fn actor_of<'a>(&'a self, record: &Record<'a>) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        let mut actor = ObjectWriter::open(&mut out);
        for (name, source) in &self.actor {
            if name == "type" || name == "id" {
                let missing = || source.missing(&format!("actor.{name}"));
                actor.member(name, &source.value(record).ok_or_else(missing)?);
            } else if let Some(value) = source.value(record) {
                actor.member(name, &value);
            }
        }
        actor.close();
        Ok(out)
    }

    fn context_of<'a>(&'a self, record: &Record<'a>) -> Option<Cow<'a, [u8]>> {
        let members = match self.context.as_ref()? {
            Context::Whole(source) => return source.value(record),
            Context::Members(members) => members,
        };
        let mut out = Vec::new();
        let mut context = ObjectWriter::open(&mut out);
        for (name, source) in members {
            if let Some(value) = source.value(record) {
                context.member(name, &value);
            }
        }
        let found_any = !context.is_empty();
        context.close();
        found_any.then_some(Cow::Owned(out))
    }
}

impl Source {
    fn required<'a>(&'a self, member: &str, record: &Record<'a>) -> Result<Cow<'a, [u8]>, Refusal> {
        self.value(record).ok_or_else(|| self.missing(member))
    }

    fn missing(&self, member: &str) -> Refusal {
        let looked_at = match &self.from {
            From::First(pointers) => format!("none of {} is", pointer::list(pointers)),
            From::Join { parts, .. } => format!("not all of {} are", pointer::list(parts)),
            From::Constant(_) => "nothing is".to_owned(),
        };
        let detail = format!("{member}: {looked_at} in the record, and the mapping has no default for it");
        Refusal::new(RejectCode::MissingMember, detail)
    }

    /// JSON of the value, `None` where the record has none and there is no default.
    fn value<'a>(&'a self, record: &Record<'a>) -> Option<Cow<'a, [u8]>> {
        let found = match &self.from {
            From::First(pointers) => pointers
                .iter()
                .find_map(|pointer| pointer.find(record).filter(|value| is_there(value)))
                .map(|value| {
                    if self.as_text {
                        quoted(value)
                    } else {
                        Cow::Borrowed(value)
                    }
                }),
            From::Join { parts, separator } => joined(parts, separator, record).map(Cow::Owned),
            From::Constant(json) => Some(Cow::Borrowed(json.as_slice())),
        };
        found.or_else(|| self.default.as_deref().map(Cow::Borrowed))
    }
}

fn is_there(value: &[u8]) -> bool {
    value != b"null" && value != b"\"\""
}

/// A scalar as text: a string's own, a number's or boolean's token. `None` for arrays and objects.
fn scalar_text(value: &[u8]) -> Option<String> {
    match value.first()? {
        b'"' => span::string(value),
        b'{' | b'[' => None,
        _ => String::from_utf8(value.to_vec()).ok(),
    }
}

/// A number or boolean as a JSON string; other values as they are.
fn quoted(value: &[u8]) -> Cow<'_, [u8]> {
    match value.first() {
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => Cow::Owned([b"\"", value, b"\""].concat()),
        Some(_) | None => Cow::Borrowed(value),
    }
}

fn joined(parts: &[Pointer], separator: &str, record: &Record<'_>) -> Option<Vec<u8>> {
    let texts: Option<Vec<String>> = parts
        .iter()
        .map(|part| {
            part.find(record)
                .filter(|value| is_there(value))
                .and_then(scalar_text)
        })
        .collect();
    let mut json = Vec::new();
    text::write_string(&texts?.join(separator), &mut json);
    Some(json)
}
