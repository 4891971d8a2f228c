//! The topics of a cluster: as they are, and changed as planned.

use super::{Action, Change, FoundTopic};
use crate::log::kafka::clerk::Clerk;
use crate::log::kafka::client::{self, Troubles};
use crate::log::kafka::failure::Failure;
use crate::log::kafka::url::KafkaConfig;
use crate::log::{LogError, topic};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a broker may take over a change.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Half of the largest request that a broker reads (`socket.request.max.bytes`).
const OFFERED_BYTES_MAX: usize = 50 << 20;

/// An administrator's connection.
pub struct Cluster {
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    clerk: Clerk,
    admin: AdminClient<Context>,
}

/// What a cluster has.
#[derive(Debug, Default)]
pub struct Found {
    pub brokers: usize,
    pub topics: BTreeMap<&'static str, FoundTopic>,
}

impl Cluster {
    /// # Errors
    /// Where the settings are not good for a client.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let (config, troubles) = (Arc::new(config), Arc::new(Troubles::default()));
        let clerk = Clerk::new(Arc::clone(&config), Arc::clone(&troubles), &config.group_id)?;
        Self::with(config, troubles, clerk)
    }

    pub(in crate::log::kafka) fn with(
        config: Arc<KafkaConfig>,
        troubles: Arc<Troubles>,
        clerk: Clerk,
    ) -> Result<Self, LogError> {
        let context = Context(Arc::clone(&troubles));
        let admin = client::quiet_settings(&config)?
            .create_with_context(context)
            .map_err(|error| LogError::Fatal {
                what: format!("a Kafka client cannot be made: {error}"),
                source: Some(error.into()),
            })?;
        Ok(Self {
            config,
            troubles,
            clerk,
            admin,
        })
    }

    /// The ledger's topics, as far as there are any, with all their settings.
    pub async fn find(&self) -> Result<Found, LogError> {
        let mut found = self.clerk.topics(&topic::ALL).await?;
        for (topic, found) in &mut found.topics {
            found.settings = self.settings(topic).await?.map(|resource| {
                let value = |entry: rdkafka::admin::ConfigEntry| Some((entry.name, entry.value?));
                resource.entries.into_iter().filter_map(value).collect()
            });
        }
        Ok(found)
    }

    /// How long a topic keeps records; `None` for ever.
    ///
    /// # Errors
    /// Also where this user may not ask: that is no answer.
    pub async fn retention(&self, topic: &str) -> Result<Option<Duration>, LogError> {
        let Some(settings) = self.settings(topic).await? else {
            let name = self.config.topic(topic);
            return Err(LogError::Retry {
                what: format!("how long {name} is kept is not known: grant describe-configs (ACL)"),
                source: None,
            });
        };
        let value = settings
            .get("retention.ms")
            .and_then(|entry| entry.value.as_ref());
        let retention = value.and_then(|value| value.parse().ok());
        Ok(retention.map(Duration::from_millis))
    }

    /// `None` where this user may not ask.
    async fn settings(&self, topic: &str) -> Result<Option<ConfigResource>, LogError> {
        let name = self.config.topic(topic);
        let doing = format!("reading the settings of {name}");
        let described = self
            .admin
            .describe_configs([&ResourceSpecifier::Topic(&name)], &options())
            .await
            .map_err(|error| self.failure().of(&doing, error))?;
        match described.into_iter().next() {
            Some(Ok(resource)) => Ok(Some(resource)),
            Some(Err(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ))
            | None => Ok(None),
            Some(Err(code)) => Err(self.failure().of(&doing, KafkaError::AdminOp(code))),
        }
    }

    /// Does what is planned, topic by topic, and waits until the brokers know all topics: they do a little after they have made them.
    pub async fn apply(&self, changes: &[Change]) -> Result<(), LogError> {
        for change in changes {
            match change.action {
                Action::Create {
                    partitions,
                    replication,
                } => self.create(change, partitions, replication).await?,
                Action::Alter => self.alter(change).await?,
                Action::Keep => {}
            }
        }
        let deadline = tokio::time::Instant::now() + CHANGE_PATIENCE;
        loop {
            let known = self.clerk.topics(&topic::ALL).await?.topics;
            let is_known =
                |change: &Change| known.get(change.topic).is_some_and(|topic| topic.partitions > 0);
            if changes.iter().all(is_known) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(self.failure().no_answer("waiting for the topics that were made"));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn create(&self, change: &Change, partitions: u32, replication: u32) -> Result<(), LogError> {
        let name = self.config.topic(change.topic);
        let doing = format!("making the topic {name}");
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let new = NewTopic::new(
            &name,
            number(partitions),
            TopicReplication::Fixed(number(replication)),
        );
        let new = change
            .settings
            .iter()
            .fold(new, |new, (setting, _, value)| new.set(setting, value));
        let made = self.admin.create_topics([&new], &options()).await;
        let made = made.map_err(|error| self.failure().of(&doing, error))?;
        match made.into_iter().next() {
            // Made by somebody else just now: its settings are looked at by the next run.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
            Some(Err((_, code))) => Err(self.failure().of(&doing, KafkaError::AdminOp(code))),
        }
    }

    /// The request replaces all settings of the topic itself, so those that are not ours are sent along.
    async fn alter(&self, change: &Change) -> Result<(), LogError> {
        let name = self.config.topic(change.topic);
        let doing = format!("changing the settings of {name}");
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        if let Some(resource) = self.settings(change.topic).await? {
            let own = resource
                .entries
                .into_iter()
                .filter(|entry| entry.source == ConfigSource::DynamicTopic);
            settings.extend(own.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        for (setting, _, value) in &change.settings {
            settings.insert((*setting).to_owned(), value.clone());
        }
        let new = AlterConfig::new(ResourceSpecifier::Topic(&name));
        let new = settings
            .iter()
            .fold(new, |new, (setting, value)| new.set(setting, value));
        let altered = self.admin.alter_configs([&new], &options()).await;
        let altered = altered.map_err(|error| self.failure().of(&doing, error))?;
        match altered.into_iter().next() {
            Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => Err(self.failure().of(&doing, KafkaError::AdminOp(code))),
        }
    }

    /// Whether this user may write to a topic, without writing: a record larger than the topic takes is offered. Brokers ask who may before they look at what they are given.
    ///
    /// # Errors
    /// Where it cannot be found out.
    pub async fn may_write(&self, topic: &str) -> Result<bool, LogError> {
        let name = self.config.topic(topic);
        let doing = format!("offering {name} a record that it does not take");
        let untold = |what: String| LogError::Retry { what, source: None };
        let settings = self.settings(topic).await?;
        let largest = settings
            .as_ref()
            .and_then(|settings| {
                settings
                    .get("max.message.bytes")?
                    .value
                    .as_ref()?
                    .parse::<usize>()
                    .ok()
            })
            .filter(|bytes| *bytes < OFFERED_BYTES_MAX);
        let Some(largest) = largest else {
            return Err(untold(format!(
                "the largest record of {name} is not known, or too large to go beyond it: grant describe-configs (ACL)"
            )));
        };
        let producer: FutureProducer<Context> = client::quiet_settings(&self.config)?
            .set("message.max.bytes", (2 * OFFERED_BYTES_MAX).to_string())
            .set("compression.type", "none")
            .set("message.timeout.ms", CHANGE_PATIENCE.as_millis().to_string())
            .create_with_context(Context(Arc::clone(&self.troubles)))
            .map_err(|error| self.failure().of(&doing, error))?;
        let offered = vec![0; largest + 1];
        let record = FutureRecord::<(), _>::to(&name).partition(0).payload(&offered);
        let Err((error, _)) = producer.send(record, CHANGE_PATIENCE).await else {
            return Err(untold(format!(
                "{name} took a record larger than its max.message.bytes"
            )));
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Ok(true),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Ok(false),
            Some(_) | None => Err(self.failure().of(&doing, error)),
        }
    }

    fn failure(&self) -> Failure<'_> {
        Failure {
            config: &self.config,
            troubles: &self.troubles,
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(CHANGE_PATIENCE))
        .operation_timeout(Some(CHANGE_PATIENCE))
}

struct Context(Arc<Troubles>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}
