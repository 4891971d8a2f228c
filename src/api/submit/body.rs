//! Taking a body in: for every byte of it memory is reserved as it arrives, whatever its length was said to be.

use crate::api::limits::{Full, Held, MEMORY_PER_BODY_BYTE};
use crate::api::problem::{Code, Problem};
use crate::api::router::no_room;
use axum::body::{Body, HttpBody as _};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

/// The whole body.
///
/// # Errors
/// 413 where it has more than `bytes_max`; 429 and 503 where there is no room for it; 408 where it is not there by `deadline`.
pub async fn receive(
    body: Body,
    held: &mut Held,
    bytes_max: usize,
    deadline: Instant,
) -> Result<Vec<u8>, Problem> {
    // A length that is said alone reserves nothing: one that never comes would keep others out.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    loop {
        let piece = timeout_at(deadline, pieces.next())
            .await
            .map_err(|_| too_slow())?;
        let Some(piece) = piece else {
            return Ok(whole);
        };
        let piece = piece.map_err(|_| {
            Problem::new(
                Code::InvalidBody,
                "the body ends before its end, or is not the one that was signed",
            )
        })?;
        if whole.len() + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.grow(piece.len() as u64 * MEMORY_PER_BODY_BYTE)
            .map_err(|full: Full| no_room(full))?;
        whole.extend_from_slice(&piece);
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let what = format!("the body has more than {bytes_max} bytes: send it in parts");
    Problem::new(Code::TooLarge, what)
}

fn too_slow() -> Problem {
    Problem::new(
        Code::TooSlow,
        "the body did not come in time: nothing of it was taken, send it again",
    )
}
