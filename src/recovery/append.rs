//! The leaves of an unsigned cut, appended behind the snapshot of what was signed, in the session of its fence. Owners, notaries and archivers find them as leaves
//! that were sealed and not yet signed: the notary verifies and signs the cut, the archiver finds its objects equal and stores the checkpoint.
//!
//! A crash leaves the first so many of them: the next run follows the log and appends the rest. One that is sent twice is stale by the acceptance rule.

use super::lines::Line;
use super::target::{EPOCH, Refused, not_empty};
use super::{Recovered, UnsignedCut};
use crate::log::record::{self, Session};
use crate::log::{Log, NewRecord, topic};
use crate::stages::StageError;
use crate::stages::restore::{Follower, PartitionConfig};

/// One append, as an owner's.
const BATCH_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Appends what the log does not have. Answers how many leaves that were.
pub(super) async fn append_unsigned(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    session: &Session,
) -> Result<u64, Refused> {
    let Some(cut) = recovered.unsigned else {
        return Ok(0);
    };
    let found = reached(log, config, recovered, cut).await?;
    if found == cut.size() {
        return Ok(0);
    }
    append_from(log, config, cut, session, found).await?;
    // Whoever fenced meanwhile has made the rest stale.
    let now = reached(log, config, recovered, cut).await?;
    if now == cut.size() {
        Ok(now - found)
    } else {
        Err(not_empty(config, now, recovered))
    }
}

/// How many leaves the log has, up to the end of the cut. Refused where they are others, or where an owner came before all of them were there.
async fn reached(
    log: &dyn Log,
    config: &PartitionConfig,
    recovered: Recovered<'_>,
    cut: &UnsignedCut,
) -> Result<u64, Refused> {
    let mut follower = Follower::restore(log, config).await?;
    loop {
        let records = follower.read(log).await?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            follower.take(record)?;
            if follower.tree.size() < cut.size() {
                continue;
            }
            return if follower.tree.root() == cut.tree.root() {
                Ok(cut.size())
            } else {
                Err(not_empty(config, follower.tree.size(), recovered))
            };
        }
    }
    let size = follower.tree.size();
    if follower.reader.position().epoch == EPOCH {
        Ok(size)
    } else {
        Err(not_empty(config, size, recovered))
    }
}

async fn append_from(
    log: &dyn Log,
    config: &PartitionConfig,
    cut: &UnsignedCut,
    session: &Session,
    from: u64,
) -> Result<(), Refused> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (index, line) in cut.lines.iter().filter(|(index, _)| *index >= from) {
        let record = encode(line, session).map_err(|what| {
            Refused::Stage(StageError::Fatal {
                what: format!("{}: leaf {index}: {what}", config.origin),
                source: None,
            })
        })?;
        if batch.len() >= BATCH_RECORDS_MAX || bytes + record.value.len() > BATCH_BYTES_MAX {
            append(log, config, &mut batch).await?;
            bytes = 0;
        }
        bytes += record.value.len();
        batch.push(record);
    }
    append(log, config, &mut batch).await
}

async fn append(log: &dyn Log, config: &PartitionConfig, batch: &mut Vec<NewRecord>) -> Result<(), Refused> {
    if !batch.is_empty() {
        log.append(topic::LEDGER_ENTRIES, config.partition, std::mem::take(batch))
            .await?;
    }
    Ok(())
}

fn encode(line: &[u8], session: &Session) -> Result<NewRecord, String> {
    let line = Line::parse(line)?;
    let (parts, raw) = (line.parts, line.raw.as_deref());
    Ok(NewRecord {
        key: line.leaf.body.tenant().unwrap_or_default().as_bytes().to_vec(),
        value: record::encode_leaf(EPOCH, session, parts.leaf, parts.event, raw, None),
        ..NewRecord::default()
    })
}
