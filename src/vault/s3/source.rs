//! Reads an archive in S3 for the verifier. Unlike [`super::S3Vault`] it needs no more than to list and to read, and changes nothing.
//!
//! The verifier is not async: its threads wait here while objects come in on threads of the source, a little ahead of who reads them.

use super::ahead::{Ahead, OBJECT_BYTES_MAX};
use super::body;
use super::client::{Tries, connect};
use super::config::Access;
use super::pages::Pages;
use super::refusal::{Kind, Refusal};
use super::{is_cut, is_listed};
use crate::ledger::verify::{ArchiveSource, Names, ObjectReader, SourceError};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// How often a call is made before the archive counts as one that cannot be read.
const TRIES: u32 = 5;
/// Pieces of an object that wait to be read. The network gives them in some tens of kilobytes.
const PIECES_AHEAD: usize = 64;
/// Large objects that are begun before they are asked for: of each as much as pieces wait to be read.
const BEGUN_MAX: usize = 16;
const THREADS: usize = 2;

/// A bucket that is read as an archive.
pub struct S3Source {
    access: Access,
    client: Client,
    runtime: Runtime,
    ahead: Ahead,
    /// Large objects that are on their way and were not asked for yet.
    begun: Mutex<HashMap<String, oneshot::Receiver<Pieces>>>,
}

/// What comes of an object, and an empty piece behind it.
type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

impl S3Source {
    /// # Errors
    /// Where the bucket cannot be listed.
    pub fn open(access: Access) -> io::Result<Self> {
        Self::open_as(access, None)
    }

    /// As [`Self::open`], with other credentials than the environment has.
    ///
    /// # Errors
    /// The same.
    pub fn open_as(access: Access, credentials: Option<Credentials>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()?;
        let client = runtime.block_on(connect(&access, Tries::Several(TRIES), credentials));
        let source = Self {
            access,
            client,
            runtime,
            ahead: Ahead::default(),
            begun: Mutex::default(),
        };
        source.page("", None, &mut Pages::default())?;
        Ok(source)
    }

    fn download(&self, name: &str) -> Download {
        Download {
            client: self.client.clone(),
            access: self.access.clone(),
            key: self.access.bucket.key(name),
            version: None,
            read: 0,
        }
    }

    /// What was begun of an object; `None` where that is nothing.
    fn begun(&self, name: &str) -> Option<Pieces> {
        let asked = self
            .begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)?;
        asked.blocking_recv().ok()
    }

    /// Names, and how to ask for those behind them.
    fn page(
        &self,
        prefix: &str,
        from: Option<String>,
        pages: &mut Pages<String>,
    ) -> io::Result<(Vec<String>, Option<String>)> {
        let bucket = &self.access.bucket;
        let ask = self
            .client
            .list_objects_v2()
            .bucket(&bucket.bucket)
            .prefix(bucket.key(prefix))
            .set_continuation_token(from);
        let page = self
            .runtime
            .block_on(Box::pin(ask.send()))
            .map_err(|error| cannot("listing", &self.access, &bucket.key(prefix), Refusal::of(&error)))?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        let names = keys
            .filter_map(|key| bucket.name(key))
            .filter(|name| is_listed(name));
        let names = names.map(ToOwned::to_owned).collect();
        let next = pages
            .next(is_cut(&page), page.next_continuation_token)
            .map_err(|endless| {
                let doing = format!("listing s3://{}/{}", bucket.bucket, bucket.key(prefix));
                io::Error::other(endless.into_error(&doing))
            })?;
        Ok((names, next))
    }
}

impl ArchiveSource for S3Source {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        Ok(Box::new(Listing {
            source: self,
            prefix: prefix.to_owned(),
            page: Vec::new().into_iter(),
            next: Next::First,
            pages: Pages::default(),
        }))
    }

    fn coming(&self, names: Vec<String>) {
        let fetch = |name: String| self.download(&name).small();
        self.ahead.coming(self.runtime.handle(), names, fetch);
    }

    fn soon(&self, name: &str) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() >= BEGUN_MAX || begun.contains_key(name) {
            return;
        }
        let (opened, asked) = oneshot::channel();
        let download = self.download(name);
        self.runtime.spawn(Box::pin(async move {
            // What is not there, or not now: who needs it asks again, and is told why.
            let Ok(answer) = download.open().await else { return };
            let (pieces, coming) = mpsc::channel(PIECES_AHEAD);
            if opened.send(coming).is_ok() {
                download.pump(answer, pieces).await;
            }
        }));
        begun.insert(name.to_owned(), asked);
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        if let Some(bytes) = self.ahead.take(name) {
            return Ok(Some(Box::new(io::Cursor::new(bytes))));
        }
        if let Some(pieces) = self.begun(name) {
            return Ok(Some(Box::new(Coming::new(pieces))));
        }
        let download = self.download(name);
        let opened = self.runtime.block_on(download.open());
        let answer = match opened {
            Ok(answer) => answer,
            Err(refusal) if refusal.kind == Kind::Absent => return Ok(None),
            Err(refusal) => {
                return Err(SourceError {
                    object: name.to_owned(),
                    source: cannot("reading", &self.access, &download.key, refusal),
                });
            }
        };
        let (pieces, coming) = mpsc::channel(PIECES_AHEAD);
        self.runtime.spawn(Box::pin(download.pump(answer, pieces)));
        Ok(Some(Box::new(Coming::new(coming))))
    }
}

enum Next {
    First,
    From(String),
    Nothing,
}

/// Names page by page.
struct Listing<'s> {
    source: &'s S3Source,
    prefix: String,
    page: std::vec::IntoIter<String>,
    next: Next,
    pages: Pages<String>,
}

impl Iterator for Listing<'_> {
    type Item = Result<String, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(name) = self.page.next() {
                return Some(Ok(name));
            }
            let from = match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::First => None,
                Next::From(token) => Some(token),
                Next::Nothing => return None,
            };
            match self.source.page(&self.prefix, from, &mut self.pages) {
                Ok((names, token)) => {
                    self.page = names.into_iter();
                    self.next = token.map_or(Next::Nothing, Next::From);
                }
                Err(source) => {
                    return Some(Err(SourceError {
                        object: self.source.access.bucket.to_string(),
                        source,
                    }));
                }
            }
        }
    }
}

/// An object on its way.
struct Download {
    client: Client,
    access: Access,
    key: String,
    /// Of what was begun: the rest is of the same, whatever has been put since.
    version: Option<String>,
    read: u64,
}

impl Download {
    async fn open(&self) -> Result<GetObjectOutput, Refusal> {
        let range = (self.read > 0).then(|| format!("bytes={}-", self.read));
        let get = self
            .client
            .get_object()
            .bucket(&self.access.bucket.bucket)
            .key(&self.key)
            .set_if_match(self.version.clone())
            .set_range(range);
        Box::pin(get.send()).await.map_err(|error| Refusal::of(&error))
    }

    /// The whole of a small object; `None` for what is not one, or does not come: who needs it asks again, and is told why.
    async fn small(self) -> Option<Vec<u8>> {
        let answer = self.open().await.ok()?;
        let length = usize::try_from(answer.content_length?)
            .ok()
            .filter(|length| *length <= OBJECT_BYTES_MAX)?;
        body::whole(answer.body, length, &self.access).await.ok()
    }

    /// Sends the object's bytes; what breaks off is gone on with where it broke.
    async fn pump(mut self, mut answer: GetObjectOutput, pieces: mpsc::Sender<io::Result<Vec<u8>>>) {
        let length = answer.content_length.unwrap_or(0).unsigned_abs();
        self.version = answer.e_tag.take();
        let mut tries = 1;
        loop {
            let broken = match body::next(&mut answer.body, &self.access).await {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(piece)) => {
                    self.read += piece.len() as u64;
                    if pieces.send(Ok(piece.to_vec())).await.is_err() {
                        // Nobody reads on.
                        return;
                    }
                    continue;
                }
                // Nothing behind it: the end, which is not taken for one where a download ends by itself.
                None if self.read >= length => return drop(pieces.send(Ok(Vec::new())).await),
                None => io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} came in part", self.key)),
                Some(Err(error)) => error,
            };
            tries += 1;
            match self.open().await {
                Ok(rest) if tries <= TRIES => answer = rest,
                Ok(_) => return drop(pieces.send(Err(broken)).await),
                Err(refusal) => {
                    return drop(
                        pieces
                            .send(Err(cannot("reading", &self.access, &self.key, refusal)))
                            .await,
                    );
                }
            }
        }
    }
}

/// An object's bytes as they come.
struct Coming {
    pieces: Pieces,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Coming {
    const fn new(pieces: Pieces) -> Self {
        Self {
            pieces,
            piece: Vec::new(),
            at: 0,
            ended: false,
        }
    }
}

impl io::Read for Coming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            let piece = self.pieces.blocking_recv().unwrap_or_else(|| {
                Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it was not read to its end",
                ))
            });
            (self.piece, self.at) = (piece?, 0);
            self.ended = self.piece.is_empty();
        }
        let taken = into.len().min(self.piece.len() - self.at);
        into[..taken].copy_from_slice(&self.piece[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

fn cannot(doing: &str, access: &Access, key: &str, refusal: Refusal) -> io::Error {
    let doing = format!("{doing} s3://{}/{key}", access.bucket.bucket);
    io::Error::other(refusal.into_error(&doing, access))
}
