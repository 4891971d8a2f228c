//! Clients of HTTP services that are configured: a schema registry, a worker of Kafka Connect.

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use std::time::Duration;

/// `timeout` is of a whole question, its answer read to the end.
///
/// # Errors
/// Where TLS cannot be set up.
pub fn client(timeout: Duration, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(timeout)
        .connect_timeout(connect_timeout)
        // A login goes to the configured host and to no other.
        .redirect(Policy::none())
        .no_proxy()
        .build()
}

/// The whole body; `None` where it has more than `bytes_max`.
///
/// # Errors
/// Where it does not come to its end.
pub async fn read_at_most(
    mut response: Response,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > bytes_max {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
