//! Keys in AWS KMS: they never leave it, so nobody holds them; who signs with them is decided by IAM and the key's policy. What an RSA key signs is
//! RSASSA-PSS with SHA-256 and a salt of 32 bytes, an Ed25519 key pure Ed25519, as docs/FORMAT.md wants it.
//!
//! Nothing is taken on trust: [`opening`] proves at the start that each key is there, enabled, of the right usage and allowed to this identity, and
//! every signature is checked with the public key before it is given out. Which keys there are is decided when it is opened.

mod client;
mod failure;
mod opening;

use super::{HeldKey, SignError, Signer};
use crate::ledger::key::{Alg, Verifier};
use async_trait::async_trait;
pub use aws_config::SdkConfig;
use client::KmsClient;
pub use client::aws_config;
pub(crate) use client::sdk_client;
use failure::{Kind, KmsFailure};

/// Most keys that one signer is given.
pub const KMS_KEYS_MAX: usize = 64;
/// The longest message that KMS signs as it is. A longer one it takes as a digest, which pure Ed25519 has not.
const RAW_BYTES_MAX: usize = 4096;

/// Which keys, in order of age: the newest of each kind signs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KmsSignerOptions {
    /// Key ids, aliases, or ARNs of either.
    pub keys: Vec<String>,
    /// Those of them that are to sign no more, as they are spelled in `keys`.
    pub retired: Vec<String>,
    /// `ISSUER_KID`: the kid of the newest RSA key. All others have their RFC 7638 thumbprint.
    pub issuer_kid: Option<String>,
}

/// Why keys in KMS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KmsKeysError {
    /// A key, or what it is, does not fit, or this identity is not allowed to use it: settings or permissions change that.
    #[error("{0}")]
    Refused(String),
    /// Nothing was decided: KMS does not answer, or answers that it cannot now.
    #[error("{0}")]
    Unreachable(String),
}

/// Signs by asking KMS. Its `Debug` shows public keys only, which is all that it has.
#[derive(Debug)]
pub struct KmsSigner {
    client: KmsClient,
    keys: Vec<KmsKey>,
}

#[derive(Debug)]
struct KmsKey {
    held: HeldKey,
    arn: String,
    verifier: Verifier,
}

impl KmsSigner {
    /// Looks every key up and has each that is not retired sign a probe.
    ///
    /// # Errors
    /// Where one is missing, disabled, of a wrong usage or spec, not allowed, or cannot be reached; the message names the key and the permission.
    pub async fn open(aws: &SdkConfig, options: &KmsSignerOptions) -> Result<Self, KmsKeysError> {
        // So that the first one is an increase.
        metrics::counter!("ledgerline_wrong_signatures_total").increment(0);
        let client = KmsClient::new(aws);
        let keys = opening::open_keys(&client, options).await?;
        Ok(Self { client, keys })
    }

    /// Signs with that key and gives the signature out only where it is one.
    async fn sign_with(&self, key: &KmsKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let answer = self.client.sign(&key.arn, key.held.key.alg, message).await;
        let (arn, signature) = answer.map_err(|failure| sign_error(&failure, &key.arn))?;
        let wrong = if arn != key.arn {
            format!("a signature by {arn}")
        } else if !key.verifier.verify(message, &signature) {
            "a signature that its public key does not verify".to_owned()
        } else {
            return Ok(signature);
        };
        metrics::counter!("ledgerline_wrong_signatures_total").increment(1);
        tracing::error!(
            key = key.arn,
            wrong,
            "KMS answered wrongly; nothing of it is published"
        );
        Err(SignError::Retry {
            what: format!(
                "asked to sign with {}, KMS answered with {wrong}; it was not published: see what stands between this service and KMS",
                key.arn
            ),
            source: None,
        })
    }
}

#[async_trait]
impl Signer for KmsSigner {
    fn keys(&self) -> Vec<HeldKey> {
        self.keys.iter().map(|key| key.held.clone()).collect()
    }

    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = self.keys.iter().find(|key| key.held.key.kid == kid);
        let key = key.ok_or_else(|| {
            fatal(format!(
                "no KMS key that this service was given has the kid {kid}"
            ))
        })?;
        match key.held.key.alg {
            Alg::Ed25519 if message.len() > RAW_BYTES_MAX => Err(fatal(format!(
                "a message of {} bytes is longer than the {RAW_BYTES_MAX} that KMS signs with the Ed25519 key {}",
                message.len(),
                key.arn
            ))),
            Alg::Ps256 | Alg::Ed25519 => self.sign_with(key, message).await,
        }
    }
}

fn fatal(what: String) -> SignError {
    SignError::Fatal { what, source: None }
}

/// What is cured without another start of this service is worth waiting for: sealing goes on meanwhile.
fn sign_error(failure: &KmsFailure, arn: &str) -> SignError {
    let (kind, detail) = (failure.kind, &failure.detail);
    let what = match kind {
        Kind::Missing => {
            return fatal(format!(
                "KMS has the key {arn} no more ({detail}): give this service another key beside it"
            ));
        }
        Kind::Unfit => return fatal(format!("KMS does not sign with {arn}: {detail}")),
        Kind::Disabled => format!(
            "the KMS key {arn} is disabled or to be deleted ({detail}): enable it, or cancel its deletion"
        ),
        Kind::Denied => format!(
            "KMS refuses kms:Sign on {arn} ({detail}): allow it to this identity again, by IAM policy and key policy"
        ),
        Kind::Throttled => format!("KMS throttles kms:Sign on {arn} ({detail})"),
        Kind::Unreachable => format!("KMS does not answer kms:Sign on {arn}: {detail}"),
    };
    SignError::Retry { what, source: None }
}
