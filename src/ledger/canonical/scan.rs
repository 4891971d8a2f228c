//! Steps over bytes: white space, plain runs of strings, number tokens, literals. Offsets in, offsets out; nothing is decoded.

use wide::u8x16;

/// White space of RFC 8259.
pub(super) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The first offset from `at` on that is not white space.
#[inline]
pub(super) fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|b| is_white_space(*b)) {
        at += 1;
    }
    at
}

/// Bytes that are looked at together.
const STRIDE: usize = 16;

/// The first offset from `at` on of a quote, a backslash or a control character; the end where there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(stride) = bytes.get(at..).and_then(|rest| rest.first_chunk::<STRIDE>()) {
        let found = special_lanes(*stride);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += STRIDE;
    }
    while bytes.get(at).is_some_and(|byte| !is_special(*byte)) {
        at += 1;
    }
    at
}

/// [`is_special`] of each byte, the first in the lowest bit.
#[inline]
fn special_lanes(stride: [u8; STRIDE]) -> u32 {
    let lanes = u8x16::new(stride);
    let control = lanes.simd_eq(lanes.min(u8x16::splat(0x1F)));
    let special = control | lanes.simd_eq(u8x16::splat(b'"')) | lanes.simd_eq(u8x16::splat(b'\\'));
    special.to_bitmask()
}

/// What cannot stand for itself within a string.
#[inline]
const fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\')
}

/// The end of the number token at `at`, by RFC 8259; `Err` holds the offset where the grammar breaks.
#[inline]
pub(super) fn number_end(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let whole = at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = digits_end(bytes, whole);
    if end == whole || (bytes[whole] == b'0' && end > whole + 1) {
        return Err(whole);
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits_end(bytes, fraction);
        if end == fraction {
            return Err(end);
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits_end(bytes, exponent);
        if end == exponent {
            return Err(end);
        }
    }
    Ok(end)
}

#[inline]
fn digits_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// The end of `true`, `false` or `null` at `at`.
#[inline]
pub(super) fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    ["true", "false", "null"]
        .into_iter()
        .find(|literal| rest.starts_with(literal.as_bytes()))
        .map(|literal| at + literal.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_at_each_special_byte_at_every_place() {
        for special in 0..=255_u8 {
            for place in 0..40 {
                let mut bytes = [b'a'; 40];
                bytes[place] = special;
                let is_special = special < 0x20 || special == b'"' || special == b'\\';
                assert_eq!(plain_end(&bytes, 0), if is_special { place } else { 40 });
            }
        }
    }

    #[test]
    fn bytes_next_to_a_special_one_do_not_hide_or_forge_it() {
        for first in [
            0x1F, 0x20, 0x21, 0x22, 0x23, 0x5B, 0x5C, 0x5D, 0x80, 0xA2, 0xDC, 0xFF_u8,
        ] {
            for second in 0..=255_u8 {
                let mut bytes = [b'a'; STRIDE];
                bytes[..2].copy_from_slice(&[first, second]);
                let expected = bytes
                    .iter()
                    .position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
                    .unwrap_or(STRIDE);
                assert_eq!(plain_end(&bytes, 0), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn number_tokens_end_where_the_grammar_ends_them() {
        for (text, end) in [
            ("0,", Ok(1)),
            ("-12.5e+3]", Ok(8)),
            ("1E5", Ok(3)),
            ("01", Err(0)),
            ("-", Err(1)),
            ("1.", Err(2)),
            ("1.e5", Err(2)),
            ("1e", Err(2)),
            ("1e+", Err(3)),
            ("+1", Err(0)),
        ] {
            assert_eq!(number_end(text.as_bytes(), 0), end, "{text}");
        }
    }
}
