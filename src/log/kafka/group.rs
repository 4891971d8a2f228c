//! The consumer group that shares the partitions out among processes. It gives liveness: who works on what. Its member reads nothing, it holds
//! partitions of `audit.events`, all paused, and the partitions of the same number of all other topics go with them.
//!
//! Classic protocol, cooperative-sticky: partitions that stay are not interrupted. One thread polls, and waits in the callback of a revocation until the
//! work on the partition has ended, for a bounded time.
//!
//! Nothing is committed through a member. A static member that the group has given up joins again under a new id; a commit under the old one, on the way at
//! that moment, fences it, an error that librdkafka never gets over. Positions are committed by [`super::clerk`], for a group without members.

use super::client::{self, Troubles};
use super::failure::Failure;
use super::url::KafkaConfig;
use crate::log::lease::{Assignments, Grants, Membership};
use crate::log::{LogError, topic};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How long a revocation waits for the step under way. The group waits with it.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
const POLL_PATIENCE: Duration = Duration::from_millis(200);
/// How long leaving may take before the process ends without it: the session's timeout then tells the others.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// The thread polls all the time; only a revocation keeps it, for [`DRAIN_PATIENCE`].
const POLL_INTERVAL_MAX_MS: &str = "120000";

type Member = BaseConsumer<Context>;

/// Joins `group`. Answers before the group has settled.
pub(super) fn join(
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    group: &str,
) -> Result<Assignments, LogError> {
    let mut settings = client::quiet_settings(&config)?;
    let heartbeat = (config.session_timeout / 5).min(Duration::from_secs(3));
    settings
        .set("group.id", group)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set(
            "session.timeout.ms",
            config.session_timeout.as_millis().to_string(),
        )
        .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
        .set("max.poll.interval.ms", POLL_INTERVAL_MAX_MS)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest");
    if let Some(instance) = &config.group_instance_id {
        settings.set("group.instance.id", instance);
    }
    let (grants, assignments) = Grants::new();
    let name = config.topic(topic::AUDIT_EVENTS);
    let context = Context {
        config,
        troubles,
        grants,
    };
    let cannot = |error: KafkaError| LogError::Fatal {
        what: format!("the consumer group {group} cannot be joined: {error}"),
        source: Some(error.into()),
    };
    let member: Member = settings.create_with_context(context).map_err(cannot)?;
    member.subscribe(&[&name]).map_err(cannot)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (left, has_left) = mpsc::channel();
    let thread = std::thread::Builder::new().name("kafka-group".to_owned()).spawn({
        let stop = Arc::clone(&stop);
        move || {
            poll(&member, &stop);
            // Closes the member, which leaves the group.
            drop(member);
            if left.send(()).is_err() {
                tracing::debug!("nobody waits for the group to be left");
            }
        }
    });
    thread.map_err(|error| LogError::Retry {
        what: format!("no thread for the consumer group: {error}"),
        source: Some(error.into()),
    })?;
    let joined = Joined { stop, has_left };
    Ok(assignments.with_membership(Box::new(joined)))
}

fn poll(member: &Member, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        // Its partitions are paused: there are no messages, only events.
        if let Some(Err(error)) = member.poll(POLL_PATIENCE) {
            member.context().heed(error);
        }
    }
}

struct Joined {
    stop: Arc<AtomicBool>,
    has_left: mpsc::Receiver<()>,
}

impl Membership for Joined {
    fn leave(self: Box<Self>) {
        self.stop.store(true, Ordering::Release);
        if self.has_left.recv_timeout(LEAVE_PATIENCE).is_err() {
            tracing::warn!(
                "leaving the consumer group takes too long: others take over after its session timeout"
            );
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

pub(super) struct Context {
    config: Arc<KafkaConfig>,
    troubles: Arc<Troubles>,
    grants: Grants,
}

impl Context {
    /// An error that ends the membership ends the work.
    fn heed(&self, error: KafkaError) {
        let failure = Failure {
            config: &self.config,
            troubles: &self.troubles,
        };
        let code = error.rdkafka_error_code();
        let what = match (&error, code) {
            (_, Some(RDKafkaErrorCode::FencedInstanceId)) => format!(
                "another process has the group.instance.id {} of this one: each needs its own",
                self.config.group_instance_id.as_deref().unwrap_or_default()
            ),
            (KafkaError::MessageConsumptionFatal(_), _) => format!("the consumer group gave up: {error}"),
            (_, Some(code @ RDKafkaErrorCode::GroupAuthorizationFailed)) => {
                match failure.for_good("joining the consumer group", code) {
                    Some(what) => what,
                    None => return,
                }
            }
            (_, Some(_) | None) => return,
        };
        self.grants.fail(LogError::Fatal {
            what,
            source: Some(error.into()),
        });
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u32> {
    list.elements()
        .iter()
        .filter_map(|place| u32::try_from(place.partition()).ok())
        .collect()
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.note(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, member: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) | Rebalance::Error(_) => {}
            Rebalance::Revoke(list) if member.assignment_lost() => {
                let gone = partitions(list);
                tracing::warn!(partitions = ?gone, "the group counts this process as gone: what it does on these partitions is dropped");
                self.grants.lose(&gone);
            }
            Rebalance::Revoke(list) => {
                let ending = partitions(list);
                let left = self.grants.end(&ending, DRAIN_PATIENCE);
                tracing::info!(partitions = ?ending, undone = left, "partitions given back");
            }
        }
    }

    fn post_rebalance(&self, member: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        metrics::counter!("ledgerline_kafka_rebalances_total").increment(1);
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = member.pause(list) {
                    // They are fetched for nothing, no more.
                    tracing::warn!(%error, "partitions of the group are not paused");
                }
                let new = partitions(list);
                tracing::info!(partitions = ?new, "partitions taken");
                for partition in new {
                    self.grants.grant(partition);
                }
                self.grants.settle();
            }
            Rebalance::Revoke(_) | Rebalance::Error(_) => {}
        }
        if let Ok(held) = member.assignment() {
            metrics::gauge!("ledgerline_kafka_assigned_partitions").set(held.count() as f64);
        }
    }
}
