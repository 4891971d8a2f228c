//! The partitions' trees as <https://c2sp.org/tlog-tiles> serves them, at `/<origin>/…`: checkpoint and hash tiles for every key, the leaves for auditors.

use super::Api;
use super::caller::{Caller, Scope};
use super::problem::{Code, Problem};
use super::reading::{answer, reads};
use super::responses::{Absent, Gone, Reading};
use super::target::Query;
use crate::ledger::names::parse_decimal;
use crate::ledger::tile::TileName;
use axum::extract::State;
use axum::http::{HeaderName, Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// What was asked for with a key, a cache that others share must not keep.
const FOR_A_MOMENT: &str = "private, max-age=1";
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// What a path behind the log's name names.
#[derive(Debug, PartialEq, Eq)]
enum Resource {
    Checkpoint,
    Hashes(TileName),
    /// The leaves that a tile of level 0 has the hashes of.
    Entries(TileName),
}

impl Resource {
    fn parse(path: &str) -> Option<Self> {
        if path == "checkpoint" {
            return Some(Self::Checkpoint);
        }
        match path.strip_prefix("tile/entries/") {
            Some(name) => TileName::parse(&format!("tile/0/{name}")).map(Self::Entries),
            None => TileName::parse(path).map(Self::Hashes),
        }
    }
}

/// The newest signed checkpoint of a partition. For every key.
///
/// A log's name may have several parts between slashes; it is the one that `run` has as --log-name.
#[utoipa::path(get, path = "/{log_name}/{partition}/checkpoint", tag = "tiles",
    params(
        ("log_name" = String, Path, description = "The name of the log", example = "ledger.example.com"),
        ("partition" = u64, Path, description = "The partition's number", example = 0),
        ("tenant_id" = Option<String>, Query, description = "Says nothing here"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "Says nothing here"),
    ),
    responses(
        (status = 200, description = "A signed note", body = String, content_type = "text/plain; charset=utf-8"),
        Reading, Absent))]
pub fn checkpoint() {}

/// A hash tile, for every key; with `entries` as the level, an entry bundle, for the scope auditor.
///
/// The index is in groups of three digits, all but the last behind an `x`, and so has slashes where it is above 999; `.p/<W>` behind it asks for a partial tile. A partial tile is answered as
/// far as the newest checkpoint needs it.
#[utoipa::path(get, path = "/{log_name}/{partition}/tile/{level}/{index}", tag = "tiles",
    params(
        ("log_name" = String, Path, description = "The name of the log", example = "ledger.example.com"),
        ("partition" = u64, Path, description = "The partition's number", example = 0),
        ("level" = String, Path, description = "0 to 63, or `entries`", example = "0"),
        ("index" = String, Path, description = "As tlog-tiles writes it: 000, x001/234, 000.p/7", example = "000"),
        ("tenant_id" = Option<String>, Query, description = "Says nothing here"),
        ("Ledgerline-Tenant" = Option<String>, Header, description = "Says nothing here"),
    ),
    responses(
        (status = 200, description = "Hashes of 32 bytes each; of a bundle, leaves, each behind its length in two bytes", body = String, content_type = "application/octet-stream"),
        Reading, Absent, Gone))]
pub fn tile() {}

/// What lies below the log's name. A path is read as it is spelled: an escape in it names nothing.
pub async fn serve(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let (origin, resource) = parse(&api.log_name, uri.path()).ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            "below an origin are checkpoint, tile/<L>/<N>[.p/<W>] and tile/entries/<N>[.p/<W>]",
        )
    })?;
    let reads = reads(&api)?;
    Ok(match resource {
        Resource::Checkpoint => {
            let note = answer(&api, &caller, reads.checkpoint(origin)).await?;
            (headers("text/plain; charset=utf-8", FOR_A_MOMENT), note).into_response()
        }
        Resource::Hashes(name) => {
            let hashes = answer(&api, &caller, reads.tile(origin, &name)).await?;
            (headers("application/octet-stream", FOR_EVER), hashes).into_response()
        }
        Resource::Entries(name) => {
            caller.may(Scope::Auditor)?;
            let bundle = answer(&api, &caller, reads.entry_bundle(origin, &name)).await?;
            (headers("application/octet-stream", FOR_EVER), bundle).into_response()
        }
    })
}

const fn headers(content_type: &'static str, cache: &'static str) -> [(HeaderName, &'static str); 2] {
    [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, cache),
    ]
}

/// The origin, and what is below it.
fn parse<'p>(log_name: &str, path: &'p str) -> Option<(&'p str, Resource)> {
    let path = path.strip_prefix('/')?;
    let rest = path.strip_prefix(log_name)?.strip_prefix('/')?;
    let (partition, below) = rest.split_once('/')?;
    parse_decimal(partition)?;
    let origin = path.get(..path.len() - below.len() - 1)?;
    Some((origin, Resource::parse(below)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_log_names_one_thing_in_one_spelling() {
        let of = |path| parse("a.b/c", path);
        assert_eq!(
            of("/a.b/c/12/checkpoint"),
            Some(("a.b/c/12", Resource::Checkpoint))
        );
        let name = TileName::parse("tile/0/x001/234.p/7").unwrap();
        assert_eq!(
            of("/a.b/c/0/tile/0/x001/234.p/7"),
            Some(("a.b/c/0", Resource::Hashes(name)))
        );
        assert_eq!(
            of("/a.b/c/0/tile/entries/x001/234.p/7"),
            Some(("a.b/c/0", Resource::Entries(name)))
        );
        for wrong in [
            "/a.b/c/0/checkpoint/",
            "/a.b/c/00/checkpoint",
            "/a.b/c/checkpoint",
            "/a.b/cc/0/checkpoint",
            "/a.b/c/0/tile/0/1",
            "/a.b/c/0/tile/0/000.p/0",
            "/a.b/c/0/tile/0/000.p/256",
            "/a.b/c/0/tile/64/000",
            "/a.b/c/0/tile/entries/000/1",
            "/a.b/c/0/tile/0/%3000",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
