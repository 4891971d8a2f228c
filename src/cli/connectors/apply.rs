//! `connectors apply`.

use super::rest::{Connect, ConnectorStatus};
use super::{Apply, Told};
use crate::cli::arguments::{Faults, read_limited};
use crate::cli::{Exit, Failure};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const CONFIG_BYTES_MAX: usize = 256 << 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A connector as it should be.
struct Wanted {
    name: String,
    config: Map<String, Value>,
}

/// What differs from it.
enum Change {
    Create,
    Alter(Vec<String>),
    Keep,
}

pub(super) async fn apply(args: &Apply, json: bool) -> Result<Told, Failure> {
    let mut faults = Faults::default();
    let timeout_s = faults.number("--timeout-s", args.timeout_s.as_deref(), 60, 0..=3_600);
    let wanted: Vec<Wanted> = args
        .files
        .iter()
        .filter_map(|file| faults.take(read(file).map(Some)))
        .collect();
    faults.done()?;
    let connect = args.worker.open()?;
    let (mut rows, mut failed_before) = (Vec::new(), BTreeSet::new());
    for wanted in &wanted {
        let change = difference(wanted, connect.config(&wanted.name).await?.as_ref());
        if !args.dry_run && !matches!(change, Change::Keep) {
            // While it is given another configuration, what it was before is told for a while.
            if matches!(change, Change::Alter(_)) {
                failed_before.extend(failed(&connect, &wanted.name).await);
            }
            connect.set_config(&wanted.name, &wanted.config).await?;
        }
        rows.push((wanted.name.as_str(), change));
    }
    let outcome = if args.dry_run {
        Ok(())
    } else {
        wait_until_running(&connect, &wanted, Duration::from_secs(timeout_s), failed_before).await
    };
    Ok((describe(&rows, args.dry_run, json), outcome))
}

fn read(file: &Path) -> Result<Wanted, Failure> {
    let shown = file.display();
    let bytes = read_limited(file, CONFIG_BYTES_MAX)?;
    let config = config(&bytes).map_err(|what| {
        Failure::usage(format!(
            "{shown}: must be a JSON object whose values are strings, as connectors/audit-logs.json is: {what}"
        ))
    })?;
    let name = file
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Failure::usage(format!(
            "{shown}: its name becomes the connector's, so it must be of letters, digits, - _ and ."
        )));
    }
    Ok(Wanted {
        name: name.to_owned(),
        config,
    })
}

/// The settings, or what is wrong with them and where. Of values nothing is told: one may be a secret.
fn config(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let config: Map<String, Value> = match serde_json::from_slice(bytes) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err("it is another value".to_owned()),
        // Its own words give the line and the column, and nothing of the text.
        Err(error) => return Err(error.to_string()),
    };
    if config.get("config").is_some_and(Value::is_object) {
        return Err("it has a member `config`, as a request that makes a connector has: give what is inside of that alone; the connector's name is the file's".to_owned());
    }
    if !config.contains_key("connector.class") {
        return Err("it has no connector.class, so that it is no connector's".to_owned());
    }
    let others: Vec<&str> = config
        .iter()
        .filter(|(_, value)| !value.is_string())
        .map(|(name, _)| name.as_str())
        .collect();
    if others.is_empty() {
        Ok(config)
    } else {
        Err(format!("no string is the value of {}", others.join(", ")))
    }
}

fn difference(wanted: &Wanted, found: Option<&BTreeMap<String, String>>) -> Change {
    let Some(found) = found else {
        return Change::Create;
    };
    let differs = |key: &&String| {
        wanted.config.get(*key).and_then(Value::as_str) != found.get(*key).map(String::as_str)
    };
    // The worker adds the name.
    let keys = wanted.config.keys().chain(
        found
            .keys()
            .filter(|key| *key != "name" && !wanted.config.contains_key(*key)),
    );
    let changed: Vec<String> = keys.filter(differs).cloned().collect();
    if changed.is_empty() {
        Change::Keep
    } else {
        Change::Alter(changed)
    }
}

/// The name, where the worker says that it has failed.
async fn failed(connect: &Connect, name: &str) -> Option<String> {
    let asked = connect.status(name).await;
    matches!(&asked, Ok(Some(status)) if status.has_failed()).then(|| name.to_owned())
}

/// A connector that was just given a configuration has no tasks for a moment, and may have failed ones of the configuration before. Otherwise one that has failed
/// does not get better by waiting.
async fn wait_until_running(
    connect: &Connect,
    wanted: &[Wanted],
    timeout: Duration,
    mut failed_before: BTreeSet<String>,
) -> Result<(), Failure> {
    let end = Instant::now() + timeout;
    let bar = crate::cli::progress_bar(None, "{spinner} {msg} {elapsed}");
    for Wanted { name, .. } in wanted {
        bar.set_message(format!("waiting for {name}"));
        loop {
            let asked = connect.status(name).await;
            if matches!(&asked, Ok(Some(status)) if status.runs()) {
                break;
            }
            if let Ok(Some(status)) = &asked {
                if !status.has_failed() {
                    failed_before.remove(name);
                } else if !failed_before.contains(name) {
                    return Err(has_failed(name, status));
                }
            }
            // A new connector has the workers share them all out again: they answer 409 then, or 5xx, or not at all.
            if matches!(&asked, Err(failure) if failure.exit != Exit::Unreadable) || Instant::now() >= end {
                let cause = asked?.and_then(|status| status.cause());
                return Err(Failure::invalid(format!(
                    "{name} does not run within {} s: {}",
                    timeout.as_secs(),
                    cause
                        .as_deref()
                        .unwrap_or("the worker does not say why; see its log")
                )));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn has_failed(name: &str, status: &ConnectorStatus) -> Failure {
    Failure::invalid(format!(
        "{name} has failed: {}. When the cause is removed: POST /connectors/{name}/restart?includeTasks=true&onlyFailed=true, or apply a configuration that differs",
        status
            .cause()
            .as_deref()
            .unwrap_or("the worker does not say why; see its log")
    ))
}

fn describe(rows: &[(&str, Change)], dry_run: bool, json: bool) -> String {
    if json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, change)| serde_json::json!({ "connector": name, "action": action(change), "settings": settings(change) }))
            .collect();
        return format!(
            "{}\n",
            serde_json::json!({ "dry_run": dry_run, "connectors": rows })
        );
    }
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, change)| {
            // Their names alone: a value may be a secret.
            let settings = settings(change).join(", ");
            format!(
                "{:<8}{name}{}{settings}\n",
                action(change),
                if settings.is_empty() { "" } else { "  " }
            )
        })
        .collect();
    if dry_run {
        lines.push("Nothing was changed (--dry-run).\n".to_owned());
    }
    lines.concat()
}

const fn action(change: &Change) -> &'static str {
    match change {
        Change::Create => "create",
        Change::Alter(_) => "alter",
        Change::Keep => "keep",
    }
}

fn settings(change: &Change) -> &[String] {
    match change {
        Change::Alter(settings) => settings,
        Change::Create | Change::Keep => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_configuration_is_told_by_its_line_or_by_the_settings() {
        assert_eq!(
            config(b"{\"connector.class\":\"1\"}").map(|config| config.len()),
            Ok(1)
        );
        let request = config(b"{\"name\":\"n\",\"config\":{\"a\":\"secret\"}}").unwrap_err();
        assert!(
            request.contains("inside of that") && !request.contains("secret"),
            "{request}"
        );
        assert!(
            config(b"{\"name\":\"x\"}")
                .unwrap_err()
                .contains("connector.class")
        );
        assert_eq!(config(b"[]"), Err("it is another value".to_owned()));
        let cut = config(b"{\n  \"a\": \"secret\"\n  \"b\": \"2\"\n}").unwrap_err();
        assert!(
            cut.contains("line 3 column 3") && !cut.contains("secret"),
            "{cut}"
        );
        let number = config(b"{\"connector.class\":\"x\",\"a\":1,\"b\":\"2\",\"c\":null}").unwrap_err();
        assert_eq!(number, "no string is the value of a, c");
    }

    #[test]
    fn what_differs_is_named_and_the_name_itself_does_not_count() {
        let wanted = Wanted {
            name: "c".to_owned(),
            config: serde_json::from_str(r#"{"a":"1","b":"2"}"#).unwrap(),
        };
        let found = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert!(matches!(difference(&wanted, None), Change::Create));
        assert!(matches!(
            difference(&wanted, Some(&found(&[("a", "1"), ("b", "2"), ("name", "c")]))),
            Change::Keep
        ));
        let Change::Alter(changed) = difference(&wanted, Some(&found(&[("a", "0"), ("b", "2"), ("x", "3")])))
        else {
            panic!()
        };
        assert_eq!(changed, ["a", "x"]);
    }
}
