//! The parts of `bench/run` that speak to the HTTP API and must be lean: the load, the reads, and the bare handler that is the API's ceiling.
//!
//! `cargo bench --bench api -- COMMAND --name value ..`; each prints one JSON object. `bench/speed.py` calls them; by itself this measures nothing.

#[path = "kafka/arguments.rs"]
mod arguments;
#[path = "api/bare.rs"]
mod bare;
#[path = "s3/http.rs"]
mod http;
#[path = "api/load.rs"]
mod load;
#[path = "api/requests.rs"]
mod requests;
#[path = "api/seen.rs"]
mod seen;

use arguments::Arguments;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let command = words.next().unwrap_or_default();
    let arguments = Arguments::parse(words)?;
    let answer = match command.as_str() {
        "bare" => bare::serve(&arguments)?,
        "read" => load::read(&arguments)?,
        "write" => load::write(&arguments)?,
        // `cargo bench` without a name runs every bench.
        "" => serde_json::json!({"say": "bench/run measures the API; this holds its parts"}),
        unknown => return Err(format!("there is no command {unknown}").into()),
    };
    println!("{answer}");
    Ok(())
}
