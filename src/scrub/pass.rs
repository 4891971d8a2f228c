//! A pass: asks the archive, has it judged, says how far it is. Thin.

use super::content::Paced;
use super::finding::{Finding, Kind};
use super::machine::{Holds, is_held, is_looked_at, judge_lock, judge_name};

use super::locks::{Asked, Asking, Tries};
use super::missing::{Archived, judge_sizes};
use super::position::{At, Running};
use super::scope::{Covers, Scope};
use crate::clock::Clock;
use crate::ledger::key::PublicKey;
use crate::ledger::verify::{
    ArchiveSource, FirstBad, Options, Progress, Reason, Report, SourceError, declared_partitions, verify,
};
use crate::log::{BoxError, Log, LogError, topic};
use crate::stages::archive::{archived_size, hold_progress};
use crate::vault::VaultError;
use crate::vault::covered::Covered;
use crate::vault::known::{Known, Place};
use crate::vault::s3::{ObjectVersion, Retention, S3Versions, VersionPage};
use crate::vault::source::DirectorySource;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// Versions of a step: what a stop looks at twice, at most.
pub const VERSIONS_AT_ONCE: i32 = 200;
/// More findings of a kind in one directory are counted and not kept.
const FINDINGS_KEPT: u64 = 1_000;
/// What S3 gives at once, at most.
const VERSIONS_MAX: i32 = 1_000;

/// What went wrong, by what the caller must do. What is wrong with the archive is no error but a finding.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// Step again after a pause; the pass goes on where it was.
    #[error("{what}")]
    Retry {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// A person must do something first: a permission, a bucket that is not there. The pass goes on where it was afterwards.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
}

/// Where the archive is.
#[derive(Debug, Clone)]
pub enum Store {
    /// Has no versions and no locks: names and content are looked at.
    Directory(PathBuf),
    S3(S3Versions),
}

/// What the archive is held against.
#[derive(Clone)]
pub struct Demands {
    /// Of a bucket.
    pub retention: Option<Retention>,
    /// Says which classes are held, and how much is archived; without it no hold is demanded, and what is deleted for good at the end is not missed.
    pub log: Option<Arc<dyn Log>>,
    pub trusted: Option<Vec<PublicKey>>,
    /// Versions a second that are looked at, and objects that are read, over a step; `None`: as fast as it goes. About as many calls: a lock that HEAD does not
    /// tell takes two more, and listings are not counted.
    pub calls_per_second: Option<u32>,
    /// Calls at once, and threads that verify.
    pub at_once: usize,
    /// [`VERSIONS_AT_ONCE`], and S3 gives 1,000 at most.
    pub versions_at_once: i32,
}

/// Told of how the verification goes.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A pass on its way. Holds nothing that its [`Running`] does not say, but for what it saves asking again.
pub struct Pass {
    store: Store,
    scope: Scope,
    demands: Demands,
    clock: Arc<dyn Clock>,
    on_progress: OnProgress,
    listed: Option<Listed>,
    tries: Tries,
}

/// What names said.
#[derive(Clone)]
struct Listed {
    known: Arc<Known>,
    missing: Vec<Finding>,
}

/// What a step came to.
#[derive(Debug)]
pub struct Stepped {
    pub findings: Vec<Finding>,
    /// The pass is whole.
    pub is_done: bool,
}

impl Pass {
    #[must_use]
    pub fn new(
        store: Store,
        scope: Scope,
        demands: Demands,
        clock: Arc<dyn Clock>,
        on_progress: OnProgress,
    ) -> Self {
        Self {
            store,
            scope,
            demands,
            clock,
            on_progress,
            listed: None,
            tries: Tries::More,
        }
    }

    /// Looks at a page of versions, or verifies the content. `running` moves on with what was done, and not at all where that failed. It fails where the store is away,
    /// and never because of the lock of one version.
    ///
    /// # Errors
    /// By what the caller must do.
    pub async fn step(&mut self, running: &mut Running, tries: Tries) -> Result<Stepped, ScrubError> {
        self.tries = tries;
        let Listed { known, missing } = match &self.listed {
            Some(listed) => listed.clone(),
            None => self.listed.insert(self.list().await?).clone(),
        };
        // Once a pass: no step but its first is there.
        let missing = match &running.at {
            At::Names(None) => missing,
            At::Names(Some(_)) | At::Content => Vec::new(),
        };
        let begun = Instant::now();
        let (mut untold_locks, mut more) = (0, BTreeMap::new());
        let (mut findings, at, objects, bytes) = match (&running.at, &self.store) {
            (At::Names(after), Store::S3(versions)) => {
                let (findings, at, objects) = self
                    .page(&known, versions, after.as_deref(), &mut untold_locks)
                    .await?;
                (findings, Some(at), objects, 0)
            }
            (At::Names(_), Store::Directory(path)) => {
                let (findings, objects) = self.files(&known, path, &mut more).await?;
                (findings, Some(At::Content), objects, 0)
            }
            (At::Content, _) => {
                let (findings, bytes) = self.content(&known).await?;
                (findings, None, 0, bytes)
            }
        };
        findings.extend(missing);
        // Before anything is counted: who drops it in this time has not stepped.
        self.keep_pace(objects, begun).await;
        running.counts.objects += objects;
        running.counts.bytes += bytes;
        running.counts.untold_locks += untold_locks;
        running.counts.note(&findings);
        running.counts.note_more(&more);
        let is_done = at.is_none();
        if let Some(at) = at {
            running.at = at;
        }
        Ok(Stepped { findings, is_done })
    }

    fn now(&self) -> i64 {
        self.clock.now().div_euclid(1_000_000)
    }

    /// A step ends no sooner than its versions may.
    async fn keep_pace(&self, calls: u64, begun: Instant) {
        if let Some(rate) = self.demands.calls_per_second {
            let due = Duration::from_secs_f64(calls as f64 / f64::from(rate.max(1)));
            tokio::time::sleep_until(begun + due).await;
        }
    }

    /// The log first: what is archived while names are listed is none that is missing.
    async fn list(&self) -> Result<Listed, ScrubError> {
        let archived = self.archived().await?;
        let known = self.known().await?;
        let missing = judge_sizes(&known, &self.scope, &archived);
        Ok(Listed {
            known: Arc::new(known),
            missing,
        })
    }

    /// What the names say of cuts.
    async fn known(&self) -> Result<Known, ScrubError> {
        let prefixes = self.scope.content_prefixes();
        let only = self.scope.origin();
        let is_whole = only.is_none();
        self.blocking(move |source, stop| {
            let mut known = Known::only(only);
            for prefix in &prefixes {
                for name in source.list(prefix)? {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    known.note(&name?);
                }
            }
            known.settle();
            if is_whole && let Some(partitions) = partitions_of(source, &known)? {
                known.settle_ledger(partitions);
            }
            Ok(known)
        })
        .await
    }

    /// What is wrong with the next versions, and where it goes on.
    async fn page(
        &self,
        known: &Known,
        store: &S3Versions,
        after: Option<&str>,
        untold_locks: &mut u64,
    ) -> Result<(Vec<Finding>, At, u64), ScrubError> {
        let page = next_page(store, &self.scope.prefix(), after, self.demands.versions_at_once).await?;
        let mut names: Vec<&[ObjectVersion]> = page.versions.chunk_by(|a, b| a.name == b.name).collect();
        // Of the one name then: it has more versions than S3 gives at once.
        let is_cut_short = page.is_cut && names.len() == 1;
        // Of the last name more may follow: it is looked at with the next page, unless it fills the largest one.
        if page.is_cut && names.len() > 1 {
            names.pop();
        }
        let mut last = None;
        let mut looked_at = Vec::new();
        for versions in names {
            let Some(first) = versions.first() else { continue };
            match self.scope.covers(&first.name) {
                Covers::Yes if is_looked_at(&first.name) => looked_at.push(versions),
                Covers::Yes | Covers::No => {}
                Covers::NotUntil(end) => {
                    let found = self
                        .judge(known, store, &looked_at, is_cut_short, untold_locks)
                        .await?;
                    return Ok((found, At::Names(Some(end)), objects(&looked_at)));
                }
            }
            last = Some(first.name.clone());
        }
        let found = self
            .judge(known, store, &looked_at, is_cut_short, untold_locks)
            .await?;
        let at = match last {
            Some(last) if page.is_cut => At::Names(Some(last)),
            Some(_) | None => At::Content,
        };
        Ok((found, at, objects(&looked_at)))
    }

    async fn judge(
        &self,
        known: &Known,
        store: &S3Versions,
        names: &[&[ObjectVersion]],
        is_cut_short: bool,
        untold_locks: &mut u64,
    ) -> Result<Vec<Finding>, ScrubError> {
        let now = self.now();
        let mut findings: Vec<Finding> = names
            .iter()
            .flat_map(|versions| judge_name(known, versions, is_cut_short, now))
            .collect();
        let Some(retention) = &self.demands.retention else {
            return Ok(findings);
        };
        let of_archive = |version: &&ObjectVersion| {
            !version.is_marker && matches!(known.place(&version.name), Place::Of { .. })
        };
        let locked: Vec<&ObjectVersion> = names.iter().copied().flatten().filter(of_archive).collect();
        let before = self.holds(known).await?;
        let asking = Asking {
            store,
            at_once: self.demands.at_once,
            tries: self.tries,
        };
        let is_to_be_held = |version: &ObjectVersion| is_held(known, &version.name, &before, &before);
        let locks = asking.locks(&locked, is_to_be_held).await?;
        // A hold that was released meanwhile is none.
        let after = self.holds(known).await?;
        for (version, lock) in locked.iter().zip(locks) {
            match lock {
                Asked::Told(lock) => {
                    let held = is_held(known, &version.name, &before, &after);
                    findings.extend(judge_lock(known, version, &lock, retention, held, now));
                }
                // It is missed by the verifier; that no lock was judged is counted.
                Asked::Gone => *untold_locks += 1,
                Asked::Refused(finding) => findings.push(finding),
            }
        }
        Ok(findings)
    }

    /// What the log says is archived, of each partition of the scope.
    async fn archived(&self) -> Result<Archived, ScrubError> {
        let mut archived = Archived::new();
        let Some(log) = &self.demands.log else {
            return Ok(archived);
        };
        let partitions = match self.scope.partition() {
            Some(partition) => partition..partition + 1,
            None => 0..log.partitions(topic::LEDGER_ENTRIES).await?,
        };
        for partition in partitions {
            archived.insert(partition, archived_size(log.as_ref(), partition).await?);
        }
        Ok(archived)
    }

    async fn holds(&self, known: &Known) -> Result<Holds, ScrubError> {
        let mut holds = Holds::new();
        let Some(log) = &self.demands.log else {
            return Ok(holds);
        };
        // The archive may hold objects of partitions that the log does not have: they are found by their names.
        let partitions = log.partitions(topic::LEDGER_ENTRIES).await?;
        for partition in self.scope.partitions(known) {
            if partition >= partitions {
                continue;
            }
            holds.insert(partition, hold_progress(log.as_ref(), partition).await?);
        }
        Ok(holds)
    }

    /// Of a directory: names alone. In one step, so that of each kind no more is kept than a report can hold.
    async fn files(
        &self,
        known: &Arc<Known>,
        root: &Path,
        more: &mut BTreeMap<Kind, u64>,
    ) -> Result<(Vec<Finding>, u64), ScrubError> {
        let (known, root, now) = (Arc::clone(known), root.to_owned(), self.now());
        let (prefix, scope) = (self.scope.prefix(), self.scope.clone());
        let (findings, files, left_out) = self
            .blocking(move |source, stop| {
                let (mut findings, mut files) = (Vec::new(), 0);
                let mut found: BTreeMap<Kind, u64> = BTreeMap::new();
                for name in source.list(&prefix)? {
                    let name = name?;
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    if scope.covers(&name) != Covers::Yes || !is_looked_at(&name) {
                        continue;
                    }
                    files += 1;
                    for finding in judge_file(&known, &root, name, now) {
                        let count = found.entry(finding.kind).or_default();
                        *count += 1;
                        if *count <= FINDINGS_KEPT {
                            findings.push(finding);
                        }
                    }
                }
                found.retain(|_, count| *count > FINDINGS_KEPT);
                for count in found.values_mut() {
                    *count -= FINDINGS_KEPT;
                }
                Ok((findings, files, found))
            })
            .await?;
        *more = left_out;
        Ok((findings, files))
    }

    /// What the verifier says of it.
    async fn content(&self, known: &Arc<Known>) -> Result<(Vec<Finding>, u64), ScrubError> {
        if !self.scope.has_content(known) {
            return Ok((Vec::new(), 0));
        }
        let options = Options {
            trusted: self.demands.trusted.clone(),
            partition: self.scope.partition(),
            threads: self.demands.at_once,
            ..Options::default()
        };
        let rate = self.demands.calls_per_second;
        let pause = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        let (prefixes, on_progress) = (self.scope.content_prefixes(), Arc::clone(&self.on_progress));
        let covered_by = Arc::clone(known);
        let report = self
            .blocking(move |source, stop| {
                let paced = Paced { source, stop, pause };
                let covered = Covered {
                    prefixes,
                    ..Covered::whole(&paced, &covered_by)
                };
                verify(&covered, &options, &mut |progress| on_progress(progress))
            })
            .await?;
        Ok((of_report(known, &report).into_iter().collect(), report.bytes))
    }

    /// Runs what waits for the archive on a thread of its own; where this is dropped, it is told to end.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ArchiveSource, &AtomicBool) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, ScrubError> {
        let stop = Arc::new(AtomicBool::new(false));
        let _ending = StopWhenDropped(Arc::clone(&stop));
        let store = self.store.clone();
        let opened = move || -> Result<T, ScrubError> {
            match store {
                Store::Directory(path) => {
                    let source = DirectorySource::open(&path)
                        .map_err(|error| unreadable(&path.display().to_string(), error))?;
                    work(&source, &stop)
                }
                Store::S3(versions) => {
                    let name = versions.access().bucket.to_string();
                    let source = versions.source().map_err(|error| unreadable(&name, error))?;
                    work(&source, &stop)
                }
            }
            .map_err(|error| unreadable(&error.object, error.source))
        };
        match tokio::task::spawn_blocking(opened).await {
            Ok(outcome) => outcome,
            Err(error) => Err(ScrubError::Retry {
                what: "the scrub broke off".to_owned(),
                source: Some(error.into()),
            }),
        }
    }
}

/// The next versions. Where one name fills the page, the largest page that there is: which of its versions is the oldest is known then.
async fn next_page(
    store: &S3Versions,
    prefix: &str,
    after: Option<&str>,
    versions_max: i32,
) -> Result<VersionPage, VaultError> {
    let page = store.page(prefix, after, versions_max).await?;
    let is_of_one = page.versions.chunk_by(|a, b| a.name == b.name).count() < 2;
    if page.is_cut && is_of_one && versions_max < VERSIONS_MAX {
        return store.page(prefix, after, VERSIONS_MAX).await;
    }
    Ok(page)
}

struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn objects(names: &[&[ObjectVersion]]) -> u64 {
    names.iter().map(|versions| versions.len() as u64).sum()
}

/// A file is the one version of its name, and has no id.
fn judge_file(known: &Known, root: &Path, name: String, now: i64) -> Vec<Finding> {
    let file = ObjectVersion {
        modified: modified(&root.join(&name)).unwrap_or(now),
        name,
        id: String::new(),
        is_marker: false,
    };
    let mut findings = judge_name(known, std::slice::from_ref(&file), false, now);
    for finding in &mut findings {
        finding.version = None;
    }
    findings
}

/// When a file was changed, in seconds since 1970.
fn modified(path: &Path) -> Option<i64> {
    let modified = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

fn of_report(known: &Known, report: &Report) -> Option<Finding> {
    let bad = report.first_bad.as_ref()?;
    let name = bad.object.clone().unwrap_or_default();
    // It is found by its name already, and the verifier comes to it when all else holds.
    if bad.reason == Reason::UnknownObject
        && bad.detail.starts_with("no object of an archive")
        && known.place(&name) == Place::Nowhere
    {
        return None;
    }
    Some(Finding {
        kind: Kind::Content,
        name,
        version: None,
        what: told(bad),
        relock: None,
    })
}

fn told(bad: &FirstBad) -> String {
    let place = match (bad.partition, bad.index) {
        (Some(partition), Some(index)) => format!(" (partition {partition}, index {index})"),
        (Some(partition), None) => format!(" (partition {partition})"),
        (None, _) => String::new(),
    };
    format!(
        "{}: {}; {}{place}",
        bad.reason.code(),
        bad.reason.sentence(),
        bad.detail
    )
}

/// How many partitions the ledger has; `None` where that cannot be read, which the verifier finds.
fn partitions_of(source: &dyn ArchiveSource, known: &Known) -> Result<Option<u32>, SourceError> {
    let Some(segment) = known.first_segment() else {
        return Ok(None);
    };
    match declared_partitions(source, &segment) {
        Err(error) if is_refused(&error.source) => Ok(None),
        answered => answered,
    }
}

/// Whether it will be the same when it is tried again.
fn is_refused(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<VaultError>())
        .is_some_and(|cause| matches!(cause, VaultError::Fatal { .. }))
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
        )
}

fn unreadable(what: &str, error: io::Error) -> ScrubError {
    let refused = is_refused(&error);
    let what = format!("{what} cannot be read: {error}");
    let source: Option<BoxError> = Some(error.into());
    if refused {
        ScrubError::Fatal { what, source }
    } else {
        ScrubError::Retry { what, source }
    }
}

impl From<VaultError> for ScrubError {
    fn from(error: VaultError) -> Self {
        let what = error.to_string();
        match error {
            VaultError::Retry { source, .. } => Self::Retry { what, source },
            VaultError::Fatal { source, .. } => Self::Fatal { what, source },
        }
    }
}

impl From<LogError> for ScrubError {
    fn from(error: LogError) -> Self {
        let what = error.to_string();
        match error {
            LogError::Retry { .. } | LogError::Unknown { .. } => Self::Retry {
                what,
                source: Some(error.into()),
            },
            LogError::Fatal { .. } => Self::Fatal {
                what,
                source: Some(error.into()),
            },
        }
    }
}
