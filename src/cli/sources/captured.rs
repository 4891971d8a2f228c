//! Sources of capture: partitions of topics that others write. What their offsets mean is not said by the ledger but by the place where capture goes on.

use super::Adopt;
use crate::cli::Failure;
use crate::ledger::names;
use crate::log::{Log, LogError, topic};
use crate::stages::capture::CaptureMapping;
use crate::stages::capture::source::Place;
use crate::stages::seal::From;
use crate::stages::source::{Bounds, judge};

/// One of them as it stands.
pub struct Captured {
    pub source: String,
    pub place: Option<Place>,
    pub start: u64,
    pub end: u64,
}

/// All partitions of the topics that are there.
pub async fn find(log: &dyn Log, mappings: &[CaptureMapping]) -> Result<Vec<Captured>, LogError> {
    let mut all = Vec::new();
    for topic in mappings.iter().flat_map(|mapping| &mapping.topics) {
        for partition in 0..log.find(topic).await?.unwrap_or(0) {
            all.push(look(log, topic, partition).await?);
        }
    }
    Ok(all)
}

async fn look(log: &dyn Log, topic: &str, partition: u32) -> Result<Captured, LogError> {
    // A topic may have more partitions than the ledger: nothing of those is captured, and there is no place to ask for.
    let place = if partition < log.partitions(topic::AUDIT_CAPTURED).await? {
        Place::stored(log, topic, partition).await?
    } else {
        None
    };
    Ok(Captured {
        source: format!("{topic}/{partition}"),
        place,
        start: log.start(topic, partition).await?,
        end: log.end(topic, partition).await?,
    })
}

/// Declares the next incarnation of a source of capture. Where it has stopped, capture goes on from there by itself.
pub async fn adopt(log: &dyn Log, args: &Adopt, from: From, json: bool) -> Result<String, Failure> {
    let failed = |error| crate::cli::failure(&error);
    let (topic, partition) = place_of(&args.source)?;
    let count = log.find(topic).await.map_err(failed)?.unwrap_or(0);
    if partition >= count {
        return Err(Failure::invalid(format!(
            "SOURCE: the cluster has {count} partitions of a topic {topic}; it is neither a source of the ledger nor one of capture"
        )));
    }
    let found = look(log, topic, partition).await.map_err(failed)?;
    let next = next_place(&found, from, args.force)?;
    if !args.dry_run {
        next.store(log, topic, partition).await.map_err(failed)?;
    }
    Ok(describe(&found, next, args.dry_run, json))
}

fn place_of(source: &str) -> Result<(&str, u32), Failure> {
    let parsed = names::parse_source(source)
        .and_then(|source| Some((source.topic, u32::try_from(source.partition).ok()?)));
    parsed.ok_or_else(|| {
        Failure::usage(format!(
            "SOURCE {source:?} must be <topic>/<partition>, for example audit.events/3"
        ))
    })
}

/// Where capture is to go on, if that may be.
fn next_place(found: &Captured, from: From, forced: bool) -> Result<Place, Failure> {
    let source = &found.source;
    let Some(place) = found.place else {
        return Err(Failure::invalid(format!(
            "nothing of {source} was captured yet: there is nothing to declare"
        )));
    };
    let is_whole = judge(found.start, found.end, Some(place.next)) != Bounds::EndsBefore;
    let is_declared = place.incarnation > 1 && place.last.is_none();
    if is_whole && is_declared && !forced {
        return Err(Failure::invalid(format!(
            "incarnation {} of {source} is declared already, from offset {}, and nothing of it was captured yet: there is nothing more to do. Where that offset was the wrong one, \
             end the instances and say --force, which declares another incarnation",
            place.incarnation, place.next
        )));
    }
    if is_whole && !forced {
        return Err(Failure::invalid(format!(
            "{source} reaches to offset {}, and was captured up to {}: nothing seems wrong with it, and nothing was declared. If an instance says that the topic was made anew all the same (it has grown since), or a \
             record has to be passed over: end all instances that capture it, so that none stores a place of the one before, and say this again with --force",
            found.end, place.next
        )));
    }
    let next = match from {
        From::Start => found.start,
        From::End => found.end,
        From::Offset(offset) => offset,
    };
    if next > found.end {
        return Err(Failure::invalid(format!(
            "--from {next} is beyond the end of {source}, which is {}",
            found.end
        )));
    }
    Ok(Place {
        next,
        incarnation: place.incarnation + 1,
        last: None,
    })
}

fn describe(found: &Captured, next: Place, dry_run: bool, json: bool) -> String {
    let passed_over = next.next.saturating_sub(found.start);
    let captured_to = found.place.map_or(0, |place| place.next);
    let Captured { source, .. } = found;
    let Place {
        next: from,
        incarnation,
        last: _,
    } = next;
    if json {
        let value = serde_json::json!({ "source": source, "incarnation": incarnation, "from": from, "captured_to": captured_to, "passed_over": passed_over, "dry_run": dry_run });
        return format!("{value}\n");
    }
    let said = if dry_run {
        format!("nothing was declared (--dry-run): incarnation {incarnation} of {source} would be")
    } else {
        format!("incarnation {incarnation} of {source} is declared")
    };
    format!(
        "{said}: it is captured from offset {from}; {passed_over} offsets that the topic holds lie below; the one before was captured up to {captured_to}\n"
    )
}
