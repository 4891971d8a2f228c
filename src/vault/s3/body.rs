//! The body of an answer as it comes: one that stops coming half-way is broken off, and is no answer. The SDK's own times end where a body begins.

use super::config::Access;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use std::io;
use std::time::Duration;

/// So long no byte of a body may come. Less than what a store takes over a stall that it gets over by itself: what is broken off is asked for again at once.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// The next piece; `None` at the end.
pub(super) async fn next(body: &mut ByteStream, access: &Access) -> Option<io::Result<Bytes>> {
    let pause_max = PAUSE_MAX.min(access.call_timeout);
    match tokio::time::timeout(pause_max, body.next()).await {
        Ok(piece) => piece.map(|piece| piece.map_err(io::Error::other)),
        Err(_) => Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing more of it came for {} s", pause_max.as_secs()),
        ))),
    }
}

/// All of a body that is to have `length` bytes, within the time of a call.
pub(crate) async fn whole(mut body: ByteStream, length: usize, access: &Access) -> io::Result<Vec<u8>> {
    let reading = async {
        let mut bytes = Vec::with_capacity(length);
        while let Some(piece) = next(&mut body, access).await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() > length {
                return Err(io::Error::other("more of it came than its length"));
            }
        }
        if bytes.len() < length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it came in part"));
        }
        Ok(bytes)
    };
    let late = |_| {
        let within = access.call_timeout.as_secs();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it did not come whole in {within} s"),
        ))
    };
    tokio::time::timeout(access.call_timeout, reading)
        .await
        .unwrap_or_else(late)
}
