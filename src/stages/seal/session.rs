//! One owner's session on one partition: fence, restore, append, read back. Nothing is sent again within a session, and
//! every way out of it is the same: drop it, open another (docs/PROTOCOL.md, rules 1 to 4).

use super::machine::{SealConfig, SealMachine};
use crate::log::reader::{Candidate, Reader, Seen, Verdict};
use crate::log::record::{self, Session};
use crate::log::{Log, NewRecord, topic};
use crate::stages::StageError;
use crate::stages::restore::{Follower, PartitionConfig, reader_error};

/// A session whose own fence was accepted.
pub(super) struct OpenSession {
    pub machine: SealMachine,
    reader: Reader,
    epoch: u64,
    id: Session,
    partition: u32,
}

/// Whether a session may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Mine,
    /// A foreign fence was accepted, or a record of this session was skipped.
    Lost,
}

impl OpenSession {
    /// Fences the partition and restores its state up to that fence. `None` where another owner was faster: nothing was written but a fence that all
    /// readers skip.
    pub async fn open(
        log: &dyn Log,
        partition: &PartitionConfig,
        config: SealConfig,
        id: Session,
    ) -> Result<Option<Self>, StageError> {
        let mut follower = Follower::restore(log, partition).await?;
        follower.catch_up(log, None).await?;
        follower.check_reached_signed()?;
        let epoch = follower.reader.position().epoch + 1;
        let fence = NewRecord {
            value: record::encode_fence(epoch, &id),
            ..NewRecord::default()
        };
        // A crash after this line leaves an epoch without leaves, and the next owner takes the one above it.
        let fenced = log
            .append(topic::LEDGER_ENTRIES, partition.partition, vec![fence])
            .await?;
        if !follower.catch_up(log, Some(fenced.first)).await? {
            return Ok(None);
        }
        metrics::counter!("ledgerline_fences_total", "partition" => partition.partition.to_string())
            .increment(1);
        // What was read up to the own accepted fence is the state: no earlier owner can add to it any more.
        let machine = SealMachine::new(follower.state, epoch, id, config);
        Ok(Some(Self {
            machine,
            reader: follower.reader,
            epoch,
            id,
            partition: partition.partition,
        }))
    }

    /// Appends what the machine made and reads it back. Any error ends the session: its records may be in the log, or may yet come.
    pub async fn append(&mut self, log: &dyn Log, records: Vec<NewRecord>) -> Result<Owner, StageError> {
        let count = records.len() as u64;
        let first_index = self.machine.state().order.next_index - count;
        let appended = log.append(topic::LEDGER_ENTRIES, self.partition, records).await?;
        if appended.last - appended.first + 1 != count {
            // Others' records lie between, a fence perhaps: what was accepted is found out by the next session.
            return Ok(Owner::Lost);
        }
        let base = appended.first;
        if self.reader.position().offset < base && self.read_gap(log, base).await? == Owner::Lost {
            return Ok(Owner::Lost);
        }
        for n in 0..count {
            let candidate = Candidate::Leaf {
                index: first_index + n,
            };
            // The offset is the next unread one, so nothing lies between: the acknowledgement is a read-back.
            match self
                .reader
                .offer_acknowledged(base + n, self.epoch, &self.id, candidate)
            {
                Some(Verdict::LeafAccepted) => {}
                Some(Verdict::FenceAccepted | Verdict::Stale(_)) | None => return Ok(Owner::Lost),
            }
        }
        Ok(Owner::Mine)
    }

    /// Reads what others may have written since, without having written: an owner that has nothing to append must notice too.
    pub async fn read_back(&mut self, log: &dyn Log) -> Result<Owner, StageError> {
        let end = log.end(topic::LEDGER_ENTRIES, self.partition).await?;
        if end < self.reader.position().offset {
            // Records that were read are gone: a topic that was made anew, a restored disk. The next session finds out which.
            return Ok(Owner::Lost);
        }
        self.read_gap(log, end).await
    }

    /// Reads up to, not including, `end`. Only another owner's records can be there.
    async fn read_gap(&mut self, log: &dyn Log, end: u64) -> Result<Owner, StageError> {
        while self.reader.position().offset < end {
            let records = self
                .reader
                .fetch(log)
                .await
                .map_err(|error| reader_error(self.partition, error))?;
            let Some(last) = records.last() else { break };
            let past_end = last.offset >= end;
            for record in records.iter().take_while(|record| record.offset < end) {
                match self
                    .reader
                    .offer(record)
                    .map_err(|error| reader_error(self.partition, error))?
                {
                    Seen::Skipped { .. } => {}
                    Seen::Fence { .. } | Seen::Leaf(_) => return Ok(Owner::Lost),
                }
            }
            if past_end {
                break;
            }
        }
        Ok(Owner::Mine)
    }
}
