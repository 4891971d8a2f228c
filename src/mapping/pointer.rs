//! JSON pointers (RFC 6901).

use super::Record;
use crate::ledger::canonical::{span, text};
use std::borrow::Cow;
use std::fmt;

/// A pointer; without tokens it points to the whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// `None` where `pointer` is neither empty nor begins with a slash, or has a `~` that is not `~0` or `~1`.
    pub fn parse(pointer: &str) -> Option<Self> {
        if pointer.is_empty() {
            return Some(Self { tokens: Vec::new() });
        }
        let tokens: Option<Vec<String>> = pointer.strip_prefix('/')?.split('/').map(unescape).collect();
        Some(Self { tokens: tokens? })
    }

    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The value that it points to, as a span of the record.
    pub fn find<'a>(&self, record: &Record<'a>) -> Option<&'a [u8]> {
        let Some((first, rest)) = self.tokens.split_first() else {
            return Some(record.json);
        };
        let value = member(&record.members, first)?;
        let Some((second, rest)) = rest.split_first() else {
            return Some(value);
        };
        let value = match value.first()? {
            b'{' => member(&record.members_of(value)?, second)?,
            _ => step(value, second)?,
        };
        rest.iter().try_fold(value, |value, token| step(value, token))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens
            .iter()
            .try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// For a message: `/a, /b`.
pub(super) fn list(pointers: &[Pointer]) -> String {
    pointers
        .iter()
        .map(Pointer::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn unescape(token: &str) -> Option<String> {
    let escapes_known = token
        .split('~')
        .skip(1)
        .all(|behind| behind.starts_with(['0', '1']));
    escapes_known.then(|| token.replace("~1", "/").replace("~0", "~"))
}

fn step<'a>(value: &'a [u8], token: &str) -> Option<&'a [u8]> {
    match value.first()? {
        b'{' => member(&span::members(value)?, token),
        b'[' => {
            let plain =
                token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
            let index: usize = if plain { token.parse().ok()? } else { return None };
            span::elements(value)?.get(index).copied()
        }
        _ => None,
    }
}

fn member<'a>(members: &[(&'a [u8], &'a [u8])], token: &str) -> Option<&'a [u8]> {
    members
        .iter()
        .find(|(name, _)| plain_name(name) == token.as_bytes())
        .map(|(_, value)| *value)
}

fn plain_name(spelled: &[u8]) -> Cow<'_, [u8]> {
    if spelled.contains(&b'\\') {
        Cow::Owned(text::unescape(spelled).unwrap_or_default().into_bytes())
    } else {
        Cow::Borrowed(spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, pointer: &str) -> Option<String> {
        let record = Record::read(json.as_bytes()).unwrap();
        let value = Pointer::parse(pointer)?.find(&record)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn the_examples_of_rfc_6901_point_to_what_it_says() {
        let json =
            r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("", json),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(json, pointer).as_deref(), Some(value), "{pointer}");
            assert_eq!(Pointer::parse(pointer).unwrap().to_string(), pointer);
        }
        for nowhere in [
            "/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/", "/bar", "//", "/foo/0/x",
        ] {
            assert_eq!(find(json, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn tilde_zero_one_is_a_tilde_and_a_one() {
        assert_eq!(find(r#"{"~1":1,"/":2}"#, "/~01").as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_pointer_is_not_parsed() {
        for bad in ["foo", "foo/bar", "#/foo", "/~", "/~2", "/a~/b", " "] {
            assert_eq!(Pointer::parse(bad), None, "{bad}");
        }
    }
}
