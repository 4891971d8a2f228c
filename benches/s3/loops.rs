//! The loops over a bucket's objects: as many threads as are asked for, each with a connection of its own, that take the next object until there is none.

use crate::arguments::Arguments;
use crate::client::{Client, Lock};
use crate::order;
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Clock ticks of /proc a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A finished object, in memory before any clock runs.
struct Object {
    name: String,
    bytes: Vec<u8>,
}

/// Puts the files below `--from` under `--prefix`, with the headers that the archiver sends and in its order. Reading the files is not measured.
pub fn put(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let from = PathBuf::from(arguments.text("from")?);
    let mut objects = Vec::new();
    load(&from, &from, &mut objects)?;
    order::sort(&mut objects, |object| &object.name);
    let (prefix, lock) = (arguments.text("prefix")?, Lock::new(arguments)?);
    let clock = Clock::start()?;
    each(arguments, &objects, |client, object| {
        let key = format!("{prefix}/{}", object.name);
        client.put(&key, &object.bytes, content_type(&object.name), &lock)
    })?;
    clock.stop(
        objects.len(),
        objects.iter().map(|object| object.bytes.len() as u64).sum(),
    )
}

/// Downloads everything under `--prefix`, its listing included, and forgets it; with `--into`, into files.
pub fn get(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let (prefix, into) = (
        arguments.text("prefix")?,
        arguments.text("into").ok().map(PathBuf::from),
    );
    let clock = Clock::start()?;
    let objects = listed(arguments, prefix)?;
    let bytes = AtomicU64::new(0);
    each(arguments, &objects, |client, (key, _)| {
        client.get(key)?;
        bytes.fetch_add(client.answer.len() as u64, Ordering::Relaxed);
        match &into {
            None => Ok(()),
            Some(into) => save(
                &into.join(key[prefix.len()..].trim_start_matches('/')),
                &client.answer,
            ),
        }
    })?;
    clock.stop(objects.len(), bytes.into_inner())
}

/// What lies under `--prefix`: names behind it, and sizes.
pub fn list(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let prefix = arguments.text("prefix")?;
    let found = listed(arguments, prefix)?;
    let pairs = found
        .iter()
        .map(|(key, size)| json!([key[prefix.len()..].trim_start_matches('/'), size]));
    Ok(json!({"objects": pairs.collect::<Vec<_>>()}))
}

/// Deletes every version under `--prefix`, past governance: of objects that nobody needs. Without a prefix, the bucket too.
pub fn empty(arguments: &Arguments) -> Result<Value, Box<dyn Error>> {
    let prefix = arguments.text("prefix")?;
    let mut client = Client::new(arguments)?;
    let mut count = 0;
    loop {
        let page = client.versions(prefix)?;
        if page.is_empty() {
            if prefix.is_empty() {
                client.delete_bucket()?;
            }
            return Ok(json!({"deleted": count}));
        }
        each(arguments, &page, |client, (key, version)| {
            client.delete(key, version)
        })?;
        count += page.len();
    }
}

fn listed(arguments: &Arguments, prefix: &str) -> Result<Vec<(String, u64)>, Box<dyn Error>> {
    let mut client = Client::new(arguments)?;
    let (mut found, mut next) = client.list(prefix, None)?;
    while let Some(from) = next {
        let (more, token) = client.list(prefix, Some(&from))?;
        found.extend(more);
        next = token;
    }
    Ok(found)
}

/// Works on all items by `--concurrency` clients; the first error ends it.
fn each<T: Sync>(
    arguments: &Arguments,
    items: &[T],
    work: impl Fn(&mut Client, &T) -> Result<(), Box<dyn Error>> + Sync,
) -> Result<(), Box<dyn Error>> {
    let threads: usize = arguments.number("concurrency")?;
    let clients: Vec<Client> = (0..threads)
        .map(|_| Client::new(arguments))
        .collect::<Result<_, _>>()?;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    thread::scope(|scope| {
        for mut client in clients {
            let (next, failed, work) = (&next, &failed, &work);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(&mut client, item) {
                        next.store(items.len(), Ordering::Relaxed);
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error.to_string());
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn load(at: &Path, root: &Path, into: &mut Vec<Object>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            load(&path, root, into)?;
        } else {
            let name = path
                .strip_prefix(root)?
                .to_str()
                .ok_or("a name that is no text")?
                .to_owned();
            into.push(Object {
                name,
                bytes: fs::read(&path)?,
            });
        }
    }
    Ok(())
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(path.parent().ok_or("a name without a directory")?)?;
    Ok(fs::write(path, bytes)?)
}

/// As the archiver says it.
fn content_type(name: &str) -> &'static str {
    match name {
        _ if name.contains("/class=") => "application/zstd",
        _ if name.starts_with("keys/") => "application/jwk-set+json",
        _ if name.contains("/checkpoints/") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// The time and this process's CPU since its start.
struct Clock {
    begun: Instant,
    cpu_seconds: f64,
}

impl Clock {
    fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            cpu_seconds: cpu_seconds()?,
            begun: Instant::now(),
        })
    }

    fn stop(&self, objects: usize, bytes: u64) -> Result<Value, Box<dyn Error>> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(json!({
            "objects": objects,
            "bytes": bytes,
            "seconds": seconds,
            "bytes_per_second": bytes as f64 / seconds,
            "cpu_seconds": cpu_seconds()? - self.cpu_seconds,
        }))
    }
}

/// User and system, of all threads.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("no process")?;
    let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}
