//! How fast another process fills a topic, and what CPU it takes for it: the same watch over the ceiling and Ledgerline.

use crate::arguments::Arguments;
use crate::broker::{self, PATIENCE};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::Offset;
use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, Instant};

const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Clock ticks of /proc a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    records: i64,
    cpu_seconds: f64,
}

/// From the moment when `--topic` holds `--from` records to that when it holds `--until`, while process `--pid` fills it.
pub fn measure(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (topic, pid) = (arguments.text("topic")?, arguments.text("pid")?);
    let (from, until): (i64, i64) = (arguments.number("from")?, arguments.number("until")?);
    let consumer = broker::consumer(&mut broker::client(arguments)?)?;
    let partitions = broker::partitions(&consumer, topic)?;
    let look = || -> Result<Look, Box<dyn Error>> {
        Ok(Look {
            records: records(&consumer, topic, partitions)?,
            at: Instant::now(),
            cpu_seconds: cpu_seconds(pid)?,
        })
    };
    let mut last = look()?;
    let mut first = None;
    loop {
        std::thread::sleep(LOOK_INTERVAL);
        let now = look()?;
        if now.records == last.records {
            if last.at.elapsed() > 3 * PATIENCE {
                return Err(format!("{topic} stays at {} records", last.records).into());
            }
            continue;
        }
        last = now;
        match first {
            None if now.records >= from => first = Some(now),
            Some(first) if now.records >= until => return Ok(between(&first, &now, pid)),
            None | Some(_) => {}
        }
    }
}

fn between(first: &Look, last: &Look, pid: &str) -> Value {
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    let cpu_seconds = last.cpu_seconds - first.cpu_seconds;
    let records = (last.records - first.records) as f64;
    json!({
        "events_per_second": records / seconds,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "events_per_cpu_second": records / cpu_seconds,
        "cpu_microseconds_per_event": cpu_seconds * 1e6 / records,
        "peak_memory_bytes": peak_memory_bytes(pid),
    })
}

fn records(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Result<i64, Box<dyn Error>> {
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        places.add_partition_offset(topic, partition, Offset::End)?;
    }
    let begun = Instant::now();
    let ends = loop {
        match consumer.offsets_for_times(places.clone(), PATIENCE) {
            // A topic that was just made has no leaders for a moment.
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK_INTERVAL),
            asked => break asked?,
        }
    };
    let ends = ends.elements();
    Ok(ends
        .iter()
        .map(|place| place.offset().to_raw().unwrap_or(0).max(0))
        .sum())
}

/// User and system, of all threads.
fn cpu_seconds(pid: &str) -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("no process")?;
    let mut ticks = 0.0;
    for field in rest.split(' ').skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS_PER_SECOND)
}

fn peak_memory_bytes(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
