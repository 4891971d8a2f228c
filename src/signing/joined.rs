//! Several signers as one: keys in KMS, and beside them those in files of this machine.

use super::{HeldKey, SignError, Signer};
use async_trait::async_trait;
use std::sync::Arc;

/// Its keys are those of the first signer, then those of the second, and so on: the last signer's are the newest, and so sign.
pub struct JoinedSigner {
    signers: Vec<Arc<dyn Signer>>,
}

impl JoinedSigner {
    /// # Errors
    /// Where two have one key, or keys of one kid: what is wrong.
    pub fn new(signers: Vec<Arc<dyn Signer>>) -> Result<Self, String> {
        let keys: Vec<HeldKey> = signers.iter().flat_map(|signer| signer.keys()).collect();
        for (at, HeldKey { key, .. }) in keys.iter().enumerate() {
            for HeldKey { key: other, .. } in keys.iter().take(at) {
                if key.kid == other.kid || key.is_same_key(other) {
                    return Err(format!(
                        "the key {} is there twice, or two keys have this kid",
                        key.kid
                    ));
                }
            }
        }
        Ok(Self { signers })
    }
}

#[async_trait]
impl Signer for JoinedSigner {
    fn keys(&self) -> Vec<HeldKey> {
        self.signers.iter().flat_map(|signer| signer.keys()).collect()
    }

    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let holder = self
            .signers
            .iter()
            .find(|signer| signer.keys().iter().any(|held| held.key.kid == kid));
        match holder {
            Some(signer) => signer.sign(kid, message).await,
            None => Err(SignError::Fatal {
                what: format!("no signer of this service has the key {kid}"),
                source: None,
            }),
        }
    }
}
