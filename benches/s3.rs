//! The parts of `bench/run` that speak S3 and must be lean: the bare loop that puts finished objects, the bare download, what lies in a bucket, the end of it.
//!
//! `cargo bench --bench s3 -- COMMAND --name value ..`; each prints one JSON object. `bench/speed.py` calls them; by itself this measures nothing. It is no client
//! to build on: plain HTTP, path style, nothing is tried again.

#[path = "kafka/arguments.rs"]
mod arguments;
#[path = "s3/client.rs"]
mod client;
#[path = "s3/http.rs"]
mod http;
#[path = "s3/loops.rs"]
mod loops;
#[path = "s3/order.rs"]
mod order;
#[path = "s3/sign.rs"]
mod sign;

use arguments::Arguments;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let command = words.next().unwrap_or_default();
    let arguments = Arguments::parse(words)?;
    let answer = match command.as_str() {
        "empty" => loops::empty(&arguments)?,
        "get" => loops::get(&arguments)?,
        "list" => loops::list(&arguments)?,
        "put" => loops::put(&arguments)?,
        // `cargo bench` without a name runs every bench.
        "" => serde_json::json!({"say": "bench/run measures on S3; this holds its parts"}),
        unknown => return Err(format!("there is no command {unknown}").into()),
    };
    println!("{answer}");
    Ok(())
}
