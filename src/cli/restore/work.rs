//! Writes what `restore` has verified, one partition after the other.

use super::{Args, Cut, Plan, Row, cut_of, log_name, partition_config, unsigned};
use crate::cli::{self, Failure};
use crate::clock::SystemClock;
use crate::ledger::verify::Report;
use crate::log::{Log, topic};
use crate::recovery::{Found, Recovered, Refused, Restored, UnsignedCut, View, find, replay, write};
use crate::service;
use crate::stages::restore::PartitionConfig;
use tokio::runtime::Runtime;

/// One partition at a time is held in memory, and written when it was replayed: a run that is refused at a later one has written the former, and goes on from
/// there when what was in its way is gone.
pub(super) fn restore(
    plan: &Plan,
    args: &Args,
    (report, cuts): (&Report, &[Cut]),
    view: &View<'_>,
    runtime: &Runtime,
    log: &dyn Log,
) -> Result<Vec<Row>, Failure> {
    let partitions = runtime
        .block_on(log.partitions(topic::LEDGER_ENTRIES))
        .map_err(|error| cli::failure(&error))?;
    if partitions as usize != report.heads.len() {
        return Err(Failure::usage(format!(
            "the ledger has {} partitions, ledger.entries has {partitions}: the number is fixed at genesis; make the topics with --partitions {}",
            report.heads.len(),
            report.heads.len()
        )));
    }
    let bar = cli::progress_bar(
        Some(report.leaves),
        "{bar:32} {pos}/{len} leaves  {msg}  {elapsed}",
    );
    let log_name = log_name(report)?;
    let mut rows = Vec::new();
    for partition in 0..partitions {
        let config = partition_config(&log_name, partition, plan.window_entries_max);
        bar.set_message(config.origin.clone());
        let before = bar.position();
        let replayed = replay(&view.covered(), &log_name, &config, &mut |leaves| {
            bar.set_position(before + leaves);
        })
        .map_err(|error| cli::failure(&error))?;
        let unsigned =
            UnsignedCut::find(view, &config, &replayed).map_err(|error| unsigned::failure(view, &error))?;
        let recovered = Recovered {
            replayed: &replayed,
            unsigned: unsigned.as_ref(),
        };
        let restored = runtime
            .block_on(one(log, &config, recovered, args))
            .map_err(|refused| failure(&refused))?;
        rows.push(Row {
            size: recovered.size(),
            cut: cut_of(cuts, &config.origin),
            origin: config.origin,
            restored,
        });
    }
    bar.finish_and_clear();
    Ok(rows)
}

async fn one(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    args: &Args,
) -> Result<Option<Restored>, Refused> {
    let found: Found = find(log, config, recovered).await?;
    if args.dry_run {
        return Ok(None);
    }
    let mut random = service::os_random();
    let written = write(
        log,
        &SystemClock,
        &mut random,
        config,
        recovered,
        found,
        args.accept_clock_jump,
    );
    written.await.map(Some)
}

fn failure(refused: &Refused) -> Failure {
    match refused {
        Refused::Stage(error) => cli::failure(error),
        Refused::OtherLedger { .. } | Refused::NotEmpty { .. } | Refused::SignedAhead { .. } => {
            Failure::invalid(refused.to_string())
        }
        Refused::Source(error) => Failure::unreadable(error.to_string()),
    }
}
