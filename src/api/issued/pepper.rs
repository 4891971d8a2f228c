//! Peppers: secrets outside the database, without which its digests of keys say nothing. They have versions, so that a new one can be taken while keys of the
//! old one are still used.

use crate::ledger::Digest;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

/// Only in the environment, or in a file: a flag is seen by every user of the machine.
pub const VARIABLE: &str = "API_KEY_PEPPERS";
/// Names a file that holds the same.
pub const FILE_VARIABLE: &str = "API_KEY_PEPPERS_FILE";
const TEXT_BYTES_MAX: usize = 64 << 10;
const BYTES_MIN: usize = 32;
const PEPPERS_MAX: usize = 16;
pub const FORM: &str = "must be VERSION:SECRET, separated by commas, each version a number from 1 and each secret 64 or more digits 0-9 a-f, as `openssl rand -hex 32` gives them";

/// All that are in use, by version; the highest digests new keys.
#[derive(Clone)]
pub struct Peppers {
    newest: i32,
    by_version: BTreeMap<i32, hmac::Key>,
}

/// Shows the versions alone.
impl std::fmt::Debug for Peppers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<&i32> = self.by_version.keys().collect();
        f.debug_tuple("Peppers").field(&versions).finish()
    }
}

impl Peppers {
    /// Those of the environment. `None`: there are none.
    ///
    /// # Errors
    /// [`FORM`]; nothing of the text is shown.
    pub fn of_environment() -> Result<Option<Self>, String> {
        let given = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        match (given(VARIABLE), given(FILE_VARIABLE)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(format!(
                "{VARIABLE} and {FILE_VARIABLE} are two places of one thing: give one"
            )),
            (Some(text), None) => Self::read(VARIABLE, &text).map(Some),
            (None, Some(file)) => Self::read(FILE_VARIABLE, &read_file(&file)?).map(Some),
        }
    }

    fn read(variable: &str, text: &str) -> Result<Self, String> {
        Self::parse(text.trim_ascii()).ok_or_else(|| format!("{variable} {FORM}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut by_version = BTreeMap::new();
        for one in text.split(',') {
            let (version, secret) = one.trim().split_once(':')?;
            let version = version.parse().ok().filter(|version| *version >= 1)?;
            let secret = HEXLOWER.decode(secret.as_bytes()).ok()?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            if secret.len() < BYTES_MIN || by_version.insert(version, key).is_some() {
                return None;
            }
        }
        let newest = *by_version.keys().next_back()?;
        (by_version.len() <= PEPPERS_MAX).then_some(Self { newest, by_version })
    }

    #[must_use]
    pub const fn newest(&self) -> i32 {
        self.newest
    }

    /// Whether the digest is the key's. Takes as long for a version that is not there, or no digest, as for one that is.
    #[must_use]
    pub fn verify(&self, key: &[u8], version: i32, digest: Option<&Digest>) -> bool {
        let pepper = self.by_version.get(&version);
        let any = self.by_version.get(&self.newest);
        let is_right = pepper
            .or(any)
            .is_some_and(|pepper| hmac::verify(pepper, key, digest.unwrap_or(&[0; 32])).is_ok());
        is_right && pepper.is_some() && digest.is_some()
    }

    /// A secret that follows from the pepper of that version and these bytes, and whether there is that version; where not, it is one that nobody has.
    pub(super) fn derive(&self, version: i32, bytes: &[u8]) -> (Digest, bool) {
        let of_version = self.by_version.get(&version);
        let pepper = of_version.or_else(|| self.by_version.get(&self.newest));
        let derived = pepper.and_then(|pepper| hmac::sign(pepper, bytes).as_ref().try_into().ok());
        // There always is a newest one.
        (
            derived.unwrap_or_default(),
            of_version.is_some() && derived.is_some(),
        )
    }

    /// The digest of a new key.
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> Option<Digest> {
        let pepper = self.by_version.get(&self.newest)?;
        hmac::sign(pepper, key).as_ref().try_into().ok()
    }
}

fn read_file(file: &str) -> Result<String, String> {
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(TEXT_BYTES_MAX as u64).read_to_string(&mut text))
        .map_err(|error| format!("{FILE_VARIABLE}: cannot read {file}: {error}"))?;
    Ok(text)
}

#[cfg(test)]
impl Peppers {
    pub fn of_test(versions: &[i32]) -> Self {
        let one = |version: &i32| {
            (
                *version,
                hmac::Key::new(hmac::HMAC_SHA256, &[*version as u8; BYTES_MIN]),
            )
        };
        Self {
            newest: versions.iter().copied().max().unwrap_or_default(),
            by_version: versions.iter().map(one).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (String, String) {
        (format!("1:{}", "11".repeat(32)), format!("2:{}", "22".repeat(32)))
    }

    #[test]
    fn a_key_is_right_under_the_pepper_that_it_was_digested_by() {
        let (one, two) = two();
        let old = Peppers::parse(&one).unwrap();
        let both = Peppers::parse(&format!("{two}, {one}")).unwrap();
        let digest = old.digest(b"key").unwrap();
        assert_eq!((old.newest(), both.newest()), (1, 2));
        assert!(both.verify(b"key", 1, Some(&digest)));
        assert!(!both.verify(b"kez", 1, Some(&digest)) && !both.verify(b"key", 2, Some(&digest)));
        assert!(
            !both.verify(b"key", 1, None) && !both.verify(b"key", 3, Some(&both.digest(b"key").unwrap()))
        );
        assert_ne!(both.digest(b"key").unwrap(), digest);
    }

    #[test]
    fn peppers_are_long_and_numbered_and_never_shown() {
        let (one, two) = two();
        for wrong in [
            "",
            "1",
            ":",
            "0:1111",
            &one[2..],
            &one[..60],
            &format!("{one},"),
            &format!("{one},{one}"),
            &two.replace("2:", "-2:"),
        ] {
            assert!(Peppers::parse(wrong).is_none(), "{wrong:?}");
        }
        assert!(!format!("{:?}", Peppers::parse(&one).unwrap()).contains("1111"));
    }
}
