//! What is asked for, and where a page ended. A cursor names its tenant and its filters by a digest: with others it is refused, so that no page of one question is
//! taken for one of another. It is no secret and gives no right: what a tenant sees, the database decides.

use super::ReadError;
use crate::clock::UnixMicros;
use data_encoding::BASE64URL_NOPAD;

const CURSOR_CONTEXT: &str = "ledgerline 2026-11 events cursor v1";
const TAG_BYTES: usize = 16;

/// Which of a tenant's entries. Times are from (inclusive) and to (exclusive), sequences are inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub occurred_from: Option<UnixMicros>,
    pub occurred_to: Option<UnixMicros>,
    pub sealed_from: Option<UnixMicros>,
    pub sealed_to: Option<UnixMicros>,
    pub action: Option<String>,
    pub actor_type: Option<String>,
    pub actor_id: Option<String>,
    pub target_id: Option<String>,
    pub event_id: Option<String>,
    pub from_sequence: Option<u64>,
    pub to_sequence: Option<u64>,
}

impl Filter {
    /// The same bytes for the same filter, and for no other.
    fn write(&self, into: &mut Vec<u8>) {
        let times = [
            self.occurred_from,
            self.occurred_to,
            self.sealed_from,
            self.sealed_to,
        ];
        for time in times {
            put(into, time.map(i64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
        }
        for sequence in [self.from_sequence, self.to_sequence] {
            put(
                into,
                sequence.map(u64::to_be_bytes).as_ref().map(|bytes| &bytes[..]),
            );
        }
        let texts = [
            &self.action,
            &self.actor_type,
            &self.actor_id,
            &self.target_id,
            &self.event_id,
        ];
        for text in texts {
            put(into, text.as_ref().map(String::as_bytes));
        }
    }
}

fn put(into: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => into.push(0),
        Some(value) => {
            into.push(1);
            into.extend_from_slice(&(value.len() as u64).to_be_bytes());
            into.extend_from_slice(value);
        }
    }
}

/// Where a page ended: the next one begins behind this sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    pub after: u64,
    pub found: Option<Found>,
}

/// What a question for a time of occurrence has found in the month that the next page goes on in: it is not looked for once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The last sequence of that time.
    pub last: u64,
    /// It was the last one up to this sequence of the month.
    pub searched: u64,
}

impl Cursor {
    /// As a client is given it.
    #[must_use]
    pub fn write(self, tenant: &str, filter: &Filter) -> String {
        let mut bytes = self.place();
        let tag = tag(&bytes, tenant, filter);
        bytes.extend_from_slice(&tag);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads what [`Cursor::write`] gave for the same tenant and filters.
    ///
    /// # Errors
    /// [`ReadError::Cursor`] for whatever else.
    pub fn read(text: &str, tenant: &str, filter: &Filter) -> Result<Self, ReadError> {
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| ReadError::Cursor)?;
        let (place, of) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(ReadError::Cursor)?;
        let cursor = Self::parse(place).ok_or(ReadError::Cursor)?;
        if *of == tag(place, tenant, filter) {
            Ok(cursor)
        } else {
            Err(ReadError::Cursor)
        }
    }

    fn place(self) -> Vec<u8> {
        let found = self.found.map(|found| [found.last, found.searched]);
        let numbers = std::iter::once(self.after).chain(found.into_iter().flatten());
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    fn parse(place: &[u8]) -> Option<Self> {
        let (numbers, rest) = place.as_chunks::<8>();
        let found = match numbers {
            [_] => None,
            [_, last, searched] => Some(Found {
                last: u64::from_be_bytes(*last),
                searched: u64::from_be_bytes(*searched),
            }),
            _ => return None,
        };
        let after = u64::from_be_bytes(*numbers.first()?);
        rest.is_empty().then_some(Self { after, found })
    }
}

fn tag(place: &[u8], tenant: &str, filter: &Filter) -> [u8; TAG_BYTES] {
    let mut asked = place.to_vec();
    put(&mut asked, Some(tenant.as_bytes()));
    filter.write(&mut asked);
    let digest = blake3::derive_key(CURSOR_CONTEXT, &asked);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&digest[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors() -> [Cursor; 2] {
        let found = Found {
            last: 9,
            searched: 11,
        };
        let short = Cursor {
            after: 7,
            found: None,
        };
        let found = Some(found);
        [short, Cursor { found, ..short }]
    }

    #[test]
    fn a_cursor_is_read_for_its_own_tenant_and_filters_alone() {
        let filters = [
            Filter::default(),
            Filter {
                occurred_from: Some(0),
                ..Filter::default()
            },
            Filter {
                occurred_to: Some(0),
                ..Filter::default()
            },
            Filter {
                sealed_from: Some(0),
                ..Filter::default()
            },
            Filter {
                sealed_to: Some(0),
                ..Filter::default()
            },
            Filter {
                action: Some("a".into()),
                ..Filter::default()
            },
            Filter {
                action: Some("ab".into()),
                ..Filter::default()
            },
            Filter {
                actor_type: Some("a".into()),
                ..Filter::default()
            },
            Filter {
                actor_id: Some("a".into()),
                ..Filter::default()
            },
            Filter {
                target_id: Some("a".into()),
                ..Filter::default()
            },
            Filter {
                event_id: Some("a".into()),
                ..Filter::default()
            },
            Filter {
                from_sequence: Some(0),
                ..Filter::default()
            },
            Filter {
                to_sequence: Some(0),
                ..Filter::default()
            },
        ];
        for (n, filter) in filters.iter().enumerate() {
            for tenant in ["acme", "acm"] {
                let text = cursors()[n % 2].write(tenant, filter);
                for (m, other) in filters.iter().enumerate() {
                    for whose in ["acme", "acm"] {
                        let read = Cursor::read(&text, whose, other);
                        assert_eq!(read.is_ok(), n == m && whose == tenant, "{filter:?} {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_cursor_that_was_altered_is_none() {
        let filter = Filter::default();
        for cursor in cursors() {
            let text = cursor.write("acme", &filter);
            assert_eq!(Cursor::read(&text, "acme", &filter).unwrap(), cursor);
            for at in 0..text.len() {
                let mut other = text.clone().into_bytes();
                other[at] = if other[at] == b'A' { b'B' } else { b'A' };
                let other = String::from_utf8(other).unwrap();
                assert!(Cursor::read(&other, "acme", &filter).is_err(), "{other}");
            }
            for other in ["", "AAAA", "é", &text[1..], &format!("{text}AAAA")] {
                assert!(Cursor::read(other, "acme", &filter).is_err(), "{other}");
            }
        }
    }
}
