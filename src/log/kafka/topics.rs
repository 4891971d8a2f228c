//! The topics that a ledger needs, and what has to change for a cluster to have them. Pure: [`cluster`] asks and applies.
//!
//! Nothing here ever deletes: no topic is removed, no limit of an existing one is lowered unless it is given by name.

pub mod cluster;

use super::RECORD_BYTES_MAX;
use crate::log::{ENTRY_OVERHEAD_BYTES, topic};
use std::collections::BTreeMap;

/// Partitions unless given otherwise: a ledger's number is for ever, so rather too many.
pub const PARTITIONS_DEFAULT: u32 = 12;
pub const REPLICATION_DEFAULT: u32 = 3;
const DAY_MS: u64 = 24 * 3_600_000;
pub const SOURCE_RETENTION_DAYS_DEFAULT: u32 = 7;
pub const LEDGER_RETENTION_DAYS_DEFAULT: u32 = 30;
/// Time for a person to look and to replay; the archive keeps rejected inputs for good.
const DEAD_LETTER_RETENTION_DAYS: u32 = 28;
/// Kept for less, entries are gone before a person has noticed that the archiver is down.
const RETENTION_MS_MIN: u64 = DAY_MS;
/// What a record batch adds to the largest value: its header, key and headers. A broker counts the batch.
const BATCH_OVERHEAD_BYTES: usize = 128 << 10;
/// Chunks of snapshots, and checkpoints.
const SMALL_BYTES_MAX: usize = 2 << 20;

/// What an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicOptions {
    pub partitions: u32,
    pub replication: u32,
    /// `None`: one less than the replicas.
    pub min_insync_replicas: Option<u32>,
    pub source_retention_days: Option<u32>,
    pub ledger_retention_days: Option<u32>,
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            partitions: PARTITIONS_DEFAULT,
            replication: REPLICATION_DEFAULT,
            min_insync_replicas: None,
            source_retention_days: None,
            ledger_retention_days: None,
        }
    }
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTopic {
    /// Without a prefix.
    pub topic: &'static str,
    pub partitions: u32,
    pub replication: u32,
    pub settings: BTreeMap<&'static str, Wanted>,
}

/// What a setting should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Exactly(String),
    /// What is larger, or unlimited (-1), stays.
    AtLeast(u64),
}

impl Wanted {
    /// The value that a new topic gets.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Exactly(value) => value.clone(),
            Self::AtLeast(least) => least.to_string(),
        }
    }

    #[must_use]
    pub fn is_met(&self, value: &str) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == value,
            Self::AtLeast(least) => value == "-1" || value.parse::<u64>().is_ok_and(|value| value >= *least),
        }
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundTopic {
    pub partitions: u32,
    /// The smallest number of replicas of any partition.
    pub replication: u32,
    /// `None` where this user may not ask.
    pub settings: Option<BTreeMap<String, String>>,
}

/// What has to be done to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub topic: &'static str,
    pub action: Action,
    /// Setting, what it is, what it becomes.
    pub settings: Vec<(&'static str, Option<String>, String)>,
    /// What a person should know and no command here can change.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create { partitions: u32, replication: u32 },
    Alter,
    Keep,
}

/// The topics of a ledger.
#[must_use]
pub fn wanted(options: &TopicOptions) -> Vec<WantedTopic> {
    let min_insync = options
        .min_insync_replicas
        .unwrap_or(options.replication.saturating_sub(1).max(1));
    let of = |topic: &'static str, bytes_max: usize, retention: Wanted| WantedTopic {
        topic,
        partitions: options.partitions,
        replication: options.replication,
        settings: BTreeMap::from([
            // Compaction would take records away that are still needed; snapshots are trimmed by who writes them.
            ("cleanup.policy", Wanted::Exactly("delete".to_owned())),
            (
                "max.message.bytes",
                Wanted::AtLeast((bytes_max + BATCH_OVERHEAD_BYTES) as u64),
            ),
            // How long a record is kept must not be up to its producer's clock.
            (
                "message.timestamp.type",
                Wanted::Exactly("LogAppendTime".to_owned()),
            ),
            (
                "min.insync.replicas",
                minimum(options.min_insync_replicas, min_insync),
            ),
            ("retention.bytes", Wanted::Exactly("-1".to_owned())),
            ("retention.ms", retention),
            // A leader that lost acknowledged records must not be chosen.
            (
                "unclean.leader.election.enable",
                Wanted::Exactly("false".to_owned()),
            ),
        ]),
    };
    let sources = days(options.source_retention_days, SOURCE_RETENTION_DAYS_DEFAULT);
    let ledger = days(options.ledger_retention_days, LEDGER_RETENTION_DAYS_DEFAULT);
    vec![
        of(topic::AUDIT_EVENTS, RECORD_BYTES_MAX, sources.clone()),
        of(topic::AUDIT_REROUTED, RECORD_BYTES_MAX, sources.clone()),
        of(topic::AUDIT_CAPTURED, RECORD_BYTES_MAX, sources),
        of(
            topic::LEDGER_ENTRIES,
            RECORD_BYTES_MAX + ENTRY_OVERHEAD_BYTES,
            ledger.clone(),
        ),
        of(topic::LEDGER_CHECKPOINTS, SMALL_BYTES_MAX, ledger),
        of(
            topic::LEDGER_HEADS,
            SMALL_BYTES_MAX,
            Wanted::Exactly("-1".to_owned()),
        ),
        of(
            topic::LEDGER_DEAD_LETTERS,
            RECORD_BYTES_MAX,
            days(None, DEAD_LETTER_RETENTION_DAYS),
        ),
    ]
}

/// What was given by name is set; a default only raises.
fn minimum(given: Option<u32>, default: u32) -> Wanted {
    match given {
        Some(given) => Wanted::Exactly(given.to_string()),
        None => Wanted::AtLeast(u64::from(default)),
    }
}

fn days(given: Option<u32>, default: u32) -> Wanted {
    match given {
        Some(given) => Wanted::Exactly((u64::from(given) * DAY_MS).to_string()),
        None => Wanted::AtLeast(u64::from(default) * DAY_MS),
    }
}

/// What has to change for `found` to be as wanted.
///
/// # Errors
/// What cannot be changed, with the reason.
pub fn plan(
    wanted: &[WantedTopic],
    found: &BTreeMap<&'static str, FoundTopic>,
) -> Result<Vec<Change>, String> {
    wanted
        .iter()
        .map(|topic| change(topic, found.get(topic.topic)))
        .collect()
}

fn change(wanted: &WantedTopic, found: Option<&FoundTopic>) -> Result<Change, String> {
    let Some(found) = found else {
        let settings = wanted.settings.iter();
        return Ok(Change {
            topic: wanted.topic,
            action: Action::Create {
                partitions: wanted.partitions,
                replication: wanted.replication,
            },
            settings: settings
                .map(|(name, wanted)| (*name, None, wanted.value()))
                .collect(),
            notes: Vec::new(),
        });
    };
    if found.partitions != wanted.partitions {
        return Err(format!(
            "{} has {} partitions, {} are wanted: the number is not changed, because a tenant's events would go to another partition, where its chain is \
             not; give --partitions {}, or begin a new ledger with another topic.prefix",
            wanted.topic, found.partitions, wanted.partitions, found.partitions
        ));
    }
    if let Some(Wanted::Exactly(given)) = wanted.settings.get("min.insync.replicas")
        && given.parse::<u32>().is_ok_and(|given| given > found.replication)
    {
        return Err(format!(
            "{} has {} replicas, and --min-insync-replicas {given} could never be met: nothing would be taken any more",
            wanted.topic, found.replication
        ));
    }
    let mut notes = Vec::new();
    if found.replication < wanted.replication {
        notes.push(format!(
            "has {} replicas, {} are wanted: reassign its partitions with kafka-reassign-partitions",
            found.replication, wanted.replication
        ));
    }
    if found.settings.is_none() {
        notes.push("its settings cannot be read: grant describe-configs (ACL)".to_owned());
    }
    let settings: Vec<_> = unmet(wanted, found)
        .filter(|(name, is, becomes)| !is_beyond_replicas(name, is.as_deref(), becomes, found.replication))
        .map(|(name, is, becomes)| (name, is, becomes.value()))
        .collect();
    let action = if settings.is_empty() {
        Action::Keep
    } else {
        Action::Alter
    };
    Ok(Change {
        topic: wanted.topic,
        action,
        settings,
        notes,
    })
}

/// A default for more replicas than the topic has: one broker that is down would stop all appends, or none would ever be taken.
fn is_beyond_replicas(name: &str, is: Option<&str>, becomes: &Wanted, replication: u32) -> bool {
    let Wanted::AtLeast(least) = becomes else {
        return false;
    };
    let most = u64::from(replication.saturating_sub(1).max(1));
    let has = is.and_then(|is| is.parse::<u64>().ok()).unwrap_or(0);
    name == "min.insync.replicas" && *least > most && has >= most
}

/// Settings that are not as wanted, each with what it is.
fn unmet<'w>(
    wanted: &'w WantedTopic,
    found: &'w FoundTopic,
) -> impl Iterator<Item = (&'static str, Option<String>, &'w Wanted)> {
    let known = found.settings.as_ref();
    wanted.settings.iter().filter_map(move |(name, wanted)| {
        let is = known?.get(*name).cloned();
        let met = is.as_deref().is_some_and(|is| wanted.is_met(is));
        (!met).then_some((*name, is, wanted))
    })
}

/// What is wrong with the topics for a ledger to be worked on; nothing where it can be.
#[must_use]
pub fn faults(found: &BTreeMap<&'static str, FoundTopic>) -> Vec<String> {
    let missing: Vec<&str> = topic::ALL
        .into_iter()
        .filter(|topic| !found.contains_key(topic))
        .collect();
    if !missing.is_empty() {
        return vec![format!(
            "there is no {}: `ledgerline topics apply` makes them",
            missing.join(", ")
        )];
    }
    let mut faults = Vec::new();
    let entries = found
        .get(topic::LEDGER_ENTRIES)
        .map_or(0, |topic| topic.partitions);
    for (topic, found) in found {
        if found.partitions != entries {
            faults.push(format!(
                "{topic} has {} partitions, ledger.entries has {entries}: all topics of a ledger have the same number; make the topic anew with {entries}, before anything is sealed of it",
                found.partitions
            ));
        }
    }
    let retention_ms = found
        .get(topic::LEDGER_ENTRIES)
        .and_then(|topic| topic.settings.as_ref()?.get("retention.ms")?.parse::<u64>().ok());
    if let Some(retention_ms) = retention_ms.filter(|retention_ms| *retention_ms < RETENTION_MS_MIN) {
        faults.push(format!(
            "ledger.entries is kept for {retention_ms} ms: an archiver that is away for longer loses records; `ledgerline topics apply \
             --ledger-retention-days 30` keeps them longer"
        ));
    }
    for wanted in wanted(&TopicOptions::default()) {
        let Some(found) = found.get(wanted.topic) else {
            continue;
        };
        for (name, is, becomes) in unmet(&wanted, found) {
            // The rest is a matter of an operator's taste.
            if matches!(name, "cleanup.policy" | "max.message.bytes") {
                faults.push(format!(
                    "{} has {name}={}, {} is needed: `ledgerline topics apply` sets it",
                    wanted.topic,
                    is.as_deref().unwrap_or("unset"),
                    becomes.value()
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_wanted(options: &TopicOptions) -> BTreeMap<&'static str, FoundTopic> {
        let found = |topic: &WantedTopic| FoundTopic {
            partitions: topic.partitions,
            replication: topic.replication,
            settings: Some(
                topic
                    .settings
                    .iter()
                    .map(|(name, wanted)| ((*name).to_owned(), wanted.value()))
                    .collect(),
            ),
        };
        wanted(options)
            .iter()
            .map(|topic| (topic.topic, found(topic)))
            .collect()
    }

    fn set(found: &mut BTreeMap<&'static str, FoundTopic>, topic: &str, name: &str, value: &str) {
        let settings = found.get_mut(topic).unwrap().settings.as_mut().unwrap();
        settings.insert(name.to_owned(), value.to_owned());
    }

    #[test]
    fn missing_topics_are_made_and_what_was_made_is_kept() {
        let options = TopicOptions::default();
        let changes = plan(&wanted(&options), &BTreeMap::new()).unwrap();
        assert_eq!(changes.len(), topic::ALL.len());
        assert!(changes.iter().all(|change| matches!(
            change.action,
            Action::Create {
                partitions: 12,
                replication: 3
            }
        )));
        let again = plan(&wanted(&options), &as_wanted(&options)).unwrap();
        assert!(
            again
                .iter()
                .all(|change| change.action == Action::Keep && change.settings.is_empty())
        );
    }

    #[test]
    fn another_number_of_partitions_is_refused() {
        let found = as_wanted(&TopicOptions::default());
        let options = TopicOptions {
            partitions: 24,
            ..TopicOptions::default()
        };
        let refused = plan(&wanted(&options), &found).unwrap_err();
        assert!(
            refused.contains("12 partitions") && refused.contains("--partitions 12"),
            "{refused}"
        );
    }

    #[test]
    fn a_default_raises_and_never_lowers_and_what_is_given_is_set() {
        let mut found = as_wanted(&TopicOptions::default());
        set(&mut found, topic::LEDGER_ENTRIES, "retention.ms", "-1");
        set(&mut found, topic::AUDIT_EVENTS, "retention.ms", "1000");
        set(&mut found, topic::AUDIT_EVENTS, "max.message.bytes", "99999999");
        let changes = plan(&wanted(&TopicOptions::default()), &found).unwrap();
        let altered: Vec<_> = changes
            .iter()
            .filter(|change| change.action == Action::Alter)
            .collect();
        assert_eq!(altered.len(), 1);
        let seven_days = (7 * DAY_MS).to_string();
        assert_eq!(
            altered[0].settings,
            [("retention.ms", Some("1000".to_owned()), seven_days)]
        );
        let given = TopicOptions {
            ledger_retention_days: Some(90),
            ..TopicOptions::default()
        };
        let changes = plan(&wanted(&given), &found).unwrap();
        let entries = changes
            .iter()
            .find(|change| change.topic == topic::LEDGER_ENTRIES)
            .unwrap();
        assert_eq!(
            entries.settings,
            [("retention.ms", Some("-1".to_owned()), (90 * DAY_MS).to_string())]
        );
    }

    #[test]
    fn a_default_asks_for_no_more_replicas_in_sync_than_a_topic_can_lose_one_of() {
        let made = |replication| {
            as_wanted(&TopicOptions {
                replication,
                ..TopicOptions::default()
            })
        };
        for replication in [1, 2] {
            let again = plan(&wanted(&TopicOptions::default()), &made(replication)).unwrap();
            assert!(
                again.iter().all(|change| change.action == Action::Keep),
                "{again:?}"
            );
        }
        // Made by hand with 3 replicas, it is raised all the same.
        let mut by_hand = made(3);
        set(&mut by_hand, topic::AUDIT_EVENTS, "min.insync.replicas", "1");
        let raised = plan(&wanted(&TopicOptions::default()), &by_hand).unwrap();
        assert_eq!(
            raised
                .iter()
                .filter(|change| change.action == Action::Alter)
                .count(),
            1
        );
        let given = TopicOptions {
            min_insync_replicas: Some(2),
            ..TopicOptions::default()
        };
        let refused = plan(&wanted(&given), &made(1)).unwrap_err();
        assert!(refused.contains("--min-insync-replicas 2"), "{refused}");
    }

    #[test]
    fn work_begins_on_fit_topics_only() {
        let found = as_wanted(&TopicOptions::default());
        assert_eq!(faults(&found), [] as [String; 0]);
        let mut without = found.clone();
        without.remove(topic::LEDGER_HEADS);
        assert!(faults(&without)[0].contains("there is no ledger.heads"));
        let mut uneven = found.clone();
        uneven.get_mut(topic::AUDIT_EVENTS).unwrap().partitions = 13;
        assert!(faults(&uneven)[0].contains("audit.events has 13 partitions"));
        let mut compacted = found.clone();
        set(&mut compacted, topic::LEDGER_ENTRIES, "cleanup.policy", "compact");
        assert!(faults(&compacted)[0].contains("cleanup.policy=compact"));
        let mut brief = found.clone();
        set(&mut brief, topic::LEDGER_ENTRIES, "retention.ms", "3600000");
        assert!(faults(&brief)[0].contains("kept for 3600000 ms"));
        set(&mut brief, topic::LEDGER_ENTRIES, "retention.ms", "-1");
        assert_eq!(faults(&brief), [] as [String; 0]);
        let mut small = found;
        set(&mut small, topic::LEDGER_ENTRIES, "max.message.bytes", "1048588");
        assert!(faults(&small)[0].contains("max.message.bytes=1048588"));
    }
}
