//! Canonical JSON: RFC 8785 with the rules that keep it lossless (docs/FORMAT.md section 2).
//!
//! A reader and writer of our own. [`canonicalize`] reads any spelling in one pass and writes the canonical form as it
//! goes; only an object whose members came out of order is put in order when it closes. [`check_canonical`] is for readers:
//! it accepts the canonical forms and nothing else. Nothing here knows what an audit event is; that is [`super::event`].

mod check;
mod scan;
pub(crate) mod span;
pub(crate) mod text;
mod writer;

pub(crate) use check::{Checker, explain};
pub(crate) use writer::{Scratch, Writer};

use super::leaf::RejectCode;

/// Nesting beyond this is refused whatever [`Limits`] says: the readers recurse, and a stack is finite.
pub const DEPTH_CEILING: usize = 256;

/// What an event may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep arrays and objects may be nested; the outermost is 1. More than [`DEPTH_CEILING`] counts as that.
    pub depth_max: usize,
    /// The largest canonical form, in bytes.
    pub event_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 64,
            event_bytes_max: 1 << 20,
        }
    }
}

/// Why an input is not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({})", code.as_str())]
pub struct Refusal {
    pub code: RejectCode,
    /// For a person: where (a byte offset, from 0, or a member's name), what is wrong, what would be right. Holds no value
    /// of the input.
    pub detail: String,
    /// The event's tenant, where a valid one could be read although the event was refused.
    pub tenant: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: RejectCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            tenant: None,
        }
    }

    pub(crate) fn too_large(limits: &Limits) -> Self {
        let detail = format!(
            "the canonical form has more than {} bytes; send large content elsewhere and its digest here",
            limits.event_bytes_max
        );
        Self::new(RejectCode::TooLarge, detail)
    }
}

/// A fault where it was found; becomes a [`Refusal`] once, outside the hot path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    code: RejectCode,
    /// Byte offset in the input.
    at: usize,
    what: &'static str,
}

impl Fault {
    fn new(code: RejectCode, at: usize, what: &'static str) -> Self {
        Self { code, at, what }
    }

    fn json(at: usize, what: &'static str) -> Self {
        Self::new(RejectCode::InvalidJson, at, what)
    }

    #[cold]
    pub(crate) fn refusal(self, input: &str, limits: &Limits) -> Refusal {
        let Fault { code, at, what } = self;
        match code {
            RejectCode::DuplicateKey => {
                let name = text::shown_name(input, at);
                Refusal::new(code, format!("{what} {name} at byte {at}"))
            }
            RejectCode::TooDeep => {
                let depth_max = limits.depth_max.min(DEPTH_CEILING);
                Refusal::new(code, format!("{what} {depth_max} deep at byte {at}"))
            }
            RejectCode::TooLarge => Refusal::too_large(limits),
            RejectCode::Empty
            | RejectCode::ByteOrderMark
            | RejectCode::InvalidUtf8
            | RejectCode::InvalidJson
            | RejectCode::TrailingData
            | RejectCode::LoneSurrogate
            | RejectCode::NulCharacter
            | RejectCode::NumberNotExact
            | RejectCode::NotAnObject
            | RejectCode::MissingMember
            | RejectCode::WrongMember
            | RejectCode::InvalidTenantId
            | RejectCode::InvalidTime
            | RejectCode::Conflict
            | RejectCode::InvalidAvro
            | RejectCode::UnknownSchema
            | RejectCode::InvalidCloudEvent
            | RejectCode::Unmapped => Refusal::new(code, format!("{what} at byte {at}")),
        }
    }
}

/// The RFC 8785 form of one JSON value of any kind.
///
/// # Errors
/// Whatever docs/FORMAT.md section 2 refuses before it looks at an event's members. Never carries a tenant.
pub fn canonicalize(input: &[u8], limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let text = as_text(input)?;
    let mut scratch = Scratch::default();
    Writer::new(text, &mut scratch, limits)
        .document()
        .map_err(|fault| fault.refusal(text, limits))?;
    Ok(scratch.out)
}

/// Accepts exactly what [`canonicalize`] returns: one pass that keeps nothing.
///
/// # Errors
/// As [`canonicalize`]; a value that is merely spelled in another way is `invalid_json`, and the detail says where.
pub fn check_canonical(bytes: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let checked = match simdutf8::basic::from_utf8(bytes) {
        Ok(text) if bytes.len() <= limits.event_bytes_max => Checker::new(text, limits).document(),
        Ok(_) | Err(_) => None,
    };
    checked.ok_or_else(|| explain(bytes, limits))
}

/// The input as text that has something in it.
pub(crate) fn as_text(input: &[u8]) -> Result<&str, Refusal> {
    if input.starts_with(b"\xEF\xBB\xBF") {
        let detail = "the input begins with a byte-order mark (EF BB BF at byte 0); send UTF-8 without it";
        return Err(Refusal::new(RejectCode::ByteOrderMark, detail));
    }
    let text = simdutf8::compat::from_utf8(input).map_err(|e| {
        let detail = format!("the input is not UTF-8 at byte {}", e.valid_up_to());
        Refusal::new(RejectCode::InvalidUtf8, detail)
    })?;
    if input.iter().all(|b| scan::is_white_space(*b)) {
        let detail = "there is nothing here but white space; one JSON value is due";
        return Err(Refusal::new(RejectCode::Empty, detail));
    }
    Ok(text)
}
