//! Where an archive lies: `file:DIR`, or `s3://BUCKET/PREFIX`. Text and its parts; nothing is opened here.

use super::NAME_BYTES_MAX;
use std::fmt;
use std::path::PathBuf;

/// How an archive in S3 is written.
pub const S3_SCHEME: &str = "s3://";
/// S3's keys have at most 1,024 bytes.
const KEY_BYTES_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Directory(PathBuf),
    S3(Bucket),
}

/// A bucket, and what the names of all objects of an archive begin with there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    pub bucket: String,
    /// Without a slash at its ends; may be empty.
    pub prefix: String,
}

impl Bucket {
    /// Reads `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix(S3_SCHEME)
            .ok_or_else(|| format!("must begin with {S3_SCHEME}, for example s3://audit-archive/ledger"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !is_bucket(bucket) {
            return Err(format!(
                "must name a bucket behind {S3_SCHEME}: 3 to 63 of the characters a-z 0-9 . -, for example s3://audit-archive/ledger"
            ));
        }
        if !is_prefix(prefix) {
            return Err(format!(
                "must have parts of A-Z a-z 0-9 . _ = - between slashes behind the bucket, none empty or beginning with a dot, at most {} characters",
                KEY_BYTES_MAX - NAME_BYTES_MAX - 1
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The key of an object, or what the keys of objects begin with whose names begin with `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }
    }

    /// The name of an object; `None` for a key that is not of this archive.
    #[must_use]
    pub fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.prefix.is_empty() {
            return Some(key);
        }
        key.strip_prefix(&self.prefix)?.strip_prefix('/')
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{S3_SCHEME}{}", self.bucket)?;
        if self.prefix.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3(bucket) => write!(f, "{bucket}"),
        }
    }
}

fn is_bucket(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    (3..=63).contains(&text.len()) && text.bytes().all(ok) && !text.starts_with(['.', '-'])
}

fn is_prefix(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'=' | b'-');
    let part_ok = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(ok);
    text.is_empty() || (text.len() < KEY_BYTES_MAX - NAME_BYTES_MAX && text.split('/').all(part_ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_its_prefix_are_read_and_written_alike() {
        for (text, bucket, prefix) in [
            ("s3://audit-archive", "audit-archive", ""),
            ("s3://audit-archive/", "audit-archive", ""),
            ("s3://a.b-c/one/two", "a.b-c", "one/two"),
            ("s3://abc/one/", "abc", "one"),
        ] {
            let read = Bucket::parse(text).unwrap();
            assert_eq!((&*read.bucket, &*read.prefix), (bucket, prefix));
            assert_eq!(Bucket::parse(&read.to_string()), Ok(read));
        }
    }

    #[test]
    fn what_is_no_bucket_or_no_prefix_is_refused() {
        for wrong in [
            "s3:/abc",
            "s3://",
            "s3://ab",
            "s3://Abc",
            "s3:///x",
            "s3://-abc",
            "s3://abc//x",
            "s3://abc/x//",
            "s3://abc/../x",
            "s3://abc/.x",
            "s3://abc/a b",
            "file:x",
        ] {
            assert!(Bucket::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Bucket::parse(&format!("s3://abc/{}", "x".repeat(124))).is_err());
    }

    #[test]
    fn names_are_keys_behind_the_prefix() {
        let bucket = Bucket::parse("s3://abc/one").unwrap();
        assert_eq!(bucket.key("keys/jwks-1.json"), "one/keys/jwks-1.json");
        assert_eq!(bucket.name("one/keys/jwks-1.json"), Some("keys/jwks-1.json"));
        assert_eq!(bucket.name("onekeys"), None);
        assert_eq!(bucket.name("two/x"), None);
    }
}
