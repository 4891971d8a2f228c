//! What goes wrong around a database file. That it is a log at all is `tests/it/log_conformance.rs`.

use super::*;
use crate::log::topic::{AUDIT_EVENTS, LEDGER_DEAD_LETTERS, LEDGER_ENTRIES};
use std::error::Error as _;
use std::fs;

const SHORT: Duration = Duration::from_millis(50);

fn batch(count: usize, value_bytes: usize) -> Vec<NewRecord> {
    let record = NewRecord {
        key: b"tenant".to_vec(),
        value: vec![7; value_bytes],
        headers: Vec::new(),
    };
    vec![record; count]
}

async fn open_impatiently(file: &Path) -> EmbeddedLog {
    layout::create_file(file).unwrap();
    EmbeddedLog::open_within(file, Expected::Partitions(2), SHORT, SHORT)
        .await
        .unwrap()
}

fn fatal_text<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> String {
    match outcome {
        Err(LogError::Fatal { what, .. }) => what,
        other => panic!("not fatal: {other:?}"),
    }
}

#[tokio::test]
async fn records_and_positions_are_there_after_a_reopening_without_a_clean_close() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let log = EmbeddedLog::open(&file, 2).await.unwrap();
    log.append(AUDIT_EVENTS, 1, batch(3, 10)).await.unwrap();
    let position = Committed {
        offset: 3,
        metadata: "1 3 1 00 2".to_owned(),
    };
    log.commit("archive", LEDGER_ENTRIES, 1, position.clone())
        .await
        .unwrap();
    // As after a kill: the copy has the file and its WAL as they stand, and nobody closed them.
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let again = EmbeddedLog::open_existing(&copy.path().join("ledger.db"))
        .await
        .unwrap();
    assert_eq!(again.end(AUDIT_EVENTS, 1).await.unwrap(), 3);
    assert_eq!(
        again.append(AUDIT_EVENTS, 1, batch(1, 10)).await.unwrap().first,
        3
    );
    let committed = again.committed("archive", LEDGER_ENTRIES, 1).await.unwrap();
    assert_eq!(committed, Some(position));
}

#[tokio::test]
async fn a_transaction_that_was_not_committed_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_impatiently(&directory.path().join("ledger.db")).await;
    let abandoned = log
        .write(async |connection| -> Result<(), LogError> {
            let batch = insert::Batch {
                topic: AUDIT_EVENTS,
                partition: 0,
                id: log.stream(AUDIT_EVENTS, 0)?,
                records: batch(5, 10),
            };
            insert::insert_all(connection, log.failure(), batch).await?;
            Err(log.failure().damaged("made up by this test"))
        })
        .await;
    assert!(abandoned.is_err());
    assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), 0);
    assert_eq!(log.append(AUDIT_EVENTS, 0, batch(1, 10)).await.unwrap().first, 0);
    assert_eq!(log.read(AUDIT_EVENTS, 0, 0, 9, 99).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_and_the_file_says_how_many() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    EmbeddedLog::open(&file, 2).await.unwrap().close().await.unwrap();
    let what = fatal_text(EmbeddedLog::open(&file, 3).await);
    assert!(what.contains("has 2 partitions and 3 are configured"), "{what}");
    let log = EmbeddedLog::open_existing(&file).await.unwrap();
    assert_eq!(log.partitions(AUDIT_EVENTS).await.unwrap(), 2);
    for partitions in [0, 4_097] {
        let other = directory.path().join(format!("{partitions}.db"));
        let what = fatal_text(EmbeddedLog::open(&other, partitions).await);
        assert!(what.contains("1 to 4096 partitions"), "{what}");
    }
}

#[tokio::test]
async fn a_database_that_another_process_holds_locked_is_to_be_tried_again_and_then_works() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let (log, other) = (open_impatiently(&file).await, open_impatiently(&file).await);
    let mut locking = other.writer.lock().await.take().unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut locking)
        .await
        .unwrap();
    match log.append(AUDIT_EVENTS, 0, batch(1, 10)).await {
        Err(LogError::Retry { what, source }) => {
            assert!(what.contains("another process holds the database"), "{what}");
            assert!(source.is_some());
        }
        unexpected => panic!("{unexpected:?}"),
    }
    assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), 0, "reading goes on");
    locking.close().await.unwrap();
    assert_eq!(log.append(AUDIT_EVENTS, 0, batch(1, 10)).await.unwrap().first, 0);
}

#[tokio::test]
async fn opening_waits_longer_for_a_lock_than_later_calls_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let other = open_impatiently(&file).await;
    let mut locking = other.writer.lock().await.take().unwrap();
    let lock = async |connection: &mut SqliteConnection| {
        sqlx::query("BEGIN IMMEDIATE").execute(connection).await.unwrap();
    };
    lock(&mut locking).await;
    let opening = tokio::spawn({
        let file = file.clone();
        async move { EmbeddedLog::open_within(&file, Expected::Existing, Duration::from_mins(10), SHORT).await }
    });
    // However long this takes, it must not fail; if opening were as impatient as calls are, it would fail before the lock is gone.
    tokio::time::sleep(SHORT * 10).await;
    sqlx::query("ROLLBACK").execute(&mut locking).await.unwrap();
    let log = opening.await.unwrap().unwrap();
    lock(&mut locking).await;
    let refused = log.append(AUDIT_EVENTS, 0, batch(1, 10)).await;
    assert!(matches!(refused, Err(LogError::Retry { .. })), "{refused:?}");
}

#[tokio::test]
async fn two_processes_append_to_one_file_without_overwriting() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let (log, other) = (open_impatiently(&file).await, open_impatiently(&file).await);
    assert_eq!(log.append(AUDIT_EVENTS, 0, batch(2, 10)).await.unwrap().first, 0);
    assert_eq!(
        other.append(AUDIT_EVENTS, 0, batch(2, 10)).await.unwrap().first,
        2
    );
    assert_eq!(log.append(AUDIT_EVENTS, 0, batch(1, 10)).await.unwrap().first, 4);
    assert_eq!(other.end(AUDIT_EVENTS, 0).await.unwrap(), 5);
}

#[tokio::test]
async fn a_full_disk_is_named_and_after_it_everything_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_impatiently(&directory.path().join("ledger.db")).await;
    log.append(AUDIT_EVENTS, 0, batch(1, 10)).await.unwrap();
    let limit = async |sql: &'static str| {
        let mut writer = log.writer.lock().await;
        sqlx::query(sql)
            .fetch_all(writer.as_mut().unwrap())
            .await
            .unwrap();
    };
    limit("PRAGMA max_page_count = 1").await;
    let what = fatal_text(log.append(AUDIT_EVENTS, 0, batch(200, 1_200)).await);
    assert!(what.contains("no space left"), "{what}");
    // The limit went with the connection that met it.
    assert_eq!(
        log.append(AUDIT_EVENTS, 0, batch(200, 1_200))
            .await
            .unwrap()
            .first,
        1
    );
    assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), 201);
}

#[tokio::test]
async fn a_file_that_is_no_database_or_no_log_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    fs::write(&text, "these are notes, and long enough to look at: ".repeat(100)).unwrap();
    let what = fatal_text(EmbeddedLog::open(&text, 1).await);
    assert!(
        what.contains("notes.txt is damaged, or is no SQLite database"),
        "{what}"
    );
    let foreign = directory.path().join("foreign.db");
    let options = SqliteConnectOptions::new()
        .filename(&foreign)
        .create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE t (x)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let what = fatal_text(EmbeddedLog::open(&foreign, 1).await);
    assert!(what.contains("no log of Ledgerline"), "{what}");
}

#[tokio::test]
async fn a_corrupt_page_is_found_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let log = EmbeddedLog::open(&file, 1).await.unwrap();
    log.append(AUDIT_EVENTS, 0, batch(500, 1_200)).await.unwrap();
    log.close().await.unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let page = usize::try_from(layout::PAGE_BYTES).unwrap();
    let records = bytes.len() / 2 / page * page;
    bytes[records..].fill(0xA5);
    fs::write(&file, bytes).unwrap();
    let log = EmbeddedLog::open_existing(&file).await.unwrap();
    let what = fatal_text(log.read(AUDIT_EVENTS, 0, 0, 500, usize::MAX).await);
    assert!(what.contains("is damaged"), "{what}");
}

#[tokio::test]
async fn a_missing_or_unwritable_place_is_refused_with_what_to_look_at() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("missing").join("ledger.db");
    let what = fatal_text(EmbeddedLog::open(&nowhere, 1).await);
    assert!(what.contains("see that its directory exists"), "{what}");
    let what = fatal_text(EmbeddedLog::open_existing(&nowhere).await);
    assert!(what.contains("cannot be opened for writing"), "{what}");
    // A directory in the place of the file: unwritable for root too, whom modes do not hold.
    let what = fatal_text(EmbeddedLog::open(directory.path(), 1).await);
    assert!(what.contains("cannot be opened for writing"), "{what}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_wal_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(&directory.path().join("ledger.db"), 1)
        .await
        .unwrap();
    log.append(AUDIT_EVENTS, 0, batch(1, 10)).await.unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let mode = fs::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_clean_close_empties_the_wal_and_refuses_later_calls() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let log = EmbeddedLog::open(&file, 1).await.unwrap();
    log.append(AUDIT_EVENTS, 0, batch(10, 100)).await.unwrap();
    log.close().await.unwrap();
    assert!(!directory.path().join("ledger.db-wal").exists());
    assert!(fatal_text(log.end(AUDIT_EVENTS, 0).await).contains("was closed"));
    assert!(fatal_text(log.append(AUDIT_EVENTS, 0, batch(1, 1)).await).contains("was closed"));
}

#[tokio::test]
async fn an_error_keeps_its_source_and_tells_no_value() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_impatiently(&directory.path().join("ledger.db")).await;
    let mut writer = log.writer.lock().await;
    sqlx::query("DROP TABLE r1")
        .execute(writer.as_mut().unwrap())
        .await
        .unwrap();
    drop(writer);
    let mut secret = batch(1, 1);
    secret[0].value = b"hunter2".to_vec();
    let error = log.append(AUDIT_EVENTS, 0, secret).await.unwrap_err();
    assert!(error.source().is_some());
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_file_that_a_crash_left_without_tables_becomes_a_log_and_keeps_its_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.db");
    layout::create_file(&file).unwrap();
    // The change to WAL writes a header: the file is not empty any more.
    let connection = SqliteConnection::connect_with(&layout::connect_options(&file, SHORT))
        .await
        .unwrap();
    connection.close().await.unwrap();
    for partitions_of_new in [3, 7] {
        let log = EmbeddedLog::open_or_make(&file, partitions_of_new).await.unwrap();
        assert_eq!(log.partitions(AUDIT_EVENTS).await.unwrap(), 3);
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_was_made_before_a_topic_existed_gets_it_and_keeps_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.db");
    let log = EmbeddedLog::open(&file, 2).await.unwrap();
    log.append(AUDIT_EVENTS, 1, batch(3, 10)).await.unwrap();
    log.close().await.unwrap();
    let mut connection = SqliteConnection::connect_with(&layout::connect_options(&file, SHORT))
        .await
        .unwrap();
    let deleted = sqlx::query("DELETE FROM stream WHERE topic = 'ledger.dead-letters' RETURNING id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(deleted.len(), 2);
    for row in deleted {
        let table: i64 = row.try_get(0).unwrap();
        sqlx::query(AssertSqlSafe(format!("DROP TABLE r{table}")))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
    let log = EmbeddedLog::open_existing(&file).await.unwrap();
    assert_eq!(log.read(AUDIT_EVENTS, 1, 0, 9, 999).await.unwrap().len(), 3);
    let first = log.append(LEDGER_DEAD_LETTERS, 1, batch(2, 10)).await.unwrap();
    assert_eq!((first.first, first.last), (0, 1));
}
