//! Signing with KMS against a real server: `tests/stack up kms` starts one. Each test makes keys of its own in it.

mod opening;
mod proxy;
mod run;
mod settings;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use ledgerline::signing::kms::{KmsKeysError, KmsSigner, KmsSignerOptions, SdkConfig};
use std::future::Future;

pub const REGION: &str = "us-east-1";

/// Where the server is, as `tests/stack env` says.
pub fn server() -> String {
    std::env::var("LEDGERLINE_STACK_KMS_URL").unwrap_or_else(|_| {
        panic!(
            "LEDGERLINE_STACK_KMS_URL is not set: run `tests/stack up kms`, then `eval \"$(tests/stack env)\"`, then the tests"
        )
    })
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

fn aws(url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "tests", "tests", None, None, "tests",
        )))
        .build()
}

/// Makes keys and changes them, as their owner does.
pub fn owner() -> Client {
    Client::new(&aws(&server()))
}

/// A new key's ARN.
pub async fn make(spec: KeySpec, usage: KeyUsageType) -> String {
    let made = owner()
        .create_key()
        .key_spec(spec)
        .key_usage(usage)
        .send()
        .await
        .unwrap();
    made.key_metadata.unwrap().arn.unwrap()
}

pub async fn make_rsa() -> String {
    make(KeySpec::Rsa2048, KeyUsageType::SignVerify).await
}

fn options(keys: &[&str]) -> KmsSignerOptions {
    KmsSignerOptions {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..KmsSignerOptions::default()
    }
}

async fn open(url: &str, keys: &[&str]) -> Result<KmsSigner, KmsKeysError> {
    KmsSigner::open(&aws(url), &options(keys)).await
}
