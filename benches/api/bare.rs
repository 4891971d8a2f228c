//! The ceiling of `POST /v1/events`: an axum handler that parses the same bodies and produces them with librdkafka, and nothing else. No keys, no limits, no rules for
//! events, no canonical form, no problem details. It answers when the broker has them, as the API does.

use crate::arguments::Arguments;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use futures_util::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Serialize;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Bare {
    producer: FutureProducer,
    topic: String,
}

#[derive(Serialize)]
struct Taken {
    event_id: String,
    partition: i32,
    offset: i64,
}

/// Serves on `--listen` until it is killed.
pub fn serve(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    // As the API's producer is set.
    let producer = ClientConfig::new()
        .set("bootstrap.servers", arguments.text("brokers")?)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("compression.level", "1")
        .set("linger.ms", "1")
        .set("batch.size", "1048576")
        .create()?;
    let topic = arguments.text("topic")?.to_owned();
    let listen = arguments.text("listen")?.to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&listen).await?;
        eprintln!("{{\"address\":\"{}\"}}", listener.local_addr()?);
        let app = Router::new()
            .route("/v1/events", post(submit))
            .with_state(Bare { producer, topic });
        axum::serve(listener, app).await
    })?;
    Ok(Value::Null)
}

async fn submit(
    State(bare): State<Bare>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>), StatusCode> {
    let is_lines = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/x-ndjson");
    let events: Vec<&[u8]> = if is_lines {
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect()
    } else {
        vec![&body]
    };
    let taken = try_join_all(events.into_iter().map(|event| produce(&bare, event))).await?;
    let answer = serde_json::to_vec(&taken).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((
        StatusCode::ACCEPTED,
        [(header::CONTENT_TYPE, "application/json")],
        answer,
    ))
}

async fn produce(bare: &Bare, bytes: &[u8]) -> Result<Taken, StatusCode> {
    let event: Value = serde_json::from_slice(bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    let text = |name: &str| event[name].as_str().ok_or(StatusCode::BAD_REQUEST);
    let record = FutureRecord::to(&bare.topic)
        .key(text("tenant_id")?)
        .payload(bytes);
    let delivery = bare.producer.send(record, PATIENCE).await;
    let delivery = delivery.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Taken {
        event_id: text("event_id")?.to_owned(),
        partition: delivery.partition,
        offset: delivery.offset,
    })
}
