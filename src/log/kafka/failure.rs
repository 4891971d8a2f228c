//! What Kafka's errors mean for a caller, in words that name what, where, and what to do.

use super::client::{Trouble, Troubles};
use super::url::KafkaConfig;
use crate::log::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Turns errors of one cluster into those of the log.
#[derive(Clone, Copy)]
pub(super) struct Failure<'f> {
    pub config: &'f KafkaConfig,
    pub troubles: &'f Troubles,
}

impl Failure<'_> {
    /// An error of a call that wrote nothing.
    pub fn of(self, doing: &str, error: KafkaError) -> LogError {
        let code = error.rdkafka_error_code();
        let fatal = code.and_then(|code| self.for_good(doing, code));
        match (fatal, self.refused_login()) {
            (Some(what), _) | (None, Some(what)) => LogError::Fatal {
                what,
                source: Some(error.into()),
            },
            (None, None) => LogError::Retry {
                what: format!("{doing} waits for {}: {}", self.cluster(), self.why(&error)),
                source: Some(error.into()),
            },
        }
    }

    /// No answer in time.
    pub fn no_answer(self, doing: &str) -> LogError {
        if let Some(what) = self.refused_login() {
            return LogError::Fatal { what, source: None };
        }
        let why = self
            .troubles
            .recent()
            .map_or_else(|| "no answer yet".to_owned(), |trouble| trouble.what);
        LogError::Retry {
            what: format!("{doing} waits for {}: {why}", self.cluster()),
            source: None,
        }
    }

    /// What is wrong for good, where `code` says so.
    pub fn for_good(self, doing: &str, code: Code) -> Option<String> {
        let cluster = self.cluster();
        Some(match code {
            Code::TopicAuthorizationFailed => format!(
                "{doing}: {cluster} refuses this user the topic; grant it read, write and describe (ACL)"
            ),
            Code::GroupAuthorizationFailed => format!(
                "{doing}: {cluster} refuses this user the consumer group {}; grant it read and describe on groups that begin so (ACL)",
                self.config.group_id
            ),
            Code::ClusterAuthorizationFailed => format!(
                "{doing}: {cluster} refuses this user; an idempotent producer needs IdempotentWrite on the cluster, or Write on its topics (ACL)"
            ),
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => format!(
                "{doing}: a record is larger than {cluster} takes; `ledgerline topics apply` sets max.message.bytes to what is needed"
            ),
            Code::InvalidRecord | Code::PolicyViolation | Code::UnsupportedForMessageFormat => format!(
                "{doing}: {cluster} refuses the record ({code}); compare the topic's settings with those of `ledgerline topics apply --dry-run`"
            ),
            Code::SaslAuthenticationFailed | Code::Authentication => self.login(&code.to_string()),
            Code::InvalidReplicationFactor | Code::InvalidConfig | Code::InvalidTopic => {
                format!("{doing}: {cluster} refuses it ({code})")
            }
            _ => return None,
        })
    }

    /// What librdkafka itself said of logging in: calls only time out.
    pub fn refused_login(self) -> Option<String> {
        let Trouble { code, what, .. } = self.troubles.recent()?;
        matches!(code, Code::Authentication | Code::SaslAuthenticationFailed).then(|| self.login(&what))
    }

    fn login(self, why: &str) -> String {
        format!(
            "{} refuses the login: {why}; see sasl.mechanism, sasl.username and the password, or the client certificate",
            self.cluster()
        )
    }

    fn why(self, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        let mut error = code.map_or_else(|| error.to_string(), |code| code.to_string());
        // Brokers say so for a moment when they begin, and for good where the topic was deleted.
        if let Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) = code {
            error.push_str("; where the topic was deleted: `ledgerline topics apply` makes those of the ledger again, and its connector one that is captured");
        }
        match self.troubles.recent() {
            Some(trouble) => format!("{error}; {}", trouble.what),
            None => error,
        }
    }

    pub fn cluster(self) -> String {
        format!("Kafka at {}", self.config.brokers)
    }
}
