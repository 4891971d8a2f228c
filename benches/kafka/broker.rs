//! Topics, made and deleted, and clients with what all have in common.

use crate::arguments::Arguments;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn client(arguments: &Arguments) -> Result<ClientConfig, Box<dyn Error>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", arguments.text("brokers")?)
        .set("allow.auto.create.topics", "false");
    Ok(config)
}

/// A consumer that joins no group.
pub fn consumer(config: &mut ClientConfig) -> Result<BaseConsumer, Box<dyn Error>> {
    Ok(config
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()?)
}

/// How many partitions a topic has; 0 where there is none.
pub fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32, Box<dyn Error>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(i32::try_from(found.map_or(0, |found| found.partitions().len()))?)
}

pub fn create(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let topic = arguments.text("topic")?;
    let wanted = arguments.number("partitions")?;
    let admin: AdminClient<DefaultClientContext> = client(arguments)?.create()?;
    let new = NewTopic::new(topic, wanted, TopicReplication::Fixed(1)).set("max.message.bytes", "8388608");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for outcome in runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))? {
        outcome.map_err(|(name, code)| format!("{name} was not made: {code}"))?;
    }
    let consumer = consumer(&mut client(arguments)?)?;
    let begun = Instant::now();
    while partitions(&consumer, topic)? != wanted {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{topic} does not come").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(json!({"created": topic}))
}

/// Deletes every topic that begins with `--prefix`, except the one named by `--keep`, and waits until they are gone.
pub fn delete(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (prefix, keep) = (
        arguments.text("prefix")?,
        arguments.text("keep").unwrap_or_default(),
    );
    let consumer = consumer(&mut client(arguments)?)?;
    let find = || -> Result<Vec<String>, Box<dyn Error>> {
        let metadata = consumer.fetch_metadata(None, PATIENCE)?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        Ok(names
            .filter(|name| name.starts_with(prefix) && name != keep)
            .collect())
    };
    let found = find()?;
    if !found.is_empty() {
        let admin: AdminClient<DefaultClientContext> = client(arguments)?.create()?;
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        drop(runtime.block_on(admin.delete_topics(&names, &AdminOptions::new()))?);
    }
    let begun = Instant::now();
    while !find()?.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("topics {prefix} do not go").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(json!({"deleted": found.len()}))
}
