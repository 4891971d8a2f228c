//! The world does what its plan says. Without this a simulation that finds nothing shows nothing.

use super::plan::FaultKind;
use super::{Executor, Fault, Plan, Schedule, World, block_on};
use crate::vault_conformance::KEEP;
use async_trait::async_trait;
use ledgerline::clock::Clock;
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::log::reader::{Candidate, Position, Reader, ReaderError, Seen, Verdict};
use ledgerline::log::record::{Session, encode_fence, encode_leaf};
use ledgerline::log::topic::{AUDIT_EVENTS, LEDGER_ENTRIES};
use ledgerline::log::{Log, LogError, NewRecord, Offset};
use ledgerline::signing::{HeldKey, SignError, Signer};
use ledgerline::vault::{Put, Vault, VaultError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

fn one(text: &str) -> Vec<NewRecord> {
    vec![NewRecord {
        value: text.as_bytes().to_vec(),
        ..NewRecord::default()
    }]
}

/// The outcome of an append that meets `fault`, and the end of the log right after it.
fn append_meeting(fault: Fault) -> (Result<Offset, LogError>, Offset) {
    let world = World::new(1).with_plan(Plan::at([(0, fault)]));
    let log = world.log(0);
    block_on(async {
        let outcome = log.append(AUDIT_EVENTS, 0, one("a")).await;
        let first = outcome.map(|appended| appended.first);
        (first, log.end(AUDIT_EVENTS, 0).await.unwrap())
    })
}

#[test]
fn an_append_is_refused_lost_applied_or_delayed_as_planned() {
    let (outcome, end) = append_meeting(Fault::Refused);
    assert!(matches!(outcome, Err(LogError::Retry { .. })) && end == 0);
    let (outcome, end) = append_meeting(Fault::Lost);
    assert!(matches!(outcome, Err(LogError::Unknown { .. })) && end == 0);
    let (outcome, end) = append_meeting(Fault::AppliedButFailed);
    assert!(matches!(outcome, Err(LogError::Unknown { .. })) && end == 1);
    let (outcome, end) = append_meeting(Fault::Delayed { steps: 3 });
    assert!(matches!(outcome, Err(LogError::Unknown { .. })) && end == 0);
    let (outcome, end) = append_meeting(Fault::ClockJump { micros: 1 });
    assert!(outcome.unwrap() == 0 && end == 1);
}

#[test]
fn of_a_torn_append_the_first_half_lands_and_nobody_knows() {
    let world = World::new(1).with_plan(Plan::at([(0, Fault::Torn)]));
    let log = world.log(0);
    let batch = ["a", "b", "c"].into_iter().flat_map(one).collect();
    let outcome = block_on(log.append(AUDIT_EVENTS, 0, batch));
    assert!(matches!(outcome, Err(LogError::Unknown { .. })), "{outcome:?}");
    let landed = world.records(AUDIT_EVENTS, 0);
    assert_eq!((landed.len(), landed[0].value.as_slice()), (1, b"a".as_slice()));
}

#[test]
fn a_late_read_shows_what_others_wrote_once_the_end_was_asked_for_or_at_the_second_look() {
    let world = World::new(1).with_late_reads();
    let (log, other) = (world.log(0), world.log(1));
    block_on(async {
        let count = async || log.read(AUDIT_EVENTS, 0, 0, 9, 999).await.unwrap().len();
        assert_eq!(count().await, 0);
        other.append(AUDIT_EVENTS, 0, one("a")).await.unwrap();
        log.end(AUDIT_EVENTS, 0).await.unwrap();
        assert_eq!(count().await, 1, "the end was asked for");
        other.append(AUDIT_EVENTS, 0, one("b")).await.unwrap();
        assert_eq!(count().await, 1, "late");
        log.append(AUDIT_EVENTS, 0, one("c")).await.unwrap();
        assert_eq!(count().await, 3, "its own, and what lies before");
        other.append(AUDIT_EVENTS, 0, one("d")).await.unwrap();
        let from_3 = async || log.read(AUDIT_EVENTS, 0, 3, 9, 999).await.unwrap().len();
        assert_eq!((from_3().await, from_3().await), (0, 1), "at the second look");
    });
}

#[test]
fn a_delayed_append_lands_behind_what_came_in_between_or_when_the_world_settles() {
    let world = World::new(1).with_plan(Plan::at([
        (0, Fault::Delayed { steps: 1 }),
        (3, Fault::Delayed { steps: 99 }),
    ]));
    let log = world.log(0);
    block_on(async {
        log.append(AUDIT_EVENTS, 0, one("late")).await.unwrap_err();
        assert_eq!(log.append(AUDIT_EVENTS, 0, one("b")).await.unwrap().first, 0);
        assert_eq!(log.append(AUDIT_EVENTS, 0, one("c")).await.unwrap().first, 2);
        log.append(AUDIT_EVENTS, 0, one("last")).await.unwrap_err();
        world.settle();
        let read = log.read(AUDIT_EVENTS, 0, 0, 9, 99).await.unwrap();
        let values: Vec<_> = read.iter().map(|record| record.value.as_slice()).collect();
        assert_eq!(values, [b"b".as_slice(), b"late", b"c", b"last"]);
    });
}

#[test]
fn a_failed_read_or_put_may_be_made_again_and_a_put_that_was_applied_is_found() {
    let world = World::new(1).with_plan(Plan::at([(0, Fault::Lost), (2, Fault::AppliedButFailed)]));
    let (log, vault) = (world.log(0), world.vault(0));
    block_on(async {
        assert!(matches!(
            log.end(AUDIT_EVENTS, 0).await,
            Err(LogError::Retry { .. })
        ));
        assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), 0);
        let put = vault.put_new("o/1", b"one", KEEP).await;
        assert!(matches!(put, Err(VaultError::Retry { .. })));
        assert_eq!(vault.put_new("o/1", b"two", KEEP).await.unwrap(), Put::Exists);
        assert_eq!(
            vault.get("o/1").await.unwrap().as_deref(),
            Some(b"one".as_slice())
        );
        assert_eq!(vault.head("o/1").await.unwrap(), Some(3));
        assert_eq!(vault.put_new("p", b"", KEEP).await.unwrap(), Put::Created);
        assert_eq!(vault.list("o/").await.unwrap(), ["o/1"]);
    });
}

/// Signs with a constant.
struct Constant;

#[async_trait]
impl Signer for Constant {
    fn keys(&self) -> Vec<HeldKey> {
        Vec::new()
    }

    async fn sign(&self, _kid: &str, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(vec![1])
    }
}

#[test]
fn a_throttled_signer_signs_later_and_the_clock_jumps_as_planned() {
    let jump = Fault::ClockJump { micros: -5_000_000 };
    let world = World::new(1).with_plan(Plan::at([(0, Fault::Refused), (1, jump)]));
    let (signer, clock) = (world.signer(0, Arc::new(Constant)), world.clock());
    assert!(signer.keys().is_empty());
    let before = clock.now();
    block_on(async {
        assert!(matches!(
            signer.sign("k", b"m").await,
            Err(SignError::Retry { .. })
        ));
        assert_eq!(signer.sign("k", b"m").await.unwrap(), [1]);
    });
    assert_eq!(clock.now(), before - 5_000_000 + 1);
    world.move_clock(10);
    assert_eq!(clock.now(), before - 5_000_000 + 12);
}

#[test]
fn a_crash_loses_what_an_owner_had_in_memory_and_keeps_what_was_written() {
    for (fault, expected) in [(Fault::CrashBefore, 1), (Fault::CrashAfter, 2)] {
        let world = World::new(1).with_plan(Plan::at([(0, fault)]));
        let answered = Rc::new(Cell::new(0));
        let mut executor = Executor::new(&world, Schedule::RoundRobin);
        executor.add(|| {
            let (log, answered) = (world.log(0), Rc::clone(&answered));
            Box::pin(async move {
                log.append(AUDIT_EVENTS, 0, one("a")).await.unwrap();
                answered.set(answered.get() + 1);
            })
        });
        executor.run(100).unwrap();
        assert_eq!((executor.crashes(0), answered.get()), (1, 1));
        assert_eq!(
            block_on(world.log(9).end(AUDIT_EVENTS, 0)).unwrap(),
            expected,
            "{fault:?}"
        );
    }
}

#[test]
fn a_script_lets_another_owner_act_between_any_two_calls() {
    let order = |script: Vec<usize>| {
        let world = World::new(1);
        let mut executor = Executor::new(&world, Schedule::Script(script));
        for owner in 0..2 {
            let log = world.log(owner);
            executor.add(move || {
                let log = log.clone();
                Box::pin(async move {
                    for _ in 0..2 {
                        log.append(AUDIT_EVENTS, 0, one(&owner.to_string()))
                            .await
                            .unwrap();
                    }
                })
            });
        }
        executor.run(100).unwrap();
        let read = block_on(world.log(9).read(AUDIT_EVENTS, 0, 0, 9, 99)).unwrap();
        read.iter()
            .map(|record| char::from(record.value[0]))
            .collect::<String>()
    };
    assert_eq!(order(vec![0, 0, 0, 0]), "0011");
    assert_eq!(order(vec![0, 0, 1, 1, 1, 1]), "0110");
    assert_eq!(order(vec![1, 0, 0, 1]), "0101");
}

#[test]
fn an_owner_that_is_never_done_is_reported() {
    let world = World::new(1);
    let mut executor = Executor::new(&world, Schedule::RoundRobin);
    executor.add(|| Box::pin(std::future::pending()));
    assert_eq!(executor.run(7).unwrap_err().polls, 7);
}

/// Leaves that a run is to hold in the end.
const LEAVES: u64 = 3;

/// A leaf that differs for each index.
fn leaf(index: u64) -> Vec<u8> {
    let leaf = Leaf {
        index,
        origin: "test/0",
        sealed_at: 0,
        body: Body::Source {
            from: 0,
            incarnation: index + 1,
            source: "audit.events/0",
        },
    };
    leaf.to_bytes()
}

/// The protocol at its smallest: sessions until the partition holds [`LEAVES`] leaves.
async fn own(log: &dyn Log, sessions: &Cell<u8>) {
    loop {
        sessions.set(sessions.get() + 1);
        if let Ok(true) = run_session(log, [sessions.get(); 16]).await {
            return;
        }
    }
}

/// One session; whether all is there in the end.
async fn run_session(log: &dyn Log, session: Session) -> Result<bool, ReaderError> {
    let mut reader = Reader::open(log, 0, Position::BEGIN).await?;
    while catch_up(log, &mut reader, u64::MAX).await? {}
    let epoch = reader.position().epoch + 1;
    let fence = append(log, encode_fence(epoch, &session)).await?;
    while reader.position().offset <= fence {
        catch_up(log, &mut reader, fence).await?;
    }
    while reader.position().session == session && reader.position().index < LEAVES {
        let index = reader.position().index;
        let record = encode_leaf(epoch, &session, &leaf(index), None, None, None);
        let offset = append(log, record).await?;
        match reader.offer_acknowledged(offset, epoch, &session, Candidate::Leaf { index }) {
            Some(Verdict::LeafAccepted) => {}
            // Something lies between: read it.
            None => drop(catch_up(log, &mut reader, u64::MAX).await?),
            Some(Verdict::FenceAccepted | Verdict::Stale(_)) => return Ok(false),
        }
    }
    Ok(reader.position().index >= LEAVES)
}

async fn append(log: &dyn Log, value: Vec<u8>) -> Result<Offset, LogError> {
    let record = NewRecord {
        value,
        ..NewRecord::default()
    };
    Ok(log.append(LEDGER_ENTRIES, 0, vec![record]).await?.first)
}

/// Reads one batch, as far as `last`; whether there was any.
async fn catch_up(log: &dyn Log, reader: &mut Reader, last: Offset) -> Result<bool, ReaderError> {
    let records = reader.fetch(log).await?;
    for record in records.iter().filter(|record| record.offset <= last) {
        reader.offer(record)?;
    }
    Ok(!records.is_empty())
}

/// Two owners over one partition; the trace of the run.
fn run_two_owners(plan: Plan, schedule: Schedule) -> World {
    let world = World::new(1).with_plan(plan);
    let sessions = Rc::new(Cell::new(0));
    let mut executor = Executor::new(&world, schedule);
    for owner in 0..2 {
        let (log, sessions) = (world.log(owner), Rc::clone(&sessions));
        executor.add(move || {
            let (log, sessions) = (log.clone(), Rc::clone(&sessions));
            Box::pin(async move { own(&log, &sessions).await })
        });
    }
    executor
        .run(20_000)
        .unwrap_or_else(|stuck| panic!("{stuck:?}\n{}", world.trace().join("\n")));
    world.settle();
    world
}

/// What a reader from the beginning accepts.
fn accepted(world: &World) -> Vec<Vec<u8>> {
    let log = world.log(9);
    let accepted = RefCell::new(Vec::new());
    block_on(async {
        let mut reader = Reader::open(&log, 0, Position::BEGIN).await.unwrap();
        let records = reader.fetch(&log).await.unwrap();
        for record in &records {
            match reader.offer(record).unwrap() {
                Seen::Leaf(seen) => accepted.borrow_mut().push(seen.leaf_bytes.to_vec()),
                Seen::Fence { .. } | Seen::Skipped { .. } => {}
            }
        }
    });
    accepted.into_inner()
}

#[test]
fn two_owners_write_each_leaf_once_whatever_single_fault_they_meet_at_whatever_step() {
    let expected: Vec<_> = (0..LEAVES).map(leaf).collect();
    let steps = run_two_owners(Plan::NONE, Schedule::RoundRobin).steps();
    for step in 0..steps {
        for fault in Fault::EACH {
            let world = run_two_owners(Plan::at([(step, fault)]), Schedule::RoundRobin);
            assert_eq!(world.hits(fault.kind()), 1);
            assert_eq!(accepted(&world), expected, "{}", world.trace().join("\n"));
        }
    }
}

#[test]
fn two_owners_write_each_leaf_once_under_seeded_faults_and_every_kind_is_met() {
    let expected: Vec<_> = (0..LEAVES).map(leaf).collect();
    let mut hits = [0; FaultKind::ALL.len()];
    for seed in 0..300 {
        let world = run_two_owners(Plan::seeded(seed, 150, 200), Schedule::seeded(seed));
        assert_eq!(accepted(&world), expected, "{}", world.trace().join("\n"));
        for (count, kind) in hits.iter_mut().zip(FaultKind::ALL) {
            *count += world.hits(kind);
        }
    }
    assert!(hits.iter().all(|count| *count > 0), "{hits:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let trace = |seed| run_two_owners(Plan::seeded(seed, 100, 200), Schedule::seeded(seed)).trace();
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
