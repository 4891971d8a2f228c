//! From COMMIT to sealed: inserts rows into Postgres at a steady rate, one in a transaction, and reads each back twice: as the change that Debezium makes of
//! it, and as the entry that the ledger has of it. One process, and one clock, which Kafka Connect's timestamps are of too.
//!
//! The ways of a row are told apart where its record in the captured topic can be read: what lies before is Debezium's and Kafka Connect's, what lies
//! behind is Ledgerline's.

use crate::arguments::Arguments;
use crate::broker::{self, PATIENCE};
use crate::input::steadily;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Where the database is, with its password.
const DATABASE: &str = "LEDGERLINE_STACK_POSTGRES_URL";
const POLL: Duration = Duration::from_millis(50);
/// Not counted at the beginning.
const SETTLING_SECONDS: u64 = 5;

/// Microseconds since 1970 at which each row was that far; 0 where it is not yet.
struct Times(Vec<AtomicU64>);

impl Times {
    fn new(rows: u64) -> Self {
        Self((0..rows).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether the row is one of these and had no time yet.
    fn note(&self, row: u64, micros: u64) -> bool {
        let place = usize::try_from(row).ok().and_then(|row| self.0.get(row));
        place.is_some_and(|place| place.swap(micros, Ordering::AcqRel) == 0)
    }

    fn get(&self, row: usize) -> u64 {
        self.0[row].load(Ordering::Acquire)
    }
}

/// When the rows were that far.
struct Ways {
    committed: Times,
    /// Kafka Connect gave the record to its producer.
    sent: Times,
    captured: Times,
    sealed: Times,
}

/// Inserts rows from id `--first` on into `--table`; `--changes` is the captured topic, `--entries` the ledger's.
pub fn measure(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (first, rate): (u64, u64) = (arguments.number("first")?, arguments.number("rate")?);
    let seconds: u64 = arguments.number("seconds")?;
    let (skipped, rows) = (rate * SETTLING_SECONDS, rate * (seconds + SETTLING_SECONDS));
    let ways = Ways {
        committed: Times::new(rows),
        sent: Times::new(rows),
        captured: Times::new(rows),
        sealed: Times::new(rows),
    };
    let changes = consumer(arguments, "changes")?;
    let entries = consumer(arguments, "entries")?;
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let captured = scope.spawn(|| {
            each(&changes, rows, |message| {
                let row = row_of_key(message.key()?)?.checked_sub(first)?;
                let sent = message.timestamp().to_millis().unwrap_or(0) * 1_000;
                ways.sent.note(row, sent as u64);
                ways.captured.note(row, now()).then_some(())
            })
        });
        let sealed = scope.spawn(|| {
            each(&entries, rows, |message| {
                let row = row_of_entry(message.payload()?)?.checked_sub(first)?;
                ways.sealed.note(row, now()).then_some(())
            })
        });
        insert(arguments, first, rate, &ways.committed)?;
        captured.join().map_err(|_| "reading the changes broke off")??;
        sealed.join().map_err(|_| "reading the entries broke off")??;
        Ok(())
    })?;
    Ok(summary(&ways, skipped as usize, rows))
}

fn summary(ways: &Ways, skipped: usize, rows: u64) -> Value {
    let share = |from: &Times, to: &Times| {
        let mut waits: Vec<u64> = (skipped..rows as usize)
            .map(|row| to.get(row).saturating_sub(from.get(row)))
            .collect();
        waits.sort_unstable();
        let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied();
        let millis = |micros: Option<u64>| micros.unwrap_or(0) as f64 / 1e3;
        json!({"p50_ms": millis(at(0.5)), "p99_ms": millis(at(0.99)), "max_ms": millis(waits.last().copied())})
    };
    json!({
        "rows": rows,
        "counted": rows - skipped as u64,
        "debezium": share(&ways.committed, &ways.sent),
        "connect": share(&ways.sent, &ways.captured),
        "captured": share(&ways.committed, &ways.captured),
        "ours": share(&ways.captured, &ways.sealed),
        "whole": share(&ways.committed, &ways.sealed),
    })
}

/// One row in a transaction; its time is taken when the server has said that it is committed.
fn insert(arguments: &Arguments, first: u64, rate: u64, committed: &Times) -> Result<(), Box<dyn Error>> {
    let table = arguments.text("table")?;
    let sql = format!(
        "INSERT INTO {table} (id, tenant_id, actor_id, action, target, details) SELECT n, 'tenant-' || n % 1000, 'user-' || n % 20011, 'login', \
         'invoice/' || n, jsonb_build_object('request_id', md5(n::text), 'note', repeat(md5('n' || n), 12)) FROM (SELECT $1::bigint AS n) AS row"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut connection = runtime.block_on(PgConnection::connect(&std::env::var(DATABASE)?))?;
    steadily(rate, committed.0.len() as u64, |row| {
        let query = sqlx::query(AssertSqlSafe(sql.clone())).bind((first + row) as i64);
        runtime.block_on(query.execute(&mut connection))?;
        committed.note(row, now());
        Ok(())
    })?;
    runtime.block_on(connection.close())?;
    Ok(())
}

/// At the end of the topic that `--{argument}` names.
fn consumer(arguments: &Arguments, argument: &str) -> Result<BaseConsumer, Box<dyn Error>> {
    let topic = arguments.text(argument)?;
    let mut config = broker::client(arguments)?;
    let consumer = broker::consumer(config.set("isolation.level", "read_committed"))?;
    let mut places = TopicPartitionList::new();
    for partition in 0..broker::partitions(&consumer, topic)? {
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        places.add_partition_offset(topic, partition, Offset::Offset(end))?;
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

/// Reads until `take` has taken so many; fails where nothing comes for long.
fn each(
    consumer: &BaseConsumer,
    count: u64,
    take: impl Fn(&BorrowedMessage<'_>) -> Option<()>,
) -> Result<(), String> {
    let mut taken = 0;
    let mut taken_at = Instant::now();
    while taken < count {
        if taken_at.elapsed() > 2 * PATIENCE {
            return Err(format!("only {taken} of {count} rows came"));
        }
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        if take(&message.map_err(|error| error.to_string())?).is_some() {
            taken += 1;
            taken_at = Instant::now();
        }
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// Of `{"id":7}`.
fn row_of_key(key: &[u8]) -> Option<u64> {
    number_behind(key, b"\"id\":")
}

/// Of an entry whose event id is `database.schema.audit_logs/7`.
fn row_of_entry(entry: &[u8]) -> Option<u64> {
    number_behind(entry, b".audit_logs/")
}

fn number_behind(bytes: &[u8], word: &[u8]) -> Option<u64> {
    let at = bytes.windows(word.len()).position(|window| window == word)? + word.len();
    let digits = bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&bytes[at..at + digits]).ok()?.parse().ok()
}
