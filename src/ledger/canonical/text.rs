//! Strings: escapes read and written, and the order of member names.

use super::{Fault, scan};
use crate::ledger::leaf::RejectCode;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The character of the escape at `at` (its backslash), and the offset behind it.
pub(super) fn read_escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let simple = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return read_unicode_escape(bytes, at),
        Some(_) | None => return Err(Fault::json(at, "there is no such escape in JSON")),
    };
    Ok((simple, at + 2))
}

fn read_unicode_escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let short = || Fault::json(at, "\\u needs four hex digits");
    let lone = || {
        Fault::new(
            RejectCode::LoneSurrogate,
            at,
            "half of a surrogate pair stands alone",
        )
    };
    let first = hex_unit(bytes, at + 2).ok_or_else(short)?;
    let (character, end) = match first {
        0 => {
            return Err(Fault::new(
                RejectCode::NulCharacter,
                at,
                "a string or name holds U+0000",
            ));
        }
        0xD800..=0xDBFF => {
            if bytes.get(at + 6..at + 8) != Some(b"\\u") {
                return Err(lone());
            }
            let second =
                hex_unit(bytes, at + 8).ok_or_else(|| Fault::json(at + 6, "\\u needs four hex digits"))?;
            if !(0xDC00..=0xDFFF).contains(&second) {
                return Err(lone());
            }
            (0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00), at + 12)
        }
        _ => (first, at + 6),
    };
    // What is left without a character is the second half of a pair.
    Ok((char::from_u32(character).ok_or_else(lone)?, end))
}

fn hex_unit(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |unit, b| {
        char::from(*b).to_digit(16).map(|digit| unit * 16 + digit)
    })
}

/// Appends one character of a string as RFC 8785 writes it.
pub(super) fn write_char(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\0'..='\u{1f}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends `text` as a JSON string in canonical spelling, quotes and all.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    out.push(b'"');
    loop {
        let end = scan::plain_end(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(special) = bytes.get(end) else { break };
        // ASCII: what is not plain is no part of a longer character.
        write_char(char::from(*special), out);
        at = end + 1;
    }
    out.push(b'"');
}

/// The end of the escape at `at`, if it is the one that RFC 8785 writes.
pub(super) fn minimal_escape_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r' => Some(at + 2),
        b'u' => match bytes.get(at + 2..at + 6)? {
            [b'0', b'0', b'0', b'1'..=b'7' | b'b' | b'e' | b'f']
            | [b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f'] => Some(at + 6),
            _ => None,
        },
        _ => None,
    }
}

/// Compares two member names, given as they are spelled in canonical form, by the UTF-16 code units that they stand for.
#[inline]
pub(super) fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    let common = a
        .iter()
        .zip(b)
        .position(|(x, y)| x != y)
        .unwrap_or(a.len().min(b.len()));
    let (next_a, next_b) = (a.get(common), b.get(common));
    let decided = [next_a, next_b].into_iter().flatten().all(|b| byte_decides(*b));
    if decided && !a[..common].contains(&b'\\') {
        return next_a.cmp(&next_b);
    }
    units(a).cmp(&units(b))
}

/// Whether this byte of a spelled name, where it differs from another such byte, orders as the code units do. It does not
/// in an escape; and UTF-8 and UTF-16 order U+E000 to U+FFFF (lead bytes EE, EF) and what lies above (F0 to F4) differently.
#[inline]
pub(super) const fn byte_decides(byte: u8) -> bool {
    byte != b'\\' && byte < 0xEE
}

/// The UTF-16 code units of a string in canonical spelling.
fn units(spelled: &[u8]) -> Vec<u16> {
    unescape(spelled).unwrap_or_default().encode_utf16().collect()
}

/// The text that `spelled`, the inside of a JSON string, stands for. `None` where an escape of it stands for nothing.
pub(crate) fn unescape(spelled: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(spelled.len());
    let mut at = 0;
    while let Some(plain) = spelled[at..].iter().position(|b| *b == b'\\') {
        text.extend_from_slice(&spelled[at..at + plain]);
        let (character, end) = read_escape(spelled, at + plain).ok()?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at = end;
    }
    text.extend_from_slice(&spelled[at..]);
    String::from_utf8(text).ok()
}

/// As [`unescape`], without a copy where nothing is escaped.
pub(crate) fn plain(spelled: &[u8]) -> Option<Cow<'_, str>> {
    if spelled.contains(&b'\\') {
        unescape(spelled).map(Cow::Owned)
    } else {
        std::str::from_utf8(spelled).ok().map(Cow::Borrowed)
    }
}

/// The end of the escape at `at`, whatever it stands for.
pub(super) fn escape_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => hex_unit(bytes, at + 2).map(|_| at + 6),
        _ => None,
    }
}

/// The member name whose opening quote is at `at`, for a message: short, and without control characters.
pub(super) fn shown_name(input: &str, at: usize) -> String {
    const CHARS_MAX: usize = 64;
    let bytes = input.as_bytes();
    let mut end = at + 1;
    loop {
        end = scan::plain_end(bytes, end);
        if bytes.get(end) != Some(&b'\\') {
            break;
        }
        end += 2;
    }
    let name = bytes.get(at + 1..end).and_then(unescape).unwrap_or_default();
    if name.chars().count() > CHARS_MAX {
        format!("{:?}...", name.chars().take(CHARS_MAX).collect::<String>())
    } else {
        format!("{name:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_utf_16_code_units() {
        // The last but two are the surprise: U+1F600 (D83D DE00) sorts before U+FB33.
        let ordered = [
            "", "\\\\", "\\\\a", "\\b", "\\t", "\\n", "\\r", "\\u001f", "\\\"", "1", "1\\t", "1\\n", "1a",
            "a", "ab", "\u{80}", "ö", "€", "😀", "\u{e000}", "\u{fb33}",
        ];
        let mut by_units: Vec<&str> = ordered.to_vec();
        by_units.sort_by_key(|name| units(name.as_bytes()));
        for (i, a) in by_units.iter().enumerate() {
            for (j, b) in by_units.iter().enumerate() {
                assert_eq!(compare_names(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(by_units.last(), Some(&"\u{fb33}"));
    }

    #[test]
    fn every_character_below_128_is_written_minimally_and_read_back() {
        for code in 1..128_u8 {
            let mut spelled = Vec::new();
            write_char(char::from(code), &mut spelled);
            assert_eq!(unescape(&spelled), Some(char::from(code).to_string()));
            assert_eq!(plain(&spelled).as_deref(), unescape(&spelled).as_deref());
            if spelled[0] == b'\\' {
                assert_eq!(minimal_escape_end(&spelled, 0), Some(spelled.len()), "{code}");
            }
            let long = format!("\\u{code:04x}");
            assert_eq!(
                minimal_escape_end(long.as_bytes(), 0).is_some(),
                long.as_bytes() == spelled
            );
        }
        assert_eq!(minimal_escape_end(b"\\u001F", 0), None);
        assert_eq!(minimal_escape_end(b"\\u0000", 0), None);
        assert_eq!(minimal_escape_end(b"\\/", 0), None);
    }
}
