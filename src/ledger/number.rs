//! Numbers: which tokens are kept, and the one way in which each is written (docs/FORMAT.md section 2).
//!
//! A token is kept where a reader that holds numbers as binary64 still sees the value that was sent. Its canonical form is
//! that of ECMAScript's `Number.prototype.toString`, by the crate `ryu_js`. Tokens are given in the grammar of RFC 8259;
//! that they are in it is the caller's to see to.

use std::str::from_utf8;

/// The longest number token that is kept, in bytes.
pub const TOKEN_BYTES_MAX: usize = 64;

/// Up to so many significant digits, every decimal is the shortest rendering of its nearest binary64 (`DBL_DIG`).
const DIGITS_ALWAYS_EXACT: usize = 15;
/// 2^53: up to here every integer is a binary64.
const INTEGER_EXACT_MAX: u64 = 1 << 53;

/// The token is longer than [`TOKEN_BYTES_MAX`], or no binary64 renders to its decimal value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a 64-bit double does not hold this number exactly; send it as a string")]
pub struct NotExact;

/// Appends the canonical form of `token` to `out`.
///
/// # Errors
/// [`NotExact`]; `out` is then as before.
pub fn write_canonical(token: &[u8], out: &mut Vec<u8>) -> Result<(), NotExact> {
    if is_plain(token) {
        out.extend_from_slice(token);
        return Ok(());
    }
    let mut buffer = ryu_js::Buffer::new();
    out.extend_from_slice(render(token, &mut buffer)?.as_bytes());
    Ok(())
}

/// As [`write_canonical`], where the canonical form has the decimal value of the token itself. That of a rendering with 17 digits is the shortest decimal of the same
/// binary64, and another number than what was sent: who does not know that a binary64 was sent would alter it.
///
/// # Errors
/// [`NotExact`]; `out` is then as before.
pub fn write_same_decimal(token: &[u8], out: &mut Vec<u8>) -> Result<(), NotExact> {
    let before = out.len();
    write_canonical(token, out)?;
    let (sent, written) = (Decimal::of(token), Decimal::of(&out[before..]));
    if sent == written || (sent.is_zero() && written.is_zero()) {
        Ok(())
    } else {
        out.truncate(before);
        Err(NotExact)
    }
}

/// Whether `token` is kept and is its own canonical form.
#[must_use]
pub fn is_canonical(token: &[u8]) -> bool {
    is_plain(token) || render(token, &mut ryu_js::Buffer::new()).is_ok_and(|form| form.as_bytes() == token)
}

/// The cases that need no arithmetic: integers up to 2^53, and decimals of few digits without exponent, without zeros at
/// the end and not below 1e-6, from where on ECMAScript writes an exponent.
fn is_plain(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    if digits.len() > DIGITS_ALWAYS_EXACT + 1 {
        return false;
    }
    let Some(whole_len) = digits.iter().position(|b| !b.is_ascii_digit()) else {
        return is_plain_integer(digits) && token != b"-0";
    };
    let Some(fraction) = digits[whole_len..].strip_prefix(b".") else {
        return false;
    };
    fraction.iter().all(u8::is_ascii_digit)
        && fraction.last().is_some_and(|b| *b != b'0')
        && !(&digits[..whole_len] == b"0" && fraction.starts_with(b"000000"))
}

fn is_plain_integer(digits: &[u8]) -> bool {
    let value = digits.iter().fold(0_u64, |sum, b| sum * 10 + u64::from(b - b'0'));
    value <= INTEGER_EXACT_MAX
}

/// The rule itself, for any token.
fn render<'b>(token: &[u8], buffer: &'b mut ryu_js::Buffer) -> Result<&'b str, NotExact> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(NotExact);
    }
    let sent = Decimal::of(token);
    if sent.is_zero() {
        return Ok("0");
    }
    // The standard library parses to the nearest binary64, ties to even, whatever the number of digits.
    let nearest: f64 = from_utf8(token)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or(NotExact)?;
    if !nearest.is_finite() || nearest == 0.0 {
        return Err(NotExact);
    }
    let shortest = buffer.format_finite(nearest);
    let kept =
        sent == Decimal::of(shortest.as_bytes()) || sent == Decimal::of(format!("{nearest:.16e}").as_bytes());
    if kept { Ok(shortest) } else { Err(NotExact) }
}

/// The magnitude of a decimal token as `0.d1d2d3.. * 10^exponent`, first and last digit not zero: equal values are equal
/// here. The sign is left out, as a token and its renderings agree in it.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: [u8; TOKEN_BYTES_MAX],
    len: usize,
    exponent: i64,
}

impl Decimal {
    /// `token` has at most [`TOKEN_BYTES_MAX`] bytes.
    fn of(token: &[u8]) -> Self {
        let mut decimal = Decimal {
            digits: [0; TOKEN_BYTES_MAX],
            len: 0,
            exponent: 0,
        };
        let end_of_digits = token
            .iter()
            .position(|b| matches!(b, b'e' | b'E'))
            .unwrap_or(token.len());
        let mut past_point = false;
        for byte in &token[..end_of_digits] {
            match byte {
                b'.' => past_point = true,
                b'0'..=b'9' => decimal.push(*byte, past_point),
                _ => {}
            }
        }
        decimal.trim();
        let written = token.get(end_of_digits + 1..).map_or(0, parse_exponent);
        decimal.exponent = decimal.exponent.saturating_add(written);
        decimal
    }

    fn push(&mut self, digit: u8, past_point: bool) {
        let leading_zero = self.len == 0 && digit == b'0';
        if !leading_zero && let Some(place) = self.digits.get_mut(self.len) {
            *place = digit;
            self.len += 1;
        }
        match (past_point, leading_zero) {
            (false, false) => self.exponent += 1,
            (true, true) => self.exponent -= 1,
            (false, true) | (true, false) => {}
        }
    }

    fn trim(&mut self) {
        while self.len > 0 && self.digits[self.len - 1] == b'0' {
            self.len -= 1;
            self.digits[self.len] = 0;
        }
    }

    fn is_zero(&self) -> bool {
        self.len == 0
    }
}

/// What follows `e`. A value beyond `i64` saturates: such a token is infinite, or vanishes.
fn parse_exponent(text: &[u8]) -> i64 {
    let magnitude = text.iter().filter(|b| b.is_ascii_digit()).fold(0_i64, |sum, b| {
        sum.saturating_mul(10).saturating_add(i64::from(b - b'0'))
    });
    if text.starts_with(b"-") {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(token: &str) -> Option<String> {
        let mut out = Vec::new();
        write_canonical(token.as_bytes(), &mut out).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_examples_of_the_format_are_kept_and_refused_as_it_says() {
        for (token, form) in [
            ("1e30", "1e+30"),
            ("1.50", "1.5"),
            ("-0", "0"),
            ("0.10000000000000001", "0.1"),
            ("0e99999999999999999999999", "0"),
            ("-0.000e-7", "0"),
            ("9007199254740992", "9007199254740992"),
            ("9007199254740994", "9007199254740994"),
            ("-9007199254740992", "-9007199254740992"),
            ("100000000000000000000", "100000000000000000000"),
            ("1000000000000000000000", "1e+21"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1E2", "100"),
            ("5e-324", "5e-324"),
            ("4.9406564584124654e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(canonical(token).as_deref(), Some(form), "{token}");
            assert_eq!(is_canonical(token.as_bytes()), token == form, "{token}");
            assert!(is_canonical(form.as_bytes()), "{form}");
        }
        for token in [
            "9007199254740993",
            "-9007199254740993",
            "12345678901234567.89",
            "1e-400",
            "1e400",
            "-1e309",
            "1e99999999999999999999999",
            "1e-99999999999999999999999",
            "0.1000000000000000055511151231257827",
            "123456789012345678901234567890",
        ] {
            assert_eq!(canonical(token), None, "{token}");
            assert!(!is_canonical(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn a_decimal_that_is_not_the_shortest_of_its_double_is_kept_by_the_format_and_is_not_the_same() {
        let same = |token: &str| {
            let mut out = b"n".to_vec();
            let written = write_same_decimal(token.as_bytes(), &mut out);
            (written, String::from_utf8(out).unwrap())
        };
        for (token, form) in [
            ("0.1", "0.1"),
            ("1.50", "1.5"),
            ("-0.00e7", "0"),
            ("1.0E-7", "1e-7"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("9007199254740992.0", "9007199254740992"),
            ("1.0E300", "1e+300"),
        ] {
            assert_eq!(same(token), (Ok(()), format!("n{form}")), "{token}");
        }
        for token in [
            "0.10000000000000001",
            "-0.10000000000000001",
            "5.6843418860808015E-14",
            "4.9406564584124654e-324",
        ] {
            assert!(canonical(token).is_some(), "{token}");
            assert_eq!(same(token), (Err(NotExact), "n".to_owned()), "{token}");
        }
        assert_eq!(same("1e400"), (Err(NotExact), "n".to_owned()));
    }

    #[test]
    fn sixty_four_bytes_are_the_longest_token() {
        let longest = format!("1.{}", "0".repeat(62));
        assert_eq!(canonical(&longest).as_deref(), Some("1"));
        assert_eq!(canonical(&format!("{longest}0")), None);
    }

    #[test]
    fn what_the_fast_path_takes_the_rule_itself_renders_to_the_same() {
        let mut count = 0;
        for whole in ["0", "7", "10", "123456", "9007199254740991", "999999999999999"] {
            for fraction in [
                "",
                ".5",
                ".05",
                ".000001",
                ".0000001",
                ".00000012",
                ".50",
                ".123456789",
            ] {
                for sign in ["", "-"] {
                    let token = format!("{sign}{whole}{fraction}");
                    if is_plain(token.as_bytes()) {
                        count += 1;
                        let mut buffer = ryu_js::Buffer::new();
                        assert_eq!(render(token.as_bytes(), &mut buffer), Ok(token.as_str()));
                    }
                }
            }
        }
        assert!(count > 30, "{count}");
    }
}
