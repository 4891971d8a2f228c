//! Answers that are being taken: their place and their memory are theirs until the last piece has gone to the connection, however slowly the peer reads.
//!
//! What is behind that is the connection's own buffer, whose size is fixed.

use super::limits::Held;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The connection takes a piece at a time, and has no more than that beyond the bound of its buffer: what is left stays here.
const PIECE_BYTES: usize = 32 << 10;

/// A body with what it holds.
struct Taking {
    body: Body,
    /// Of the frame that is being given out.
    rest: Bytes,
    _held: Vec<Held>,
}

/// The same answer, which holds `held` until its body is at its end, or nobody wants it any more.
pub(super) fn until_taken(response: Response, held: Vec<Held>) -> Response {
    response.map(|body| {
        Body::new(Taking {
            body,
            rest: Bytes::new(),
            _held: held,
        })
    })
}

/// What a body takes in memory; 0 where it is made as it is sent.
pub(super) fn bytes_of(response: &Response) -> u64 {
    response.body().size_hint().exact().unwrap_or(0)
}

impl HttpBody for Taking {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended @ (Some(Err(_)) | None) => return Poll::Ready(ended),
            }
        }
        let bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(bytes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::limits::Quota;
    use axum::response::IntoResponse as _;
    use std::future::poll_fn;

    #[tokio::test]
    async fn an_answer_holds_what_it_takes_until_its_last_piece_is_taken_or_nobody_wants_it() {
        let quota = Quota::new(10, 10, metrics::Gauge::noop());
        let holder = "acme".into();
        let whole: Vec<u8> = (0..=255).cycle().take(PIECE_BYTES * 3 + 7).collect();
        let answer = || {
            until_taken(
                whole.clone().into_response(),
                vec![quota.take(&holder, 4).unwrap()],
            )
        };
        assert_eq!(bytes_of(&answer()), whole.len() as u64);
        let mut body = answer().into_body();
        let mut taken = Vec::new();
        while !body.is_end_stream() {
            assert_eq!(quota.taken(), 4, "after {} bytes", taken.len());
            let left = body.size_hint().exact().unwrap();
            assert_eq!(left, (whole.len() - taken.len()) as u64);
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let piece = frame.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE_BYTES);
            taken.extend_from_slice(&piece);
        }
        drop(body);
        assert!(taken == whole && quota.taken() == 0);
        drop(answer());
        assert_eq!(quota.taken(), 0, "nobody wanted it");
    }
}
