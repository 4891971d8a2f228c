//! What lies under a name besides what a reader is shown: every version, the markers that hide them, and the lock of each. Reads only.

use super::client::{Tries, connect};
use super::config::{Access, LockMode};
use super::head;
use super::pages::Pages;
use super::refusal::{Kind, Refusal};
use super::source::S3Source;
use super::{count, is_listed};
use crate::vault::VaultError;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use std::io;

/// How often a call is made before it counts as failed.
const TRIES: u32 = 3;
/// What S3 gives at once, at most.
const VERSIONS_MAX: i32 = 1_000;

/// Behind which key a listing goes on, and behind which version of it.
pub(super) type Marks = (Option<String>, Option<String>);

/// A version of an object, or a marker that says that the object is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    pub name: String,
    pub id: String,
    pub is_marker: bool,
    /// Seconds since 1970.
    pub modified: i64,
}

/// Versions in order of their names; of a name, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionPage {
    pub versions: Vec<ObjectVersion>,
    /// More follow, perhaps also of the last name.
    pub is_cut: bool,
}

/// How a version is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionLock {
    pub mode: Option<LockMode>,
    /// Seconds since 1970; 0 for none.
    pub until: i64,
    pub hold: bool,
}

/// A bucket whose versions are looked at.
#[derive(Debug, Clone)]
pub struct S3Versions {
    client: Client,
    access: Access,
    credentials: Option<Credentials>,
}

impl S3Versions {
    /// Asks nobody. `credentials`: instead of those that the environment has.
    pub async fn open(access: Access, credentials: Option<Credentials>) -> Self {
        let client = connect(&access, Tries::Several(TRIES), credentials.clone()).await;
        Self {
            client,
            access,
            credentials,
        }
    }

    /// By the client of who writes there.
    pub(super) fn new(client: Client, access: Access) -> Self {
        Self {
            client,
            access,
            credentials: None,
        }
    }

    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The same bucket as a verifier reads it.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn source(&self) -> io::Result<S3Source> {
        S3Source::open_as(self.access.clone(), self.credentials.clone())
    }

    /// Versions of names that begin with `prefix` and come after `after`, at most `versions_max`.
    ///
    /// # Errors
    /// `Retry`, or `Fatal` with the permission that is missing.
    pub async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        versions_max: i32,
    ) -> Result<VersionPage, VaultError> {
        let mut marks = (after.map(|after| self.access.bucket.key(after)), None);
        let mut pages = Pages::default();
        loop {
            let answer = self.ask(prefix, &marks, versions_max).await?;
            let mut versions = self.versions_of(&answer);
            // On S3 what comes after a key begins behind it; versitygw begins with it.
            versions.retain(|version| after.is_none_or(|after| *version.name > *after));
            let is_cut = answer.is_truncated == Some(true);
            if !versions.is_empty() || !is_cut {
                return Ok(VersionPage { versions, is_cut });
            }
            let Some(next) = self.next(prefix, answer, &mut pages)? else {
                return Ok(VersionPage::default());
            };
            marks = next;
        }
    }

    /// The next versions of an object and the markers over it, the newest first; and where it goes on, `None` at the end.
    pub(super) async fn of_name(
        &self,
        name: &str,
        marks: &Marks,
        pages: &mut Pages<Marks>,
    ) -> Result<(Vec<ObjectVersion>, Option<Marks>), VaultError> {
        let answer = self.ask(name, marks, VERSIONS_MAX).await?;
        let mut versions = self.versions_of(&answer);
        // Names that go on behind this one come after it.
        let is_past = versions.last().is_some_and(|last| last.name != name);
        versions.retain(|version| version.name == name);
        if is_past {
            return Ok((versions, None));
        }
        let next = self.next(name, answer, pages)?;
        Ok((versions, next))
    }

    /// The next names that begin with `prefix`, come after `after`, and of which there is a version, in order; none at the end.
    pub(super) async fn names(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, VaultError> {
        let mut marks = (after.map(|after| self.access.bucket.key(after)), None);
        let mut pages = Pages::default();
        loop {
            let answer = self.ask(prefix, &marks, VERSIONS_MAX).await?;
            let versions = self.versions_of(&answer).into_iter();
            let mut names: Vec<String> = versions
                .filter(|version| !version.is_marker)
                .map(|version| version.name)
                // versitygw begins with it.
                .filter(|name| is_listed(name) && after.is_none_or(|after| **name > *after))
                .collect();
            names.dedup();
            if !names.is_empty() {
                return Ok(names);
            }
            let Some(next) = self.next(prefix, answer, &mut pages)? else {
                return Ok(names);
            };
            marks = next;
        }
    }

    /// Where the listing goes on; `None` at its end.
    fn next(
        &self,
        prefix: &str,
        answer: ListObjectVersionsOutput,
        pages: &mut Pages<Marks>,
    ) -> Result<Option<Marks>, VaultError> {
        let is_cut = answer.is_truncated == Some(true);
        let behind = answer
            .next_key_marker
            .map(|key| (Some(key), answer.next_version_id_marker));
        pages
            .next(is_cut, behind)
            .map_err(|endless| endless.into_error(&format!("listing the versions of {}", self.url(prefix))))
    }

    /// Behind a key and a version of it.
    async fn ask(
        &self,
        prefix: &str,
        (key, id): &Marks,
        versions_max: i32,
    ) -> Result<ListObjectVersionsOutput, VaultError> {
        let bucket = &self.access.bucket;
        // At the end of the prefix is a slash: audit/archive/ is not audit/archive-2/.
        let ask = self
            .client
            .list_object_versions()
            .bucket(&bucket.bucket)
            .prefix(bucket.key(prefix))
            .set_key_marker(key.clone())
            .set_version_id_marker(id.clone())
            .max_keys(versions_max);
        count("ListObjectVersions", Box::pin(ask.send()).await).map_err(|refusal| {
            let doing = format!(
                "listing the versions of {} (s3:ListBucketVersions)",
                self.url(prefix)
            );
            refusal.into_error(&doing, &self.access)
        })
    }

    /// In order of names, of a name the newest first; the answer has two lists.
    fn versions_of(&self, answer: &ListObjectVersionsOutput) -> Vec<ObjectVersion> {
        let objects = answer.versions().iter().map(|version| {
            (
                version.key(),
                version.version_id(),
                false,
                version.last_modified(),
            )
        });
        let markers = answer
            .delete_markers()
            .iter()
            .map(|marker| (marker.key(), marker.version_id(), true, marker.last_modified()));
        let found = objects
            .chain(markers)
            .filter_map(|(key, id, is_marker, modified)| {
                Some(ObjectVersion {
                    name: self.access.bucket.name(key?)?.to_owned(),
                    id: id.unwrap_or("null").to_owned(),
                    is_marker,
                    modified: modified.map_or(0, DateTime::secs),
                })
            });
        let mut versions: Vec<_> = found.collect();
        versions.sort_by(|a, b| (&a.name, -a.modified).cmp(&(&b.name, -b.modified)));
        versions
    }

    /// How a version is locked; `None` where it is gone. Where an answer says nothing of locks, it is asked whether that is for want of permission.
    ///
    /// # Errors
    /// As [`Self::page`]. `Fatal` may be of this version alone: versitygw answers in no form of S3's of one that is not the newest.
    pub async fn lock(
        &self,
        version: &ObjectVersion,
        is_to_be_held: bool,
    ) -> Result<Option<VersionLock>, VaultError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.access.bucket.bucket)
            .key(self.access.bucket.key(&version.name))
            .version_id(&version.id);
        let head = match count("HeadObject", Box::pin(head.send()).await) {
            Ok(head) => head,
            Err(refusal) => {
                let get = self
                    .client
                    .get_object()
                    .bucket(&self.access.bucket.bucket)
                    .key(self.access.bucket.key(&version.name))
                    .version_id(&version.id);
                let refusal = head::explained(refusal, get).await;
                if refusal.kind == Kind::Absent {
                    return Ok(None);
                }
                return Err(self.failed("looking at", "s3:GetObjectVersion", version, refusal));
            }
        };
        let mut lock = VersionLock {
            mode: head
                .object_lock_mode
                .as_ref()
                .and_then(|mode| LockMode::parse(mode.as_str())),
            until: head.object_lock_retain_until_date.map_or(0, |date| date.secs()),
            hold: head.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::On),
        };
        if lock.mode.is_none() {
            (lock.mode, lock.until) = self.retention(version).await?;
        }
        if is_to_be_held && !lock.hold {
            lock.hold = self.hold(version).await?;
        }
        Ok(Some(lock))
    }

    async fn retention(&self, version: &ObjectVersion) -> Result<(Option<LockMode>, i64), VaultError> {
        let ask = self
            .client
            .get_object_retention()
            .bucket(&self.access.bucket.bucket)
            .key(self.access.bucket.key(&version.name))
            .version_id(&version.id);
        let retention = match count("GetObjectRetention", Box::pin(ask.send()).await) {
            Ok(answer) => answer.retention,
            Err(refusal) if refusal.kind == Kind::Absent => None,
            Err(refusal) => {
                return Err(self.failed(
                    "asking the retention of",
                    "s3:GetObjectRetention",
                    version,
                    refusal,
                ));
            }
        };
        Ok(retention.map_or((None, 0), |retention| {
            let mode = retention
                .mode
                .as_ref()
                .and_then(|mode| LockMode::parse(mode.as_str()));
            (mode, retention.retain_until_date.map_or(0, |date| date.secs()))
        }))
    }

    async fn hold(&self, version: &ObjectVersion) -> Result<bool, VaultError> {
        let ask = self
            .client
            .get_object_legal_hold()
            .bucket(&self.access.bucket.bucket)
            .key(self.access.bucket.key(&version.name))
            .version_id(&version.id);
        match count("GetObjectLegalHold", Box::pin(ask.send()).await) {
            Ok(answer) => {
                Ok(answer.legal_hold.and_then(|hold| hold.status) == Some(ObjectLockLegalHoldStatus::On))
            }
            Err(refusal) if refusal.kind == Kind::Absent => Ok(false),
            Err(refusal) => Err(self.failed("asking the hold of", "s3:GetObjectLegalHold", version, refusal)),
        }
    }

    fn failed(&self, doing: &str, permission: &str, version: &ObjectVersion, refusal: Refusal) -> VaultError {
        let doing = format!(
            "{doing} {} version {} ({permission})",
            self.url(&version.name),
            version.id
        );
        refusal.into_error(&doing, &self.access)
    }

    /// What a message calls an object.
    fn url(&self, name: &str) -> String {
        let bucket = &self.access.bucket;
        format!("s3://{}/{}", bucket.bucket, bucket.key(name))
    }
}
