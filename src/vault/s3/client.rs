//! The client: where its credentials and region come from, and how long it waits.

use super::config::Access;
use crate::aws;
use aws_config::meta::region::RegionProviderChain;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use std::time::Duration;

/// How long the way to the store may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long finding credentials may take: a machine's own service, a web identity, a program.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);
/// A store that is not AWS has no regions, and a signature must name one.
const REGION_WITHOUT_AWS: &str = "us-east-1";

/// Tries a failed call once and leaves the next try to the caller, or tries again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// The stage that calls waits, counts and says so: nothing is tried twice behind its back.
    Once,
    /// For who reads: nobody else tries again.
    Several(u32),
}

/// Reads no object and asks no bucket; credentials are looked for at the first call.
///
/// `credentials`: instead of those that the environment has.
pub async fn connect(access: &Access, tries: Tries, credentials: Option<Credentials>) -> Client {
    let shared = environment(access, tries).await;
    let mut config = Builder::from(&shared)
        .force_path_style(access.path_style)
        // What is put carries its SHA-256; what is read is verified by what it says, or compared with what was put.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(credentials) = credentials {
        config = config.credentials_provider(credentials);
    }
    if let Some(address) = access.address() {
        // Of this service alone: credentials may come from another.
        config = config.endpoint_url(address);
    } else if aws::is_endpoint_set_to_nothing("S3") {
        config.set_endpoint_url(None);
    }
    Client::from_conf(config.build())
}

/// What AWS's own tools read too: variables, profiles, and on AWS's machines what the machine says.
async fn environment(access: &Access, tries: Tries) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts(access))
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        .retry_config(match tries {
            Tries::Once => RetryConfig::disabled(),
            Tries::Several(tries) => RetryConfig::standard().with_max_attempts(tries),
        });
    let named = aws::variable("AWS_REGION").or_else(|| aws::variable("AWS_DEFAULT_REGION"));
    let loader = if access.address().is_some() {
        let configured = aws_config::profile::ProfileFileRegionProvider::new();
        let region = RegionProviderChain::first_try(named.map(Region::new))
            .or_else(configured)
            .or_else(Region::new(REGION_WITHOUT_AWS));
        loader.region(region)
    } else {
        loader
    };
    loader.load().await
}

fn timeouts(access: &Access) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // Until an answer begins, and that is after the object was sent.
        .read_timeout(access.call_timeout)
        .operation_attempt_timeout(access.call_timeout)
        .operation_timeout(access.call_timeout.saturating_mul(4))
        .build()
}
