//! The signing seam: another signer's keys, with steps and faults in front.

use super::world::{Answer, World, injected};
use async_trait::async_trait;
use ledgerline::signing::{HeldKey, SignError, Signer};
use std::sync::Arc;

#[derive(Clone)]
pub struct SimSigner {
    world: World,
    owner: usize,
    inner: Arc<dyn Signer>,
}

impl SimSigner {
    pub(super) fn new(world: World, owner: usize, inner: Arc<dyn Signer>) -> Self {
        Self { world, owner, inner }
    }
}

#[async_trait]
impl Signer for SimSigner {
    fn keys(&self) -> Vec<HeldKey> {
        self.inner.keys()
    }

    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let name = format!("sign with {kid}");
        match self.world.call(self.owner, &name, |_| ()).await {
            (Answer::Ok, _) => self.inner.sign(kid, message).await,
            (Answer::Refused | Answer::Unknown, _) => Err(SignError::Retry {
                what: name,
                source: Some(injected()),
            }),
        }
    }
}
