//! Connections: bounded in number, of an address too, in the time that a head takes, and in how slowly a peer takes its answer; ended in order, within a bound.

use super::connections::{Connections, Entered};
use super::limits::ApiLimits;
use super::network::Peer;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

/// A head that is not whole by then ends its connection; so does silence between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 64;
/// Of a head, and of what is read ahead of a body.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Who lets what he asked for wait so long before he has taken [`TAKEN_BYTES_MIN`] of it is given up: an answer that is read a byte at a time has an end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const TAKEN_BYTES_MIN: usize = 512 << 10;
/// An answer may come before the whole body. What then still comes is read for so long, or the answer would be lost with the connection.
const LINGER: Duration = Duration::from_secs(2);
/// Where no connection can be accepted: descriptors are used up, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end waits for requests under way.
pub const DRAIN_MAX: Duration = Duration::from_secs(15);

/// Serves until `shutdown` becomes true. Requests under way are then finished, for as long as [`DRAIN_MAX`].
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: &ApiLimits,
    by_holder: &Connections,
    mut shutdown: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max()));
    let mut connections = JoinSet::new();
    let of_each = shutdown.clone();
    // An error means that the sender is gone: the process is ending.
    let mut stopped = pin!(async move { drop(shutdown.wait_for(|stop| *stop).await) });
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    // Who has his share is told nothing: an answer would cost what is to be saved.
                    if let Some(entered) = by_holder.enter(peer) {
                        let of_peer = OfPeer { peer, entered, _place: place };
                        connections.spawn(connection(stream, of_peer, routes.clone(), of_each.clone()));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "no connection can be accepted now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, all).await.is_err() {
        tracing::warn!("requests under way are given up: they took too long");
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed; without a place the connection would only be one more.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, address) = listener.accept().await?;
    // Answers are whole when they are written.
    stream.set_nodelay(true)?;
    Ok((stream, Peer(address.ip()), place))
}

/// Whose connection it is, as its requests are told, and its place among all.
struct OfPeer {
    peer: Peer,
    entered: Entered,
    _place: Option<OwnedSemaphorePermit>,
}

async fn connection(stream: TcpStream, of_peer: OfPeer, routes: Router, mut shutdown: watch::Receiver<bool>) {
    let routes = TowerToHyperService::new(routes);
    let (peer, entered) = (of_peer.peer, of_peer.entered.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(entered.clone());
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_header_size(BUFFER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Watched::new(stream)), service);
    let mut served = pin!(served);
    let mut ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        stopped = shutdown.wait_for(|stop| *stop) => {
            drop(stopped);
            None
        }
    };
    if ended.is_none() {
        served.as_mut().graceful_shutdown();
        ended = Some(served.await);
    }
    if let Some(Err(error)) = ended {
        // A peer that went, was silent, or does not speak HTTP.
        tracing::debug!(%error, "a connection ended");
    }
    drop(of_peer);
}

/// A stream that fails with `TimedOut` where its peer takes too little for [`WRITE_TIMEOUT`], and that ends with a [`LINGER`].
struct Watched {
    stream: TcpStream,
    /// Since when something waits to be taken, and the end of the time for that.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// How long it has before, since this much was taken.
    waited: Duration,
    taken: usize,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            waiting: None,
            waited: Duration::ZERO,
            taken: 0,
            lingering: None,
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let left = WRITE_TIMEOUT.saturating_sub(self.waited);
            let begin = || (Instant::now(), Box::pin(tokio::time::sleep(left)));
            let (_, over) = self.waiting.get_or_insert_with(begin);
            ready!(over.as_mut().poll(cx));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        };
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.taken += written.as_ref().map_or(0, |bytes| *bytes);
        if self.taken >= TAKEN_BYTES_MIN {
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        Poll::Ready(written)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        let mut scrap = [0; 4096];
        loop {
            let is_over = self
                .lingering
                .as_mut()
                .is_none_or(|lingering| lingering.as_mut().poll(cx).is_ready());
            let mut read = ReadBuf::new(&mut scrap);
            if is_over {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
