//! What was found, as a table and as JSON; and what is examined.

use crate::doctor::catalog::{self, Check};
use crate::doctor::{Examination, Finding, Outcome};
use crate::ledger::time::write_sealed_at;
use serde_json::{Value, json};

/// A line for each check, then what is to be done.
pub(super) fn table(found: &Examination) -> String {
    let mut text = format!("{:<18}  {:<8}  FOUND\n", "CHECK", "");
    for finding in &found.findings {
        text.extend([format!(
            "{:<18}  {:<8}  {}\n",
            finding.check.id,
            finding.outcome.as_str(),
            finding.what
        )]);
    }
    for finding in &found.findings {
        match finding.outcome {
            Outcome::Fault | Outcome::Unknown
                if !finding.mend.is_empty() || finding.outcome == Outcome::Fault =>
            {
                text.push_str(&remedy(finding));
            }
            Outcome::Fault
            | Outcome::Unknown
            | Outcome::Good
            | Outcome::NotApplicable
            | Outcome::Accepted => {}
        }
    }
    for probe in &found.probes {
        text.extend([format!(
            "\nThe probe {} stays until {}.",
            probe.key,
            time(probe.until)
        )]);
    }
    let count = |outcome| count(found, outcome);
    text.extend([format!(
        "\n{} good, {} at fault, {} unknown, {} accepted, {} not applicable\n",
        count(Outcome::Good),
        count(Outcome::Fault),
        count(Outcome::Unknown),
        count(Outcome::Accepted),
        count(Outcome::NotApplicable)
    )]);
    text
}

fn remedy(finding: &Finding) -> String {
    let commands: Vec<String> = finding.mend.iter().map(|line| format!("    {line}\n")).collect();
    format!(
        "\n{}: {}\n  wanted: {}\n  because {}\n{}",
        finding.check.id,
        finding.what,
        finding.check.wants,
        finding.check.why,
        commands.concat()
    )
}

fn time(seconds: i64) -> String {
    let mut text = Vec::new();
    write_sealed_at(seconds.saturating_mul(1_000_000), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn json(found: &Examination) -> String {
    let finding = |finding: &Finding| {
        json!({
            "check": finding.check.id,
            "outcome": finding.outcome.as_str(),
            "found": finding.what,
            "wants": finding.check.wants,
            "why": finding.check.why,
            "mend": finding.mend,
        })
    };
    let probes = found
        .probes
        .iter()
        .map(|probe| json!({ "key": probe.key, "until": time(probe.until) }));
    let count = |outcome| count(found, outcome);
    let value = json!({
        "findings": found.findings.iter().map(finding).collect::<Vec<_>>(),
        "probes": probes.collect::<Vec<_>>(),
        "faults": count(Outcome::Fault),
        "unknown": count(Outcome::Unknown),
    });
    format!("{value:#}\n")
}

pub(super) fn list() -> String {
    let check = |check: &&Check| {
        format!(
            "{}: {}\n  because {}\n  {}\n",
            check.id, check.wants, check.why, check.tried
        )
    };
    let mut text: String = catalog::ALL.iter().map(check).collect();
    for (word, table) in [("allowed", &catalog::ALLOWED), ("denied", &catalog::DENIED)] {
        for (on, actions) in table {
            text.extend([format!(
                "\n{word} on {}:\n  {}\n",
                on.as_str().replace('_', " "),
                actions.join("\n  ")
            )]);
        }
    }
    text
}

/// As the tests of deploy/aws read it.
pub(super) fn list_json() -> String {
    let check = |check: &&Check| json!({ "check": check.id, "wants": check.wants, "why": check.why, "tried": check.tried });
    let actions = |table: &[(catalog::On, &[&str])]| -> Value {
        table
            .iter()
            .map(|(on, actions)| (on.as_str().to_owned(), json!(actions)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let statement = |(sid, actions, condition): &(&str, &[&str], Option<(&str, &str)>)| {
        let condition = condition.map(|(key, value)| json!({ "key": key, "value": value }));
        json!({ "sid": sid, "actions": actions, "condition": condition })
    };
    let value = json!({
        "checks": catalog::ALL.iter().map(check).collect::<Vec<_>>(),
        "allowed": actions(&catalog::ALLOWED),
        "denied": actions(&catalog::DENIED),
        "policy_denies": catalog::POLICY_DENIES.iter().map(statement).collect::<Vec<_>>(),
        "lifecycle": { "has": catalog::LIFECYCLE_HAS, "has_not": catalog::LIFECYCLE_HAS_NOT },
    });
    format!("{value:#}\n")
}

fn count(found: &Examination, outcome: Outcome) -> usize {
    found
        .findings
        .iter()
        .filter(|finding| finding.outcome == outcome)
        .count()
}
