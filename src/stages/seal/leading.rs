//! Which keys partition 0 has declared: the other partitions declare the same in the same order (docs/FORMAT.md section 6, ADR 35). Instances with different keys may own them at one
//! time, as while settings are rolled out: of two that declared different keys, each by itself, no archive would verify again.
//!
//! Reads `ledger.entries` of partition 0 for its `key` leaves, and only where there is a key that is not declared here.

use crate::ledger::key::PublicKey;
use crate::ledger::leaf::{Body, KeyAction};
use crate::log::Log;
use crate::log::reader::{Position, Reader, Seen};
use crate::stages::StageError;
use crate::stages::restore::reader_error;
use crate::stages::snapshot;

const LEADER: u32 = 0;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Leading {
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    keys: Vec<PublicKey>,
    /// Behind what was read of partition 0.
    reader: Reader,
}

impl Leading {
    /// All keys that partition 0 has declared, in order. After an error it is read anew.
    pub async fn keys(&mut self, log: &dyn Log) -> Result<&[PublicKey], StageError> {
        let mut known = match self.known.take() {
            Some(known) => known,
            None => Known::begin(log).await?,
        };
        known.read_on(log).await?;
        Ok(&self.known.insert(known).keys)
    }
}

impl Known {
    async fn begin(log: &dyn Log) -> Result<Self, StageError> {
        let (keys, position) = match snapshot::newest(log, LEADER).await? {
            Some((snapshot, _)) => (snapshot.state.keys.declared().to_vec(), snapshot.position),
            None => (Vec::new(), Position::BEGIN),
        };
        let reader = Reader::open(log, LEADER, position)
            .await
            .map_err(|error| reader_error(LEADER, error))?;
        Ok(Self { keys, reader })
    }

    async fn read_on(&mut self, log: &dyn Log) -> Result<(), StageError> {
        let failed = |error| reader_error(LEADER, error);
        loop {
            let records = self.reader.fetch(log).await.map_err(failed)?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                if let Seen::Leaf(accepted) = self.reader.offer(record).map_err(failed)? {
                    self.keys.extend(declared_by(&accepted.leaf.body));
                }
            }
        }
    }
}

fn declared_by(body: &Body<'_>) -> Vec<PublicKey> {
    match body {
        Body::Genesis { keys, .. } => keys.clone(),
        Body::Key {
            action: KeyAction::Add,
            key,
            ..
        } => vec![key.clone()],
        Body::Key {
            action: KeyAction::Retire,
            ..
        }
        | Body::Entry { .. }
        | Body::Duplicate { .. }
        | Body::Rejected { .. }
        | Body::Rerouted { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Hold { .. } => Vec::new(),
    }
}
