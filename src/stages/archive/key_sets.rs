//! The key sets of the archive (docs/FORMAT.md section 6): one for each number of keys, which all partitions share and any of them may store first.

use super::machine::Finished;
use super::storing::{Storage, keep};
use crate::ledger::key::PublicKey;
use crate::ledger::{jwks, names};
use crate::stages::StageError;

impl Storage<'_> {
    /// Every key is in the JWKS of its place in the order of declaration, which all partitions share; whichever comes first stores it. A key that another partition does not
    /// declare comes behind those that are there. Answers all keys that are declared so far.
    pub(super) async fn store_keys(&self, finished: &Finished) -> Result<Vec<PublicKey>, StageError> {
        let mut known = self.archived_keys().await?;
        if known.is_empty() {
            known.clone_from(&finished.genesis_keys);
            let (name, bytes) = key_set(&known);
            let same = |stored: &[u8]| stored == bytes;
            self.put(&name, &bytes, keep(finished, None), same).await?;
        }
        let begins_alike = known.len() >= finished.genesis_keys.len()
            && known
                .iter()
                .zip(&finished.genesis_keys)
                .all(|(stored, declared)| stored.is_same_key(declared));
        if !begins_alike {
            return Err(self.stopped(
                "the archive's keys do not begin with those of this ledger's genesis: it is the archive of another ledger; give another --archive"
                    .to_owned(),
            ));
        }
        for key in &finished.added_keys {
            while !known.iter().any(|other| other.is_same_key(key)) {
                known = self.add_key(finished, known, key).await?;
            }
        }
        Ok(known)
    }

    /// Stores the key set of one key more than those that are known. Where another partition stored one of its own there at the same moment, that one is answered: `key`
    /// is to come behind it. A key set keeps all that were before it: one that does not is of another ledger.
    async fn add_key(
        &self,
        finished: &Finished,
        known: Vec<PublicKey>,
        key: &PublicKey,
    ) -> Result<Vec<PublicKey>, StageError> {
        let longer = [known.as_slice(), std::slice::from_ref(key)].concat();
        let (name, bytes) = key_set(&longer);
        if self.put_first(&name, &bytes, keep(finished, None)).await? {
            return Ok(longer);
        }
        let stored = self.get(&name).await?;
        let others = jwks::parse(&stored).unwrap_or_default();
        let keeps_all = others.len() == longer.len() && others.starts_with(&known);
        if keeps_all && jwks::write(&others) == stored {
            return Ok(others);
        }
        Err(self.fork(&name))
    }

    async fn archived_keys(&self) -> Result<Vec<PublicKey>, StageError> {
        let count = |name: &String| {
            name.strip_prefix("keys/jwks-")?
                .strip_suffix(".json")?
                .parse::<usize>()
                .ok()
        };
        let Some(most) = self.vault.list("keys/").await?.iter().filter_map(count).max() else {
            return Ok(Vec::new());
        };
        let name = names::jwks(most);
        jwks::parse(&self.get(&name).await?)
            .map_err(|error| self.stopped(format!("the archive's {name} cannot be read: {error}")))
    }
}

/// The name and the bytes of a key set.
fn key_set(keys: &[PublicKey]) -> (String, Vec<u8>) {
    (names::jwks(keys.len()), jwks::write(keys))
}

#[cfg(test)]
mod tests {
    use super::super::holds::HoldProgress;
    use super::super::storing::Unheld;
    use super::*;
    use crate::ledger::canonical::Limits;
    use crate::stages::restore::PartitionConfig;
    use crate::vault::{Keep, Put, Vault, VaultError};
    use async_trait::async_trait;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use futures_util::FutureExt as _;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Objects in memory, and what another partition puts at the moment of the first put.
    #[derive(Default)]
    struct Contested {
        objects: Mutex<BTreeMap<String, Vec<u8>>>,
        other: Mutex<Vec<(String, Vec<u8>)>>,
    }

    #[async_trait]
    impl Vault for Contested {
        async fn put_new(&self, name: &str, bytes: &[u8], _keep: Keep<'_>) -> Result<Put, VaultError> {
            let mut objects = self.objects.lock().unwrap();
            objects.extend(self.other.lock().unwrap().drain(..));
            if objects.contains_key(name) {
                return Ok(Put::Exists);
            }
            objects.insert(name.to_owned(), bytes.to_vec());
            Ok(Put::Created)
        }

        async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
            Ok(self.objects.lock().unwrap().get(name).cloned())
        }

        async fn head(&self, name: &str) -> Result<Option<u64>, VaultError> {
            Ok(self.get(name).await?.map(|bytes| bytes.len() as u64))
        }

        async fn set_hold(&self, _name: &str, _on: bool) -> Result<(), VaultError> {
            Ok(())
        }

        async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
            let objects = self.objects.lock().unwrap();
            Ok(objects
                .keys()
                .filter(|name| name.starts_with(prefix))
                .cloned()
                .collect())
        }

        async fn last(&self, prefix: &str) -> Result<Option<String>, VaultError> {
            Ok(self.list(prefix).await?.pop())
        }

        async fn names_to_tell(
            &self,
            _prefix: &str,
            _after: Option<&str>,
        ) -> Result<Vec<String>, VaultError> {
            Ok(Vec::new())
        }
    }

    fn key(n: u8) -> PublicKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
        PublicKey::from_ed25519(format!("key-{n}"), pair.public_key().as_ref().try_into().unwrap())
    }

    fn keys(all: &[u8]) -> Vec<PublicKey> {
        all.iter().map(|n| key(*n)).collect()
    }

    /// A cut that declares key 2, of a ledger that began with key 1; `there` is in the archive, and `other` is put at the same moment. The keys in the archive afterwards.
    fn store(there: &[&[u8]], other: &[&[u8]]) -> Result<Vec<Vec<PublicKey>>, StageError> {
        let sets = |sets: &[&[u8]]| sets.iter().map(|set| key_set(&keys(set))).collect::<Vec<_>>();
        let vault = Contested::default();
        vault.objects.lock().unwrap().extend(sets(there));
        vault.other.lock().unwrap().extend(sets(other));
        store_in(&vault)?;
        let objects = vault.objects.into_inner().unwrap();
        Ok(objects.values().map(|set| jwks::parse(set).unwrap()).collect())
    }

    fn store_in(vault: &Contested) -> Result<Vec<PublicKey>, StageError> {
        let partition = PartitionConfig {
            origin: "test.example/audit/1".to_owned(),
            partition: 1,
            limits: Limits::default(),
            window_entries_max: 1,
            archived: None,
        };
        let storage = Storage {
            vault,
            partition: &partition,
            twins: false,
            unheld: &Unheld::default(),
        };
        let finished = Finished {
            size: 1,
            root: [0; 32],
            sealed_at: 0,
            tiles: Vec::new(),
            segments: Vec::new(),
            genesis_keys: keys(&[1]),
            added_keys: keys(&[2]),
            holds: HoldProgress::default(),
        };
        storage.store_keys(&finished).now_or_never().unwrap()
    }

    #[test]
    fn a_key_that_another_partition_adds_at_the_same_moment_stays_and_ours_comes_behind_it() {
        type Sets = &'static [&'static [u8]];
        let all = |sets: Sets| sets.iter().map(|set| keys(set)).collect::<Vec<_>>();
        let cases: [(Sets, Sets, Sets); 6] = [
            (&[&[1]], &[], &[&[1], &[1, 2]]),
            (&[&[1]], &[&[1, 3]], &[&[1], &[1, 3], &[1, 3, 2]]),
            (
                &[&[1]],
                &[&[1, 3], &[1, 3, 4]],
                &[&[1], &[1, 3], &[1, 3, 4], &[1, 3, 4, 2]],
            ),
            // It is the same one: nothing more is to be stored.
            (&[&[1]], &[&[1, 2]], &[&[1], &[1, 2]]),
            (&[&[1]], &[&[1, 3], &[1, 3, 2]], &[&[1], &[1, 3], &[1, 3, 2]]),
            // Nor is anything there: the other one stores the genesis keys too.
            (&[], &[&[1], &[1, 3]], &[&[1], &[1, 3], &[1, 3, 2]]),
        ];
        for (there, other, expected) in cases {
            assert_eq!(store(there, other).unwrap(), all(expected), "{there:?} {other:?}");
        }
    }

    #[test]
    fn a_key_set_that_drops_a_key_is_a_fork() {
        for other in [&[3_u8, 4][..], &[2, 1]] {
            let error = store(&[&[1]], &[other]).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("keys/jwks-2.json is in the archive with other content"),
                "{error}"
            );
        }
        // Nor is it one of so many keys, or in the form of a key set.
        for bytes in [
            jwks::write(&keys(&[1, 3, 4])),
            b"{}".to_vec(),
            [jwks::write(&keys(&[1, 3])), b" ".to_vec()].concat(),
        ] {
            let vault = Contested::default();
            vault.objects.lock().unwrap().extend([key_set(&keys(&[1]))]);
            vault.other.lock().unwrap().push((names::jwks(2), bytes));
            let error = store_in(&vault).unwrap_err();
            assert!(
                error.to_string().contains("the log and the archive have parted"),
                "{error}"
            );
        }
    }
}
