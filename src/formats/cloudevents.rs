//! CloudEvents 1.0, in the JSON event format and in the binary mode of the Kafka protocol binding, to the JSON text of an audit event.
//!
//! Both modes of one CloudEvent give the same event: attributes become strings in the form that CloudEvents have for them, because binary mode
//! knows no other; data that is declared as JSON is taken as the value that it is, all other data as its bytes.

use super::form::{ATTRIBUTE_PREFIX, content_type, essence, is_json};
use super::{Decoded, Headers};
use crate::ledger::base64;
use crate::ledger::canonical::{Limits, Refusal, canonicalize, span, text};
use crate::ledger::leaf::RejectCode;
use crate::ledger::names;
use crate::mapping::json::ObjectWriter;
use data_encoding::BASE64;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The type of a CloudEvent whose data is a whole audit event.
pub const EVENT_TYPE: &str = "ledgerline.audit_event";
/// The `dataschema` that says the same of a CloudEvent of any type.
pub const EVENT_DATASCHEMA: &str = "urn:ledgerline:audit_event:1";
/// The extension attribute that names the tenant.
pub const TENANT_ATTRIBUTE_DEFAULT: &str = "tenantid";

/// Names and values of all attributes together. In binary mode they are headers, which must go along where the record is forwarded.
const ATTRIBUTE_BYTES_MAX: usize = 8 << 10;
const ATTRIBUTES_MAX: usize = 64;
/// What an envelope may have beside its data.
const ENVELOPE_BYTES: usize = 64 << 10;

const ACTOR_TYPE: &str = "actortype";
const ACTOR_ID: &str = "actorid";
const CORRELATION_ID: &str = "correlationid";
/// The attributes of the specification.
const SPECIFIED: [&str; 8] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
];

/// Whether the tenant may be named by this attribute: an extension, of 1 to 20 letters and digits, that means nothing else here.
#[must_use]
pub fn is_tenant_attribute(name: &str) -> bool {
    let taken = [ACTOR_TYPE, ACTOR_ID, CORRELATION_ID, "data"];
    is_attribute_name(name) && name.len() <= 20 && !SPECIFIED.contains(&name) && !taken.contains(&name)
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
}

/// A CloudEvent's data.
enum Data<'a> {
    None,
    /// Declared to be JSON; not looked into.
    Json(Cow<'a, [u8]>),
    Other(Cow<'a, [u8]>),
}

impl<'a> Data<'a> {
    fn of(bytes: Cow<'a, [u8]>, attributes: &Attributes) -> Self {
        // No value, an empty one: Kafka's clients do not agree on the difference.
        if bytes.is_empty() {
            Self::None
        } else if attributes.declare_json() {
            Self::Json(bytes)
        } else {
            Self::Other(bytes)
        }
    }
}

/// Decodes a record whose value is the data and whose headers are the attributes.
pub(super) fn binary(value: &[u8], headers: &Headers, tenant_attribute: &str, limits: &Limits) -> Decoded {
    let event = Attributes::from_headers(headers).and_then(|attributes| {
        let data = Data::of(Cow::Borrowed(value), &attributes);
        event(&attributes, data, tenant_attribute, limits)
    });
    match event {
        Ok(Cow::Borrowed(_)) => Decoded::AsSent,
        Ok(Cow::Owned(json)) => Decoded::Json(json),
        Err(refusal) => Decoded::Refused(refusal),
    }
}

/// Decodes a value in the JSON event format.
pub(super) fn structured(value: &[u8], tenant_attribute: &str, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    // The data has the event's limits, one level deeper, and may be in base64.
    let envelope = Limits {
        depth_max: limits.depth_max + 1,
        event_bytes_max: limits
            .event_bytes_max
            .saturating_mul(2)
            .saturating_add(ENVELOPE_BYTES),
    };
    let json = canonicalize(value, &envelope)?;
    let members = span::members(&json).ok_or_else(|| invalid("it is no JSON object"))?;
    let mut attributes = Attributes::default();
    let (mut data, mut data_base64) = (None, None);
    for (name, value) in members {
        match text::unescape(name).as_deref() {
            Some("data") => data = Some(value),
            Some("data_base64") => data_base64 = Some(value),
            Some(name) => {
                if let Some(value) = attribute_text(value)? {
                    attributes.add(name, value)?;
                }
            }
            None => return Err(invalid("a member's name is no text")),
        }
    }
    let data = match (data, data_base64) {
        (None, None) => Data::None,
        (Some(json), None) if attributes.declare_json() => Data::Json(Cow::Borrowed(json)),
        (Some(json), None) => {
            let text = span::string(json)
                .ok_or_else(|| invalid("data is no string, and datacontenttype is not one of JSON"))?;
            Data::of(Cow::Owned(text.into_bytes()), &attributes)
        }
        (None, Some(json)) => {
            let bytes = span::string(json).and_then(|text| base64::decode(text.as_bytes()));
            let bytes = bytes.ok_or_else(|| invalid("data_base64 is no string of base64 with padding"))?;
            Data::of(Cow::Owned(bytes), &attributes)
        }
        (Some(_), Some(_)) => return Err(invalid("it has both data and data_base64")),
    };
    event(&attributes, data, tenant_attribute, limits).map(Cow::into_owned)
}

/// An attribute's value in the text that CloudEvents have for it; `None` where it is unset.
fn attribute_text(json: &[u8]) -> Result<Option<String>, Refusal> {
    let token = || String::from_utf8(json.to_vec()).ok();
    let text = match json.first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => span::string(json),
        Some(b't' | b'f') => token(),
        // In canonical spelling an integer is its digits.
        Some(b'-' | b'0'..=b'9') => token().filter(|token| token.parse::<i32>().is_ok()),
        Some(_) | None => None,
    };
    text.map(Some)
        .ok_or_else(|| invalid("an attribute is no string, boolean or integer of 32 bits"))
}

/// The attributes, each once.
#[derive(Default)]
struct Attributes {
    each: BTreeMap<String, String>,
    bytes: usize,
}

impl Attributes {
    fn from_headers(headers: &Headers) -> Result<Self, Refusal> {
        let mut attributes = Self::default();
        if let Some(content_type) = content_type(headers) {
            attributes.add("datacontenttype", content_type.to_owned())?;
        }
        for (name, value) in headers {
            let Some(name) = name.strip_prefix(ATTRIBUTE_PREFIX) else {
                continue;
            };
            let value = std::str::from_utf8(value).map_err(|_| invalid("an attribute is not UTF-8"))?;
            attributes.add(name, value.to_owned())?;
        }
        Ok(attributes)
    }

    fn add(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        if !is_attribute_name(name) || name == "data" {
            return Err(invalid(
                "the name of an attribute is not made of the characters a-z 0-9, or is `data`",
            ));
        }
        self.bytes += name.len() + value.len();
        if self.bytes > ATTRIBUTE_BYTES_MAX || self.each.len() >= ATTRIBUTES_MAX {
            let what = format!(
                "it has more than {ATTRIBUTES_MAX} attributes, or {ATTRIBUTE_BYTES_MAX} bytes of them"
            );
            return Err(invalid(&what));
        }
        match self.each.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(invalid(&format!("it has the attribute {name:.64} twice"))),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.each.get(name).map(String::as_str)
    }

    /// What the specification asks of them.
    fn check(&self) -> Result<(), Refusal> {
        for name in ["specversion", "id", "source", "type"] {
            if self.get(name).is_none() {
                return Err(invalid(&format!("it has no attribute {name}")));
            }
        }
        if let Some(name) = SPECIFIED.iter().find(|name| self.get(name) == Some("")) {
            return Err(invalid(&format!("its attribute {name} is empty")));
        }
        match self.get("specversion") {
            Some("1.0") => Ok(()),
            Some(_) | None => Err(invalid("its specversion is not 1.0")),
        }
    }

    /// Without a content type data is JSON.
    fn declare_json(&self) -> bool {
        self.get("datacontenttype").is_none_or(is_json)
    }

    fn say_that_data_is_the_event(&self) -> bool {
        self.get("type") == Some(EVENT_TYPE) || self.get("dataschema") == Some(EVENT_DATASCHEMA)
    }

    /// What an audit event cannot be without.
    fn required(&self, name: &str, member: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            let detail = format!("the CloudEvent has no attribute {name}, which {member} is made of");
            Refusal::new(RejectCode::MissingMember, detail)
        })
    }
}

/// The JSON text of the event: the data itself, borrowed, or one that is made of the attributes.
fn event<'a>(
    attributes: &Attributes,
    data: Data<'a>,
    tenant_attribute: &str,
    limits: &Limits,
) -> Result<Cow<'a, [u8]>, Refusal> {
    attributes.check()?;
    if attributes.say_that_data_is_the_event() {
        return match data {
            Data::Json(json) => Ok(json),
            Data::None | Data::Other(_) => Err(invalid(
                "its type or dataschema says that its data is an audit event, and there is no data that is JSON",
            )),
        };
    }
    mapped(attributes, data, tenant_attribute, limits)
        .map(Cow::Owned)
        .map_err(|mut refusal| {
            let tenant = attributes.get(tenant_attribute);
            refusal.tenant = tenant.filter(|name| names::is_tenant(name)).map(str::to_owned);
            refusal
        })
}

/// The table of docs/FORMATS.md.
fn mapped(
    attributes: &Attributes,
    data: Data<'_>,
    tenant_attribute: &str,
    limits: &Limits,
) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let mut event = ObjectWriter::open(&mut out);
    let members = [
        ("event_id", "id"),
        ("tenant_id", tenant_attribute),
        ("occurred_at", "time"),
        ("action", "type"),
    ];
    for (member, name) in members {
        text::write_string(attributes.required(name, member)?, event.begin(member));
    }
    write_actor(attributes, event.begin("actor"))?;
    if let Some(subject) = attributes.get("subject") {
        let out = event.begin("targets");
        out.push(b'[');
        write_named("subject", subject, out);
        out.push(b']');
    }
    write_context(attributes, tenant_attribute, event.begin("context"));
    match data {
        Data::None => {}
        Data::Json(json) => {
            let json = canonicalize(&json, limits).map_err(|refusal| Refusal {
                detail: format!("the CloudEvent's data: {}", refusal.detail),
                ..refusal
            })?;
            event.member("data", &json);
        }
        Data::Other(bytes) => text::write_string(&BASE64.encode(&bytes), event.begin("data_base64")),
    }
    event.close();
    Ok(out)
}

/// Where nobody is named, the source has done it.
fn write_actor(attributes: &Attributes, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match (attributes.get(ACTOR_TYPE), attributes.get(ACTOR_ID)) {
        (None, None) => write_named("source", attributes.required("source", "actor")?, out),
        (Some(_), None | Some(_)) | (None, Some(_)) => write_named(
            attributes.required(ACTOR_TYPE, "actor.type")?,
            attributes.required(ACTOR_ID, "actor.id")?,
            out,
        ),
    }
    Ok(())
}

fn write_named(kind: &str, id: &str, out: &mut Vec<u8>) {
    let mut named = ObjectWriter::open(out);
    text::write_string(kind, named.begin("type"));
    text::write_string(id, named.begin("id"));
    named.close();
}

/// All that has no place of its own.
fn write_context(attributes: &Attributes, tenant_attribute: &str, out: &mut Vec<u8>) {
    let mut context = ObjectWriter::open(out);
    for (name, value) in &attributes.each {
        let is_elsewhere = match name.as_str() {
            "specversion" | "id" | "type" | "time" | "subject" | ACTOR_TYPE | ACTOR_ID => true,
            // What its absence means.
            "datacontenttype" => essence(value) == value && value.eq_ignore_ascii_case("application/json"),
            other => other == tenant_attribute,
        };
        if !is_elsewhere {
            let member = if name == CORRELATION_ID {
                "correlation_id"
            } else {
                name
            };
            text::write_string(value, context.begin(member));
        }
    }
    context.close();
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(RejectCode::InvalidCloudEvent, format!("the CloudEvent: {what}"))
}

#[cfg(test)]
mod tests;
