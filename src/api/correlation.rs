//! The id of a request, by which its answer and the service's log are found together.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::HEXLOWER;
use std::sync::Arc;

pub const HEADER: HeaderName = HeaderName::from_static("correlation-id");
/// As `context.correlation_id` of an event.
const BYTES_MAX: usize = 128;

/// 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation(Arc<str>);

impl Correlation {
    /// What the request says, or a new one where it says none, or one that could not be given back.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        match (given.next().and_then(Self::read), given.next()) {
            (Some(one), None) => one,
            (None | Some(_), _) => Self::new(),
        }
    }

    fn read(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let is_one = (1..=BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(bytes).ok()?;
        is_one.then(|| Self(text.into()))
    }

    fn new() -> Self {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // Requests are only harder to tell apart.
            tracing::warn!(%error, "the system gives no random bytes");
        }
        Self(HEXLOWER.encode(&bytes).into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header's value.
    pub(super) fn to_value(&self) -> HeaderValue {
        // Visible ASCII always is one.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_given_back_is_taken_and_anything_else_replaced() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
            }
            Correlation::of(&headers)
        };
        assert_eq!(of(&[b"order-7/a"]).as_str(), "order-7/a");
        let long = [b'a'; 129];
        let all_wrong: [&[&[u8]]; 6] = [&[], &[b"a b"], &[b""], &[b"a", b"b"], &[b"\xff"], &[&long]];
        for wrong in all_wrong {
            let made = of(wrong);
            assert_eq!(made.as_str().len(), 32, "{wrong:?}");
            assert_ne!(made, of(wrong));
        }
    }
}
