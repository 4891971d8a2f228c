//! Capture of what a registry's schemas are needed for: an outage of the registry is waited out.

use super::registry::{Behaviour, FakeRegistry};
use crate::sim::World;
use ledgerline::formats::registry::{Registry, RegistryConfig};
use ledgerline::log::{NewRecord, topic};
use ledgerline::stages::Step;
use ledgerline::stages::capture::{CaptureMapping, Capturer, READY_BYTES_MAX};
use std::sync::Arc;

const ID: u32 = 7;
const MAPPING: &str = r#"
topics = ["app.public.t", "app.public.u"]
event_id = "/row_id"
tenant_id = "/row/tenant"
occurred_at = "/row/at"
action = { constant = "inserted" }
data = "/row"
actor = { type = { constant = "user" }, id = "/row/actor" }
"#;
/// Behind it what waits is asked for again.
const ASK_AGAIN_MICROS: i64 = 6_000_000;
const STEPS: usize = 50;

fn record(value: Vec<u8>) -> NewRecord {
    NewRecord {
        key: br#"{"id":1}"#.to_vec(),
        value,
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn while_the_registry_is_away_its_source_waits_without_end_and_the_others_go_on() {
    let registry = FakeRegistry::start().await;
    registry.has(ID, "\"string\"");
    registry.behaves(Behaviour::Says(503, vec![]));
    let world = World::new(1)
        .with_topic("app.public.t", 1)
        .with_topic("app.public.u", 1);
    let framed = record([&[0, 0, 0, 0, ID as u8][..], &[4, b'n', b'o']].concat());
    let config = RegistryConfig::parse(&registry.url, None, None).unwrap();
    let mut capturer = Capturer::new(
        Arc::new(world.log(0)),
        Arc::new(world.clock()),
        Arc::from([CaptureMapping::from_toml(MAPPING).unwrap()]),
        Some(Arc::new(Registry::new(config).unwrap())),
        0,
    );
    world.put_records("app.public.t", 0, vec![framed]);
    for done in 0..STEPS {
        world.put_records("app.public.u", 0, vec![record(b"no envelope".to_vec())]);
        assert_eq!(capturer.step().await.unwrap(), Step::Progress, "{done}");
        world.move_clock(ASK_AGAIN_MICROS);
    }
    assert_eq!(world.records(topic::AUDIT_CAPTURED, 0).len(), STEPS);
    // Without anything else to do, it is no failure either.
    assert_eq!(capturer.step().await.unwrap(), Step::Idle);
    let told = capturer.waits_for().unwrap_or_default();
    assert!(
        capturer.is_waiting() && told.contains("app.public.t/0 at offset 0 waits for the schema registry"),
        "{told}"
    );
    let asked = registry.asked();
    assert_eq!(capturer.step().await.unwrap(), Step::Idle);
    assert_eq!(registry.asked(), asked, "it is not asked at each step");
    registry.behaves(Behaviour::Answers);
    world.move_clock(ASK_AGAIN_MICROS);
    assert_eq!(capturer.step().await.unwrap(), Step::Progress);
    assert!(!capturer.is_waiting() && capturer.waits_for().is_none());
    assert_eq!(world.records(topic::AUDIT_CAPTURED, 0).len(), STEPS + 1);
}

/// Topics whose next batches together are more than what may be ready, and a batch of each.
const TOPICS: usize = 8;
const BATCH_BYTES: usize = 4 << 20;

#[tokio::test]
async fn batches_of_many_sources_are_made_ready_beforehand_only_as_far_as_memory_is_set_aside_for_them() {
    let names: Vec<String> = (0..TOPICS).map(|at| format!("app.public.t{at}")).collect();
    let world = names
        .iter()
        .fold(World::new(1), |world, name| world.with_topic(name, 1));
    // Two batches and a half of each: no envelopes, which go on as they came.
    let large = vec![b'x'; BATCH_BYTES / 4];
    for name in &names {
        world.put_records(name, 0, vec![record(large.clone()); 10]);
    }
    let topics = format!("topics = {names:?}");
    let mapping = MAPPING.replace("topics = [\"app.public.t\", \"app.public.u\"]", &topics);
    let mut capturer = Capturer::new(
        Arc::new(world.log(0)),
        Arc::new(world.clock()),
        Arc::from([CaptureMapping::from_toml(&mapping).unwrap()]),
        None,
        0,
    );
    let mut most = 0;
    while capturer.step().await.unwrap() == Step::Progress {
        most = most.max(capturer.ready_bytes());
    }
    assert!(
        most > READY_BYTES_MAX / 2,
        "batches are made ready beforehand: {most}"
    );
    assert!(most < READY_BYTES_MAX + BATCH_BYTES, "{most}");
    assert_eq!(world.records(topic::AUDIT_CAPTURED, 0).len(), TOPICS * 10);
}
