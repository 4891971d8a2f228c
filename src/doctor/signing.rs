//! The signing keys: whether they sign, and whether they are the ones that verifiers know.

use super::Findings;
use super::catalog;
use crate::clock::SystemClock;
use crate::config::archive::ArchiveConfig;
use crate::config::{Config, KmsConfig, LocalKeys, SignerConfig};
use crate::ledger::jwks;
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::verify::ArchiveSource as _;
use crate::log::BoxError;
use crate::signing::kms::{KmsKeysError, KmsSigner, KmsSignerOptions, SdkConfig, aws_config, sdk_client};
use crate::signing::local::LocalSigner;
use crate::signing::{HeldKey, Signer};
use crate::vault::Vault as _;
use crate::vault::s3::{S3Config, S3Vault};
use crate::vault::source::DirectorySource;
use aws_sdk_kms::types::{KeySpec, KeyState, KeyUsageType};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Its first line is no origin, so it is no checkpoint.
const PROBE: &[u8] = b"ledgerline doctor\n";

pub(super) async fn examine(config: &Config, published: Option<&[PublicKey]>, findings: &mut Findings) {
    let Some(keys) = signing_keys(config, findings).await else {
        let what = "not tried: see `signing-key`";
        return findings.unknown(&catalog::DECLARED_KEY, what, Vec::new());
    };
    let archived = match archived_keys(&config.archive).await {
        Ok(archived) => archived,
        Err(error) => {
            let what = format!("the archive's key set cannot be read: {error}");
            return findings.unknown(&catalog::DECLARED_KEY, what, Vec::new());
        }
    };
    declared(&keys, published, archived.as_ref(), findings);
}

/// The keys that `run` would have; none where it would make them. `None`: that was told as a fault.
async fn signing_keys(config: &Config, findings: &mut Findings) -> Option<Vec<HeldKey>> {
    let check = &catalog::SIGNING_KEY;
    let (kms, local) = match &config.signer {
        SignerConfig::Local(local) => (None, Some(local)),
        SignerConfig::Kms(kms, local) => (Some(kms), local.as_ref()),
    };
    let (mut keys, mut said) = (Vec::new(), Vec::new());
    if let Some(local) = local {
        // The kid of a key in KMS is not that of one beside it.
        let kid = config.issuer_kid.as_deref().filter(|_| kms.is_none());
        match local_keys(local, kid).await {
            Ok(Some(held)) => {
                said.push(format!("{} of this machine", counted(held.len())));
                keys.extend(held);
            }
            Ok(None) => said.push("the first start makes keys of this machine".to_owned()),
            Err(what) => {
                let mend = vec!["see --signer (or LEDGERLINE_SIGNER), SIGNING_KEY_PATH and ISSUER_KID: ledgerline keys list".to_owned()];
                findings.fault(check, what, mend);
                return None;
            }
        }
    }
    if let Some(kms) = kms {
        let aws = aws_config(kms.region.as_deref()).await;
        let options = KmsSignerOptions {
            keys: kms.keys.clone(),
            retired: kms.retired.clone(),
            issuer_kid: config.issuer_kid.clone(),
        };
        match KmsSigner::open(&aws, &options).await {
            Ok(signer) => {
                let held = signer.keys();
                said.push(format!("{} in KMS", counted(held.len())));
                keys.extend(held);
            }
            Err(error) => {
                let mend = mend(kms, &aws, &error).await;
                findings.fault(check, error.to_string(), mend);
                return None;
            }
        }
    }
    let what = said.join(", ");
    if keys.is_empty() {
        findings.not_applicable(check, what);
    } else {
        findings.good(check, format!("{what}: each signs what its public key verifies"));
    }
    Some(keys)
}

fn counted(keys: usize) -> String {
    if keys == 1 {
        "1 key".to_owned()
    } else {
        format!("{keys} keys")
    }
}

/// `None`: a directory that is not there yet.
async fn local_keys(keys: &LocalKeys, kid: Option<&str>) -> Result<Option<Vec<HeldKey>>, String> {
    let signer = match keys {
        LocalKeys::Directory(dir) if is_to_be_made(dir) => return Ok(None),
        LocalKeys::Directory(dir) => LocalSigner::open(dir),
        LocalKeys::PemFiles(paths) => LocalSigner::from_pem_files(paths, kid),
    };
    let signer = signer.map_err(|error| error.to_string())?;
    for held in signer.keys() {
        let signature = signer.sign(&held.key.kid, PROBE).await;
        let signature = signature.map_err(|error| error.to_string())?;
        if !held.key.verify(PROBE, &signature) {
            return Err(format!(
                "the key {} signs what its public half does not verify",
                held.key.kid
            ));
        }
    }
    Ok(Some(signer.keys()))
}

/// `run` makes keys where there is no directory, or nothing in it.
fn is_to_be_made(dir: &Path) -> bool {
    !dir.exists() || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// By what KMS says of each key; where it says nothing, by permission.
async fn mend(kms: &KmsConfig, aws: &SdkConfig, error: &KmsKeysError) -> Vec<String> {
    if let KmsKeysError::Unreachable(_) = error {
        return vec!["aws sts get-caller-identity; see the network, AWS_REGION, AWS_ENDPOINT_URL_KMS, and where the credentials come from".to_owned()];
    }
    let client = sdk_client(aws);
    let mut commands = Vec::new();
    for key in &kms.keys {
        let described = Box::pin(client.describe_key().key_id(key).send()).await;
        let Some(found) = described.ok().and_then(|answer| answer.key_metadata) else {
            commands.push(format!("aws kms describe-key --key-id {key}"));
            commands.push(format!(
                "allow kms:DescribeKey, kms:GetPublicKey and kms:Sign on {key} to these credentials, as deploy/aws/keys.tf and iam.tf do"
            ));
            continue;
        };
        let is_ours = matches!(
            found.key_spec,
            Some(KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 | KeySpec::EccNistEdwards25519)
        );
        if found.key_usage != Some(KeyUsageType::SignVerify) || !is_ours {
            commands.push("aws kms create-key --key-spec RSA_3072 --key-usage SIGN_VERIFY --description \"ledgerline checkpoints\"".to_owned());
            commands.push(format!(
                "give the new key's ARN in the place of {key} ({})",
                kms.named_by.1
            ));
        }
        match found.key_state {
            Some(KeyState::Disabled) => commands.push(format!("aws kms enable-key --key-id {key}")),
            Some(KeyState::PendingDeletion) => {
                commands.push(format!("aws kms cancel-key-deletion --key-id {key}"));
                commands.push(format!("aws kms enable-key --key-id {key}"));
            }
            Some(_) | None => {}
        }
    }
    if commands.is_empty() {
        commands.push("allow kms:DescribeKey, kms:GetPublicKey and kms:Sign to these credentials, as deploy/aws/keys.tf and iam.tf do".to_owned());
    }
    commands
}

/// A key set, and where it was found.
type Found = (String, Vec<PublicKey>);

/// The newest key set of the archive; `None` where there is none yet.
async fn archived_keys(archive: &ArchiveConfig) -> Result<Option<Found>, BoxError> {
    let found = match archive {
        ArchiveConfig::S3(config) => in_bucket(config).await?,
        ArchiveConfig::Directory(path) => in_directory(path)?,
    };
    match found {
        Some((name, bytes)) => Ok(Some((name, jwks::parse(&bytes)?))),
        None => Ok(None),
    }
}

async fn in_bucket(config: &S3Config) -> Result<Option<(String, Vec<u8>)>, BoxError> {
    let vault = S3Vault::open(config.clone(), Arc::new(SystemClock)).await;
    let Some(name) = newest(vault.list("keys/").await?) else {
        return Ok(None);
    };
    Ok(vault.get(&name).await?.map(|bytes| (name, bytes)))
}

fn in_directory(path: &Path) -> Result<Option<(String, Vec<u8>)>, BoxError> {
    if !path.exists() {
        return Ok(None);
    }
    let source = DirectorySource::open(path)?;
    let names: Vec<String> = source.list("keys/")?.collect::<Result<_, _>>()?;
    let Some(name) = newest(names) else {
        return Ok(None);
    };
    let Some(object) = source.read(&name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    object
        .take(jwks::JWKS_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(Some((name, bytes)))
}

/// The set with the most keys: each holds all of those before it.
fn newest(names: Vec<String>) -> Option<String> {
    let keys = |name: &str| -> Option<u64> {
        name.strip_prefix("keys/jwks-")?
            .strip_suffix(".json")?
            .parse()
            .ok()
    };
    let numbered = names.into_iter().filter_map(|name| Some((keys(&name)?, name)));
    numbered.max().map(|(_, name)| name)
}

fn declared(
    held: &[HeldKey],
    published: Option<&[PublicKey]>,
    archived: Option<&Found>,
    findings: &mut Findings,
) {
    let check = &catalog::DECLARED_KEY;
    let mut sets: Vec<(&str, &[PublicKey])> = Vec::new();
    sets.extend(published.map(|keys| ("the set of --jwks", keys)));
    sets.extend(archived.map(|(name, keys)| (name.as_str(), keys.as_slice())));
    if sets.is_empty() {
        let what = "no key set yet: the archive has none, and --jwks gives none";
        return findings.not_applicable(check, what);
    }
    let signing: Vec<&PublicKey> = [Alg::Ps256, Alg::Ed25519]
        .into_iter()
        .filter_map(|alg| held.iter().rfind(|held| held.key.alg == alg && !held.retired))
        .map(|held| &held.key)
        .collect();
    for (set, keys) in &sets {
        let unknown: Vec<String> = signing
            .iter()
            .filter(|key| !keys.iter().any(|known| known.is_same_key(key)))
            .map(|key| format!("{} ({})", key.kid, key.alg.as_str()))
            .collect();
        if !unknown.is_empty() || signing.is_empty() {
            let what = if signing.is_empty() {
                format!("the first start makes new keys, which are not in {set}")
            } else {
                format!("{} would sign and is not in {set}", unknown.join(", "))
            };
            let mend = vec![
                "a wrong key: give the one of the ledger (SIGNING_KEY_ID, KMS_KEY_ARN, SIGNING_KEY_PATH or LEDGERLINE_SIGNER)".to_owned(),
                "a new key on purpose: publish it to who verifies (docs/KEYS.md, Rotation), then ledgerline doctor --accept declared-key".to_owned(),
            ];
            return findings.fault(check, what, mend);
        }
    }
    let names: Vec<&str> = sets.iter().map(|(set, _)| *set).collect();
    findings.good(check, format!("what signs is in {}", names.join(" and in ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;
    use std::net::TcpListener;
    use std::time::Duration;

    /// It takes the call and says nothing: what is told of the keys is told all the same.
    #[tokio::test]
    async fn a_kms_that_falls_silent_is_not_waited_for_without_end() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let aws = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(format!("http://{}", silent.local_addr().unwrap()))
            .credentials_provider(Credentials::new("a", "b", None, None, "tests"))
            .region(Region::new("eu-central-1"))
            .load()
            .await;
        let kms = KmsConfig {
            keys: vec!["alias/audit".to_owned()],
            retired: Vec::new(),
            region: None,
            named_by: ("SIGNING_KEY_ID", "SIGNING_KEY_ID"),
        };
        let refused = KmsKeysError::Refused("denied".to_owned());
        let guard = Duration::from_mins(2);
        let commands = tokio::time::timeout(guard, mend(&kms, &aws, &refused)).await;
        assert_eq!(
            commands.unwrap().first().map(String::as_str),
            Some("aws kms describe-key --key-id alias/audit")
        );
    }

    #[test]
    fn the_newest_set_is_the_one_with_the_most_keys() {
        let names = [
            "keys/jwks-2.json",
            "keys/jwks-10.json",
            "keys/other",
            "keys/jwks-x.json",
        ];
        let found = newest(names.map(str::to_owned).to_vec());
        assert_eq!(found.as_deref(), Some("keys/jwks-10.json"));
        assert_eq!(newest(Vec::new()), None);
    }
}
