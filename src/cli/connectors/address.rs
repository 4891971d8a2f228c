//! Where a worker of Kafka Connect answers, and who asks. What is printed of it holds no password: the URL may not hold one, and the login is in the environment.

use reqwest::{RequestBuilder, Url};

const USER_VARIABLE: &str = "LEDGERLINE_CONNECT_USER";
const PASSWORD_VARIABLE: &str = "LEDGERLINE_CONNECT_PASSWORD";
const DUE: &str = "must be http://HOST:PORT or https://HOST:PORT, with a path where the worker is behind one";

pub(super) struct Address {
    /// Without a slash at its end.
    pub url: String,
    login: Option<Login>,
}

struct Login {
    user: String,
    password: String,
}

impl Address {
    /// Reads a URL; the login comes from the environment.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn read(url: &str) -> Result<Self, String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::parse(url, variable(USER_VARIABLE), variable(PASSWORD_VARIABLE))
    }

    /// Of what was given nothing is shown: it may hold a password in the wrong place.
    fn parse(url: &str, user: Option<String>, password: Option<String>) -> Result<Self, String> {
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
        Ok(Self {
            url: parsed.as_str().trim_end_matches('/').to_owned(),
            login: Login::of(user, password)?,
        })
    }

    /// A request with the login, where there is one.
    pub fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            Some(login) => request.basic_auth(&login.user, Some(&login.password)),
            None => request,
        }
    }
}

impl Login {
    fn of(user: Option<String>, password: Option<String>) -> Result<Option<Self>, String> {
        match (user, password) {
            (None, None) => Ok(None),
            (Some(user), Some(password)) if !user.contains(':') => Ok(Some(Self { user, password })),
            (Some(_), Some(_)) => Err(format!("{USER_VARIABLE} must hold no colon")),
            (Some(_), None) | (None, Some(_)) => Err(format!(
                "needs both {USER_VARIABLE} and {PASSWORD_VARIABLE}, or neither"
            )),
        }
    }
}

/// What to do where a worker refuses the login.
pub(super) fn refused() -> String {
    format!("see {USER_VARIABLE} and {PASSWORD_VARIABLE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, user: Option<&str>, password: Option<&str>) -> Result<Address, String> {
        Address::parse(url, user.map(str::to_owned), password.map(str::to_owned))
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_nothing_that_was_given_is_shown() {
        for (url, user, password, reason) in [
            ("worker:8083", None, None, "http://HOST:PORT"),
            ("http://u:hunter2@worker", None, None, USER_VARIABLE),
            ("http://hunter2@worker", None, None, USER_VARIABLE),
            ("ftp://u:hunter2@worker", None, None, "http://HOST:PORT"),
            ("http://worker?x=hunter2", None, None, "http://HOST:PORT"),
            ("http://worker", Some("u"), None, "both"),
            ("http://worker", None, Some("hunter2"), "both"),
            ("http://worker", Some("u:v"), Some("hunter2"), "colon"),
        ] {
            let fault = parse(url, user, password).map(drop).unwrap_err();
            assert!(
                fault.contains(reason) && !fault.contains("hunter2"),
                "{url}: {fault}"
            );
        }
        assert_eq!(
            parse("http://worker:8083/connect/", None, None).unwrap().url,
            "http://worker:8083/connect"
        );
    }

    #[test]
    fn a_request_bears_the_login_of_the_environment() {
        let sent = |user, password| {
            let address = parse("http://worker", user, password).unwrap();
            let request = reqwest::Client::new().get(&address.url);
            let headers = address.signed(request).build().unwrap().headers().clone();
            headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(sent(None, None), None);
        assert_eq!(sent(Some("u"), Some("p")).as_deref(), Some("Basic dTpw"));
    }
}
