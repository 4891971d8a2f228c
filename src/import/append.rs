//! Appends a page, and then stores the place behind it: never the other way round.

use super::place::Place;
use crate::log::{Log, LogError, NewRecord, topic};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::time::Duration;

/// What fails for now is tried again so often in all.
const ATTEMPTS_MAX: u32 = 12;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Rows that were read and judged, and are to be appended.
pub(super) struct Page {
    /// By partition.
    pub records: BTreeMap<u32, Vec<NewRecord>>,
    /// Behind its last row.
    pub place: Place,
}

/// Cut short between the two, the next run reads the page again, and the ledger knows the rows by their event ids.
pub(super) async fn append(log: &dyn Log, group: &str, page: Page) -> Result<(), LogError> {
    let appends = page
        .records
        .iter()
        .map(|(partition, records)| append_to(log, *partition, records));
    try_join_all(appends).await?;
    store(log, group, &page.place).await
}

async fn append_to(log: &dyn Log, partition: u32, records: &[NewRecord]) -> Result<(), LogError> {
    patiently(|| log.append(topic::AUDIT_CAPTURED, partition, records.to_vec())).await
}

pub(super) async fn store(log: &dyn Log, group: &str, place: &Place) -> Result<(), LogError> {
    patiently(|| place.store(log, group)).await
}

/// Makes a call again that may or may not have been applied: of an append, the rows' event ids tell what was, and a place is the same one.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<(), LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    let mut backoff = BACKOFF_FIRST;
    for _ in 1..ATTEMPTS_MAX {
        match call().await {
            Ok(_) => return Ok(()),
            Err(LogError::Retry { .. } | LogError::Unknown { .. }) => tokio::time::sleep(backoff).await,
            Err(error @ LogError::Fatal { .. }) => return Err(error),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    call().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lease::Assignments;
    use crate::log::{Appended, Committed, Offset, Record};
    use async_trait::async_trait;
    use std::sync::Mutex;

    /// Notes what is asked of it. The first call of a kind fails as it is told to.
    #[derive(Default)]
    struct Notes {
        asked: Mutex<Vec<&'static str>>,
        append: Mutex<Option<LogError>>,
        commit: Mutex<Option<LogError>>,
    }

    impl Notes {
        fn note(&self, what: &'static str, first: &Mutex<Option<LogError>>) -> Result<(), LogError> {
            self.asked.lock().unwrap().push(what);
            first.lock().unwrap().take().map_or(Ok(()), Err)
        }
    }

    fn not_asked<T>() -> Result<T, LogError> {
        panic!("an append asks this of no log")
    }

    #[async_trait]
    impl Log for Notes {
        async fn append(&self, _: &str, _: u32, records: Vec<NewRecord>) -> Result<Appended, LogError> {
            self.note("append", &self.append)?;
            Ok(Appended::in_one_piece(0, records.len()))
        }
        async fn read(
            &self,
            _: &str,
            _: u32,
            _: Offset,
            _: usize,
            _: usize,
        ) -> Result<Vec<Record>, LogError> {
            not_asked()
        }
        async fn end(&self, _: &str, _: u32) -> Result<Offset, LogError> {
            not_asked()
        }
        async fn start(&self, _: &str, _: u32) -> Result<Offset, LogError> {
            not_asked()
        }
        async fn trim(&self, _: &str, _: u32, _: Offset) -> Result<(), LogError> {
            not_asked()
        }
        async fn join(&self, _: &str) -> Result<Assignments, LogError> {
            not_asked()
        }
        async fn find(&self, _: &str) -> Result<Option<u32>, LogError> {
            not_asked()
        }
        async fn partitions(&self, _: &str) -> Result<u32, LogError> {
            not_asked()
        }
        async fn commit(&self, _: &str, _: &str, _: u32, _: Committed) -> Result<(), LogError> {
            self.note("commit", &self.commit)
        }
        async fn committed(&self, _: &str, _: &str, _: u32) -> Result<Option<Committed>, LogError> {
            not_asked()
        }
        fn record_bytes_max(&self) -> usize {
            1_000
        }
    }

    fn page() -> Page {
        Page {
            records: BTreeMap::from([(0, vec![NewRecord::default()])]),
            place: Place {
                values: vec!["7".to_owned()],
                columns: vec!["id".to_owned()],
                rows: 1,
                before: None,
                ended: false,
            },
        }
    }

    fn retry() -> LogError {
        LogError::Retry {
            what: "busy".to_owned(),
            source: None,
        }
    }

    fn unknown() -> LogError {
        LogError::Unknown {
            topic: String::new(),
            partition: 0,
            what: "no answer".to_owned(),
            source: None,
        }
    }

    fn fatal() -> LogError {
        LogError::Fatal {
            what: "gone".to_owned(),
            source: None,
        }
    }

    async fn asked(
        append_fails: Option<LogError>,
        commit_fails: Option<LogError>,
    ) -> (bool, Vec<&'static str>) {
        let log = Notes {
            append: Mutex::new(append_fails),
            commit: Mutex::new(commit_fails),
            ..Notes::default()
        };
        let done = append(&log, "group", page()).await.is_ok();
        (done, log.asked.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_place_is_stored_behind_its_page_and_never_before() {
        for fails in [retry(), unknown()] {
            let expected = (true, vec!["append", "append", "commit"]);
            assert_eq!(asked(Some(fails), None).await, expected);
        }
        assert_eq!(asked(Some(fatal()), None).await, (false, vec!["append"]));
    }

    #[tokio::test]
    async fn a_place_that_could_not_be_stored_for_now_is_stored_again_without_the_page() {
        for fails in [retry(), unknown()] {
            let expected = (true, vec!["append", "commit", "commit"]);
            assert_eq!(asked(None, Some(fails)).await, expected);
        }
        assert_eq!(
            asked(None, Some(fatal())).await,
            (false, vec!["append", "commit"])
        );
    }
}
