//! Before anything is served: each key is looked up, its public key fetched, and a probe signed with it and verified. What is wrong with it is said
//! with its name, what it is, and the permission that is missing.

use super::client::KmsClient;
use super::failure::{Kind, KmsFailure};
use super::{HeldKey, KMS_KEYS_MAX, KmsKey, KmsKeysError, KmsSignerOptions};
use crate::ledger::key::{Alg, PublicKey};
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType};

/// What is signed to see that it can be. Its first line is no origin, so it is no checkpoint, and no proof of a key.
const PROBE: &str = "ledgerline probe of a signing key v1\n";

pub(super) async fn open_keys(
    client: &KmsClient,
    options: &KmsSignerOptions,
) -> Result<Vec<KmsKey>, KmsKeysError> {
    if !(1..=KMS_KEYS_MAX).contains(&options.keys.len()) {
        return Err(refused(format!("1 to {KMS_KEYS_MAX} keys in KMS can be given")));
    }
    let mut keys: Vec<KmsKey> = Vec::with_capacity(options.keys.len());
    for name in &options.keys {
        let key = open_key(client, name, options.retired.contains(name)).await?;
        if let Some(other) = keys
            .iter()
            .find(|other| other.held.key.is_same_key(&key.held.key))
        {
            return Err(refused(format!(
                "the KMS key {} was given twice, as {name} too",
                other.arn
            )));
        }
        keys.push(key);
    }
    name_newest(&mut keys, options.issuer_kid.as_deref())?;
    Ok(keys)
}

/// `ISSUER_KID` is the kid of the newest RSA key.
fn name_newest(keys: &mut [KmsKey], kid: Option<&str>) -> Result<(), KmsKeysError> {
    let Some(kid) = kid else { return Ok(()) };
    match keys.iter_mut().rfind(|key| key.held.key.alg == Alg::Ps256) {
        Some(newest) => kid.clone_into(&mut newest.held.key.kid),
        None => {
            return Err(refused(format!(
                "the kid {kid} is for an RSA key, and none of the KMS keys is one"
            )));
        }
    }
    let named = keys.iter().filter(|key| key.held.key.kid == kid).count();
    if named == 1 {
        return Ok(());
    }
    Err(refused(format!("the kid {kid} is the thumbprint of another key")))
}

async fn open_key(client: &KmsClient, name: &str, retired: bool) -> Result<KmsKey, KmsKeysError> {
    let described = client.describe(name).await;
    let metadata = described.map_err(|failure| cannot("kms:DescribeKey", name, client, &failure))?;
    let arn = metadata.arn.clone().unwrap_or_default();
    let alg = check(&metadata, &arn, retired)?;
    let fetched = client.public_key(&arn).await;
    let (answered, spki) = fetched.map_err(|failure| cannot("kms:GetPublicKey", &arn, client, &failure))?;
    if answered != arn {
        return Err(refused(format!(
            "asked for the public key of {arn}, KMS answered with that of {answered}"
        )));
    }
    let key = public_key(alg, spki, &arn)?;
    let verifier = key.verifier().map_err(|error| {
        refused(format!(
            "the public key of the KMS key {arn} cannot be used: {error}"
        ))
    })?;
    let key = KmsKey {
        held: HeldKey { key, retired },
        arn,
        verifier,
    };
    if !retired {
        probe(client, &key).await?;
    }
    Ok(key)
}

/// What the key signs with, where it can sign.
fn check(metadata: &KeyMetadata, arn: &str, retired: bool) -> Result<Alg, KmsKeysError> {
    let usage = metadata.key_usage.as_ref().map_or("", KeyUsageType::as_str);
    if usage != KeyUsageType::SignVerify.as_str() {
        return Err(refused(format!(
            "the KMS key {arn} is for {usage}, and SIGN_VERIFY is needed: the usage of a key is fixed when it is made, so give another key"
        )));
    }
    let spec = metadata.key_spec.as_ref().map_or("", KeySpec::as_str);
    let alg = match metadata.key_spec {
        Some(KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096) => Alg::Ps256,
        Some(KeySpec::EccNistEdwards25519) => Alg::Ed25519,
        _ => {
            return Err(refused(format!(
                "the KMS key {arn} is of the spec {spec}, and RSA_2048, RSA_3072, RSA_4096 or ECC_NIST_EDWARDS25519 is needed: give another key"
            )));
        }
    };
    let state = metadata.key_state.as_ref().map_or("", KeyState::as_str);
    if state == KeyState::Enabled.as_str() || retired {
        return Ok(alg);
    }
    Err(refused(format!(
        "the KMS key {arn} is {state}, and Enabled is needed: enable it (kms:EnableKey), cancel its deletion (kms:CancelKeyDeletion), or give another key"
    )))
}

/// Under its thumbprint.
fn public_key(alg: Alg, spki: Vec<u8>, arn: &str) -> Result<PublicKey, KmsKeysError> {
    let kid = String::new();
    let mut key = PublicKey { alg, kid, spki };
    key.check_spki().map_err(|error| {
        refused(format!(
            "the public key that KMS gives for {arn} is none of its kind: {error}"
        ))
    })?;
    key.kid = key.thumbprint().unwrap_or_default();
    Ok(key)
}

async fn probe(client: &KmsClient, key: &KmsKey) -> Result<(), KmsKeysError> {
    let arn = &key.arn;
    let answer = client.sign(arn, key.held.key.alg, PROBE.as_bytes()).await;
    let (answered, signature) = answer.map_err(|failure| cannot("kms:Sign", arn, client, &failure))?;
    if answered == *arn && key.verifier.verify(PROBE.as_bytes(), &signature) {
        return Ok(());
    }
    Err(refused(format!(
        "a signature that KMS made with {arn} is not verified by the public key that it gives for it: see what stands between this service and KMS"
    )))
}

fn refused(what: String) -> KmsKeysError {
    KmsKeysError::Refused(what)
}

fn cannot(permission: &str, key: &str, client: &KmsClient, failure: &KmsFailure) -> KmsKeysError {
    let (detail, region) = (&failure.detail, client.region());
    let what = match failure.kind {
        Kind::Missing => format!(
            "KMS has no key {key} in {region} ({detail}): see the key's name, AWS_REGION, and the account of the credentials"
        ),
        Kind::Denied => format!(
            "KMS refuses {permission} on the key {key} ({detail}): allow it to this identity, by IAM policy and key policy"
        ),
        Kind::Disabled => format!(
            "the KMS key {key} cannot be used for {permission} ({detail}): enable it, or give another key"
        ),
        Kind::Unfit => format!("KMS does not do {permission} with the key {key}: {detail}"),
        Kind::Throttled | Kind::Unreachable => {
            return KmsKeysError::Unreachable(format!(
                "KMS in {region} cannot be asked for {permission} on the key {key}: {detail}"
            ));
        }
    };
    refused(what)
}
