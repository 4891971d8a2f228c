//! The archive in S3, or in a store that speaks as S3 does: what `s3://BUCKET/PREFIX` means.
//!
//! An object is one PutObject, which creates or is refused (`If-None-Match: *`), with its SHA-256 and with its retention said outright: a
//! default of the bucket may be changed by others and says nothing about what is stored already. What may have been done although no answer came is
//! looked for at once. Nothing here is tried again: who calls does that. Nothing is ever deleted, and no retention is shortened.
//!
//! Whether the bucket keeps what it is told to keep is asked once, of the first object that is stored.

mod ahead;
mod body;
mod client;
mod config;
mod head;
mod pages;
mod refusal;
mod source;
mod versions;

pub(crate) use body::whole;
pub use client::{Tries, connect};
pub use config::{
    Access, CALL_TIMEOUT_DEFAULT, LockMode, RETENTION_DAYS_DEFAULT, RETENTION_DAYS_MAX, Retention, S3Config,
};
pub use refusal::{NoAnswer, UNKNOWN_KEY, WRONG_SECRET};
pub use source::S3Source;
pub use versions::{ObjectVersion, S3Versions, VersionLock, VersionPage};

use super::{Keep, Put, Vault, VaultError, check_object_name};
use crate::clock::Clock;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention,
    ServerSideEncryption, StorageClass,
};
use pages::Pages;
use refusal::{Kind, Refusal};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::OnceCell;
use versions::Marks;

/// Cuts have at most 64 MiB; what is larger was not stored by a ledger.
const OBJECT_BYTES_MAX: i64 = 80 << 20;
const DAY_SECONDS: i64 = 24 * 3_600;

/// A bucket that holds an archive. Any number of processes may use it at once.
pub struct S3Vault {
    client: Client,
    config: S3Config,
    clock: Arc<dyn Clock>,
    /// Done once the bucket is known to have Object Lock.
    checked: OnceCell<()>,
    /// Whether one object was seen to be kept as it was told.
    proved: AtomicBool,
}

/// How an object lies in the bucket.
struct Stored {
    bytes: u64,
    mode: Option<LockMode>,
    /// In seconds since 1970.
    until: i64,
    hold: bool,
}

impl S3Vault {
    /// Asks nobody: a store that is down when the service starts keeps nothing but the archiver waiting.
    pub async fn open(config: S3Config, clock: Arc<dyn Clock>) -> Self {
        Self::new(connect(&config.access, Tries::Once, None).await, config, clock)
    }

    #[must_use]
    pub fn new(client: Client, config: S3Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            config,
            clock,
            checked: OnceCell::new(),
            proved: AtomicBool::new(false),
        }
    }

    fn access(&self) -> &Access {
        &self.config.access
    }

    fn bucket(&self) -> &str {
        &self.config.access.bucket.bucket
    }

    fn key(&self, name: &str) -> String {
        self.config.access.bucket.key(name)
    }

    /// What a message calls an object.
    fn url(&self, name: &str) -> String {
        format!("s3://{}/{}", self.bucket(), self.key(name))
    }

    /// A bucket without Object Lock takes no locked object on AWS, and forgets the lock elsewhere.
    async fn check_bucket(&self) -> Result<(), VaultError> {
        let checking = async {
            let doing = || format!("asking the bucket {} for its Object Lock", self.bucket());
            let answer = count(
                "GetObjectLockConfiguration",
                self.client
                    .get_object_lock_configuration()
                    .bucket(self.bucket())
                    .send()
                    .await,
            );
            let enabled = match answer {
                Ok(answer) => {
                    let found = answer.object_lock_configuration;
                    found.and_then(|found| found.object_lock_enabled) == Some(ObjectLockEnabled::Enabled)
                }
                Err(refusal) if refusal.kind == Kind::Absent => false,
                Err(refusal) => return Err(refusal.into_error(&doing(), self.access())),
            };
            if enabled {
                return Ok(());
            }
            Err(fatal(format!(
                "the bucket {} has no Object Lock: an archive that its operators can change proves nothing; make a bucket with Object Lock, and give it as \
                 --archive",
                self.bucket()
            )))
        };
        self.checked.get_or_try_init(|| checking).await.map(|_done| ())
    }

    /// Gives `tell` each name below `prefix`, page by page.
    async fn each_listed(&self, prefix: &str, mut tell: impl FnMut(&str) + Send) -> Result<(), VaultError> {
        let doing = || format!("listing {}", self.url(prefix));
        let (mut pages, mut next) = (Pages::default(), None);
        loop {
            let page = self
                .client
                .list_objects_v2()
                .bucket(self.bucket())
                .prefix(self.key(prefix))
                .set_continuation_token(next);
            let page = count("ListObjectsV2", Box::pin(page.send()).await)
                .map_err(|refusal| refusal.into_error(&doing(), self.access()))?;
            let keys = page.contents().iter().filter_map(|object| object.key());
            let found = keys.filter_map(|key| self.config.access.bucket.name(key));
            found.filter(|name| is_listed(name)).for_each(&mut tell);
            next = pages
                .next(is_cut(&page), page.next_continuation_token)
                .map_err(|endless| endless.into_error(&doing()))?;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    async fn put(&self, name: &str, bytes: &[u8], keep: Keep<'_>) -> Result<(), Refusal> {
        let now = self.clock.now().div_euclid(1_000_000);
        // Nothing can be locked until a time that has passed: an old ledger that is archived anew is locked for a day.
        let until = self.config.retention.until(keep).max(now + DAY_SECONDS);
        let mut put = self
            .client
            .put_object()
            .bucket(self.bucket())
            .key(self.key(name))
            .if_none_match("*")
            .checksum_sha256(data_encoding::BASE64.encode(&Sha256::digest(bytes)))
            .content_type(content_type(name))
            .object_lock_mode(self.config.retention.mode.of_put())
            .object_lock_retain_until_date(DateTime::from_secs(until))
            .body(ByteStream::from(bytes.to_vec()));
        if keep.hold {
            put = put.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
        }
        if let Some(key) = &self.config.kms_key {
            put = put
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key)
                .bucket_key_enabled(true);
        }
        if let (Some(class), Some(_)) = (&self.config.storage_class, keep.class) {
            put = put.storage_class(StorageClass::from(class.as_str()));
        }
        count("PutObject", Box::pin(put.send()).await).map(|_created| ())
    }

    async fn stored(&self, name: &str) -> Result<Option<Stored>, VaultError> {
        let head = self
            .client
            .head_object()
            .bucket(self.bucket())
            .key(self.key(name));
        match count("HeadObject", Box::pin(head.send()).await) {
            Ok(head) => Ok(Some(Stored {
                bytes: head.content_length.unwrap_or(0).unsigned_abs(),
                mode: head
                    .object_lock_mode
                    .as_ref()
                    .and_then(|mode| LockMode::parse(mode.as_str())),
                until: head.object_lock_retain_until_date.map_or(0, |date| date.secs()),
                hold: head.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::On),
            })),
            Err(refusal) => {
                let get = self.client.get_object().bucket(self.bucket()).key(self.key(name));
                let refusal = head::explained(refusal, get).await;
                if refusal.kind == Kind::Absent {
                    return Ok(None);
                }
                Err(refusal.into_error(&format!("looking at {}", self.url(name)), self.access()))
            }
        }
    }

    /// As [`Vault::put_new`], where the store refuses an object that is to be held: it may be the hold alone that these credentials must not put, and that waits alone.
    async fn put_without_hold(
        &self,
        name: &str,
        bytes: &[u8],
        keep: Keep<'_>,
        refusal: Refusal,
    ) -> Result<Put, VaultError> {
        let unheld = Keep { hold: false, ..keep };
        match self.put(name, bytes, unheld).await {
            Ok(()) => self.prove(name, unheld).await?,
            Err(other) => match other.kind {
                // It may have to be kept longer than it is.
                Kind::Exists | Kind::Unknown | Kind::Later => drop(self.refused(name, unheld, other).await?),
                // So it is not the hold: what was refused first is what is told.
                Kind::Never | Kind::Absent => {
                    return Err(refusal.into_error(&self.putting(name), self.access()));
                }
            },
        }
        self.hold_stored(name).await
    }

    /// What becomes of a put that was not done, or of which nobody knows.
    async fn refused(&self, name: &str, keep: Keep<'_>, refusal: Refusal) -> Result<Put, VaultError> {
        let doing = self.putting(name);
        match refusal.kind {
            Kind::Exists => self.meet(name, keep).await?.ok_or_else(|| {
                fatal(format!(
                    "{} exists and cannot be seen: a delete marker lies over it; remove the marker (its version, not the object's)",
                    self.url(name)
                ))
            }),
            // A put whose answer was lost is found here, and is not put again.
            Kind::Unknown => match self.meet(name, keep).await {
                Ok(Some(met)) => Ok(met),
                Ok(None) | Err(_) => Err(refusal.into_error(&doing, self.access())),
            },
            Kind::Later | Kind::Never | Kind::Absent => Err(refusal.into_error(&doing, self.access())),
        }
    }

    /// What is there and not held yet.
    async fn hold_stored(&self, name: &str) -> Result<Put, VaultError> {
        match self.put_hold(name, true).await {
            Ok(()) => Ok(Put::Exists),
            Err(VaultError::Fatal { what, .. }) => {
                tracing::debug!(name, what, "stored, and its hold is refused");
                Ok(Put::Unheld)
            }
            Err(error @ VaultError::Retry { .. }) => Err(error),
        }
    }

    /// Of an object that is there already: it may have been stored with a cut that was sealed earlier, or under settings that kept it for less. It keeps the mode that
    /// it has, whichever is set: a store lets nobody weaken one, and takes a stronger one from who may bypass governance alone. That it is weaker, a scrub tells.
    async fn keep_longer(&self, name: &str, stored: &Stored, keep: Keep<'_>) -> Result<Put, VaultError> {
        let until = self.config.retention.until(keep);
        let lasts = stored.mode.is_some() && stored.until >= until;
        if !lasts && until > self.clock.now().div_euclid(1_000_000) {
            let mode = stored.mode.unwrap_or(self.config.retention.mode);
            let longer = mode.until(until.max(stored.until));
            if let Err(refused) = self.put_retention(name, longer).await {
                self.kept_meanwhile(name, until, refused).await?;
            }
        }
        if keep.hold && !stored.hold {
            return self.hold_stored(name).await;
        }
        Ok(Put::Exists)
    }

    /// What is shared, as the keys are, another partition may keep longer at the same moment: the shorter of both is refused then, and nothing is amiss.
    async fn kept_meanwhile(&self, name: &str, until: i64, refused: VaultError) -> Result<(), VaultError> {
        match self.stored(name).await {
            Ok(Some(stored)) if stored.mode.is_some() && stored.until >= until => Ok(()),
            Ok(_) | Err(_) => Err(refused),
        }
    }

    async fn put_retention(&self, name: &str, retention: ObjectLockRetention) -> Result<(), VaultError> {
        let put = self
            .client
            .put_object_retention()
            .bucket(self.bucket())
            .key(self.key(name))
            .retention(retention);
        count("PutObjectRetention", Box::pin(put.send()).await)
            .map(|_done| tracing::debug!(name, "kept longer than it was"))
            .map_err(|refusal| {
                refusal.into_error(&format!("keeping {} longer", self.url(name)), self.access())
            })
    }

    /// Of every version: the newest is what readers get, and the oldest is what was archived. A version that is put meanwhile is neither.
    async fn put_hold(&self, name: &str, on: bool) -> Result<(), VaultError> {
        let store = self.versions();
        let (mut pages, mut next) = (Pages::default(), Some(Marks::default()));
        while let Some(marks) = next {
            let (versions, behind) = store.of_name(name, &marks, &mut pages).await?;
            for version in versions.iter().filter(|version| !version.is_marker) {
                self.put_hold_of(version, on).await?;
            }
            next = behind;
        }
        Ok(())
    }

    async fn put_hold_of(&self, version: &ObjectVersion, on: bool) -> Result<(), VaultError> {
        let status = if on {
            ObjectLockLegalHoldStatus::On
        } else {
            ObjectLockLegalHoldStatus::Off
        };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let put = self
            .client
            .put_object_legal_hold()
            .bucket(self.bucket())
            .key(self.key(&version.name))
            .version_id(&version.id)
            .legal_hold(hold);
        match count("PutObjectLegalHold", Box::pin(put.send()).await) {
            Ok(_done) => Ok(()),
            // Gone since it was listed.
            Err(refusal) if refusal.kind == Kind::Absent => Ok(()),
            Err(refusal) => {
                let doing = format!(
                    "setting the hold of {} version {}",
                    self.url(&version.name),
                    version.id
                );
                Err(refusal.into_error(&doing, self.access()))
            }
        }
    }

    /// The same bucket with all that lies under its names.
    fn versions(&self) -> S3Versions {
        S3Versions::new(self.client.clone(), self.config.access.clone())
    }

    /// The first object that is created tells whether the store heeds what it is told.
    async fn prove(&self, name: &str, keep: Keep<'_>) -> Result<(), VaultError> {
        if self.proved.load(Ordering::Acquire) {
            return Ok(());
        }
        let stored = self.stored(name).await?;
        let until = self.config.retention.until(keep);
        let is_kept = stored.is_some_and(|stored| {
            stored.mode >= Some(self.config.retention.mode)
                && stored.until >= until
                && (stored.hold || !keep.hold)
        });
        if !is_kept {
            return Err(fatal(format!(
                "{} was stored and is not locked as it was asked for, or s3:GetObjectRetention and s3:GetObjectLegalHold are not allowed: \
                 this store proves nothing; `ledgerline verify` shows what it holds",
                self.url(name)
            )));
        }
        self.proved.store(true, Ordering::Release);
        Ok(())
    }

    /// What the object is that stood in the way of a put.
    async fn meet(&self, name: &str, keep: Keep<'_>) -> Result<Option<Put>, VaultError> {
        let Some(stored) = self.stored(name).await? else {
            return Ok(None);
        };
        self.keep_longer(name, &stored, keep).await.map(Some)
    }

    fn putting(&self, name: &str) -> String {
        format!("putting {}", self.url(name))
    }
}

#[async_trait]
impl Vault for S3Vault {
    async fn put_new(&self, name: &str, bytes: &[u8], keep: Keep<'_>) -> Result<Put, VaultError> {
        check_object_name(name)?;
        self.check_bucket().await?;
        match self.put(name, bytes, keep).await {
            Ok(()) => self.prove(name, keep).await.map(|()| Put::Created),
            Err(refusal) if keep.hold && refusal.is_denied() => {
                self.put_without_hold(name, bytes, keep, refusal).await
            }
            Err(refusal) => self.refused(name, keep, refusal).await,
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        check_object_name(name)?;
        let doing = || format!("reading {}", self.url(name));
        let get = self.client.get_object().bucket(self.bucket()).key(self.key(name));
        let answer = match count("GetObject", Box::pin(get.send()).await) {
            Ok(answer) => answer,
            Err(refusal) if refusal.kind == Kind::Absent => return Ok(None),
            Err(refusal) => return Err(refusal.into_error(&doing(), self.access())),
        };
        let length = answer.content_length.filter(|length| *length <= OBJECT_BYTES_MAX);
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return Err(fatal(format!(
                "{} is larger than any object of an archive",
                self.url(name)
            )));
        };
        match whole(answer.body, length, self.access()).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(broken_off(&doing(), error)),
        }
    }

    async fn head(&self, name: &str) -> Result<Option<u64>, VaultError> {
        check_object_name(name)?;
        Ok(self.stored(name).await?.map(|stored| stored.bytes))
    }

    async fn set_hold(&self, name: &str, on: bool) -> Result<(), VaultError> {
        check_object_name(name)?;
        self.put_hold(name, on).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        let mut names = Vec::new();
        self.each_listed(prefix, |name| names.push(name.to_owned()))
            .await?;
        names.sort_unstable();
        Ok(names)
    }

    async fn last(&self, prefix: &str) -> Result<Option<String>, VaultError> {
        let mut last: Option<String> = None;
        let keep_greater = |name: &str| {
            if last.as_deref().is_none_or(|last| last < name) {
                last = Some(name.to_owned());
            }
        };
        self.each_listed(prefix, keep_greater).await?;
        Ok(last)
    }

    /// What a delete marker hides is there still.
    async fn names_to_tell(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, VaultError> {
        self.versions().names(prefix, after).await
    }
}

/// As of a directory: what begins with a dot at the top is not part of an archive, a probe of the doctor's for one. And what a console calls a folder is
/// an empty object with a slash behind its name: at the top that is no name.
fn is_listed(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.')
}

/// Whether more follow. A token says so too: no store loses names by leaving the other out.
fn is_cut(page: &ListObjectsV2Output) -> bool {
    page.is_truncated == Some(true) || page.next_continuation_token.is_some()
}

/// Counts a call by what came of it.
fn count<T, E>(operation: &'static str, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<T, Refusal>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let answer = answer.map_err(|error| Refusal::of(&error));
    let outcome = match &answer {
        Ok(_) => "ok",
        Err(refusal) => match refusal.kind {
            Kind::Absent => "absent",
            Kind::Exists => "exists",
            Kind::Unknown => "unknown",
            Kind::Later => "later",
            Kind::Never => "refused",
        },
    };
    metrics::counter!("ledgerline_s3_requests_total", "operation" => operation, "outcome" => outcome)
        .increment(1);
    answer
}

/// So that a browser shows what is text and saves what is not.
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the names of objects have one case"
)]
fn content_type(name: &str) -> &'static str {
    match name {
        _ if name.ends_with(".zst") => "application/zstd",
        _ if name.ends_with(".json") => "application/jwk-set+json",
        _ if name.contains("/checkpoints/") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn broken_off(doing: &str, error: io::Error) -> VaultError {
    VaultError::Retry {
        what: format!("{doing} was broken off: {error}"),
        source: Some(error.into()),
    }
}

fn fatal(what: String) -> VaultError {
    VaultError::Fatal { what, source: None }
}
