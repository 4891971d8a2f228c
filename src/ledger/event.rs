//! Audit events: which JSON objects are one (docs/FORMAT.md sections 1 and 2).
//!
//! [`EventParser`] is the sealer's side: any spelling in, the canonical event out. [`check_event`] is the verifier's: it
//! accepts canonical events and nothing else. Both judge the members by the same code, on canonical bytes.

use super::canonical::{self, Checker, Limits, Refusal, Scratch, Writer, span};
use super::leaf::RejectCode;
use super::{names, time};
use std::borrow::Cow;
use std::str::from_utf8;

/// The longest `event_id`, `action`, `actor.type` and `actor.id`, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;

/// An event that may be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `canonical_event_json`: what is hashed, stored and archived. MUST NOT be serialised again.
    pub canonical: Vec<u8>,
    pub tenant_id: String,
    pub event_id: String,
}

/// The members of an event that others ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMembers<'a> {
    pub tenant_id: &'a str,
    pub event_id: Cow<'a, str>,
    /// RFC 3339, as it was sent.
    pub occurred_at: &'a str,
}

/// Parses events one after the other and keeps its memory between them.
#[derive(Debug)]
pub struct EventParser {
    limits: Limits,
    scratch: Scratch,
}

impl EventParser {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scratch: Scratch::default(),
        }
    }

    /// The audit event that `input` spells.
    ///
    /// # Errors
    /// Whatever sections 1 and 2 refuse, with the first reason found. [`Refusal::tenant`] is set where the input is an object
    /// with one valid `tenant_id`, whatever else is wrong with it.
    pub fn parse(&mut self, input: &[u8]) -> Result<AuditEvent, Refusal> {
        let text = canonical::as_text(input)?;
        self.read(text).map_err(|mut refusal| {
            refusal.tenant = tenant_of_refused(refusal.code, input);
            refusal
        })
    }

    fn read(&mut self, text: &str) -> Result<AuditEvent, Refusal> {
        Writer::new(text, &mut self.scratch, &self.limits)
            .document()
            .map_err(|fault| fault.refusal(text, &self.limits))?;
        if self.scratch.out.first() != Some(&b'{') {
            return Err(Refusal::new(
                RejectCode::NotAnObject,
                "an audit event is a JSON object; this is another value",
            ));
        }
        let mut found = Found::default();
        for (name, value) in self.scratch.root_members() {
            if name == b"actor" {
                found.look_into(value, &self.limits);
            }
            found.note(1, name, value);
        }
        let members = found.judge()?;
        Ok(AuditEvent {
            tenant_id: members.tenant_id.to_owned(),
            event_id: members.event_id.into_owned(),
            canonical: self.scratch.out.clone(),
        })
    }
}

/// Checks that `canonical` is a canonical audit event, in one pass.
///
/// # Errors
/// As [`EventParser::parse`]; bytes that spell an event in another way are `invalid_json`. Carries no tenant.
pub fn check_event<'a>(canonical: &'a [u8], limits: &Limits) -> Result<EventMembers<'a>, Refusal> {
    let mut found = Found::default();
    let checked = match simdutf8::basic::from_utf8(canonical) {
        Ok(text) if canonical.len() <= limits.event_bytes_max => {
            Checker::new(text, limits).object_document(1, |depth, name, value| found.note(depth, name, value))
        }
        Ok(_) | Err(_) => None,
    };
    if checked.is_none() {
        return Err(match canonical::check_canonical(canonical, limits) {
            Err(refusal) => refusal,
            Ok(()) => Refusal::new(
                RejectCode::NotAnObject,
                "an audit event is a JSON object; this is another value",
            ),
        });
    }
    found.judge()
}

/// The tenant that a refused input names, if it is an object that names exactly one.
#[cold]
fn tenant_of_refused(code: RejectCode, input: &[u8]) -> Option<String> {
    match code {
        RejectCode::Empty
        | RejectCode::ByteOrderMark
        | RejectCode::InvalidUtf8
        | RejectCode::InvalidJson
        | RejectCode::TrailingData
        | RejectCode::NotAnObject
        | RejectCode::InvalidTenantId
        // Of other forms than JSON: no parser of JSON gives them.
        | RejectCode::InvalidAvro
        | RejectCode::UnknownSchema
        | RejectCode::InvalidCloudEvent
        | RejectCode::Unmapped => None,
        RejectCode::LoneSurrogate
        | RejectCode::NulCharacter
        | RejectCode::DuplicateKey
        | RejectCode::NumberNotExact
        | RejectCode::TooDeep
        | RejectCode::TooLarge
        | RejectCode::MissingMember
        | RejectCode::WrongMember
        | RejectCode::InvalidTime
        | RejectCode::Conflict => readable_tenant(input),
    }
}

fn readable_tenant(input: &[u8]) -> Option<String> {
    let members = span::members(input)?;
    let mut tenants = members
        .iter()
        .filter(|(name, _)| canonical::text::unescape(name).as_deref() == Some("tenant_id"));
    match (tenants.next(), tenants.next()) {
        (Some((_, value)), None) => span::string(value).filter(|tenant| names::is_tenant(tenant)),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// What an actor is named by.
#[derive(Default, Clone, Copy)]
struct Names<'a> {
    kind: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

/// The members of section 1 as canonical spans, found but not judged.
#[derive(Default)]
struct Found<'a> {
    event_id: Option<&'a [u8]>,
    tenant_id: Option<&'a [u8]>,
    occurred_at: Option<&'a [u8]>,
    action: Option<&'a [u8]>,
    actor: Option<&'a [u8]>,
    actor_names: Names<'a>,
    /// Of the inner object that was shown last, until the member that it is the value of.
    inner_names: Names<'a>,
    targets: Option<&'a [u8]>,
    context: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    /// Takes what a [`Checker`] shows. Names are compared in canonical spelling, in which those of section 1 have one form.
    fn note(&mut self, depth: usize, name: &[u8], value: &'a [u8]) {
        if depth > 1 {
            return self.note_inner(name, value);
        }
        let inner_names = std::mem::take(&mut self.inner_names);
        let place = match name {
            b"event_id" => &mut self.event_id,
            b"tenant_id" => &mut self.tenant_id,
            b"occurred_at" => &mut self.occurred_at,
            b"action" => &mut self.action,
            b"actor" => {
                self.actor_names = inner_names;
                &mut self.actor
            }
            b"targets" => &mut self.targets,
            b"context" => &mut self.context,
            _ => return,
        };
        *place = Some(value);
    }

    fn note_inner(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"type" => self.inner_names.kind = Some(value),
            b"id" => self.inner_names.id = Some(value),
            _ => {}
        }
    }

    /// Shows itself the members of one inner value, which is canonical.
    fn look_into(&mut self, value: &'a [u8], limits: &Limits) {
        let shown = from_utf8(value).ok().and_then(|text| {
            Checker::new(text, limits).object_document(2, |_, name, value| self.note_inner(name, value))
        });
        if shown.is_none() {
            // No object: it has no names, and is judged by its first byte.
            self.inner_names = Names::default();
        }
    }

    fn judge(&self) -> Result<EventMembers<'a>, Refusal> {
        let tenant_id = self.tenant()?;
        let event_id = name_text("event_id", self.event_id)?;
        let occurred_at = self.time()?;
        check_name("action", self.action)?;
        self.judge_actor()?;
        if self.targets.is_some_and(|v| !v.starts_with(b"[")) {
            return Err(wrong("targets", "an array"));
        }
        if self.context.is_some_and(|v| !v.starts_with(b"{")) {
            return Err(wrong("context", "an object"));
        }
        Ok(EventMembers {
            tenant_id,
            event_id,
            occurred_at,
        })
    }

    fn tenant(&self) -> Result<&'a str, Refusal> {
        const DUE: &str = names::TENANT_FORM;
        let inside = string_inside("tenant_id", self.tenant_id, DUE)?;
        // The pattern has no character that is ever escaped: what needs unescaping is outside it.
        from_utf8(inside)
            .ok()
            .filter(|tenant| names::is_tenant(tenant))
            .ok_or_else(|| Refusal::new(RejectCode::InvalidTenantId, format!("tenant_id is not {DUE}")))
    }

    fn time(&self) -> Result<&'a str, Refusal> {
        const DUE: &str = "a string in the form of RFC 3339 with a real day, capital T, and Z or an offset, for example \
                           2026-11-22T10:00:00.5Z";
        let inside = string_inside("occurred_at", self.occurred_at, DUE)?;
        from_utf8(inside)
            .ok()
            .filter(|text| time::is_occurred_at(text))
            .ok_or_else(|| Refusal::new(RejectCode::InvalidTime, format!("occurred_at is not {DUE}")))
    }

    fn judge_actor(&self) -> Result<(), Refusal> {
        const DUE: &str = "an object with type and id, both strings";
        let actor = self.actor.ok_or_else(|| missing("actor", DUE))?;
        if !actor.starts_with(b"{") {
            return Err(wrong("actor", DUE));
        }
        check_name("actor.type", self.actor_names.kind)?;
        check_name("actor.id", self.actor_names.id)
    }
}

/// As [`name_text`], for who needs no text.
fn check_name(member: &str, value: Option<&[u8]>) -> Result<(), Refusal> {
    // Nearly all: no character that could be a control character, or needs unescaping.
    if let Some([b'"', inside @ .., b'"']) = value
        && (1..=NAME_BYTES_MAX).contains(&inside.len())
        && inside
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\')
    {
        return Ok(());
    }
    name_text(member, value).map(drop)
}

/// The text of a member that is 1 to 256 bytes without control characters. `value` is in canonical spelling.
fn name_text<'a>(member: &str, value: Option<&'a [u8]>) -> Result<Cow<'a, str>, Refusal> {
    const DUE: &str = "a string of 1 to 256 bytes without control characters";
    let inside = string_inside(member, value, DUE)?;
    let text = from_utf8(inside).map_err(|_| wrong(member, DUE))?;
    let text = if inside.contains(&b'\\') {
        Cow::Owned(canonical::text::unescape(inside).ok_or_else(|| wrong(member, DUE))?)
    } else {
        Cow::Borrowed(text)
    };
    let allowed = (1..=NAME_BYTES_MAX).contains(&text.len()) && !has_control(&text);
    if allowed {
        Ok(text)
    } else {
        Err(wrong(member, DUE))
    }
}

/// Whether a control character (Unicode's Cc: U+0000 to U+001F, U+007F to U+009F) is in it.
fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.contains(char::is_control)
    }
}

/// What stands between the quotes.
fn string_inside<'a>(member: &str, value: Option<&'a [u8]>, due: &str) -> Result<&'a [u8], Refusal> {
    match value {
        Some([b'"', inside @ .., b'"']) => Ok(inside),
        Some(_) => Err(wrong(member, due)),
        None => Err(missing(member, due)),
    }
}

#[cold]
fn missing(member: &str, due: &str) -> Refusal {
    Refusal::new(
        RejectCode::MissingMember,
        format!("{member} is missing; it must be {due}"),
    )
}

#[cold]
fn wrong(member: &str, due: &str) -> Refusal {
    Refusal::new(RejectCode::WrongMember, format!("{member} is not {due}"))
}
