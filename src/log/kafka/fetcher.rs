//! A thread that fetches partitions of one topic into memory, each from where its reader is.
//!
//! One topic, because librdkafka says of which partition it has reached the end, but not of which topic. One thread polls; it alone assigns,
//! pauses and resumes, so that no record of an earlier place is taken for one of a later. Queues are not split by partition: a split queue can
//! miss a wake-up for ever.

use super::arrivals::Arrivals;
use super::client::{self, Troubles};
use super::statistics::{self, Reading};
use super::url::KafkaConfig;
use super::window::Window;
use crate::log::{HEADERS_UNREADABLE, LogError, Offset, Record, topic};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Unread bytes of all partitions of a topic, about. A topic has up to four fetchers: what this adds to the peak is several times the number.
const UNREAD_BYTES_MAX: usize = 8 << 20;
/// Unread bytes of one partition are bounded by its share of [`UNREAD_BYTES_MAX`] within these.
const STREAM_BYTES: (usize, usize) = (1 << 20, 2 << 20);
/// What librdkafka holds beside that before the thread has taken it, in KiB.
const QUEUE_KIB_MAX: &str = "2048";
/// An answer to a fetch, compressed; one batch is given whole, however large. librdkafka holds all of an answer decompressed until it is taken, so
/// that this, times what compression saves, is what each fetcher adds to the peak.
const FETCH_BYTES_MAX: &str = "1048576";
/// Of one partition in an answer, compressed: what librdkafka holds of a partition that is paused is thrown away, and fetched again.
const FETCH_PARTITION_BYTES: &str = "262144";
/// Long enough to cost nothing, short enough to learn soon of a partition's end.
const FETCH_WAIT_MS: &str = "200";
/// The thread looks this often even if nothing wakes it: a wake-up may be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long what could not be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// So many messages are taken from librdkafka before readers are told.
const TAKEN_AT_ONCE: usize = 512;
/// The queue may be empty, or the last event was none of ours: asked again so often.
const EMPTY_POLLS: u32 = 3;
/// A partition that nobody reads is fetched no longer.
const UNREAD_FOR_MAX: Duration = Duration::from_secs(30);

/// The fetching of one topic, as readers see it.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
}

struct Shared {
    topic: &'static str,
    /// In the cluster.
    name: String,
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    arrivals: Arc<Arrivals>,
    kept_bytes_max: usize,
    streams: Mutex<BTreeMap<u32, Stream>>,
    thread: OnceLock<Thread>,
    stop: AtomicBool,
}

/// One partition that is fetched.
struct Stream {
    window: Window,
    /// Counts the places that it was fetched from: a message of an earlier one is dropped.
    turn: u64,
    /// Grows whenever a waiting reader should look again.
    changes: watch::Sender<u64>,
    /// Nothing can be read from the window's next offset up to this one: markers of transactions, or records deleted.
    passed_to: Offset,
    /// A reader asked whether the end is reached; answered by the end's event after the place was taken anew.
    proving_to: Option<Offset>,
    /// librdkafka may have given up on its place.
    suspect: bool,
    read_at: Instant,
}

/// What a look at a stream gives.
pub(super) enum Look {
    Records(Vec<Record>),
    /// Nothing to read from here up to where the reader must have looked.
    AtEnd,
    /// Look again when this changes.
    Wait(watch::Receiver<u64>),
    /// No stream covers the place, or it has to be taken anew.
    NotHere,
}

impl Fetcher {
    /// Starts the thread. `kept_bytes_max`: of records that were read, for readers behind.
    pub fn start(
        topic: &'static str,
        config: Arc<KafkaConfig>,
        troubles: Arc<Troubles>,
        arrivals: Arc<Arrivals>,
        kept_bytes_max: usize,
    ) -> Result<Self, LogError> {
        let shared = Arc::new(Shared {
            topic,
            name: config.topic(topic),
            config,
            troubles,
            arrivals,
            kept_bytes_max,
            streams: Mutex::default(),
            thread: OnceLock::new(),
            stop: AtomicBool::new(false),
        });
        let consumer = consumer(&shared)?;
        let thread = std::thread::Builder::new().name(format!("fetch-{topic}")).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, consumer)
        });
        let thread = thread.map_err(|error| LogError::Retry {
            what: format!("no thread to fetch {topic} with: {error}"),
            source: Some(error.into()),
        })?;
        shared.thread.get_or_init(|| thread.thread().clone());
        Ok(Self { shared })
    }

    /// What a reader at `from`, who must not miss anything below `known_end`, gets now.
    pub fn look(
        &self,
        partition: u32,
        from: Offset,
        known_end: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Look {
        let mut streams = self.shared.streams();
        let limit = stream_bytes_max(streams.len());
        let Some(stream) = streams.get_mut(&partition) else {
            return Look::NotHere;
        };
        if !stream.window.covers(from) {
            return Look::NotHere;
        }
        stream.read_at = Instant::now();
        let before = stream.window.unread_bytes();
        let records = stream.window.take(from, records_max, bytes_max);
        if !records.is_empty() {
            // Where the thread waits for it, paused or not, or for a reader that had nothing.
            let crossed = |bytes: usize| before > bytes && stream.window.unread_bytes() <= bytes;
            if crossed(limit) || crossed(limit / 2) || crossed(0) {
                self.shared.wake();
            }
            return Look::Records(records);
        }
        if stream.suspect {
            return Look::NotHere;
        }
        if from >= known_end || stream.passed_to >= known_end {
            return Look::AtEnd;
        }
        Look::Wait(stream.changes.subscribe())
    }

    /// When the partition was last read from here; `None` where this is free to fetch it from any place.
    pub fn read_at(&self, partition: u32) -> Option<Instant> {
        let streams = self.shared.streams();
        let stream = streams.get(&partition).filter(|stream| !stream.suspect)?;
        Some(stream.read_at)
    }

    /// Fetches the partition from `first` on, for a reader at `from` between which and `first` there is nothing.
    pub fn place(&self, partition: u32, from: Offset, first: Offset) {
        let mut streams = self.shared.streams();
        let before = streams.remove(&partition);
        let turn = before.as_ref().map_or(0, |stream| stream.turn) + 1;
        let changes = before.map_or_else(|| watch::channel(0).0, |stream| stream.changes);
        let stream = Stream {
            window: Window::new(from, first, self.shared.kept_bytes_max),
            turn,
            changes,
            passed_to: first,
            proving_to: None,
            suspect: false,
            read_at: Instant::now(),
        };
        stream.changed();
        streams.insert(partition, stream);
        drop(streams);
        self.shared.wake();
    }

    /// Has the end told anew: a place that is taken again tells when it has reached it, unless records come.
    pub fn prove_end(&self, partition: u32, known_end: Offset) {
        let mut streams = self.shared.streams();
        if let Some(stream) = streams.get_mut(&partition)
            && stream.proving_to.is_none_or(|to| to < known_end)
        {
            stream.turn += 1;
            stream.proving_to = Some(known_end);
        }
        drop(streams);
        self.shared.wake();
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<u32, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn readings(&self) -> Vec<Reading> {
        let reading = |(partition, stream): (&u32, &Stream)| Reading {
            partition: *partition,
            read_to: stream.window.read_to(),
            unread_bytes: stream.window.unread_bytes(),
        };
        self.streams().iter().map(reading).collect()
    }
}

impl Stream {
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

fn stream_bytes_max(streams: usize) -> usize {
    let (least, most) = STREAM_BYTES;
    (UNREAD_BYTES_MAX / streams.max(1)).clamp(least, most)
}

fn consumer(shared: &Arc<Shared>) -> Result<BaseConsumer<Context>, LogError> {
    let mut settings = client::settings(&shared.config)?;
    settings
        // Never joined; librdkafka assigns no partition without one.
        .set("group.id", &shared.config.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", FETCH_WAIT_MS)
        .set("fetch.error.backoff.ms", "200")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.message.max.bytes", FETCH_PARTITION_BYTES)
        .set("fetch.max.bytes", FETCH_BYTES_MAX)
        // No limit to what is read, but librdkafka wants it no larger than the one before.
        .set("message.max.bytes", FETCH_BYTES_MAX)
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", QUEUE_KIB_MAX);
    let context = Context(Arc::clone(shared));
    settings
        .create_with_context(context)
        .map_err(|error| LogError::Fatal {
            what: format!("a consumer of {} cannot be made: {error}", shared.name),
            source: Some(error.into()),
        })
}

/// What the thread knows of the partitions that librdkafka fetches for it.
#[derive(Default)]
struct Assigned {
    by_partition: HashMap<u32, Fetched>,
}

struct Fetched {
    turn: u64,
    paused: bool,
    /// More is in memory than should be.
    full: bool,
}

fn run(shared: &Arc<Shared>, mut consumer: BaseConsumer<Context>) {
    let me = std::thread::current();
    consumer.set_nonempty_callback(move || me.unpark());
    let mut assigned = Assigned::default();
    while !shared.stop.load(Ordering::Acquire) {
        assigned.follow(shared, &consumer);
        if assigned.wait_for_readers(shared, &consumer) {
            std::thread::park_timeout(LOOK_INTERVAL);
            continue;
        }
        let taken = take(&consumer);
        let more = taken.len() >= TAKEN_AT_ONCE;
        if !taken.is_empty() {
            assigned.store(shared, taken);
        }
        if !more {
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

/// What librdkafka gave.
enum Taken {
    Record(u32, Record),
    End(u32),
    /// Some partition lost its place; it is not said which.
    PlaceLost,
    /// Some partition gave what cannot be read: a damaged batch, or nothing for want of a right. It is not said which.
    Unreadable(KafkaError),
}

/// Takes what is there, without waiting.
fn take(consumer: &BaseConsumer<Context>) -> Vec<Taken> {
    let (mut taken, mut empty) = (Vec::new(), 0);
    while taken.len() < TAKEN_AT_ONCE && empty < EMPTY_POLLS {
        match consumer.poll(Duration::ZERO) {
            None => empty += 1,
            Some(Ok(message)) => taken.extend(taken_record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                taken.extend(u32::try_from(partition).ok().map(Taken::End));
            }
            Some(Err(error)) => taken.extend(trouble(error)),
        }
    }
    taken
}

/// What an error means for what follows. librdkafka goes on behind a batch that it could not read: that must not be taken for the next.
fn trouble(error: KafkaError) -> Option<Taken> {
    match error.rdkafka_error_code()? {
        RDKafkaErrorCode::AutoOffsetReset => Some(Taken::PlaceLost),
        RDKafkaErrorCode::BadMessage
        | RDKafkaErrorCode::BadCompression
        | RDKafkaErrorCode::InvalidMessage
        | RDKafkaErrorCode::InvalidMessageSize
        | RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::NotImplemented
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::KafkaStorageError => Some(Taken::Unreadable(error)),
        // Of brokers and connections: they are tried again, and told by the clients' error callback.
        _ => None,
    }
}

fn taken_record(message: &BorrowedMessage<'_>) -> Option<Taken> {
    let partition = u32::try_from(message.partition()).ok()?;
    Some(Taken::Record(partition, record(message)?))
}

pub(super) fn record(message: &BorrowedMessage<'_>) -> Option<Record> {
    Some(Record {
        offset: Offset::try_from(message.offset()).ok()?,
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().unwrap_or_default().to_vec(),
        // A tombstone is an input like any other: sealed as rejected, being empty.
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers(message),
    })
}

/// The library panics over a header's name that is not UTF-8, and anybody who may produce can send one. Such a record has one header, which says so.
fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Vec<u8>)> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    let read = || {
        let pair = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        headers.iter().map(pair).collect()
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| vec![(HEADERS_UNREADABLE.to_owned(), Vec::new())])
}

impl Assigned {
    /// Has librdkafka fetch what the streams say, from where they say.
    fn follow(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let mut resumed = Vec::new();
        {
            let mut streams = shared.streams();
            streams.retain(|partition, stream| {
                let unread =
                    stream.read_at.elapsed() > UNREAD_FOR_MAX && stream.changes.receiver_count() == 0;
                if unread {
                    statistics::forget(shared.topic, *partition);
                }
                !unread
            });
            let limit = stream_bytes_max(streams.len());
            self.by_partition.retain(|partition, fetched| {
                let same = streams
                    .get(partition)
                    .is_some_and(|stream| stream.turn == fetched.turn);
                if !same {
                    gone.push(*partition);
                }
                same
            });
            for (partition, stream) in streams.iter() {
                match self.by_partition.get_mut(partition) {
                    None => new.push((*partition, stream.turn, stream.window.next())),
                    Some(fetched) if fetched.paused && stream.window.unread_bytes() <= limit / 2 => {
                        fetched.paused = false;
                        resumed.push(*partition);
                    }
                    Some(_) => {}
                }
            }
        }
        self.apply(shared, consumer, &gone, &new, &resumed);
    }

    fn apply(
        &mut self,
        shared: &Shared,
        consumer: &BaseConsumer<Context>,
        gone: &[u32],
        new: &[(u32, u64, Offset)],
        resumed: &[u32],
    ) {
        let name = &shared.name;
        if !gone.is_empty() {
            heed(
                shared,
                "giving back",
                consumer.incremental_unassign(&list(name, gone)),
            );
        }
        if !new.is_empty() {
            let mut places = TopicPartitionList::with_capacity(new.len());
            for (partition, turn, next) in new {
                let offset = Place::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
                let partition_number = i32::try_from(*partition).unwrap_or(i32::MAX);
                heed(
                    shared,
                    "placing",
                    places.add_partition_offset(name, partition_number, offset),
                );
                let fetched = Fetched {
                    turn: *turn,
                    paused: false,
                    full: false,
                };
                self.by_partition.insert(*partition, fetched);
            }
            heed(shared, "taking", consumer.incremental_assign(&places));
            // A partition that was paused stays so when it is given back and taken again: nobody would resume it.
            heed(shared, "resuming", consumer.resume(&places));
        }
        if !resumed.is_empty() {
            heed(shared, "resuming", consumer.resume(&list(name, resumed)));
        }
    }

    /// Whether nothing is to be taken now: some partition is full, and the readers of all others have something to read too. Where one has
    /// nothing, its records may be next, and what is full is paused instead. That costs: what librdkafka holds of it is fetched again.
    fn wait_for_readers(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>) -> bool {
        if !self.by_partition.values().any(|fetched| fetched.full) {
            return false;
        }
        let mut paused = Vec::new();
        let mut is_full = false;
        {
            let streams = shared.streams();
            let limit = stream_bytes_max(streams.len());
            let has_waiting = streams.values().any(|stream| stream.window.unread_bytes() == 0);
            for (partition, fetched) in self.by_partition.iter_mut().filter(|(_, fetched)| fetched.full) {
                fetched.full = streams
                    .get(partition)
                    .is_some_and(|stream| stream.window.unread_bytes() > limit);
                if fetched.full && has_waiting {
                    (fetched.full, fetched.paused) = (false, true);
                    paused.push(*partition);
                }
                is_full |= fetched.full;
            }
        }
        if !paused.is_empty() {
            heed(shared, "pausing", consumer.pause(&list(&shared.name, &paused)));
        }
        is_full
    }

    /// Puts what was taken where readers find it.
    fn store(&mut self, shared: &Shared, taken: Vec<Taken>) {
        let (mut touched, mut filled): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut unreadable = false;
        {
            let mut streams = shared.streams();
            for one in taken {
                match one {
                    Taken::Record(partition, record) => {
                        let Some(stream) = self.current(&mut streams, partition) else {
                            continue;
                        };
                        stream.window.push(record);
                        stream.proving_to = None;
                        filled.push(partition);
                    }
                    Taken::End(partition) => {
                        let Some(stream) = self.current(&mut streams, partition) else {
                            continue;
                        };
                        // Only an end that was reached after the question answers it.
                        if let Some(to) = stream.proving_to.take() {
                            stream.passed_to = stream.passed_to.max(to);
                        }
                        touched.push(partition);
                    }
                    Taken::Unreadable(error) => {
                        let doing = format!("reading {}: {error}", shared.name);
                        shared.troubles.note(&error, &doing);
                        unreadable = true;
                        // What comes behind it is dropped, and each partition is fetched again from where its reader is.
                        streams.values_mut().for_each(|stream| stream.turn += 1);
                    }
                    Taken::PlaceLost => {
                        for (partition, stream) in streams.iter_mut() {
                            stream.suspect = true;
                            touched.push(*partition);
                        }
                    }
                }
            }
            filled.dedup();
            touched.extend(&filled);
            touched.sort_unstable();
            touched.dedup();
            let limit = stream_bytes_max(streams.len());
            for partition in &touched {
                let Some(stream) = streams.get(partition) else {
                    continue;
                };
                stream.changed();
                if let Some(fetched) = self.by_partition.get_mut(partition)
                    && stream.window.unread_bytes() > limit
                    && !fetched.paused
                {
                    fetched.full = true;
                }
            }
        }
        if unreadable {
            // Fetched again at once, it would be the same.
            std::thread::sleep(UNREADABLE_PAUSE);
        } else {
            shared.troubles.clear();
        }
        if topic::ALL.contains(&shared.topic) {
            shared.arrivals.ring(&filled);
        } else if !filled.is_empty() {
            // Of a topic of others': which partition of the ledger works on it is not known here.
            shared.arrivals.ring_all();
        }
    }

    /// The stream that a message of this partition belongs to; none where it is of an earlier place.
    fn current<'s>(&self, streams: &'s mut BTreeMap<u32, Stream>, partition: u32) -> Option<&'s mut Stream> {
        let fetched = self.by_partition.get(&partition)?;
        streams
            .get_mut(&partition)
            .filter(|stream| stream.turn == fetched.turn)
    }
}

fn list(topic: &str, partitions: &[u32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, i32::try_from(*partition).unwrap_or(i32::MAX));
    }
    list
}

/// These calls fail only where the client is broken: readers then wait, and say why.
fn heed<T>(shared: &Shared, doing: &str, outcome: KafkaResult<T>) {
    if let Err(error) = outcome {
        tracing::warn!(topic = shared.name, doing, %error, "a consumer refused");
        shared
            .troubles
            .note(&error, &format!("{doing} partitions of {}: {error}", shared.name));
    }
}

struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.troubles.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        statistics::consumer(&self.0.config, self.0.topic, &statistics, &self.0.readings());
    }
}

impl ConsumerContext for Context {}
