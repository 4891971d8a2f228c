//! One source among others: what is wrong with it is its own trouble, and what it was is known again.

use super::changes::{Change, MAPPING, Making, TOPIC};
use crate::sim::{SimLog, World, block_on};
use async_trait::async_trait;
use ledgerline::log::lease::Assignments;
use ledgerline::log::{Appended, Committed, Log, LogError, NewRecord, Offset, Record, topic};
use ledgerline::stages::capture::source::Place;
use ledgerline::stages::capture::{CaptureMapping, Capturer};
use ledgerline::stages::{StageError, Step};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const OTHER: &str = "app.public.u";
/// Behind it sources are looked at again.
const LOOK_AGAIN_MICROS: i64 = 2_000_000;
const STEPS_MAX: usize = 20;

/// A log of which one topic cannot be reached, or is not there any more.
struct PartlyAway {
    inner: SimLog,
    /// What was fetched of [`TOPIC`], and is read from memory whatever became of it.
    fetched: Mutex<Vec<Record>>,
    away: Mutex<Option<&'static str>>,
    is_deleted: AtomicBool,
}

impl PartlyAway {
    fn check(&self, topic: &str) -> Result<(), LogError> {
        if *self.away.lock().unwrap() == Some(topic) {
            let (what, source) = (format!("{topic} has no leader"), None);
            return Err(LogError::Retry { what, source });
        }
        Ok(())
    }
}

#[async_trait]
impl Log for PartlyAway {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        self.inner.append(topic, partition, records).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.check(topic)?;
        if topic == TOPIC {
            let is_wanted = |record: &&Record| record.offset >= from;
            let fetched: Vec<Record> = self
                .fetched
                .lock()
                .unwrap()
                .iter()
                .filter(is_wanted)
                .cloned()
                .collect();
            if !fetched.is_empty() {
                return Ok(fetched);
            }
        }
        self.inner
            .read(topic, partition, from, records_max, bytes_max)
            .await
    }

    async fn record_at(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<Option<Record>, LogError> {
        self.check(topic)?;
        self.inner.record_at(topic, partition, offset).await
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.check(topic)?;
        self.inner.end(topic, partition).await
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.check(topic)?;
        self.inner.start(topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        self.inner.trim(topic, partition, before).await
    }

    async fn join(&self, role: &str) -> Result<Assignments, LogError> {
        self.inner.join(role).await
    }

    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError> {
        if self.check(topic).is_err() && self.is_deleted.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.find(topic).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError> {
        self.inner.commit(group, topic, partition, position).await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        self.inner.committed(group, topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        self.inner.record_bytes_max()
    }
}

/// Two topics, captured by one owner.
struct Case {
    world: World,
    log: Arc<PartlyAway>,
    capturer: Capturer,
}

impl Case {
    fn new() -> Self {
        let world = World::new(1).with_topic(TOPIC, 1).with_topic(OTHER, 1);
        let log = Arc::new(PartlyAway {
            inner: world.log(0),
            fetched: Mutex::default(),
            away: Mutex::new(None),
            is_deleted: AtomicBool::new(false),
        });
        let capturer = owner(&world, &log);
        Self { world, log, capturer }
    }

    fn put(&self, topic: &str, changes: &[Change]) {
        let records = changes.iter().map(|change| change.record.clone()).collect();
        self.world.put_records(topic, 0, records);
    }

    /// All that the topic holds is in memory, and read from there.
    fn fetch(&self) {
        *self.log.fetched.lock().unwrap() = self.world.records(TOPIC, 0);
    }

    fn stored(&self) -> Option<Place> {
        block_on(Place::stored(self.log.as_ref(), TOPIC, 0)).unwrap()
    }

    /// As `sources adopt --from start` does.
    fn adopt(&self) {
        let place = Place {
            next: 0,
            incarnation: self.stored().unwrap().incarnation + 1,
            last: None,
        };
        block_on(place.store(self.log.as_ref(), TOPIC, 0)).unwrap();
    }

    fn captured(&self) -> usize {
        self.world.records(topic::AUDIT_CAPTURED, 0).len()
    }

    fn away(&self, topic: Option<&'static str>) {
        *self.log.away.lock().unwrap() = topic;
    }

    fn step(&mut self) -> Result<Step, StageError> {
        block_on(self.capturer.step())
    }

    /// Until nothing is left to do, or nothing can be done.
    fn settle(&mut self) -> Result<Step, StageError> {
        self.world.move_clock(LOOK_AGAIN_MICROS);
        for _ in 0..STEPS_MAX {
            match self.step() {
                Ok(Step::Progress) => {}
                ended => return ended,
            }
        }
        panic!("it goes on for ever");
    }

    fn waits_for(&self) -> String {
        self.capturer.waits_for().unwrap_or_default()
    }
}

fn owner(world: &World, log: &Arc<PartlyAway>) -> Capturer {
    let topics = MAPPING.replace("[\"app.public.t\"]", "[\"app.public.t\", \"app.public.u\"]");
    let mappings = Arc::from([CaptureMapping::from_toml(&topics).unwrap()]);
    Capturer::new(
        Arc::clone(log) as Arc<dyn Log>,
        Arc::new(world.clock()),
        mappings,
        None,
        0,
    )
}

fn inserts(first_row: u64, count: usize) -> Vec<Change> {
    Making::new(first_row, first_row).some(&["insert"], count)
}

#[test]
fn a_source_that_cannot_be_read_keeps_nobody_from_the_others() {
    let mut case = Case::new();
    // The first to be looked at, and the first to be captured.
    case.away(Some(TOPIC));
    case.put(TOPIC, &inserts(0, 3));
    case.put(OTHER, &inserts(100, 3));
    assert!(matches!(case.step(), Ok(Step::Progress)));
    assert_eq!(case.captured(), 3);
    assert!(
        case.waits_for().contains("app.public.t has no leader"),
        "{}",
        case.waits_for()
    );
    // Where nothing else is left to do, that is what fails.
    let ended = case.settle();
    assert!(
        matches!(&ended, Err(StageError::Retry { what, .. }) if what.contains("no leader")),
        "{ended:?}"
    );
    case.put(OTHER, &inserts(200, 1));
    assert!(matches!(case.step(), Ok(Step::Progress)));
    case.away(None);
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!((case.captured(), case.waits_for().as_str()), (7, ""));
}

#[test]
fn what_a_topic_has_more_of_than_the_ledger_stops_alone_and_is_named() {
    let world = World::new(1).with_topic(TOPIC, 2).with_topic(OTHER, 1);
    let topics = MAPPING.replace("[\"app.public.t\"]", "[\"app.public.t\", \"app.public.u\"]");
    let mappings = Arc::from([CaptureMapping::from_toml(&topics).unwrap()]);
    let (log, clock) = (Arc::new(world.log(0)), Arc::new(world.clock()));
    let mut capturer = Capturer::new(log, clock, mappings, None, 0);
    let put = |topic, partition, changes: Vec<Change>| {
        let records = changes.into_iter().map(|change| change.record).collect();
        world.put_records(topic, partition, records);
    };
    put(TOPIC, 0, inserts(0, 2));
    put(TOPIC, 1, inserts(50, 4));
    put(OTHER, 0, inserts(100, 3));
    while block_on(capturer.step()).unwrap() == Step::Progress {}
    assert_eq!(world.records(topic::AUDIT_CAPTURED, 0).len(), 5);
    let told = capturer.waits_for().unwrap_or_default();
    let expected = "app.public.t/1 is not captured: app.public.t has 2 partitions and the ledger 1";
    assert!(told.contains(expected) && !told.contains(';'), "{told}");
    // It is looked for again, and said once.
    world.move_clock(61_000_000);
    assert!(matches!(block_on(capturer.step()), Ok(Step::Idle)));
    assert_eq!(capturer.waits_for().unwrap_or_default(), told);
    assert!(!capturer.is_waiting());
}

#[test]
fn a_captured_topic_that_was_deleted_is_no_failure_and_is_known_as_another_one_when_it_is_made_again() {
    let mut case = Case::new();
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    case.away(Some(TOPIC));
    case.log.is_deleted.store(true, Ordering::SeqCst);
    // It is noticed when it is looked at; then it is one that is not there yet.
    for _ in 0..3 {
        drop(case.settle());
    }
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!(case.waits_for(), "");
    case.put(OTHER, &inserts(100, 2));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!(case.captured(), 5);
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(200, 1));
    case.away(None);
    for _ in 0..4 {
        assert!(matches!(case.settle(), Ok(Step::Idle)));
    }
    assert!(
        case.waits_for().contains("ends at offset 1"),
        "{}",
        case.waits_for()
    );
    assert_eq!(case.captured(), 5);
}

#[test]
fn a_topic_that_was_made_anew_and_outgrew_what_was_captured_stops_with_its_next_owner() {
    let mut case = Case::new();
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    block_on(case.capturer.finish()).unwrap();
    // What is still the same is gone on with.
    case.put(TOPIC, &inserts(50, 1));
    case.capturer = owner(&case.world, &case.log);
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!((case.captured(), case.waits_for().as_str()), (4, ""));
    block_on(case.capturer.finish()).unwrap();
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(100, 9));
    case.capturer = owner(&case.world, &case.log);
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert!(
        case.waits_for().contains("the record at offset 3"),
        "{}",
        case.waits_for()
    );
    assert_eq!(case.captured(), 4);
}

#[test]
fn a_topic_that_was_made_anew_while_it_was_out_of_reach_stops() {
    let mut case = Case::new();
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    case.away(Some(TOPIC));
    drop(case.settle());
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(100, 9));
    case.away(None);
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert!(
        case.waits_for().contains("the record at offset 2"),
        "{}",
        case.waits_for()
    );
    assert_eq!(case.captured(), 3);
}

/// Three that were captured, then another topic with nine, of which the last six are captured before anybody looks.
fn outgrown_between_two_looks() -> Case {
    let mut case = Case::new();
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(100, 9));
    assert!(matches!(case.step(), Ok(Step::Progress)));
    assert_eq!((case.captured(), case.waits_for().as_str()), (9, ""));
    assert_eq!(case.stored().map(|place| place.next), Some(3));
    case
}

#[test]
fn a_topic_that_is_made_anew_and_outgrows_what_was_captured_between_two_looks_stops() {
    let mut case = outgrown_between_two_looks();
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert!(
        case.waits_for().contains("the record at offset 2"),
        "{}",
        case.waits_for()
    );
    assert_eq!(case.stored().map(|place| place.next), Some(3));
    // It stays so, however often it is looked at, and what comes is not captured.
    case.put(TOPIC, &inserts(200, 1));
    for _ in 0..3 {
        assert!(matches!(case.settle(), Ok(Step::Idle)));
    }
    assert_eq!(case.captured(), 9);
    case.adopt();
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!((case.captured(), case.waits_for().as_str()), (19, ""));
}

#[test]
fn an_owner_that_ends_or_crashes_before_it_looks_has_its_successor_find_the_topic_that_was_made_anew() {
    for ends in [true, false] {
        let mut case = outgrown_between_two_looks();
        if ends {
            block_on(case.capturer.finish()).unwrap();
        }
        assert_eq!(case.stored().map(|place| place.next), Some(3));
        case.capturer = owner(&case.world, &case.log);
        assert!(matches!(case.settle(), Ok(Step::Idle)));
        assert!(
            case.waits_for().contains("the record at offset 2"),
            "{}",
            case.waits_for()
        );
        assert_eq!(case.captured(), 9);
    }
}

#[test]
fn what_was_fetched_of_a_topic_before_it_was_made_anew_does_not_hide_that() {
    let mut case = Case::new();
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    case.put(TOPIC, &inserts(10, 2));
    case.fetch();
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(100, 9));
    // Two of the one before, then four of the other.
    while matches!(case.step(), Ok(Step::Progress)) {}
    assert_eq!((case.captured(), case.waits_for().as_str()), (9, ""));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert!(
        case.waits_for().contains("the record at offset 2"),
        "{}",
        case.waits_for()
    );
    assert_eq!(case.stored().map(|place| place.next), Some(3));
}

#[test]
fn a_topic_that_is_made_anew_before_anything_of_it_was_stored_stops_and_can_be_adopted() {
    let mut case = Case::new();
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    case.put(TOPIC, &inserts(0, 3));
    assert!(matches!(case.step(), Ok(Step::Progress)));
    assert_eq!(case.stored(), None);
    case.world.make_anew(TOPIC);
    case.put(TOPIC, &inserts(100, 9));
    assert!(matches!(case.step(), Ok(Step::Progress)));
    assert_eq!((case.captured(), case.stored()), (9, None));
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert!(
        case.waits_for().contains("the record at offset 0"),
        "{}",
        case.waits_for()
    );
    case.adopt();
    assert!(matches!(case.settle(), Ok(Step::Idle)));
    assert_eq!((case.captured(), case.waits_for().as_str()), (18, ""));
}
