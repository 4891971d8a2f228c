//! What `POST /v1/events` answers.

use super::judge::Judged;
use crate::api::waits::Known;
use crate::ledger::names::origin;
use crate::ledger::time::write_sealed_at;
use crate::store::read::Sealed;
use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa::ToSchema;

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// It is in the log, and will be sealed.
    Accepted,
    /// It is in the ledger.
    Sealed,
    /// A signed checkpoint covers it.
    Signed,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventResult {
    pub event_id: String,
    pub status: EventStatus,
    /// `conflict`: an entry of this event_id has other content, and this event is, or will be, rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub detail: Option<&'static str>,
    /// With `wait`, once it is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<SealedEntry>,
    /// With `wait=signed`, once it is signed: a proof by c2sp.org/tlog-proof, as `ledgerline verify-proof` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Where an event stands in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct SealedEntry {
    /// In its tenant's chain, from 1.
    pub sequence: u64,
    /// BLAKE3, in hexadecimal.
    pub entry_hash: String,
    /// Its partition's: what its checkpoints are signed by.
    pub origin: String,
    pub partition: u32,
    /// Its leaf's place in the partition, from 0.
    pub index: u64,
    pub sealed_at: String,
}

/// The events of a request, in the order in which they came.
#[derive(Debug, Serialize, ToSchema)]
pub struct Submitted {
    pub results: Vec<EventResult>,
}

impl Submitted {
    /// `known`: of each event, where it was waited for.
    pub fn new(events: Vec<Judged>, known: Vec<Known>, log_name: &str) -> Self {
        let known = known.into_iter().map(Some).chain(std::iter::repeat(None));
        let results = events
            .into_iter()
            .zip(known)
            .map(|(judged, known)| EventResult::new(judged.event_id, known.unwrap_or_default(), log_name))
            .collect();
        Self { results }
    }
}

impl EventResult {
    fn new(event_id: String, known: Known, log_name: &str) -> Self {
        let status = match (&known.sealed, &known.proof) {
            (_, Some(_)) => EventStatus::Signed,
            (Some(_), None) => EventStatus::Sealed,
            (None, None) => EventStatus::Accepted,
        };
        let (code, detail) = if known.is_conflict {
            let detail = "an entry of this event_id has other content: this event is rejected, unless that entry is older than what a sealer remembers";
            (Some("conflict"), Some(detail))
        } else {
            (None, None)
        };
        Self {
            event_id,
            status,
            code,
            detail,
            entry: known
                .sealed
                .as_ref()
                .map(|sealed| SealedEntry::of(sealed, log_name)),
            // Its lines are ASCII.
            proof: known
                .proof
                .map(|proof| String::from_utf8_lossy(&proof.format()).into_owned()),
        }
    }
}

impl SealedEntry {
    fn of(sealed: &Sealed, log_name: &str) -> Self {
        let mut sealed_at = Vec::new();
        write_sealed_at(sealed.sealed_at, &mut sealed_at);
        Self {
            sequence: sealed.sequence,
            entry_hash: HEXLOWER.encode(&sealed.entry_hash),
            origin: origin(log_name, sealed.partition),
            partition: sealed.partition,
            index: sealed.index,
            sealed_at: String::from_utf8_lossy(&sealed_at).into_owned(),
        }
    }
}
