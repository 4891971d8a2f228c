//! `ledgerline topics`: the topics of a ledger on Kafka.

use super::Failure;
use crate::config::LogConfig;
use crate::log::LogError;
use crate::log::kafka::topics::cluster::Cluster;
use crate::log::kafka::topics::{
    Action, Change, LEDGER_RETENTION_DAYS_DEFAULT, PARTITIONS_DEFAULT, REPLICATION_DEFAULT,
    SOURCE_RETENTION_DAYS_DEFAULT, TopicOptions, plan, wanted,
};
use crate::log::kafka::url::KafkaConfig;

/// Make, check and change the topics of a ledger on Kafka
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Apply(Apply),
}

/// Make the topics that are missing, and set what is not as it must be; say what was done
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run again, it changes nothing. It deletes nothing and lowers no limit of a topic that exists, unless that limit is given here. The number \
                  of partitions is fixed when a ledger begins."
)]
struct Apply {
    /// The cluster: kafka://HOST:PORT,../?NAME=VALUE&..
    #[arg(long, value_name = "URL", env = "LEDGERLINE_LOG")]
    log: Option<String>,
    /// Partitions of every topic; for ever
    #[arg(long, value_name = "N", env = "LEDGERLINE_PARTITIONS", default_value_t = PARTITIONS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=4096))]
    partitions: u32,
    /// Replicas of every partition
    #[arg(long, value_name = "N", default_value_t = REPLICATION_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=16))]
    replication: u32,
    /// Replicas that must have a record before it is acknowledged [default: one less than --replication]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    min_insync_replicas: Option<u32>,
    #[arg(long, value_name = "DAYS", help = format!("How long audit events are kept [default: at least {SOURCE_RETENTION_DAYS_DEFAULT}]"), value_parser = clap::value_parser!(u32).range(1..=36_500))]
    source_retention_days: Option<u32>,
    #[arg(long, value_name = "DAYS", help = format!("How long entries and checkpoints are kept in Kafka; the archive keeps them for good [default: at least {LEDGER_RETENTION_DAYS_DEFAULT}]"), value_parser = clap::value_parser!(u32).range(1..=36_500))]
    ledger_retention_days: Option<u32>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// `Usage` for an address that is none, `Invalid` where the topics cannot become those of a ledger, `Unreadable` where the cluster fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Apply(apply) = &args.command;
    let config = apply.config()?;
    let runtime = super::runtime()?;
    let changes = runtime.block_on(apply.run(&config))?;
    let text = if apply.json {
        json(&changes, &config, apply.dry_run)
    } else {
        table(&changes, &config, apply.dry_run)
    };
    super::print(text.as_bytes())
}

impl Apply {
    fn config(&self) -> Result<KafkaConfig, Failure> {
        match LogConfig::parse(self.log.as_deref()) {
            Ok(LogConfig::Kafka(config)) => Ok(*config),
            Ok(LogConfig::Embedded(_)) => Err(Failure::usage(
                "--log (or LEDGERLINE_LOG): the embedded log makes its topics by itself; this is for kafka://",
            )),
            Err(what) => Err(Failure::usage(format!("--log (or LEDGERLINE_LOG): {what}"))),
        }
    }

    async fn run(&self, config: &KafkaConfig) -> Result<Vec<Change>, Failure> {
        if let Some(in_sync) = self
            .min_insync_replicas
            .filter(|in_sync| *in_sync > self.replication)
        {
            return Err(Failure::usage(format!(
                "--min-insync-replicas {in_sync}: a record cannot be in more replicas than --replication {}",
                self.replication
            )));
        }
        let unreadable = |error: LogError| Failure::unreadable(super::chain(&error));
        let cluster = Cluster::new(config.clone()).map_err(unreadable)?;
        let found = cluster.find().await.map_err(unreadable)?;
        let options = TopicOptions {
            partitions: self.partitions,
            replication: self.replication,
            min_insync_replicas: self.min_insync_replicas,
            source_retention_days: self.source_retention_days,
            ledger_retention_days: self.ledger_retention_days,
        };
        let refused = |what: String| match config.topic_prefix.as_str() {
            "" => Failure::invalid(what),
            prefix => Failure::invalid(format!("topic.prefix={prefix}: {what}")),
        };
        let changes = plan(&wanted(&options), &found.topics).map_err(refused)?;
        let creates = changes
            .iter()
            .any(|change| matches!(change.action, Action::Create { .. }));
        if creates && found.brokers < self.replication as usize {
            return Err(Failure::invalid(format!(
                "the cluster has {} brokers, too few for {} replicas: give --replication {} if that is meant",
                found.brokers, self.replication, found.brokers
            )));
        }
        if !self.dry_run {
            cluster.apply(&changes).await.map_err(unreadable)?;
            // Somebody else may have made them meanwhile, with another number.
            let found = cluster.find().await.map_err(unreadable)?;
            plan(&wanted(&options), &found.topics).map_err(refused)?;
        }
        Ok(changes)
    }
}

/// A line for each topic, and one for each setting that changes.
fn table(changes: &[Change], config: &KafkaConfig, dry_run: bool) -> String {
    let mut lines = Vec::new();
    for change in changes {
        let what = match change.action {
            Action::Create {
                partitions,
                replication,
            } => format!("new: {partitions} partitions, {replication} replicas"),
            Action::Alter => "changed".to_owned(),
            Action::Keep => "as it should be".to_owned(),
        };
        lines.push(format!("{:<30} {what}", config.topic(change.topic)));
        lines.extend(change.settings.iter().map(|(setting, is, becomes)| {
            let is = is.as_deref().map_or(String::new(), |is| format!("{is} -> "));
            format!("  {setting:<32} {is}{becomes}")
        }));
        lines.extend(change.notes.iter().map(|note| format!("  note: {note}")));
    }
    let count = changes
        .iter()
        .filter(|change| change.action != Action::Keep)
        .count();
    let tense = if dry_run {
        "would be made or changed"
    } else {
        "made or changed"
    };
    lines.push(format!("{count} of {} topics {tense}\n", changes.len()));
    lines.join("\n")
}

fn json(changes: &[Change], config: &KafkaConfig, dry_run: bool) -> String {
    let topic = |change: &Change| {
        let (action, partitions, replication) = match change.action {
            Action::Create {
                partitions,
                replication,
            } => ("create", Some(partitions), Some(replication)),
            Action::Alter => ("alter", None, None),
            Action::Keep => ("keep", None, None),
        };
        let setting = |(name, is, becomes): &(&str, Option<String>, String)| serde_json::json!({ "name": name, "is": is, "becomes": becomes });
        serde_json::json!({
            "topic": config.topic(change.topic),
            "action": action,
            "partitions": partitions,
            "replication": replication,
            "settings": change.settings.iter().map(setting).collect::<Vec<_>>(),
            "notes": change.notes,
        })
    };
    let topics: Vec<_> = changes.iter().map(topic).collect();
    format!(
        "{}\n",
        serde_json::json!({ "dry_run": dry_run, "topics": topics })
    )
}
