//! How long a sealed leaf waits for a signature, at a steady load and the default interval.

use ledgerline::cli::demo::write_event;
use ledgerline::config::Settings;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::reader::{Position, Reader, Seen};
use ledgerline::log::{Log, NewRecord, topic};
use ledgerline::service::{self, Ending, Seams, Status};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SECONDS: u64 = 15;
const EVENTS_PER_TICK: u64 = 40;
const TICK: Duration = Duration::from_millis(20);
const TENANTS: u64 = 200;

pub fn print() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let settings = Settings {
        log: Some(format!("sqlite:{}", path("ledger.db"))),
        archive: Some(format!("file:{}", path("archive"))),
        signer: Some(format!("file:{}", path("keys"))),
        log_name: Some("bench.example/audit".to_owned()),
        ..Settings::default()
    };
    let config = settings
        .check()
        .map_err(|faults| ledgerline::config::describe(&faults))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut waits = runtime.block_on(async {
        let seams = Seams::open(&config).await?;
        let (end_input, input_ended) = watch::channel(false);
        let (_stop, shutdown) = watch::channel(false);
        let log = Arc::clone(&seams.log);
        let load = tokio::spawn(async move {
            let outcome = load(log.as_ref()).await;
            end_input.send_replace(true);
            outcome
        });
        service::run(
            &config,
            &seams,
            Arc::new(Status::default()),
            Ending {
                shutdown,
                input_ended,
            },
        )
        .await?;
        load.await??;
        waits(seams.log.as_ref()).await
    })?;
    waits.sort_unstable();
    let at = |share: f64| {
        waits
            .get((waits.len() as f64 * share) as usize)
            .map_or(f64::NAN, |micros| *micros as f64 / 1e6)
    };
    println!(
        "From sealed to signed, {} events at 2,000/s, checkpoints each second",
        waits.len()
    );
    println!(
        "  p50 {:.2} s   p99 {:.2} s (aim 1.5)   max {:.2} s\n",
        at(0.5),
        at(0.99),
        at(1.0 - f64::EPSILON)
    );
    Ok(())
}

async fn load(log: &dyn Log) -> Result<(), ledgerline::log::LogError> {
    let partitions = log.partitions(topic::AUDIT_EVENTS).await?;
    let mut tick = tokio::time::interval(TICK);
    let mut n = 0;
    while n < SECONDS * EVENTS_PER_TICK * 50 {
        tick.tick().await;
        let mut by_partition = vec![Vec::new(); partitions as usize];
        for _ in 0..EVENTS_PER_TICK {
            let mut value = Vec::new();
            write_event(n, TENANTS, &mut value);
            n += 1;
            let text = String::from_utf8_lossy(&value);
            let tenant = text
                .split("\"tenant_id\":\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap_or_default();
            let partition = partition_of(tenant, partitions) as usize;
            by_partition[partition].push(NewRecord {
                key: tenant.as_bytes().to_vec(),
                value: value.clone(),
                headers: Vec::new(),
            });
        }
        for (partition, records) in by_partition
            .into_iter()
            .enumerate()
            .filter(|(_, records)| !records.is_empty())
        {
            log.append(topic::AUDIT_EVENTS, partition as u32, records).await?;
        }
    }
    Ok(())
}

/// For each leaf the microseconds from its `sealed_at` to the log's time of the first checkpoint that covers it.
async fn waits(log: &dyn Log) -> Result<Vec<i64>, Box<dyn Error>> {
    let mut waits = Vec::new();
    for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await? {
        let checkpoints = log
            .read(topic::LEDGER_CHECKPOINTS, partition, 0, 100_000, 1 << 30)
            .await?;
        let mut signed = checkpoints
            .iter()
            .filter_map(|record| {
                Some((
                    SignedCheckpoint::parse(&record.value).ok()?.checkpoint.size,
                    record.timestamp_ms * 1_000,
                ))
            })
            .peekable();
        let mut reader = Reader::open(log, partition, Position::BEGIN).await?;
        loop {
            let records = reader.fetch(log).await?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let Seen::Leaf(accepted) = reader.offer(record)? else {
                    continue;
                };
                while signed
                    .peek()
                    .is_some_and(|(size, _)| *size <= accepted.leaf.index)
                {
                    signed.next();
                }
                if let Some((_, at)) = signed.peek() {
                    waits.push((at - accepted.leaf.sealed_at).max(0));
                }
            }
        }
    }
    Ok(waits)
}
