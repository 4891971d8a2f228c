//! Finds values in JSON without judging them: no limits, no decoding, memory for open brackets only.
//!
//! For two uses: the tenant of an event that was refused for something else, and mapping files, which copy values as they
//! were sent.

use super::{scan, text};

/// The members of the object that `json` is, as spans of it: names without quotes and still escaped, values. `None` where
/// `json` is no object by RFC 8259.
pub(crate) fn members(json: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut spans = Spans::at_start(json);
    let mut found = Vec::new();
    spans.take(b'{')?;
    if spans.take(b'}').is_none() {
        loop {
            let name = spans.string()?;
            spans.take(b':')?;
            found.push((name, spans.value()?));
            if spans.take(b',').is_none() {
                spans.take(b'}')?;
                break;
            }
        }
    }
    spans.finish(found)
}

/// The name of the first member of the object that `json` begins; nothing behind it is looked at.
pub(crate) fn first_name(json: &[u8]) -> Option<&[u8]> {
    let mut spans = Spans::at_start(json);
    spans.take(b'{')?;
    spans.string()
}

/// The elements of the array that `json` is, as spans of it.
pub(crate) fn elements(json: &[u8]) -> Option<Vec<&[u8]>> {
    let mut spans = Spans::at_start(json);
    let mut found = Vec::new();
    spans.take(b'[')?;
    if spans.take(b']').is_none() {
        loop {
            found.push(spans.value()?);
            if spans.take(b',').is_none() {
                spans.take(b']')?;
                break;
            }
        }
    }
    spans.finish(found)
}

/// As [`elements`], but no more than the first `max`; behind those nothing is looked at.
pub(crate) fn first_elements(json: &[u8], max: usize) -> Option<Vec<&[u8]>> {
    let mut spans = Spans::at_start(json);
    let mut found = Vec::new();
    spans.take(b'[')?;
    if spans.take(b']').is_none() {
        loop {
            found.push(spans.value()?);
            if found.len() >= max {
                return Some(found);
            }
            if spans.take(b',').is_none() {
                spans.take(b']')?;
                break;
            }
        }
    }
    spans.finish(found)
}

/// The one value that `json` is, without the white space around it. `None` where it is none, or more than one: what would, put into an object, not
/// stay one member.
pub(crate) fn value(json: &[u8]) -> Option<&[u8]> {
    let mut spans = Spans::at_start(json);
    let value = spans.value()?;
    spans.finish(value)
}

/// The text of the JSON string that `json` is.
pub(crate) fn string(json: &[u8]) -> Option<String> {
    let mut spans = Spans::at_start(json);
    let inside = spans.string()?;
    spans.finish(text::unescape(inside)?)
}

struct Spans<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Spans<'a> {
    fn at_start(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: scan::skip_white_space(bytes, 0),
        }
    }

    /// `found`, if nothing but white space is left.
    fn finish<T>(&self, found: T) -> Option<T> {
        (self.at == self.bytes.len()).then_some(found)
    }

    /// Steps over `byte` and the white space behind it.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.step_to(self.at + 1))
    }

    fn step_to(&mut self, end: usize) {
        self.at = scan::skip_white_space(self.bytes, end);
    }

    /// The inside of a string.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let mut at = start;
        loop {
            at = scan::plain_end(self.bytes, at);
            match self.bytes.get(at)? {
                b'"' => {
                    self.step_to(at + 1);
                    return Some(&self.bytes[start..at]);
                }
                b'\\' => at = text::escape_end(self.bytes, at)?,
                _ => return None,
            }
        }
    }

    /// A value of any depth: a loop with the open brackets on a stack of its own.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut open = Vec::new();
        loop {
            match self.bytes.get(self.at)? {
                bracket @ (b'{' | b'[') => {
                    let close = if *bracket == b'{' { b'}' } else { b']' };
                    self.step_to(self.at + 1);
                    if self.bytes.get(self.at) == Some(&close) {
                        self.at += 1;
                    } else {
                        open.push(close);
                        self.name_if_in_object(&open)?;
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended at `self.at`; so may the containers around it.
            loop {
                let Some(close) = open.last() else {
                    let value = &self.bytes[start..self.at];
                    self.step_to(self.at);
                    return Some(value);
                };
                self.step_to(self.at);
                if self.bytes.get(self.at) == Some(close) {
                    self.at += 1;
                    open.pop();
                } else {
                    self.take(b',')?;
                    self.name_if_in_object(&open)?;
                    break;
                }
            }
        }
    }

    fn name_if_in_object(&mut self, open: &[u8]) -> Option<()> {
        if open.last() == Some(&b'}') {
            self.string()?;
            self.take(b':')?;
        }
        Some(())
    }

    /// Ends at the scalar's last byte, white space not taken.
    fn scalar(&mut self) -> Option<()> {
        self.at = match self.bytes.get(self.at)? {
            b'"' => {
                let start = self.at;
                let inside = self.string()?.len();
                start + inside + 2
            }
            b'-' | b'0'..=b'9' => scan::number_end(self.bytes, self.at).ok()?,
            _ => scan::literal_end(self.bytes, self.at)?,
        };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_given_as_they_were_sent() {
        let json = br#" { "a\u0062" : [1.0, {"x":[ ]} ] ,"c": "d\"}" , "e":{ "f" : null } } "#;
        let found = members(json).unwrap();
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|(n, v)| (std::str::from_utf8(n).unwrap(), std::str::from_utf8(v).unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("a\\u0062", r#"[1.0, {"x":[ ]} ]"#),
                ("c", r#""d\"}""#),
                ("e", r#"{ "f" : null }"#)
            ]
        );
        assert_eq!(elements(found[0].1).unwrap(), [&b"1.0"[..], br#"{"x":[ ]}"#]);
        assert_eq!(first_elements(b"[1,[2],3,", 2).unwrap(), [&b"1"[..], b"[2]"]);
        assert_eq!(first_elements(b"[1,[2],3,", 4), None);
        assert_eq!(string(br#" "a\u00e9\n" "#).as_deref(), Some("aé\n"));
        assert_eq!(first_name(json), Some(&b"a\\u0062"[..]));
        for none in ["", "{}", "[\"a\"]", "{a", "{\"a"] {
            assert_eq!(first_name(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for bad in [
            "",
            "{",
            "[]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1}x",
            "{\"a\":[1}}",
            "{\"a\":[{]}",
            "{\"a\":\"\\\"}",
        ] {
            assert_eq!(members(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(members(b"{}"), Some(vec![]));
    }

    #[test]
    fn one_value_is_one_whatever_stands_around_it() {
        for (json, one) in [
            (" 1 ", "1"),
            ("\"a\"\n", "\"a\""),
            (" {\"a\":[ ]}", "{\"a\":[ ]}"),
            ("null", "null"),
        ] {
            assert_eq!(value(json.as_bytes()), Some(one.as_bytes()));
        }
        for none in [
            "",
            " ",
            "1,2",
            "1 2",
            "1}",
            "\"a",
            "{\"a\":1",
            "1,\"b\":2",
            "tru",
            "//",
            "\"a\" :1",
        ] {
            assert_eq!(value(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(members(deep.as_bytes()).map(|m| m.len()), Some(1));
    }
}
