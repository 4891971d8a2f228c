//! Every call of a restore meets every fault, and the command is run again until it is through: what stands then is what stands without a fault.

use crate::archive_fixture::{Ledger, MemoryArchive};
use crate::sim::{Executor, Fault, Plan, Schedule, World};
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::names;
use ledgerline::ledger::verify::ArchiveSource as _;
use ledgerline::log::{NewRecord, topic};
use ledgerline::recovery::{Recovered, Refused, Replayed, UnsignedCut, View, find, replay, write};
use ledgerline::stages::archive::hold_progress;
use ledgerline::stages::restore::{Follower, PartitionConfig};
use ledgerline::stages::snapshot;
use ledgerline::stages::window::WINDOW_ENTRIES_MAX;

const PARTITIONS: u32 = 2;
const POLLS_MAX: usize = 20_000;

fn log_name(archive: &MemoryArchive) -> String {
    let mut names = archive.list("").unwrap().map(Result::unwrap);
    let name = names.find(|name| !name.starts_with("keys/")).unwrap();
    let (origin, _) = name
        .split_once("/class=")
        .or_else(|| name.split_once("/checkpoints/"))
        .unwrap();
    origin.rsplit_once('/').unwrap().0.to_owned()
}

pub fn config(archive: &MemoryArchive, partition: u32) -> PartitionConfig {
    PartitionConfig {
        origin: names::origin(&log_name(archive), partition),
        partition,
        limits: Limits::default(),
        window_entries_max: WINDOW_ENTRIES_MAX,
        archived: None,
    }
}

pub fn replay_fixture(archive: &MemoryArchive, partition: u32) -> Replayed {
    let view = View::open(archive).unwrap();
    replay(
        &view.covered(),
        &log_name(archive),
        &config(archive, partition),
        &mut |_| {},
    )
    .unwrap()
}

/// The cut behind the last checkpoint of a partition, where there is one.
pub fn unsigned_fixture(archive: &MemoryArchive, partition: u32) -> Option<UnsignedCut> {
    let view = View::open(archive).unwrap();
    UnsignedCut::find(
        &view,
        &config(archive, partition),
        &replay_fixture(archive, partition),
    )
    .unwrap()
}

/// Restores both partitions under `plan`, again and again until it is through. Answers how many calls were made.
fn restored(world: &World, archive: &MemoryArchive) {
    let log = world.log(0);
    let clock = world.clock();
    let work = || {
        let (log, clock, archive) = (log.clone(), clock.clone(), archive.clone());
        Box::pin(async move {
            for partition in 0..PARTITIONS {
                let config = config(&archive, partition);
                let replayed = replay_fixture(&archive, partition);
                let unsigned = unsigned_fixture(&archive, partition);
                let recovered = Recovered {
                    replayed: &replayed,
                    unsigned: unsigned.as_ref(),
                };
                let mut n = 0_u8;
                let mut random: ledgerline::stages::seal::Random = Box::new(move || {
                    n += 1;
                    Ok([n; 16])
                });
                loop {
                    let Ok(found) = find(&log, &config, recovered).await else {
                        continue;
                    };
                    if write(&log, &clock, &mut random, &config, recovered, found, false)
                        .await
                        .is_ok()
                    {
                        break;
                    }
                }
            }
        }) as std::pin::Pin<Box<dyn std::future::Future<Output = ()>>>
    };
    let mut executor = Executor::new(world, Schedule::RoundRobin);
    executor.add(work);
    executor.run(POLLS_MAX).unwrap();
}

/// What an owner finds: state, tree, and how far the log goes.
fn found(world: &World, archive: &MemoryArchive, partition: u32) -> (u64, [u8; 32], Vec<(String, u64, u64)>) {
    let quiet = world.clone().quiet();
    let log = quiet.log(1);
    crate::sim::block_on(async {
        let mut follower = Follower::restore(&log, &config(archive, partition))
            .await
            .unwrap();
        follower.catch_up(&log, None).await.unwrap();
        follower.check_reached_signed().unwrap();
        let sources = follower.state.order.sources.iter();
        let sources = sources
            .map(|(name, source)| (name.clone(), source.incarnation, source.next_offset))
            .collect();
        (follower.tree.size(), follower.tree.root(), sources)
    })
}

/// The log's entries are gone and its checkpoints are not: what they sign is more than the archive has.
#[test]
fn a_log_that_has_signed_more_than_is_archived_is_refused() {
    let whole = Ledger::small().write();
    let ahead = replay_fixture(&whole, 1).checkpoint;
    let mut archive = whole.clone();
    crate::restore::unsigned::cut_short(&mut archive, 1);
    let replayed = replay_fixture(&archive, 1);
    let world = World::new(PARTITIONS).quiet();
    let checkpoint = NewRecord {
        value: ahead,
        ..NewRecord::default()
    };
    world.put_records(topic::LEDGER_CHECKPOINTS, 1, vec![checkpoint]);
    let recovered = Recovered {
        replayed: &replayed,
        unsigned: None,
    };
    let log = world.log(0);
    let refused = crate::sim::block_on(find(&log, &config(&archive, 1), recovered)).unwrap_err();
    assert!(matches!(refused, Refused::SignedAhead { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("was signed, and is not to be made anew"),
        "{refused}"
    );
}

#[test]
fn a_restore_under_every_fault_at_every_call_is_the_one_without() {
    hold_under_every_fault(&Ledger::small().write());
}

/// Of one partition the last cut is there without its checkpoint and its tiles, which are stored last.
#[test]
fn a_restore_with_an_unsigned_cut_under_every_fault_at_every_call_is_the_one_without() {
    let whole = Ledger::small().write();
    let mut archive = whole.clone();
    crate::restore::unsigned::cut_short(&mut archive, 1);
    let cut = unsigned_fixture(&archive, 1).unwrap();
    let replayed = replay_fixture(&whole, 1);
    assert_eq!((cut.size(), cut.entries), (replayed.size(), 2));
    hold_under_every_fault(&archive);
}

fn hold_under_every_fault(archive: &MemoryArchive) {
    let calm = World::new(PARTITIONS).quiet();
    restored(&calm, archive);
    let calls = calm.steps();
    assert!(calls > 20, "{calls}");
    let shapes = |world: &World| -> Vec<_> {
        (0..PARTITIONS)
            .map(|partition| shape(&found(world, archive, partition)))
            .collect()
    };
    let wanted = shapes(&calm);
    for (partition, (size, _)) in (0..PARTITIONS).zip(&wanted) {
        let taken = unsigned_fixture(archive, partition);
        let replayed = replay_fixture(archive, partition).size();
        assert!(*size > taken.map_or(replayed, |cut| cut.size()));
    }
    for step in 0..calls {
        for fault in Fault::EACH {
            let world = World::new(PARTITIONS).with_plan(Plan::at([(step, fault)]));
            restored(&world, archive);
            let at = format!("{fault:?} at step {step}");
            assert_eq!(shapes(&world), wanted, "{at}");
            for partition in 0..PARTITIONS {
                check_what_stands(&world, archive, partition, &at);
            }
        }
    }
}

/// The snapshot is of what was signed, and holds of it are told to an archive that may be a copy.
fn check_what_stands(world: &World, archive: &MemoryArchive, partition: u32, at: &str) {
    let quiet = world.clone().quiet();
    let generation = crate::sim::block_on(snapshot::newest(&quiet.log(1), partition)).unwrap();
    let (snapshot, _) = generation.unwrap();
    let replayed = replay_fixture(archive, partition);
    assert_eq!(snapshot.tree, replayed.tree, "{at}");
    assert!(world.end_of(topic::LEDGER_CHECKPOINTS, partition) > 0);
    let holds = crate::sim::block_on(hold_progress(&quiet.log(1), partition)).unwrap();
    let is_held = replayed.state.holds.contains("long");
    assert_eq!(holds.is_held(Some("long")), is_held, "{at}: {holds:?}");
    assert_eq!(holds.changes.len(), usize::from(is_held), "{at}");
}

/// Times of leaves differ from run to run, and so do roots behind the declarations; sizes and sources do not.
fn shape((size, _, sources): &(u64, [u8; 32], Vec<(String, u64, u64)>)) -> (u64, Vec<(String, u64, u64)>) {
    (*size, sources.clone())
}
