//! Where a schema registry is, and who asks.

use reqwest::Url;
use std::fmt;

/// The environment variables of the login, so that it is in no URL, log or list of processes.
pub const USER_VARIABLE: &str = "LEDGERLINE_SCHEMA_REGISTRY_USER";
pub const PASSWORD_VARIABLE: &str = "LEDGERLINE_SCHEMA_REGISTRY_PASSWORD";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Without a slash at its end.
    pub url: String,
    pub login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    password: String,
}

impl Login {
    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl RegistryConfig {
    /// # Errors
    /// What is wrong, and what would be right. Shows nothing of what was given: it may hold a password in the wrong place.
    pub fn parse(url: &str, user: Option<String>, password: Option<String>) -> Result<Self, String> {
        const DUE: &str =
            "must be http://HOST:PORT or https://HOST:PORT, with a path where the registry has one";
        let parsed = Url::parse(url).map_err(|_| DUE.to_owned())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(DUE.to_owned());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(format!(
                "must hold no user and password: give them in {USER_VARIABLE} and {PASSWORD_VARIABLE}"
            ));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(DUE.to_owned());
        }
        let login = match (user, password) {
            (None, None) => None,
            (Some(user), Some(password)) if !user.contains(':') => Some(Login { user, password }),
            (Some(_), Some(_)) => return Err(format!("{USER_VARIABLE} must hold no colon")),
            (Some(_), None) | (None, Some(_)) => {
                return Err(format!(
                    "needs both {USER_VARIABLE} and {PASSWORD_VARIABLE}, or neither"
                ));
            }
        };
        Ok(Self {
            url: parsed.as_str().trim_end_matches('/').to_owned(),
            login,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_with_its_path_and_without_its_last_slash() {
        for (url, taken) in [
            ("http://registry:8081", "http://registry:8081"),
            ("https://registry/", "https://registry"),
            (
                "http://[::1]:8080/apis/ccompat/v7/",
                "http://[::1]:8080/apis/ccompat/v7",
            ),
        ] {
            assert_eq!(RegistryConfig::parse(url, None, None).unwrap().url, taken);
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_shown() {
        let parse = |url: &str, user: Option<&str>, password: Option<&str>| {
            RegistryConfig::parse(url, user.map(str::to_owned), password.map(str::to_owned))
        };
        for (url, user, password, reason) in [
            ("registry:8081", None, None, "http://HOST:PORT"),
            ("ftp://registry", None, None, "http://HOST:PORT"),
            ("http://registry?x=hunter2", None, None, "http://HOST:PORT"),
            ("http://u:hunter2@registry", None, None, "no user and password"),
            ("http://registry", Some("u"), None, "both"),
            ("http://registry", None, Some("hunter2"), "both"),
            ("http://registry", Some("u:v"), Some("hunter2"), "colon"),
        ] {
            let fault = parse(url, user, password).unwrap_err();
            assert!(
                fault.contains(reason) && !fault.contains("hunter2"),
                "{url}: {fault}"
            );
        }
        let config = parse("http://registry", Some("u"), Some("hunter2")).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
