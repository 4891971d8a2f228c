//! The signing seam: another signer's keys, with steps and faults in front.

use super::call::Call;
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
        let call = self
            .world
            .call(self.owner, Call::Sign, || format!("with {kid}"), |_| ());
        match call.await {
            (Answer::Ok, _) => self.inner.sign(kid, message).await,
            (Answer::Refused | Answer::Unknown, _) => Err(SignError::Retry {
                what: Call::Sign.as_str().to_owned(),
                source: Some(injected()),
            }),
        }
    }
}
