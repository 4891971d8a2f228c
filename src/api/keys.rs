//! The keys of callers. Only their digests are held: a key itself is nowhere but in a caller's request.

use super::caller::{Scope, Scopes};
use super::network::Allowlist;
use super::rate::{KeyLimits, Rates, RatesForm};
use crate::ledger::Digest;
use crate::ledger::names;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A file of keys is no larger.
pub const FILE_BYTES_MAX: usize = 4 << 20;
const KEYS_MAX: usize = 10_000;
/// A longer key is none.
const KEY_BYTES_MAX: usize = 512;
/// The shortest admin key.
pub const ADMIN_KEY_BYTES_MIN: usize = 16;
const ADMIN_ID: &str = "admin";

/// Who holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The name of the key: no secret.
    pub id: Arc<str>,
    /// `None`: the key is no tenant's, and each request names one where it is about one.
    pub tenant: Option<Arc<str>>,
    pub scopes: Scopes,
    /// The key's own and its tenant's: it may be used from where each of them lets it; without any, from everywhere.
    pub networks: Vec<Arc<Allowlist>>,
    pub limits: Arc<KeyLimits>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    sha256: Digest,
    holder: Arc<Holder>,
}

/// All keys of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    key: Vec<KeyForm>,
    #[serde(default)]
    tenant: Vec<TenantForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    id: String,
    tenant: Option<String>,
    scopes: Vec<Scope>,
    sha256: String,
    networks: Option<toml::Value>,
    #[serde(default)]
    limits: RatesForm,
}

/// What holds for every key of a tenant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantForm {
    id: String,
    networks: Option<toml::Value>,
}

impl Keys {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form: FileForm = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if form.key.is_empty() || form.key.len() > KEYS_MAX {
            return Err(format!("must have 1 to {KEYS_MAX} tables [[key]]"));
        }
        let (mut ids, mut digests) = (BTreeSet::from([ADMIN_ID.to_owned()]), BTreeSet::new());
        let mut keys = Vec::with_capacity(form.key.len());
        for (nth, form) in form.key.into_iter().enumerate() {
            let key = Key::read(form).map_err(|what| format!("key {}: {what}", nth + 1))?;
            if !ids.insert(key.holder.id.to_string()) || !digests.insert(key.sha256) {
                return Err(format!(
                    "key {}: its id or its sha256 is taken; `{ADMIN_ID}` always is",
                    nth + 1
                ));
            }
            keys.push(key);
        }
        bind_tenants(&mut keys, form.tenant)?;
        Ok(Self(keys))
    }

    /// With the key that may do everything, for every tenant.
    #[must_use]
    pub fn with_admin(mut self, secret: &str) -> Self {
        self.0.push(Key {
            sha256: Sha256::digest(secret).into(),
            holder: Arc::new(Holder {
                id: ADMIN_ID.into(),
                tenant: None,
                scopes: Scopes::all(),
                networks: Vec::new(),
                limits: Arc::new(KeyLimits::new(ADMIN_ID, None, Rates::default())),
            }),
        });
        self
    }

    /// Who holds the key that was presented. Takes as long for a key that is none as for one that is.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<Arc<Holder>> {
        let is_too_long = presented.len() > KEY_BYTES_MAX;
        let digest: Digest = Sha256::digest(&presented[..presented.len().min(KEY_BYTES_MAX)]).into();
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.sha256, &digest).is_ok() {
                found = Some(&key.holder);
            }
        }
        found.filter(|_| !is_too_long).map(Arc::clone)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says which keys are used from nowhere, or from everywhere, since an allowlist cannot be read.
    pub fn warn_of_allowlists(&self, fails_open: bool) {
        let what = if fails_open {
            "an allowlist cannot be read: the key is taken from everywhere"
        } else {
            "an allowlist cannot be read: the key is taken from nowhere"
        };
        for Key { holder, .. } in &self.0 {
            for list in &holder.networks {
                match list.as_ref() {
                    Allowlist::Only(_) => {}
                    Allowlist::Unreadable(why) => tracing::error!(key = %holder.id, why, "{what}"),
                }
            }
        }
    }
}

/// Whether a key of a tenant, or of none, may have these scopes.
///
/// # Errors
/// What is wrong.
pub fn check_scopes(is_tenants: bool, scopes: Scopes) -> Result<(), String> {
    match (is_tenants, scopes.has(Scope::Auditor)) {
        (true, true) => {
            Err("an auditor sees every tenant: leave out tenant, or the scope auditor".to_owned())
        }
        (false, false) => Err("tenant is required without the scope auditor".to_owned()),
        (true, false) if scopes == Scopes::default() => {
            Err(format!("scopes must have one of {}", Scope::names()))
        }
        (true, false) | (false, true) => Ok(()),
    }
}

fn read_networks(value: &toml::Value) -> Arc<Allowlist> {
    Arc::new(Allowlist::read(value))
}

/// Binds the keys of tenants to what is said of their tenants.
fn bind_tenants(keys: &mut [Key], tenants: Vec<TenantForm>) -> Result<(), String> {
    let mut by_id = BTreeMap::new();
    for TenantForm { id, networks } in tenants {
        // A slip of the pen here would leave a tenant without his allowlist.
        if !keys
            .iter()
            .any(|key| key.holder.tenant.as_deref() == Some(id.as_str()))
        {
            return Err(format!("tenant {id:?}: no key is this tenant's"));
        }
        if by_id
            .insert(id.clone(), networks.as_ref().map(read_networks))
            .is_some()
        {
            return Err(format!("tenant {id:?} is there twice"));
        }
    }
    for Key { holder, .. } in keys {
        let of_tenant = holder.tenant.as_deref().and_then(|tenant| by_id.get(tenant));
        let networks = of_tenant.cloned().flatten();
        Arc::make_mut(holder).networks.extend(networks);
    }
    Ok(())
}

impl Key {
    fn read(form: KeyForm) -> Result<Self, String> {
        if !names::is_kid(&form.id) {
            return Err("id must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -".to_owned());
        }
        if form
            .tenant
            .as_deref()
            .is_some_and(|tenant| !names::is_tenant(tenant))
        {
            return Err(format!("tenant must be {}", names::TENANT_FORM));
        }
        let scopes = Scopes::of(&form.scopes);
        check_scopes(form.tenant.is_some(), scopes)?;
        let sha256 = HEXLOWER
            .decode(form.sha256.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("sha256 must be the SHA-256 of the key as 64 digits 0-9 a-f")?;
        let rates = form.limits.read()?;
        let limits = KeyLimits::new(&form.id, form.tenant.as_deref(), rates);
        Ok(Self {
            sha256,
            holder: Arc::new(Holder {
                id: form.id.into(),
                tenant: form.tenant.map(Into::into),
                scopes,
                networks: form.networks.as_ref().map(read_networks).into_iter().collect(),
                limits: Arc::new(limits),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tenant: &str, scopes: &str) -> String {
        let sha256 = HEXLOWER.encode(&Sha256::digest("a-key-of-acme"));
        format!("[[key]]\nid = \"k1\"\n{tenant}\nscopes = [{scopes}]\nsha256 = \"{sha256}\"\n")
    }

    #[test]
    fn a_key_is_found_by_its_digest_and_by_nothing_else() {
        let keys = Keys::parse(&file("tenant = \"acme\"", "\"write\", \"read\"")).unwrap();
        let keys = keys.with_admin("admin-key-of-the-test");
        let holder = keys.find(b"a-key-of-acme").unwrap();
        assert_eq!((&*holder.id, holder.tenant.as_deref()), ("k1", Some("acme")));
        assert!(holder.scopes.has(Scope::Write) && !holder.scopes.has(Scope::Auditor));
        assert_eq!(&*keys.find(b"admin-key-of-the-test").unwrap().id, "admin");
        let long = vec![b'a'; KEY_BYTES_MAX + 1];
        for wrong in [&b""[..], b"a-key-of-acm", b"a-key-of-acme ", &long] {
            assert_eq!(keys.find(wrong), None);
        }
        assert!(!format!("{keys:?}").contains("admin-key-of"));
    }

    #[test]
    fn a_tenant_s_networks_bind_each_of_its_keys_beside_their_own() {
        let sha256 = |key: &str| HEXLOWER.encode(&Sha256::digest(key));
        let key = |id: &str, tenant: &str, more: &str| {
            format!(
                "[[key]]\nid = \"{id}\"\ntenant = \"{tenant}\"\nscopes = [\"read\"]\nsha256 = \"{}\"\n{more}\n",
                sha256(id)
            )
        };
        let text = [
            key("k1", "acme", "networks = [\"10.1.0.0/16\"]"),
            key("k2", "acme", ""),
            key("k3", "globex", "networks = 7"),
            "[[tenant]]\nid = \"acme\"\nnetworks = [\"10.0.0.0/8\"]\n".to_owned(),
        ]
        .concat();
        let keys = Keys::parse(&text).unwrap();
        let lists = |key: &[u8]| keys.find(key).unwrap().networks.len();
        assert_eq!((lists(b"k1"), lists(b"k2"), lists(b"k3")), (2, 1, 1));
        let k3 = keys.find(b"k3").unwrap();
        assert!(
            matches!(k3.networks[0].as_ref(), Allowlist::Unreadable(_)),
            "others go on"
        );
        let nobody = text.replace("id = \"acme\"", "id = \"acne\"");
        assert!(
            Keys::parse(&nobody)
                .unwrap_err()
                .contains("no key is this tenant's")
        );
        let twice = format!("{text}[[tenant]]\nid = \"acme\"\n");
        assert!(Keys::parse(&twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_wrong_file_says_what_is_wrong_and_shows_no_digest() {
        let digest = HEXLOWER.encode(&Sha256::digest("a-key-of-acme"));
        let twice = file("tenant = \"acme\"", "\"read\"").repeat(2);
        for (text, due) in [
            (String::new(), "[[key]]"),
            (file("", "\"read\""), "tenant is required"),
            (file("tenant = \"-\"", "\"read\""), "tenant must be"),
            (file("tenant = \"acme\"", "\"auditor\""), "every tenant"),
            (file("tenant = \"acme\"", ""), "scopes must have"),
            (file("tenant = \"acme\"", "\"all\""), "unknown variant"),
            (file("tenants = \"acme\"", "\"read\""), "unknown field"),
            (twice, "taken"),
            (
                file("tenant = \"acme\"", "\"read\"").replace("sha256 = \"", "sha256 = \"0"),
                "64 digits",
            ),
            (
                file(
                    "tenant = \"acme\"\nlimits.writes = { burst = 0, per_second = 1 }",
                    "\"read\"",
                ),
                "a burst from 1",
            ),
            (
                file(
                    "tenant = \"acme\"\nlimits.write = { burst = 1, per_second = 1 }",
                    "\"read\"",
                ),
                "unknown field",
            ),
        ] {
            let told = Keys::parse(&text).unwrap_err();
            assert!(told.contains(due) && !told.contains(&digest), "{told}");
        }
    }
}
