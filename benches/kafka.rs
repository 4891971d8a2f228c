//! The parts of `bench/run` that must be fast: input and load, the bare ceiling, the watch over a topic, rows from COMMIT to sealed, the restore without its reading.
//!
//! `cargo bench --bench kafka -- COMMAND --name value ..`; each prints one JSON object. `bench/speed.py` calls them; by itself this measures nothing.

#[path = "kafka/arguments.rs"]
mod arguments;
#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/commits.rs"]
mod commits;
#[path = "kafka/input.rs"]
mod input;
#[path = "kafka/latency.rs"]
mod latency;
#[path = "kafka/relay.rs"]
mod relay;
#[path = "kafka/restore.rs"]
mod restore;
#[path = "kafka/watch.rs"]
mod watch;

use arguments::Arguments;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let command = words.next().unwrap_or_default();
    let arguments = Arguments::parse(words)?;
    let answer = match command.as_str() {
        "commits" => commits::measure(&arguments)?,
        "create" => broker::create(&arguments)?,
        "delete" => broker::delete(&arguments)?,
        "fill" => input::fill(&arguments)?,
        "latency" => latency::measure(&arguments)?,
        "load" => input::load(&arguments)?,
        "relay" => relay::run(&arguments)?,
        "restore" => restore::measure(&arguments)?,
        "watch" => watch::measure(&arguments)?,
        // `cargo bench` without a name runs every bench.
        "" => serde_json::json!({"say": "bench/run measures on Kafka; this holds its parts"}),
        unknown => return Err(format!("there is no command {unknown}").into()),
    };
    println!("{answer}");
    Ok(())
}
