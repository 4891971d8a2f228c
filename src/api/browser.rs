//! What browsers are told: headers that leave them nothing to do with an answer but read it, and which pages of other origins may.
//!
//! CORS is off unless origins are named. It keeps no program out, which asks as it likes: it is keys that do.

use super::Api;
use super::network::Peer;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Of every answer, where a handler has not said otherwise.
const ALWAYS: [(HeaderName, HeaderValue); 6] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
/// A year.
const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000");

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Correlation-Id, Idempotency-Key, Ledgerline-Tenant",
);
/// What a page may read of an answer, beside what every page may.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "Correlation-Id, Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After",
);
/// Seconds for which a browser need not ask again whether it may.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ORIGINS_MAX: usize = 64;

/// Origins whose pages may call the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads origins, separated by commas, as browsers spell them.
    ///
    /// # Errors
    /// The first that is none. `*` is none: it would let every page in that gets hold of a key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let origins: Vec<&str> = text.split(',').map(str::trim).collect();
        if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "{wrong:?} is no origin as browsers send it: https://app.example.com, in small letters, with a port where it is not the scheme's, without a path"
            ));
        }
        if origins.len() > ORIGINS_MAX {
            return Err(format!("must be at most {ORIGINS_MAX} origins"));
        }
        let values = origins.into_iter().map(HeaderValue::from_str);
        values
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// The origin of a request, where it may call.
    fn allowed(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut given = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (given.next(), given.next()) else {
            return None;
        };
        self.0.iter().find(|known| *known == origin)
    }

    /// What an answer says to the browser of a page.
    fn tell(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        // A cache must not give one page the answer that another was given.
        headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
    }
}

fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.len() <= 255 && host.bytes().all(is_host))
}

/// Around every route.
pub(super) async fn protect(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let origin = api.origins.allowed(request.headers()).cloned();
    let peer = request.extensions().get::<Peer>();
    let is_tls = api.networks.proxies.tells_of_tls(peer, request.headers());
    let mut response = if origin.is_some() && is_preflight(&request) {
        preflight()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
    if is_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    api.origins.tell(origin, headers);
    response
}

/// A browser asks, without a key, whether a page may send what it wants to.
fn is_preflight(request: &Request) -> bool {
    let asks = request
        .headers()
        .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    request.method() == Method::OPTIONS && asks
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_spelled_as_browsers_spell_it() {
        for right in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[2001:db8::1]:8443",
        ] {
            assert!(Origins::parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "*",
            "null",
            "https://",
            "https://App.example.com",
            "https://a.example/",
            "https://a.example/x",
            "https://a.example,",
            "ftp://a.example",
            "a.example",
            "https://user@a.example",
            "https://*.example.com",
        ] {
            assert!(Origins::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_a_named_origin_is_told_that_it_may() {
        let origins = Origins::parse("https://a.example, https://b.example").unwrap();
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ORIGIN, value.parse().unwrap());
            }
            origins.allowed(&headers).cloned()
        };
        assert_eq!(with(&["https://b.example"]).unwrap(), "https://b.example");
        for wrong in [
            &[][..],
            &["null"],
            &["https://b.example.evil.example"],
            &["https://a.example", "https://b.example"],
        ] {
            assert_eq!(with(wrong), None, "{wrong:?}");
        }
        let mut headers = HeaderMap::new();
        origins.tell(None, &mut headers);
        assert_eq!(headers.get(header::VARY).unwrap(), "origin");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        Origins::default().tell(None, &mut headers);
        assert_eq!(headers.len(), 1, "where CORS is off nothing is said");
    }
}
