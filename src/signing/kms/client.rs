//! The three calls of KMS that are made, each with an end: a time for the attempt, a number of attempts with pauses of random length between them,
//! and a time for all of it. A longer wait is the caller's business.

use super::failure::{Kind, KmsFailure};
use crate::aws;
use crate::ledger::key::Alg;
use crate::pause::jittered;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, MessageType, SigningAlgorithmSpec};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::sync::Semaphore;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// Of all attempts: less than a partition that is asked back may take to end.
const CALL_TIMEOUT: Duration = Duration::from_secs(9);
const ATTEMPTS_MAX: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Signatures asked for at once by one process, whatever partitions it holds: KMS counts requests by the second.
const SIGNING_MAX: usize = 64;

/// How AWS is reached: region, credentials, endpoint and TLS as the AWS tools take them from environment, profile and role. `region` comes first.
pub async fn aws_config(region: Option<&str>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Ok(name) = AppName::new("ledgerline") {
        loader = loader.app_name(name);
    }
    loader.load().await
}

/// How KMS is asked: each call once, and never for ever.
fn settings(aws: &SdkConfig) -> aws_sdk_kms::Config {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(ATTEMPT_TIMEOUT)
        .build();
    // Attempts are made, counted and spaced here.
    let mut config = aws_sdk_kms::Config::from(aws)
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if aws::is_endpoint_set_to_nothing("KMS") {
        config.set_endpoint_url(aws::endpoint("KMS"));
    }
    config.build()
}

/// For who looks at keys without signing.
pub(crate) fn sdk_client(aws: &SdkConfig) -> Client {
    Client::from_conf(settings(aws))
}

#[derive(Debug)]
pub(super) struct KmsClient {
    sdk: Client,
    region: String,
    signing: Semaphore,
}

impl KmsClient {
    pub fn new(aws: &SdkConfig) -> Self {
        let config = settings(aws);
        let region = config
            .region()
            .map_or("no region", |region| region.as_ref())
            .to_owned();
        Self {
            sdk: Client::from_conf(config),
            region,
            signing: Semaphore::new(SIGNING_MAX),
        }
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub async fn describe(&self, key: &str) -> Result<KeyMetadata, KmsFailure> {
        let answer = attempts("DescribeKey", || self.sdk.describe_key().key_id(key).send()).await?;
        answer
            .key_metadata
            .ok_or_else(|| KmsFailure::new(Kind::Unreachable, "its answer says nothing of the key"))
    }

    /// The ARN of the key that answers, and the DER of its public key.
    pub async fn public_key(&self, arn: &str) -> Result<(String, Vec<u8>), KmsFailure> {
        let answer = attempts("GetPublicKey", || self.sdk.get_public_key().key_id(arn).send()).await?;
        let der = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        Ok((answer.key_id.unwrap_or_default(), der))
    }

    /// The ARN of the key that signed, as KMS says, and the signature. Neither is checked here.
    pub async fn sign(&self, arn: &str, alg: Alg, message: &[u8]) -> Result<(String, Vec<u8>), KmsFailure> {
        let (algorithm, kind, bytes) = match alg {
            // A digest has one length, whatever the message has.
            Alg::Ps256 => (
                SigningAlgorithmSpec::RsassaPssSha256,
                MessageType::Digest,
                Sha256::digest(message).to_vec(),
            ),
            Alg::Ed25519 => (
                SigningAlgorithmSpec::Ed25519Sha512,
                MessageType::Raw,
                message.to_vec(),
            ),
        };
        let request = self
            .sdk
            .sign()
            .key_id(arn)
            .signing_algorithm(algorithm)
            .message_type(kind)
            .message(Blob::new(bytes));
        // Closed never: the permit is there, or is waited for.
        let _permit = self.signing.acquire().await;
        let answer = attempts("Sign", || request.clone().send()).await?;
        let signature = answer.signature.map(Blob::into_inner).unwrap_or_default();
        Ok((answer.key_id.unwrap_or_default(), signature))
    }
}

/// Each attempt is counted, also those that follow a failed one: it is what KMS counts.
async fn attempts<T, E, F>(operation: &'static str, send: impl Fn() -> F) -> Result<T, KmsFailure>
where
    F: Future<Output = Result<T, SdkError<E>>>,
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let all = async {
        let mut pause = PAUSE_MIN;
        for _ in 1..ATTEMPTS_MAX {
            match attempt(operation, send()).await {
                Err(failure) if failure.kind.passes() => {
                    tokio::time::sleep(jittered(pause)).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        attempt(operation, send()).await
    };
    tokio::time::timeout(CALL_TIMEOUT, all).await.unwrap_or_else(|_| {
        let detail = format!("no answer in {} s", CALL_TIMEOUT.as_secs());
        Err(KmsFailure::new(Kind::Unreachable, &detail))
    })
}

async fn attempt<T, E>(
    operation: &'static str,
    call: impl Future<Output = Result<T, SdkError<E>>>,
) -> Result<T, KmsFailure>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let outcome = call.await.map_err(|error| KmsFailure::of(&error));
    let label = outcome
        .as_ref()
        .map_or_else(|failure| failure.kind.as_str(), |_| "ok");
    metrics::counter!("ledgerline_kms_requests_total", "operation" => operation, "outcome" => label)
        .increment(1);
    outcome
}
