//! The vault seam.

use super::call::Call;
use super::world::{Answer, State, World, injected};
use async_trait::async_trait;
use ledgerline::ledger::tile::{TileName, partial_names};
use ledgerline::vault::{Keep, Put, Vault, VaultError};
use std::collections::BTreeMap;

const NAMES_AT_ONCE: usize = 3;

#[derive(Clone)]
pub struct SimVault {
    world: World,
    owner: usize,
}

impl SimVault {
    pub(super) fn new(world: World, owner: usize) -> Self {
        Self { world, owner }
    }

    async fn call<T>(
        &self,
        call: Call,
        name: &str,
        effect: impl FnOnce(&mut State) -> T,
    ) -> Result<T, VaultError> {
        match self
            .world
            .call(self.owner, call, || name.to_owned(), effect)
            .await
        {
            (Answer::Ok, Some(value)) => Ok(value),
            (Answer::Ok | Answer::Refused | Answer::Unknown, _) => Err(VaultError::Retry {
                what: format!("{} {name}", call.as_str()),
                source: Some(injected()),
            }),
        }
    }
}

#[async_trait]
impl Vault for SimVault {
    async fn put_new(&self, name: &str, bytes: &[u8], keep: Keep<'_>) -> Result<Put, VaultError> {
        self.call(Call::Put, name, |state| {
            check_order(&state.objects, name);
            let put = state.put(name, bytes);
            if keep.hold {
                state.hold(name, true);
            }
            put
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        self.call(Call::Get, name, |state| state.objects.get(name).cloned())
            .await
    }

    async fn head(&self, name: &str) -> Result<Option<u64>, VaultError> {
        self.call(Call::Head, name, |state| {
            state.objects.get(name).map(|bytes| bytes.len() as u64)
        })
        .await
    }

    async fn set_hold(&self, name: &str, on: bool) -> Result<(), VaultError> {
        self.call(Call::Hold, name, |state| state.hold(name, on)).await
    }

    /// Few at once, so that a change takes several pages.
    async fn names_to_tell(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, VaultError> {
        self.call(Call::List, prefix, |state| {
            let names = state.objects.keys();
            let behind = names.filter(|name| after.is_none_or(|after| name.as_str() > after));
            let mut below = behind.filter(|name| name.starts_with(prefix)).cloned();
            below.by_ref().take(NAMES_AT_ONCE).collect()
        })
        .await
    }

    async fn last(&self, prefix: &str) -> Result<Option<String>, VaultError> {
        Ok(self.list(prefix).await?.pop())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.call(Call::List, prefix, |state| {
            let names = state.objects.keys();
            names.filter(|name| name.starts_with(prefix)).cloned().collect()
        })
        .await
    }
}

/// What is stored of a cut can be completed from the archive alone: no tile comes before the segment that holds the cut, and no checkpoint before either.
fn check_order(objects: &BTreeMap<String, Vec<u8>>, name: &str) {
    if let Some((origin, tile)) = name.split_once("/tile/") {
        let tile = TileName::parse(&format!("tile/{tile}")).expect("a tile");
        let hashes = tile.index * 256 + tile.hashes() as u64;
        let leaves = hashes * 256_u64.pow(tile.level.into());
        assert!(closed(objects, origin) >= leaves, "{name} before its segment");
    } else if let Some((origin, size)) = name.split_once("/checkpoints/") {
        let size: u64 = size.parse().expect("a size");
        assert!(closed(objects, origin) >= size, "{name} before its segment");
        for tile in partial_names(size) {
            let tile = format!("{origin}/{}", tile.path());
            assert!(objects.contains_key(&tile), "{name} before {tile}");
        }
    }
}

/// How many leaves the segments of the default class reach to.
fn closed(objects: &BTreeMap<String, Vec<u8>>, origin: &str) -> u64 {
    let segments = objects
        .keys()
        .filter_map(|name| name.strip_prefix(origin)?.strip_suffix(".ndjson.zst"))
        .filter(|name| name.starts_with("/class=default/"));
    let last = |name: &str| name.rsplit('-').next()?.parse::<u64>().ok();
    segments.filter_map(last).max().map_or(0, |last| last + 1)
}
