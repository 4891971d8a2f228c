//! The keys of callers. Only their digests are held: a key itself is nowhere but in a caller's request.

use super::caller::{Scope, Scopes};
use crate::ledger::Digest;
use crate::ledger::names;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    sha256: Digest,
    holder: Holder,
}

/// All keys of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    key: Vec<KeyForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    id: String,
    tenant: Option<String>,
    scopes: Vec<Scope>,
    sha256: String,
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
        Ok(Self(keys))
    }

    /// With the key that may do everything, for every tenant.
    #[must_use]
    pub fn with_admin(mut self, secret: &str) -> Self {
        self.0.push(Key {
            sha256: Sha256::digest(secret).into(),
            holder: Holder {
                id: ADMIN_ID.into(),
                tenant: None,
                scopes: Scopes::all(),
            },
        });
        self
    }

    /// Who holds the key that was presented. Takes as long for a key that is none as for one that is.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<&Holder> {
        let is_too_long = presented.len() > KEY_BYTES_MAX;
        let digest: Digest = Sha256::digest(&presented[..presented.len().min(KEY_BYTES_MAX)]).into();
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.sha256, &digest).is_ok() {
                found = Some(&key.holder);
            }
        }
        found.filter(|_| !is_too_long)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
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
        match (form.tenant.is_some(), scopes.has(Scope::Auditor)) {
            (true, true) => {
                return Err(
                    "an auditor sees every tenant: leave out tenant, or the scope auditor".to_owned(),
                );
            }
            (false, false) => return Err("tenant is required without the scope auditor".to_owned()),
            (true, false) | (false, true) => {}
        }
        if form.scopes.is_empty() {
            return Err("scopes must have one of write, read, auditor".to_owned());
        }
        let sha256 = HEXLOWER
            .decode(form.sha256.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("sha256 must be the SHA-256 of the key as 64 digits 0-9 a-f")?;
        Ok(Self {
            sha256,
            holder: Holder {
                id: form.id.into(),
                tenant: form.tenant.map(Into::into),
                scopes,
            },
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
        ] {
            let told = Keys::parse(&text).unwrap_err();
            assert!(told.contains(due) && !told.contains(&digest), "{told}");
        }
    }
}
