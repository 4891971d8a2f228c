//! Answers that are JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `value` as JSON. What is answered is made of texts and numbers: it always can be written.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, content_type)], bytes).into_response()
}
