//! What the head of `POST /v1/events` says: the form of the body, how long to wait, the Idempotency-Key.

use crate::api::problem::{Code, Problem};
use crate::api::target::{self, Query};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::time::Duration;

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Binary mode of CloudEvents: its attributes are headers.
const CLOUD_EVENT_ATTRIBUTE: HeaderName = HeaderName::from_static("ce-specversion");

const WAIT_DEFAULT: Duration = Duration::from_secs(5);
const WAIT_MAX_MS: u64 = 30_000;

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An event, or an array of events.
    Json,
    /// An event a line.
    Ndjson,
    CloudEvent,
    CloudEvents,
}

impl Form {
    const ALL: [(&'static str, Self); 5] = [
        ("application/json", Self::Json),
        ("application/x-ndjson", Self::Ndjson),
        ("application/ndjson", Self::Ndjson),
        ("application/cloudevents+json", Self::CloudEvent),
        ("application/cloudevents-batch+json", Self::CloudEvents),
    ];

    /// # Errors
    /// 415 where the body is of another form, or compressed; 400 where it says so twice.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(encoding) = target::single(headers, &header::CONTENT_ENCODING)?
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(Problem::new(
                Code::UnsupportedEncoding,
                "send the body as it is, without Content-Encoding",
            ));
        }
        if headers.contains_key(CLOUD_EVENT_ATTRIBUTE) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "CloudEvents in binary mode are not read here: send application/cloudevents+json",
            ));
        }
        let given = target::single(headers, &header::CONTENT_TYPE)?.map(HeaderValue::as_bytes);
        let given = String::from_utf8_lossy(given.unwrap_or_default());
        let essence = given.split(';').next().unwrap_or_default().trim();
        let found = Self::ALL
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(essence));
        found.map(|(_, form)| *form).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            Problem::new(
                Code::UnsupportedMediaType,
                format!("the header Content-Type must be one of {}", known.join(", ")),
            )
        })
    }

    /// Before a body's bytes where its digest is taken: the same bytes in another form are another body.
    pub const fn mark(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Ndjson => 1,
            Self::CloudEvent => 2,
            Self::CloudEvents => 3,
        }
    }
}

/// What is waited for before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Sealed,
    Signed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub level: Level,
    pub timeout: Duration,
}

impl Wish {
    /// # Errors
    /// 400 where a parameter is wrong, or not known.
    pub fn of(uri: &Uri) -> Result<Option<Self>, Problem> {
        let query = Query::of(uri, &["wait", "wait_timeout_ms"])?;
        let level = query.choice("wait", &[("sealed", Level::Sealed), ("signed", Level::Signed)])?;
        let timeout = query.number("wait_timeout_ms", 1..=WAIT_MAX_MS)?;
        if level.is_none() && timeout.is_some() {
            return Err(target::invalid("wait_timeout_ms", "says nothing without wait"));
        }
        Ok(level.map(|level| Self {
            level,
            timeout: timeout.map_or(WAIT_DEFAULT, Duration::from_millis),
        }))
    }
}

/// # Errors
/// 400 where it is there twice, or is none.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = target::single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let is_one =
        (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    if !is_one {
        return Err(Problem::new(
            Code::InvalidHeader,
            "Idempotency-Key must be 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_form_is_what_the_content_type_says_and_nothing_is_guessed() {
        let of = |pairs: &[(&str, &str)]| Form::of(&headers(pairs)).map_err(|problem| problem.code);
        let json = ("content-type", "Application/JSON; charset=utf-8");
        assert_eq!(of(&[json]), Ok(Form::Json));
        assert_eq!(of(&[json, ("content-encoding", "Identity")]), Ok(Form::Json));
        assert_eq!(of(&[("content-type", "application/x-ndjson")]), Ok(Form::Ndjson));
        assert_eq!(of(&[]), Err(Code::UnsupportedMediaType));
        assert_eq!(
            of(&[("content-type", "text/json")]),
            Err(Code::UnsupportedMediaType)
        );
        assert_eq!(
            of(&[json, ("ce-specversion", "1.0")]),
            Err(Code::UnsupportedMediaType)
        );
        assert_eq!(of(&[json, json]), Err(Code::InvalidHeader));
        for encoding in ["gzip", "", "identity, gzip"] {
            assert_eq!(
                of(&[json, ("content-encoding", encoding)]),
                Err(Code::UnsupportedEncoding)
            );
        }
    }

    #[test]
    fn what_is_wished_is_read_strictly() {
        let of = |query: &str| Wish::of(&format!("/v1/events{query}").parse().unwrap());
        assert_eq!(of("").unwrap(), None);
        let wish = of("?wait=signed&wait_timeout_ms=30000").unwrap().unwrap();
        assert_eq!(
            (wish.level, wish.timeout),
            (Level::Signed, Duration::from_secs(30))
        );
        for wrong in [
            "?wait=done",
            "?wait=sealed&wait_timeout_ms=30001",
            "?wait_timeout_ms=5",
            "?weight=sealed",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert!(idempotency_key(&headers(&[("idempotency-key", "a b")])).is_err());
        assert!(idempotency_key(&headers(&[("idempotency-key", "a"), ("idempotency-key", "a")])).is_err());
        assert_eq!(
            idempotency_key(&headers(&[("idempotency-key", "a")]))
                .unwrap()
                .as_deref(),
            Some("a")
        );
    }
}
