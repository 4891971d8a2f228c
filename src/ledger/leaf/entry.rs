//! Reading an entry, which most leaves are, in one pass: between the values stand the bytes of the one form, and each value has one
//! spelling, so nothing has to be written again and compared.
//!
//! This judges no leaf wrong. What it does not take, for whatever reason, [`Leaf::parse`](super::Leaf::parse) reads and names.

use super::{Body, Leaf};
use crate::ledger::Digest;
use crate::ledger::names::{self, INTEGER_MAX};
use crate::ledger::time::parse_sealed_at;
use data_encoding::HEXLOWER;
use std::str::from_utf8;

const SEALED_AT_BYTES: usize = 27;
const DIGEST_HEX_BYTES: usize = 64;

/// The entry of `origin` that `bytes` are the one form of, or `None`. `origin` MUST be one by its form.
pub(super) fn parse<'a>(origin: &'a str, bytes: &'a [u8]) -> Option<Leaf<'a>> {
    let mut rest = Rest(bytes);
    let event = rest.past(b"{\"event\":\"")?.digest()?;
    let index = rest.past(b"\",\"index\":")?.number()?;
    rest.past(b",\"kind\":\"entry\",\"origin\":\"")?
        .past(origin.as_bytes())?;
    let prev = rest.past(b"\",\"prev\":\"")?.digest()?;
    let sealed_at = parse_sealed_at(rest.past(b"\",\"sealed_at\":\"")?.take(SEALED_AT_BYTES)?)?;
    let sequence = rest.past(b"\",\"sequence\":")?.number()?;
    let source = rest.past(b",\"source\":\"")?.text()?;
    let tenant = rest.past(b"\",\"tenant\":\"")?.text()?;
    let whole = rest.past(b"\",\"v\":1}")?.0.is_empty();
    let allowed = (1..=INTEGER_MAX).contains(&sequence)
        && names::parse_source_position(source).is_some()
        && names::is_tenant(tenant);
    (whole && allowed).then_some(Leaf {
        index,
        origin,
        sealed_at,
        body: Body::Entry {
            event,
            prev,
            sequence,
            source,
            tenant,
        },
    })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Steps over exactly these bytes.
    fn past(&mut self, due: &[u8]) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(due)?;
        Some(self)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.0.split_off(..bytes)
    }

    /// Up to a quote, which is left. No text of a leaf holds one, nor an escape: the patterns of its members see to that.
    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == b'"')?;
        from_utf8(self.take(end)?).ok()
    }

    /// Up to a comma, which is left.
    fn number(&mut self) -> Option<u64> {
        let end = self.0.iter().position(|byte| *byte == b',')?;
        names::parse_decimal_bytes(self.take(end)?)
    }

    fn digest(&mut self) -> Option<Digest> {
        let mut digest = [0; 32];
        HEXLOWER
            .decode_mut(self.take(DIGEST_HEX_BYTES)?, &mut digest)
            .ok()?;
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::LeafError;
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: &str = "log.example/audit/0";

    fn entry<'a>(index: u64, sequence: u64, source: &'a str, tenant: &'a str) -> Leaf<'a> {
        Leaf {
            index,
            origin: ORIGIN,
            sealed_at: 1_795_374_000_000_001,
            body: Body::Entry {
                event: [0xA5; 32],
                prev: [0x3C; 32],
                sequence,
                source,
                tenant,
            },
        }
    }

    /// What the loose reader makes of the same bytes.
    fn loosely(bytes: &[u8]) -> Result<Leaf<'_>, LeafError> {
        Leaf::parse(bytes)
    }

    #[test]
    fn an_entry_is_taken_and_no_other_origin_or_kind() {
        let leaf = entry(INTEGER_MAX, INTEGER_MAX, "audit.events/3@0", "a@b.c:d_e-f");
        let bytes = leaf.to_bytes();
        assert_eq!(parse(ORIGIN, &bytes), Some(leaf));
        for other in ["log.example/audit/1", "log.example/audit", ""] {
            assert_eq!(parse(other, &bytes), None);
        }
        let cut = Leaf {
            body: Body::Cut { from: 0 },
            ..entry(1, 1, "", "")
        };
        assert_eq!(parse(ORIGIN, &cut.to_bytes()), None);
    }

    #[test]
    fn every_byte_of_it_counts_as_for_the_loose_reader() {
        let bytes = entry(7, 9, "audit.events/3@12", "acme").to_bytes();
        let mut taken = 0;
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                let mut other = bytes.clone();
                other[at] = byte;
                let found = parse(ORIGIN, &other);
                assert!(
                    found.is_none() || found == loosely(&other).ok(),
                    "byte {at} as {byte}"
                );
                taken += usize::from(found.is_some());
            }
            assert_eq!(parse(ORIGIN, &bytes[..at]), None, "{at} bytes");
        }
        assert!(taken > bytes.len(), "{taken}");
        assert_eq!(parse(ORIGIN, &[bytes.as_slice(), b" "].concat()), None);
    }

    proptest! {
        #[test]
        fn it_takes_no_value_that_the_loose_reader_does_not(
            index in "(0|[0-9]{1,17})", sequence in "(0|[0-9]{1,17})",
            source in "[a-z./]{0,9}/[0-9]{1,2}@[0-9]{1,3}", tenant in "[a-zA-Z0-9@. é_-]{0,140}",
        ) {
            let text = String::from_utf8(entry(7, 9, "s/0@1", "acme").to_bytes()).unwrap()
                .replace("\"index\":7", &format!("\"index\":{index}"))
                .replace("\"sequence\":9", &format!("\"sequence\":{sequence}"))
                .replace("s/0@1", &source)
                .replace("\"acme\"", &format!("\"{tenant}\""));
            prop_assert_eq!(parse(ORIGIN, text.as_bytes()), loosely(text.as_bytes()).ok());
        }
    }
}
