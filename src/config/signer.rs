//! Which keys sign: in a directory, in single files, in KMS, or in KMS and one of the others.

use super::{LocalKeys, Reader, SignerConfig};
use std::path::PathBuf;

const LOCAL: &str = "local";
const AWS_KMS: &str = "aws_kms";
/// What KMS takes: a key id or an alias has at most 256 characters, an ARN about 100 more.
const KEY_NAME_CHARS_MAX: usize = 2048;

/// Keys in KMS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KmsConfig {
    /// Ids, aliases or ARNs, in order of age.
    pub keys: Vec<String>,
    /// Those of them that are to sign no more.
    pub retired: Vec<String>,
    pub region: Option<String>,
    /// The setting that named the keys: flag and variable.
    pub named_by: (&'static str, &'static str),
}

const ID: (&str, &str) = ("signing-key-id", "SIGNING_KEY_ID");
const ARN: (&str, &str) = ("kms-key-arn", "KMS_KEY_ARN");
const RETIRED: (&str, &str) = ("signing-key-retired", "SIGNING_KEY_RETIRED");

impl Reader<'_> {
    pub(super) fn signer(&mut self) -> SignerConfig {
        let s = self.settings;
        match s.signing_key_provider.as_deref() {
            Some(AWS_KMS) => return SignerConfig::Kms(self.kms(), self.beside_kms()),
            Some(LOCAL) | None => {}
            Some(_) => self.fault(
                "signing-key-provider",
                "SIGNING_KEY_PROVIDER",
                "must be `local` or `aws_kms`",
            ),
        }
        for ((key, variable), given) in [
            (ID, &s.signing_key_id),
            (ARN, &s.kms_key_arn),
            (RETIRED, &s.signing_key_retired),
        ] {
            if given.is_some() {
                self.fault(key, variable, "is read only with SIGNING_KEY_PROVIDER=aws_kms");
            }
        }
        SignerConfig::Local(self.local_keys())
    }

    fn local_keys(&mut self) -> LocalKeys {
        let s = self.settings;
        let none = LocalKeys::PemFiles(Vec::new());
        let (key, variable, what) = match (
            s.signer.as_deref(),
            s.signing_key_provider.as_deref(),
            s.signing_key_path.as_deref(),
        ) {
            (None, Some(LOCAL), Some(paths)) => return pem_files(paths),
            (url, None, None) => return self.directory(url),
            // Said already.
            (_, Some(provider), _) if provider != LOCAL => return none,
            (None, Some(_), _) => (
                "signing-key-path",
                "SIGNING_KEY_PATH",
                "is required with SIGNING_KEY_PROVIDER=local: the PEM file of the key",
            ),
            (Some(_), Some(_), _) => (
                "signer",
                "LEDGERLINE_SIGNER",
                "cannot be given together with SIGNING_KEY_PROVIDER: give one of them",
            ),
            (_, None, Some(_)) => (
                "signing-key-path",
                "SIGNING_KEY_PATH",
                "is read only with SIGNING_KEY_PROVIDER=local or aws_kms",
            ),
        };
        self.fault(key, variable, what);
        none
    }

    fn directory(&mut self, url: Option<&str>) -> LocalKeys {
        LocalKeys::Directory(self.url("signer", "LEDGERLINE_SIGNER", url, "file:", "file:keys"))
    }

    /// Keys of this machine that sign beside those in KMS: Ed25519, where KMS has none, and what a ledger began with.
    fn beside_kms(&mut self) -> Option<LocalKeys> {
        let s = self.settings;
        match (s.signer.as_deref(), s.signing_key_path.as_deref()) {
            (None, None) => None,
            (None, Some(paths)) => Some(pem_files(paths)),
            (url @ Some(_), None) => Some(self.directory(url)),
            (Some(_), Some(_)) => {
                self.fault(
                    "signer",
                    "LEDGERLINE_SIGNER",
                    "cannot be given together with SIGNING_KEY_PATH: give one of them for the keys beside those in KMS",
                );
                None
            }
        }
    }

    fn kms(&mut self) -> KmsConfig {
        let s = self.settings;
        let (named_by, text) = match (s.signing_key_id.as_deref(), s.kms_key_arn.as_deref()) {
            (Some(keys), None) => (ID, keys),
            (None, Some(keys)) => (ARN, keys),
            (Some(_), Some(_)) => {
                self.fault(
                    ARN.0,
                    ARN.1,
                    "cannot be given together with SIGNING_KEY_ID: give one of them",
                );
                return KmsConfig::default();
            }
            (None, None) => {
                self.fault(
                    ID.0,
                    ID.1,
                    "is required with SIGNING_KEY_PROVIDER=aws_kms: id or ARN of the key in KMS; or give KMS_KEY_ARN",
                );
                return KmsConfig::default();
            }
        };
        let keys = names(text);
        if !keys.iter().all(|key| is_key_name(key))
            || (named_by == ARN && keys.iter().any(|key| region_of(key).is_none()))
        {
            let what = if named_by == ARN {
                "must be ARNs as arn:aws:kms:REGION:ACCOUNT:key/ID, separated by commas"
            } else {
                "must be ids, aliases (alias/NAME) or ARNs of keys in KMS, separated by commas"
            };
            self.fault(named_by.0, named_by.1, what);
        }
        let region = self.region(&keys, named_by);
        let retired = self.retired(&keys);
        KmsConfig {
            keys,
            retired,
            region,
            named_by,
        }
    }

    fn retired(&mut self, keys: &[String]) -> Vec<String> {
        let retired = self
            .settings
            .signing_key_retired
            .as_deref()
            .map(names)
            .unwrap_or_default();
        if retired.iter().any(|key| !keys.contains(key)) {
            self.fault(
                RETIRED.0,
                RETIRED.1,
                "must name keys of SIGNING_KEY_ID or KMS_KEY_ARN, spelled as there",
            );
        } else if !keys.is_empty() && keys.iter().all(|key| retired.contains(key)) {
            self.fault(RETIRED.0, RETIRED.1, "must leave a key that signs");
        }
        retired
    }

    /// One region for all: what is asked for in another is not found there.
    fn region(&mut self, keys: &[String], named_by: (&'static str, &'static str)) -> Option<String> {
        let given = self
            .settings
            .aws_region
            .as_deref()
            .filter(|region| !region.is_empty());
        let mut of_arns = keys.iter().filter_map(|key| region_of(key));
        let region = given.or_else(|| of_arns.next()).map(str::to_owned)?;
        if let Some(other) = keys
            .iter()
            .filter_map(|key| region_of(key))
            .find(|other| *other != region)
        {
            let what = format!(
                "names a key in {other}, and the region is {region} (AWS_REGION, or that of another key): all keys are in one region"
            );
            self.fault(named_by.0, named_by.1, what);
        }
        Some(region)
    }
}

fn pem_files(paths: &str) -> LocalKeys {
    LocalKeys::PemFiles(paths.split(',').map(PathBuf::from).collect())
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).collect()
}

fn is_key_name(name: &str) -> bool {
    (1..=KEY_NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b))
}

/// The region that an ARN of KMS names; `None` of what is none.
fn region_of(key: &str) -> Option<&str> {
    let mut parts = key.splitn(6, ':');
    let (arn, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, _account, _key) = (parts.next()?, parts.next()?, parts.next()?);
    (arn == "arn" && service == "kms" && !region.is_empty()).then_some(region)
}
