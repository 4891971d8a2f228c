//! The id by which the systems that an event passed through can be asked about it. For log lines alone: nothing is decided by it, and it is read only
//! where a line is written.

use crate::ledger::canonical::{span, text};

/// A longer one is no id but a payload.
const BYTES_MAX: usize = 128;

/// `context.correlation_id` of an input, also of one that was refused, where it is one string of 1 to 128 visible ASCII characters: a line
/// of the log can then neither grow nor show something other than it holds.
#[must_use]
pub(super) fn correlation_id(input: &[u8]) -> Option<String> {
    let context = only_member(input, "context")?;
    let id = span::string(only_member(context, "correlation_id")?)?;
    let plain = (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then_some(id)
}

/// The value of the member of that name; `None` where there is none, or two.
fn only_member<'j>(json: &'j [u8], wanted: &str) -> Option<&'j [u8]> {
    let mut values = span::members(json)?
        .into_iter()
        .filter(|(name, _)| text::unescape(name).as_deref() == Some(wanted))
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(context: &str) -> Option<String> {
        correlation_id(format!(" {{\"n\":9007199254740993, \"context\" : {context} }}\r").as_bytes())
    }

    #[test]
    fn it_is_found_in_any_spelling_and_in_inputs_that_are_refused() {
        let spelled = found(r#"{ "request_id": "r", "correlation\u005fid" : "cor_\u0031\/2" }"#);
        assert_eq!(spelled.as_deref(), Some("cor_1/2"));
    }

    #[test]
    fn what_would_not_be_plain_in_a_line_of_the_log_is_left_out() {
        let id = |id: &str| found(&format!("{{\"correlation_id\":{id}}}"));
        let (longest, longer) = ("x".repeat(128), "x".repeat(129));
        assert_eq!(id(&format!("\"{longest}\"")), Some(longest));
        let others = [
            format!("\"{longer}\""),
            r#""""#.to_owned(),
            r#""a b""#.to_owned(),
            r#""a\nb""#.to_owned(),
            r#""a\u202eb""#.to_owned(),
            "7".to_owned(),
            r#"{"a":"b"}"#.to_owned(),
            "null".to_owned(),
        ];
        for other in others {
            assert_eq!(id(&other), None, "{other}");
        }
    }

    #[test]
    fn what_holds_none_or_two_has_none() {
        for context in [
            "{}",
            "[]",
            "\"correlation_id\"",
            r#"{"correlation_id":"a","correlation_id":"b"}"#,
            r#"{"inner":{"correlation_id":"a"}}"#,
            r#"{"correlation_id":"a"},"context":{}"#,
        ] {
            assert_eq!(found(context), None, "{context}");
        }
        for input in [
            "",
            "\"x\"",
            "{\"correlation_id\":\"a\"}",
            "{\"context\":{\"correlation_id\":\"a",
        ] {
            assert_eq!(correlation_id(input.as_bytes()), None, "{input}");
        }
        assert_eq!(correlation_id(b"{\"context\":\xFF}"), None);
    }
}
