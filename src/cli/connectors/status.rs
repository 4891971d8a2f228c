//! `connectors status`.

use super::rest::ConnectorStatus;
use super::{Status, Told};
use crate::cli::Failure;
use serde_json::{Value, json};

pub(super) async fn status(args: &Status, as_json: bool) -> Result<Told, Failure> {
    let connect = args.worker.open()?;
    let names = if args.names.is_empty() {
        connect.names().await?
    } else {
        args.names.clone()
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match connect.status(&name).await? {
            Some(status) => found.push(status),
            None => missing.push(name),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let idle: Vec<&str> = found
        .iter()
        .filter(|status| !status.runs())
        .map(|status| status.name.as_str())
        .collect();
    let outcome = match (missing.is_empty(), idle.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(Failure::invalid(format!(
            "there is no connector {}",
            missing.join(", ")
        ))),
        (true, false) => Err(Failure::invalid(format!("not running: {}", idle.join(", ")))),
    };
    Ok((if as_json { json_of(&found) } else { table(&found) }, outcome))
}

fn json_of(found: &[ConnectorStatus]) -> String {
    let part = |part: &super::rest::PartStatus| json!({ "state": part.state, "worker": part.worker_id, "cause": part.cause() });
    let rows: Vec<Value> = found
        .iter()
        .map(|status| {
            let tasks: Vec<Value> = status.tasks.iter().map(part).collect();
            json!({ "connector": status.name, "runs": status.runs(), "state": status.connector.state, "tasks": tasks })
        })
        .collect();
    format!("{}\n", json!({ "connectors": rows }))
}

fn table(found: &[ConnectorStatus]) -> String {
    let width = found
        .iter()
        .map(|status| status.name.len())
        .max()
        .unwrap_or(0)
        .max(9);
    let mut lines = vec![format!("{:<width$}  {:<11}  TASKS\n", "CONNECTOR", "STATE")];
    for status in found {
        let tasks: Vec<&str> = status.tasks.iter().map(|task| task.state.as_str()).collect();
        lines.push(format!(
            "{:<width$}  {:<11}  {}\n",
            status.name,
            status.connector.state,
            tasks.join(" ")
        ));
        lines.extend(status.cause().map(|cause| format!("{:<width$}  {cause}\n", "")));
    }
    lines.concat()
}
