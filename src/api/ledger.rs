//! `/v1/ledger/…`: a tenant's chain, its proofs, and whether the rows that are stored hold it.

use super::Api;
use super::answer::json;
use super::caller::Caller;
use super::entry::{self, EntryBody};
use super::problem::Problem;
use super::reading::{self, answer, reads};
use super::responses::{Absent, Gone, Reading, Unsigned};
use super::target::{Query, invalid};
use crate::ledger::names::INTEGER_MAX;
use crate::ledger::time::write_sealed_at;
use crate::store::read::{Bounds, CheckFrom, KnownKeys, Outcome, Partition, TenantHead, Verdict};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

const CHECKED_DEFAULT: u64 = 20_000;
const CHECKED_MAX: u64 = 100_000;
/// A check answers after so long how far it came.
const CHECK_TIME_MAX: Duration = Duration::from_secs(5);

/// A signed checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointBody {
    /// Leaves of the tree.
    pub size: u64,
    /// The signed note (docs/FORMAT.md, section 5).
    pub note: String,
}

/// The end of a tenant's chain.
#[derive(Debug, Serialize, ToSchema)]
pub struct Head {
    pub tenant: String,
    pub sequence: u64,
    /// Of the last entry: 64 hexadecimal digits.
    pub entry_hash: String,
    /// The partition that the chain is in.
    pub origin: String,
    pub partition: u32,
    /// The last entry's leaf in it; null where its month was let go of.
    pub index: Option<u64>,
    pub sealed_at: Option<String>,
    /// The newest checkpoint, where it covers the last entry; else null.
    pub checkpoint: Option<CheckpointBody>,
    /// The sequence from which on all entries can be asked for here.
    pub first_stored_sequence: u64,
}

/// That a tree begins with an earlier one: RFC 6962, section 2.1.2.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsistencyProof {
    pub origin: String,
    pub from: u64,
    pub to: u64,
    /// In base64.
    pub hashes: Vec<String>,
    /// The signed checkpoint of `to`, where it is stored.
    pub checkpoint: Option<String>,
}

/// Whether the rows hold the chain.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verification {
    /// Nothing is wrong, as far as it was checked.
    pub valid: bool,
    /// `leaf`, `event`, `column`, `origin`, `missing`, `chain`, `tree`, `root`, `targets`, `months`, `head`, `tail`, `signature` or `keys_unknown`; null where nothing is wrong.
    #[schema(value_type = Option<String>)]
    pub error: Option<&'static str>,
    /// The same for a person.
    pub detail: Option<String>,
    pub first_bad_sequence: Option<u64>,
    /// Entries that are as they must be.
    pub checked: u64,
    /// Of those, how many the signed tree does not cover yet.
    pub unsigned: u64,
    /// Leaves of the signed tree that they were held against; 0 where there is none.
    pub tree_size: u64,
    /// The `from_sequence` of the next request; null where the chain was checked to its end.
    pub next_sequence: Option<u64>,
    /// The `from_index` of the next request: behind the chain's end, leaves of its partition are still to be looked for. Null where they were, and where something is wrong.
    pub next_index: Option<u64>,
    /// The sequence from which on all entries are stored: what is before can be checked in the archive.
    pub first_stored_sequence: u64,
}

/// Where the tenant's chain ends.
#[utoipa::path(get, path = "/v1/ledger/head", tag = "ledger",
    params(
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "The last entry, and the checkpoint that covers it", body = Head),
        Reading, Absent))]
pub async fn head(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let tenant = reading::verified_tenant(&caller)?;
    Query::of(&uri, &[])?;
    let head = answer(&api, &caller, reads(&api)?.head(tenant)).await?;
    Ok(json(StatusCode::OK, &head_body(tenant, head)))
}

fn head_body(tenant: &str, head: TenantHead) -> Head {
    let sealed_at = |at| {
        let mut text = Vec::with_capacity(27);
        write_sealed_at(at, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    Head {
        tenant: tenant.to_owned(),
        sequence: head.sequence,
        entry_hash: HEXLOWER.encode(&head.entry_hash),
        origin: head.origin,
        partition: head.partition,
        index: head.leaf.map(|(index, _)| index),
        sealed_at: head.leaf.map(|(_, at)| sealed_at(at)),
        checkpoint: head.checkpoint.map(|(size, note)| CheckpointBody {
            size,
            note: String::from_utf8_lossy(&note).into_owned(),
        }),
        first_stored_sequence: head.first_stored_sequence,
    }
}

/// One entry.
#[utoipa::path(get, path = "/v1/ledger/entries/{sequence}", tag = "ledger",
    params(
        ("sequence" = u64, Path, description = "Its place in the tenant's chain, from 1", minimum = 1, example = 1),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "The entry", body = EntryBody),
        Reading, Absent, Gone))]
pub async fn entry(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(sequence): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let tenant = reading::tenant(&caller)?;
    Query::of(&uri, &[])?;
    let sequence = reading::sequence(&sequence)?;
    let found = answer(&api, &caller, reads(&api)?.entry(tenant, sequence)).await?;
    let mut body = Vec::with_capacity(found.event.len() + found.leaf.len() + 512);
    entry::write(&found, &mut body);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The proof that a signed checkpoint covers an entry, as c2sp.org/tlog-proof@v1.
#[utoipa::path(get, path = "/v1/ledger/entries/{sequence}/proof", tag = "ledger",
    params(
        ("sequence" = u64, Path, description = "Its place in the tenant's chain, from 1", minimum = 1, example = 1),
        ("size" = Option<u64>, Query, description = "Of the checkpoint, among the newest 256; the newest one where it is left out"),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "A proof file, for `ledgerline verify-proof` and every other checker of that format", body = String, content_type = "text/plain; charset=utf-8"),
        Reading, Absent, Unsigned, Gone))]
pub async fn proof(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(sequence): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let tenant = reading::verified_tenant(&caller)?;
    let size = Query::of(&uri, &["size"])?.number("size", 1..=INTEGER_MAX)?;
    let sequence = reading::sequence(&sequence)?;
    let proof = answer(&api, &caller, reads(&api)?.proof(tenant, sequence, size)).await?;
    let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((content_type, proof.format()).into_response())
}

/// The proof that a partition's tree begins with an earlier one. For every key.
#[utoipa::path(get, path = "/v1/ledger/consistency", tag = "ledger",
    params(
        ("origin" = Option<String>, Query, description = "Of the partition; the tenant's one where neither this nor partition is there"),
        ("partition" = Option<u64>, Query, description = "Its number"),
        ("from" = u64, Query, description = "The smaller size"),
        ("to" = Option<u64>, Query, description = "The larger size, at most that of the newest checkpoint, which it is where it is left out"),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        Reading, Absent, Unsigned))]
pub async fn consistency(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["origin", "partition", "from", "to"])?;
    let from = query.number("from", 0..=INTEGER_MAX)?;
    let from = from.ok_or_else(|| invalid("from", "is missing: the smaller size"))?;
    let to = query.number("to", 0..=INTEGER_MAX)?;
    if to.is_some_and(|to| to < from) {
        return Err(invalid("to", "must not be smaller than from"));
    }
    let Partition { number, origin } = partition(&api, &caller, &query).await?;
    let found = answer(&api, &caller, reads(&api)?.consistency(number, from, to)).await?;
    let proof = ConsistencyProof {
        origin,
        from: found.from,
        to: found.to,
        hashes: found.hashes.iter().map(|hash| BASE64.encode(hash)).collect(),
        checkpoint: found.note.map(|note| String::from_utf8_lossy(&note).into_owned()),
    };
    Ok(json(StatusCode::OK, &proof))
}

async fn partition(api: &Api, caller: &Caller, query: &Query) -> Result<Partition, Problem> {
    let number = query.number("partition", 0..=u64::from(u32::MAX))?;
    match (query.text("origin"), number) {
        (Some(_), Some(_)) => Err(invalid(
            "partition",
            "and origin are two names of one thing: give one",
        )),
        (Some(origin), None) if origin.contains('\0') => Err(invalid("origin", "holds U+0000")),
        (Some(origin), None) => answer(api, caller, reads(api)?.partition_of_origin(origin)).await,
        (None, Some(number)) => {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            answer(api, caller, reads(api)?.partition(number)).await
        }
        (None, None) => {
            let tenant = reading::verified_tenant(caller)?;
            answer(api, caller, reads(api)?.partition_of_tenant(tenant)).await
        }
    }
}

/// Whether the stored rows hold the tenant's chain.
///
/// Every row is held against its leaf and its event, each entry against the one before, each leaf against the tree that the ledger's keys signed; behind the chain's end, no leaf of its
/// partition may lack its row. A long chain takes several requests: each answers where the next one goes on.
#[utoipa::path(post, path = "/v1/ledger/verify", tag = "ledger",
    params(
        ("from_sequence" = Option<u64>, Query, description = "The first entry to check; the first stored one where it is left out"),
        ("from_index" = Option<u64>, Query, description = "The next_index of the answer before, in place of from_sequence"),
        ("max_entries" = Option<u64>, Query, description = "Entries of one request, 1 to 100000; 20000 where it is left out"),
        ("tenant_id" = Option<String>, Query, description = "The tenant, for a key that is no tenant's"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "As tenant_id"),
    ),
    responses(
        (status = 200, description = "What was found", body = Verification),
        Reading, Absent, Gone))]
pub async fn verify(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let tenant = reading::verified_tenant(&caller)?;
    let query = Query::of(&uri, &["from_sequence", "from_index", "max_entries"])?;
    let from = check_from(&query)?;
    let rows = query.number("max_entries", 1..=CHECKED_MAX)?;
    let bounds = Bounds {
        rows: rows.unwrap_or(CHECKED_DEFAULT),
        time: CHECK_TIME_MAX.min(api.limits.request_timeout / 2),
    };
    let declared = api.status.declared_keys();
    let known = KnownKeys {
        declared: &declared,
        own: &api.own_keys,
    };
    let asked = reads(&api)?.verify_chain(tenant, from, known, bounds);
    let outcome = answer(&api, &caller, asked).await?;
    tell(tenant, &outcome);
    Ok(json(StatusCode::OK, &verification(&outcome)))
}

fn check_from(query: &Query) -> Result<CheckFrom, Problem> {
    let sequence = query.number("from_sequence", 1..=INTEGER_MAX)?;
    match (sequence, query.number("from_index", 0..=INTEGER_MAX)?) {
        (Some(_), Some(_)) => Err(invalid(
            "from_index",
            "is of what lies behind the chain, and from_sequence of the chain: give one",
        )),
        (Some(sequence), None) => Ok(CheckFrom::Entry(sequence)),
        (None, Some(index)) => Ok(CheckFrom::Leaf(index)),
        (None, None) => Ok(CheckFrom::First),
    }
}

/// For the operator, whom a row that was changed concerns more than whoever asked.
fn tell(tenant: &str, outcome: &Outcome) {
    match &outcome.error {
        None => {}
        // Nothing is known to be wrong.
        Some(Verdict::KeysUnknown) => {
            tracing::info!(
                tenant,
                "a check of a chain ended without the ledger's keys, which are not known here"
            );
        }
        Some(error) => {
            let sequence = outcome.first_bad_sequence;
            tracing::error!(tenant, sequence, %error, "the read model does not hold a tenant's chain");
        }
    }
}

fn verification(outcome: &Outcome) -> Verification {
    Verification {
        valid: outcome.error.is_none(),
        error: outcome.error.as_ref().map(Verdict::code),
        detail: outcome.error.as_ref().map(ToString::to_string),
        first_bad_sequence: outcome.first_bad_sequence,
        checked: outcome.checked,
        unsigned: outcome.unsigned,
        tree_size: outcome.tree_size,
        next_sequence: outcome.next_sequence,
        next_index: outcome.next_index,
        first_stored_sequence: outcome.first_stored_sequence,
    }
}
