//! `kafka://HOST:PORT[,HOST:PORT..]/[?NAME=VALUE[&NAME=VALUE..]]`: where a cluster is, and how to talk to it. Names are those of Kafka's own
//! settings where there is one. An unknown name is refused: a misspelt `sasl.mechansim` would otherwise be a plain connection.

use crate::log::topic;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The scheme, with what follows it.
pub const SCHEME: &str = "kafka://";
/// The environment variable that holds the password, so that it is in no URL, log or list of processes.
pub const PASSWORD_VARIABLE: &str = "LEDGERLINE_KAFKA_PASSWORD";
pub const EXAMPLE: &str = "kafka://127.0.0.1:9092/";

const GROUP_DEFAULT: &str = "ledgerline";
const PREFIX_CHARS_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 200;

/// A cluster, and how this process talks to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `bootstrap.servers`
    pub brokers: String,
    /// Before every topic's name, so that several ledgers can share a cluster. Leaves name topics without it.
    pub topic_prefix: String,
    pub group_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub session_timeout: Duration,
    /// How long an append waits for its acknowledgement.
    pub delivery_timeout: Duration,
    pub linger: Duration,
    pub security: Security,
}

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    pub protocol: Protocol,
    pub sasl: Option<Sasl>,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Password,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// Where the password is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// As [`PASSWORD_VARIABLE`] had it.
    Value(String),
    /// Read when the log is opened; one newline at its end is not part of it.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Parameters as they stand in the URL.
#[derive(Default)]
struct Parameters {
    protocol: Option<Protocol>,
    mechanism: Option<Mechanism>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_id: Option<String>,
    group_id: Option<String>,
    group_instance_id: Option<String>,
    topic_prefix: Option<String>,
    session_timeout: Option<Duration>,
    delivery_timeout: Option<Duration>,
    linger: Option<Duration>,
}

const NAMES: &str = "security.protocol, sasl.mechanism, sasl.username, sasl.password.file, ssl.ca.location, ssl.certificate.location, ssl.key.location, \
                     client.id, group.id, group.instance.id, session.timeout.ms, delivery.timeout.ms, linger.ms, topic.prefix";

impl KafkaConfig {
    /// Reads a URL. `password` is what [`PASSWORD_VARIABLE`] holds.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, String> {
        let rest = url
            .strip_prefix(SCHEME)
            .ok_or_else(|| format!("must begin with {SCHEME}, for example {EXAMPLE}"))?;
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let brokers = brokers(rest.strip_suffix('/').unwrap_or(rest))?;
        let mut parameters = Parameters::default();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            parameters.take(pair)?;
        }
        parameters.config(brokers, password)
    }

    /// The name in the cluster of a topic of the ledger's; those of others, as Debezium's, have their own.
    #[must_use]
    pub fn topic(&self, topic: &str) -> String {
        if topic::ALL.contains(&topic) {
            format!("{}{topic}", self.topic_prefix)
        } else {
            topic.to_owned()
        }
    }
}

/// `HOST:PORT,..`, as it is.
fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |broker: &str| {
        let (host, port) = broker.rsplit_once(':').unwrap_or((broker, ""));
        let is_host = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':')
        };
        !host.is_empty() && host.bytes().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if text.contains('@') {
        return Err(format!(
            "must hold no user and password: give sasl.username, and the password in {PASSWORD_VARIABLE} or a file named by sasl.password.file"
        ));
    }
    if text.split(',').all(is_broker) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must name brokers as HOST:PORT, separated by commas, for example {EXAMPLE}"
        ))
    }
}

impl Parameters {
    fn take(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("has `{pair}` where NAME=VALUE was expected"))?;
        let value = percent_decode(value)
            .ok_or_else(|| format!("has a value of {name} that is not percent-encoded UTF-8"))?;
        let twice = match name {
            "security.protocol" => self
                .protocol
                .replace(one_of(name, &value, &Protocol::ALL, Protocol::as_str)?)
                .is_some(),
            "sasl.mechanism" => self
                .mechanism
                .replace(one_of(name, &value, &Mechanism::ALL, Mechanism::as_str)?)
                .is_some(),
            "sasl.username" => self.username.replace(plain(name, value)?).is_some(),
            "sasl.password.file" => self.password_file.replace(path(name, &value)?).is_some(),
            "ssl.ca.location" => self.ca_file.replace(path(name, &value)?).is_some(),
            "ssl.certificate.location" => self.certificate_file.replace(path(name, &value)?).is_some(),
            "ssl.key.location" => self.key_file.replace(path(name, &value)?).is_some(),
            "client.id" => self.client_id.replace(plain(name, value)?).is_some(),
            "group.id" => self.group_id.replace(plain(name, value)?).is_some(),
            "group.instance.id" => self.group_instance_id.replace(plain(name, value)?).is_some(),
            "topic.prefix" => self.topic_prefix.replace(prefix(value)?).is_some(),
            "session.timeout.ms" => self
                .session_timeout
                .replace(millis(name, &value, 1_000..=1_800_000)?)
                .is_some(),
            "delivery.timeout.ms" => self
                .delivery_timeout
                .replace(millis(name, &value, 1_000..=600_000)?)
                .is_some(),
            "linger.ms" => self.linger.replace(millis(name, &value, 0..=1_000)?).is_some(),
            "sasl.password" => {
                return Err(format!(
                    "must not hold the password: put it into {PASSWORD_VARIABLE}, or into a file named by sasl.password.file"
                ));
            }
            _ => return Err(format!("has an unknown parameter `{name}`; there are {NAMES}")),
        };
        if twice {
            Err(format!("has {name} twice"))
        } else {
            Ok(())
        }
    }

    fn config(self, brokers: String, password: Option<&str>) -> Result<KafkaConfig, String> {
        let topic_prefix = self.topic_prefix.clone().unwrap_or_default();
        Ok(KafkaConfig {
            brokers,
            group_id: self
                .group_id
                .clone()
                .unwrap_or_else(|| format!("{topic_prefix}{GROUP_DEFAULT}")),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone().unwrap_or_else(|| GROUP_DEFAULT.to_owned()),
            session_timeout: self.session_timeout.unwrap_or(Duration::from_secs(15)),
            delivery_timeout: self.delivery_timeout.unwrap_or(Duration::from_secs(30)),
            linger: self.linger.unwrap_or(Duration::from_millis(1)),
            security: self.security(password)?,
            topic_prefix,
        })
    }

    fn security(self, password: Option<&str>) -> Result<Security, String> {
        let protocol = self.protocol.unwrap_or_default();
        let has_files = self.ca_file.is_some() || self.certificate_file.is_some() || self.key_file.is_some();
        if has_files && !protocol.has_tls() {
            return Err("has ssl.* without security.protocol=ssl or sasl_ssl".to_owned());
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return Err(
                "has one of ssl.certificate.location and ssl.key.location: give both or none".to_owned(),
            );
        }
        let sasl = match (protocol.has_sasl(), self.mechanism, self.username) {
            (false, None, None) if self.password_file.is_none() => None,
            (false, _, _) => {
                return Err("has sasl.* without security.protocol=sasl_ssl or sasl_plaintext".to_owned());
            }
            (true, Some(mechanism), Some(username)) => Some(Sasl {
                mechanism,
                username,
                password: match (self.password_file, password) {
                    (Some(file), None) => Password::File(file),
                    (None, Some(value)) => Password::Value(value.to_owned()),
                    (None, None) => {
                        return Err(format!(
                            "needs a password: put it into {PASSWORD_VARIABLE}, or into a file named by sasl.password.file"
                        ));
                    }
                    (Some(_), Some(_)) => {
                        return Err(format!(
                            "has sasl.password.file, and {PASSWORD_VARIABLE} is set: give one of them"
                        ));
                    }
                },
            }),
            (true, _, _) => {
                return Err("needs sasl.mechanism and sasl.username with this security.protocol".to_owned());
            }
        };
        Ok(Security {
            protocol,
            sasl,
            ca_file: self.ca_file,
            certificate_file: self.certificate_file,
            key_file: self.key_file,
        })
    }
}

fn one_of<T: Copy>(
    name: &str,
    value: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let found = all
        .iter()
        .copied()
        .find(|one| as_str(*one).eq_ignore_ascii_case(value));
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| as_str(*one)).collect();
        format!("has a {name} that is none of {}", names.join(", "))
    })
}

fn plain(name: &str, value: String) -> Result<String, String> {
    let fits = !value.is_empty() && value.len() <= NAME_CHARS_MAX && !value.chars().any(char::is_control);
    if fits {
        Ok(value)
    } else {
        Err(format!(
            "has a {name} that is empty, longer than {NAME_CHARS_MAX} bytes or has control characters"
        ))
    }
}

fn path(name: &str, value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err(format!("has an empty {name}"));
    }
    Ok(PathBuf::from(value))
}

fn prefix(value: String) -> Result<String, String> {
    let fits = value.len() <= PREFIX_CHARS_MAX
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if fits {
        Ok(value)
    } else {
        Err(format!(
            "has a topic.prefix that is not at most {PREFIX_CHARS_MAX} of the characters A-Z a-z 0-9 . _ -"
        ))
    }
}

fn millis(name: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<Duration, String> {
    match value.parse() {
        Ok(millis) if range.contains(&millis) => Ok(Duration::from_millis(millis)),
        Ok(_) | Err(_) => Err(format!(
            "has a {name} that is not a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// RFC 3986 section 2.1, strictly: `+` is a plus.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let (high, low) = (
                char::from(bytes.next()?).to_digit(16)?,
                char::from(bytes.next()?).to_digit(16)?,
            );
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(url: &str) -> String {
        KafkaConfig::parse(url, None).unwrap_err()
    }

    #[test]
    fn brokers_alone_are_enough() {
        for url in ["kafka://a:9092", "kafka://a:9092/", "kafka://a:9092/?"] {
            let config = KafkaConfig::parse(url, None).unwrap();
            assert_eq!(
                (config.brokers.as_str(), config.group_id.as_str()),
                ("a:9092", "ledgerline")
            );
            assert_eq!(config.topic("audit.events"), "audit.events");
            assert_eq!(config.security, Security::default());
        }
    }

    #[test]
    fn every_parameter_is_taken() {
        let url = "kafka://a:1,[::1]:2/?security.protocol=SASL_SSL&sasl.mechanism=scram-sha-512&sasl.username=u%40x&sasl.password.file=/p&\
                   ssl.ca.location=/ca&ssl.certificate.location=/c&ssl.key.location=/k&client.id=c&group.id=g&group.instance.id=i&\
                   session.timeout.ms=6000&delivery.timeout.ms=9000&linger.ms=0&topic.prefix=acme.";
        let config = KafkaConfig::parse(url, None).unwrap();
        let sasl = config.security.sasl.clone().unwrap();
        assert_eq!(
            (sasl.mechanism, sasl.username.as_str()),
            (Mechanism::ScramSha512, "u@x")
        );
        assert_eq!(sasl.password, Password::File("/p".into()));
        assert_eq!(config.security.protocol, Protocol::SaslSsl);
        assert_eq!(config.security.ca_file, Some("/ca".into()));
        assert_eq!(
            (config.group_id.as_str(), config.group_instance_id.as_deref()),
            ("g", Some("i"))
        );
        assert_eq!(
            (
                config.session_timeout.as_millis(),
                config.delivery_timeout.as_millis(),
                config.linger.as_millis()
            ),
            (6_000, 9_000, 0)
        );
        assert_eq!(config.topic("audit.events"), "acme.audit.events");
    }

    #[test]
    fn ledgers_that_share_a_cluster_share_no_group() {
        let config = KafkaConfig::parse("kafka://a:1/?topic.prefix=acme.", None).unwrap();
        assert_eq!(config.group_id, "acme.ledgerline");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, named) in [
            ("sqlite:x", "must begin with kafka://"),
            ("kafka://", "HOST:PORT"),
            ("kafka://a", "HOST:PORT"),
            ("kafka://a:0", "HOST:PORT"),
            ("kafka://a:1,", "HOST:PORT"),
            ("kafka://a:1/topic", "HOST:PORT"),
            ("kafka://u:p@a:1", "no user and password"),
            ("kafka://a:1?security.protocol=tls", "none of plaintext, ssl"),
            (
                "kafka://a:1?sasl.mechansim=PLAIN",
                "unknown parameter `sasl.mechansim`",
            ),
            ("kafka://a:1?sasl.password=x", "must not hold the password"),
            ("kafka://a:1?client.id", "NAME=VALUE"),
            ("kafka://a:1?client.id=%zz", "percent-encoded"),
            ("kafka://a:1?client.id=", "empty"),
            ("kafka://a:1?client.id=a&client.id=b", "twice"),
            ("kafka://a:1?linger.ms=soon", "whole number from 0 to 1000"),
            ("kafka://a:1?topic.prefix=a/b", "topic.prefix"),
            ("kafka://a:1?sasl.username=u", "sasl.* without"),
            ("kafka://a:1?ssl.ca.location=/ca", "ssl.* without"),
            (
                "kafka://a:1?security.protocol=ssl&ssl.key.location=/k",
                "both or none",
            ),
            (
                "kafka://a:1?security.protocol=sasl_ssl&sasl.username=u",
                "sasl.mechanism and sasl.username",
            ),
            (
                "kafka://a:1?security.protocol=sasl_ssl&sasl.username=u&sasl.mechanism=PLAIN",
                PASSWORD_VARIABLE,
            ),
        ] {
            let found = fault(url);
            assert!(found.contains(named), "{url}: {found}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "kafka://a:1?security.protocol=sasl_plaintext&sasl.username=u&sasl.mechanism=PLAIN";
        let config = KafkaConfig::parse(url, Some("hunter2")).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
