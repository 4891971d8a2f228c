//! The signer that the configuration names.

use super::misfit;
use crate::config::{Config, Fault, KmsConfig, LocalKeys, SignerConfig};
use crate::ledger::key::Alg;
use crate::signing::Signer;
use crate::signing::joined::JoinedSigner;
use crate::signing::kms::{KmsKeysError, KmsSigner, KmsSignerOptions, aws_config};
use crate::signing::local::{LocalKeysError, LocalSigner, LocalSignerOptions};
use crate::stages::StageError;
use std::sync::Arc;

pub(super) async fn open_signer(config: &Config) -> Result<Arc<dyn Signer>, StageError> {
    match &config.signer {
        SignerConfig::Local(keys) => Ok(Arc::new(open_local(
            config,
            keys,
            config.issuer_kid.as_deref(),
            false,
        )?)),
        SignerConfig::Kms(kms, beside) => open_kms(config, kms, beside.as_ref()).await,
    }
}

async fn open_kms(
    config: &Config,
    kms: &KmsConfig,
    beside: Option<&LocalKeys>,
) -> Result<Arc<dyn Signer>, StageError> {
    let options = KmsSignerOptions {
        keys: kms.keys.clone(),
        retired: kms.retired.clone(),
        issuer_kid: config.issuer_kid.clone(),
    };
    let aws = aws_config(kms.region.as_deref()).await;
    let in_kms = KmsSigner::open(&aws, &options)
        .await
        .map_err(|error| kms_error(kms, &error))?;
    for held in in_kms.keys() {
        let (kid, alg) = (held.key.kid.as_str(), held.key.alg.as_str());
        tracing::info!(kid, alg, retired = held.retired, "a key in KMS");
    }
    // KMS last: its keys are the newer ones, and sign.
    let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
    if let Some(keys) = beside {
        signers.push(Arc::new(open_local(config, keys, None, true)?));
    }
    signers.push(Arc::new(in_kms));
    let signer = JoinedSigner::new(signers).map_err(|what| fatal("signing keys", &what, None))?;
    let active = |held: &crate::signing::HeldKey| held.key.alg == Alg::Ed25519 && !held.retired;
    if !signer.keys().iter().any(active) {
        tracing::warn!(
            "checkpoints of a new ledger will have a PS256 signature alone: for an Ed25519 one beside it, which C2SP tools want, give a KMS key of the \
             spec ECC_NIST_EDWARDS25519, or LEDGERLINE_SIGNER or SIGNING_KEY_PATH"
        );
    }
    Ok(Arc::new(signer))
}

fn kms_error(kms: &KmsConfig, error: &KmsKeysError) -> StageError {
    let what = error.to_string();
    let fault = match error {
        KmsKeysError::Refused(_) => Some(misfit(kms.named_by.0, kms.named_by.1, what.clone())),
        KmsKeysError::Unreachable(_) => None,
    };
    fatal("signing keys", &what, fault)
}

fn open_local(
    config: &Config,
    keys: &LocalKeys,
    issuer_kid: Option<&str>,
    ed25519_only: bool,
) -> Result<LocalSigner, StageError> {
    let opened = match keys {
        LocalKeys::Directory(dir) => LocalSigner::open_or_create(
            dir,
            &LocalSignerOptions {
                issuer_kid: issuer_kid.map(str::to_owned),
                rsa_bits: config.rsa_bits,
                ed25519_only,
            },
        ),
        LocalKeys::PemFiles(paths) => LocalSigner::from_pem_files(paths, issuer_kid),
    };
    opened.map_err(|error| {
        let fault = setting_at_fault(keys, issuer_kid, &error);
        fatal("signing keys", &error.to_string(), fault)
    })
}

/// The setting that led to keys which cannot be used; `None` where it is not the settings' fault.
fn setting_at_fault(keys: &LocalKeys, issuer_kid: Option<&str>, error: &LocalKeysError) -> Option<Fault> {
    let (key, variable) = match (error, keys) {
        (LocalKeysError::Io { .. } | LocalKeysError::Crypto, _) => return None,
        (LocalKeysError::Refused(_), _) if issuer_kid.is_some() => ("issuer-kid", "ISSUER_KID"),
        (_, LocalKeys::Directory(_)) => ("signer", "LEDGERLINE_SIGNER"),
        (_, LocalKeys::PemFiles(_)) => ("signing-key-path", "SIGNING_KEY_PATH"),
    };
    Some(misfit(key, variable, error.to_string()))
}

fn fatal(of: &str, what: &str, fault: Option<Fault>) -> StageError {
    StageError::Fatal {
        what: format!("{of}: {what}"),
        source: fault.map(Into::into),
    }
}
