//! The ceiling: what one process with plain librdkafka does at best. Consumes, produces the same bytes idempotently into the partition of the same
//! number, and nothing else: no look into the event, no state, no positions, no recovery.

use crate::arguments::Arguments;
use crate::broker;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

/// Relays until it is killed.
pub fn run(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (input, output) = (arguments.text("input")?, arguments.text("output")?);
    let consumer = broker::consumer(
        broker::client(arguments)?
            .set("fetch.wait.max.ms", "100")
            .set("fetch.message.max.bytes", "4194304")
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "65536"),
    )?;
    let producer: ThreadedProducer<DefaultProducerContext> = broker::client(arguments)?
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("compression.level", "1")
        .set("linger.ms", arguments.text("linger-ms")?)
        .set("batch.size", arguments.text("batch-bytes")?)
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "131072")
        .create()?;
    let mut places = TopicPartitionList::new();
    for partition in 0..broker::partitions(&consumer, input)? {
        places.add_partition_offset(input, partition, Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    loop {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let mut record = BaseRecord::to(output)
            .partition(message.partition())
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        while let Err((error, again)) = producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                return Err(error.into());
            };
            record = again;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
