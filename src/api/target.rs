//! What a request's address and headers say: read strictly, so that a slip of the pen is told and not passed over.

use super::problem::{Code, Problem};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::ops::RangeInclusive;

const TENANT_PARAMETER: &str = "tenant_id";
/// So many parameters no route has.
const PARAMETERS_MAX: usize = 32;

/// The one value of a header.
///
/// # Errors
/// Where it is there twice: which one counts, nobody says.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(Problem::new(
            Code::InvalidHeader,
            format!("the header {name} is there more than once"),
        )),
    }
}

/// Whether every escape in a path is one, and what they spell is text.
///
/// # Errors
/// Where not.
pub(super) fn check_path(uri: &Uri) -> Result<(), Problem> {
    let wrong = || {
        Problem::new(
            Code::InvalidTarget,
            "the path has a percent sign without two hexadecimal digits, or spells no UTF-8",
        )
    };
    unescape(uri.path(), false).map(drop).ok_or_else(wrong)
}

/// The parameters of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads those that a route knows; `tenant_id` every route does.
    ///
    /// # Errors
    /// The first that is not known, or is there twice.
    pub fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let query = Self::read(uri)?;
        for (nth, (name, _)) in query.0.iter().enumerate() {
            if name != TENANT_PARAMETER && !known.contains(&name.as_str()) {
                let known = if known.is_empty() {
                    "none but tenant_id".to_owned()
                } else {
                    format!("{} and tenant_id", known.join(", "))
                };
                return Err(Problem::new(
                    Code::UnknownParameter,
                    format!("{name:?} is no parameter of this route, which knows {known}"),
                ));
            }
            if query.0[..nth].iter().any(|(other, _)| other == name) {
                return Err(invalid(name, "is there more than once"));
            }
        }
        Ok(query)
    }

    fn read(uri: &Uri) -> Result<Self, Problem> {
        let text = uri.query().unwrap_or_default();
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (unescape(name, true), unescape(value, true)) else {
                return Err(Problem::new(
                    Code::InvalidTarget,
                    "the query has a percent sign without two hexadecimal digits, or spells no UTF-8",
                ));
            };
            if pairs.len() == PARAMETERS_MAX {
                return Err(Problem::new(
                    Code::UnknownParameter,
                    "the query has too many parameters",
                ));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub(super) fn tenant(uri: &Uri) -> Result<Option<String>, Problem> {
        let query = Self::read(uri)?;
        Ok(query.text(TENANT_PARAMETER).map(str::to_owned))
    }

    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// Where the parameter is there and is no whole number of `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(value) if is_plain && range.contains(&value) => Ok(Some(value)),
            Ok(_) | Err(_) => Err(invalid(
                name,
                &format!("must be a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// # Errors
    /// Where the parameter is there and is none of `choices`.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let found = choices.iter().find(|(known, _)| *known == text);
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
            invalid(name, &format!("must be {}", known.join(" or ")))
        })
    }
}

/// A parameter that is wrong.
#[must_use]
pub fn invalid(name: &str, what: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{name} {what}"))
}

/// Percent escapes decoded; `None` where one is broken, or they spell no UTF-8. In a query a plus sign stands for a space.
fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next())? << 4 | hex_digit(rest.next())?,
            b'+' if plus_is_space => b' ',
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    let value = char::from(*byte?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&format!("/x?{text}").parse().unwrap(), &["wait", "limit"])
    }

    #[test]
    fn a_query_is_read_whole_or_refused_with_the_name_of_what_is_wrong() {
        let good = query("wait=a%20b+c%2B&&limit=7&tenant_id=acme").unwrap();
        assert_eq!(good.text("wait"), Some("a b c+"));
        assert_eq!(good.number("limit", 1..=7).unwrap(), Some(7));
        assert!(good.number("limit", 1..=6).is_err());
        assert!(good.choice("wait", &[("sealed", 1)]).is_err());
        let many = "limit=1&".repeat(33);
        for (wrong, code) in [
            ("waits=1", Code::UnknownParameter),
            ("wait=1&wait=1", Code::InvalidParameter),
            ("wait=%f", Code::InvalidTarget),
            ("wait=%ff", Code::InvalidTarget),
            (many.as_str(), Code::UnknownParameter),
        ] {
            assert_eq!(query(wrong).unwrap_err().code, code, "{wrong}");
        }
        for number in ["+7", "-1", "", "7.0", "99999999999999999999"] {
            let number = query(&format!("limit={}", number.replace('+', "%2B"))).unwrap();
            assert!(number.number("limit", 0..=u64::MAX).is_err(), "{number:?}");
        }
    }

    #[test]
    fn a_path_spells_text() {
        for (path, is_right) in [
            ("/a%20b", true),
            ("/a%2", false),
            ("/%c3%28", false),
            ("/%zz", false),
        ] {
            assert_eq!(check_path(&path.parse().unwrap()).is_ok(), is_right, "{path}");
        }
    }
}
