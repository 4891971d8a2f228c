//! What AWS's SDK says where a call was not answered, in words for a person; and the variables that say where a service is, as far as the SDK does not read them as people mean them.

use aws_credential_types::provider::error::CredentialsError;
use std::error::Error;

/// The longest text of somebody else's that is said again.
const WHY_CHARS_MAX: usize = 300;

/// What to do where there are no credentials.
pub const GIVE_CREDENTIALS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or container a role";

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// There are none, or what names them is wrong: it will not get better by itself.
    NoCredentials,
    /// They cannot be had now, as from a machine's own service that does not answer.
    CredentialsAway(String),
    /// Nobody is there, or what is there breaks off, or takes too long.
    NoAnswer(String),
}

impl Silence {
    /// Of a call's error that is no answer of the service's.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            match cause.downcast_ref::<CredentialsError>() {
                Some(
                    CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_),
                ) => {
                    return Self::NoCredentials;
                }
                Some(_) => return Self::CredentialsAway(innermost(cause)),
                None => next = cause.source(),
            }
        }
        Self::NoAnswer(innermost(error))
    }
}

/// The cause of all: what stands around it names the layers of a library. On one line, and not for ever.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !said.is_empty() {
            text = said;
        }
        next = cause.source();
    }
    said_again(&text, WHY_CHARS_MAX)
}

/// Text of somebody else's, as a server sends it in a refusal, to be put into an error or a line of a log: on one line, cut to `chars_max`, and without what moves a
/// terminal's cursor or hides and turns round what stands beside it.
#[must_use]
pub fn said_again(text: &str, chars_max: usize) -> String {
    let mut said = String::new();
    let mut chars = 0;
    for word in text.split(|c: char| c.is_whitespace() || is_unseen(c)) {
        if word.is_empty() {
            continue;
        }
        if chars > 0 && chars < chars_max {
            said.push(' ');
            chars += 1;
        }
        for c in word.chars() {
            if chars >= chars_max {
                return said;
            }
            said.push(c);
            chars += 1;
        }
    }
    said
}

/// Controls, and the marks of Unicode that have no width or change the direction.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// A variable of AWS's; one that is set to nothing counts as unset: `X: ${X:-}` in a compose file makes such.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where AWS's variables say that a service is, by its name in them, as `S3`; `None` where they say nothing.
#[must_use]
pub fn endpoint(service: &str) -> Option<String> {
    let are_ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if are_ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true")) {
        return None;
    }
    variable(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// Whether one of those variables is set to nothing, which the SDK takes for an address.
#[must_use]
pub fn is_endpoint_set_to_nothing(service: &str) -> bool {
    let is_empty = |name: &str| std::env::var_os(name).is_some_and(|value| value.is_empty());
    is_empty(&format!("AWS_ENDPOINT_URL_{service}")) || is_empty("AWS_ENDPOINT_URL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("dispatch failure")]
    struct Shell(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn the_cause_is_told_without_what_stands_around_it() {
        let refused = io::Error::other(Shell("nobody\n  listens".into()));
        assert_eq!(
            Silence::of(&Shell(refused.into())),
            Silence::NoAnswer("nobody listens".to_owned())
        );
    }

    #[test]
    fn text_of_somebody_elses_is_cut_and_cannot_move_a_cursor() {
        for (text, said) in [
            ("Access\r\n Denied", "Access Denied"),
            ("\x1b[2J\x1b]0;owned\x07ok", "[2J ]0;owned ok"),
            ("a\0b\u{9b}31mc", "a b 31mc"),
            ("not\u{202E}deined\u{200B}\u{FEFF}!", "not deined !"),
            (" \t\n", ""),
            ("Zugriff verweigert: für alle", "Zugriff verweigert: für alle"),
        ] {
            assert_eq!(said_again(text, 100), said);
        }
        let long = said_again(&"ü x ".repeat(1_000_000), 300);
        assert_eq!(long.chars().count(), 300);
        assert_eq!(said_again("abc def", 3), "abc");
        assert_eq!(said_again("abc def", 4), "abc ");
    }

    #[test]
    fn credentials_that_are_not_there_are_told_from_those_that_cannot_be_had() {
        let missing = Shell(CredentialsError::not_loaded_no_source().into());
        assert_eq!(Silence::of(&missing), Silence::NoCredentials);
        let away = Shell(CredentialsError::provider_error("it is away").into());
        assert_eq!(
            Silence::of(&away),
            Silence::CredentialsAway("it is away".to_owned())
        );
    }
}
