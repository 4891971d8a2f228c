//! The vault seam.

use super::call::Call;
use super::world::{Answer, State, World, injected};
use async_trait::async_trait;
use ledgerline::vault::{Keep, Put, Vault, VaultError};

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
    async fn put_new(&self, name: &str, bytes: &[u8], _keep: Keep<'_>) -> Result<Put, VaultError> {
        self.call(Call::Put, name, |state| state.put(name, bytes)).await
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

    async fn set_hold(&self, name: &str, _on: bool) -> Result<(), VaultError> {
        self.call(Call::Head, name, |_state| ()).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.call(Call::List, prefix, |state| {
            let names = state.objects.keys();
            names.filter(|name| name.starts_with(prefix)).cloned().collect()
        })
        .await
    }
}
