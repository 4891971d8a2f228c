//! The dead letters: those of the rejected leaves, in order, none missing and none of anything else.

use super::judge::{Ended, Tally};
use super::scenario::LOG_NAME;
use crate::sim::World;
use ledgerline::ledger::leaf::Body;
use ledgerline::ledger::names;
use ledgerline::log::topic;
use ledgerline::stages::dead_letters::{FirstSeen, Letter};

/// Each rejected leaf has its letter, the first ones in order; a letter that stands again says the same.
pub fn check_letters(world: &World, ended: &Ended, tally: &mut Tally) -> Result<(), String> {
    let origin = names::origin(LOG_NAME, ended.partition);
    let mut seen = FirstSeen::default();
    let mut firsts = Vec::new();
    for record in world.records(topic::LEDGER_DEAD_LETTERS, ended.partition) {
        let letter = Letter::parse(&record).ok_or("a record in ledger.dead-letters is no letter")?;
        if letter.origin != origin {
            return Err(format!("a dead letter of {}", letter.origin));
        }
        check_letter(&letter, &record.key, ended)?;
        if seen.is_first(letter.index) {
            firsts.push(letter.index);
        } else if firsts.contains(&letter.index) {
            tally.letters_again += 1;
        } else {
            return Err(format!(
                "the dead letter of {} comes after later ones: reordered",
                letter.index
            ));
        }
    }
    let due = rejected(ended)?;
    tally.letters += firsts.len() as u64;
    match due.iter().find(|index| !firsts.contains(index)) {
        Some(index) => Err(format!("leaf {index} is rejected and has no dead letter")),
        None if firsts == due => Ok(()),
        None => Err(format!(
            "dead letters of {firsts:?} where those of {due:?} were due"
        )),
    }
}

fn rejected(ended: &Ended) -> Result<Vec<u64>, String> {
    let mut found = Vec::new();
    for kept in &ended.leaves {
        let leaf = kept.leaf()?;
        if matches!(leaf.body, Body::Rejected { .. }) {
            found.push(leaf.index);
        }
    }
    Ok(found)
}

fn check_letter(letter: &Letter<'_>, key: &[u8], ended: &Ended) -> Result<(), String> {
    let kept = usize::try_from(letter.index)
        .ok()
        .and_then(|index| ended.leaves.get(index))
        .ok_or_else(|| format!("a dead letter of {}, which is no leaf", letter.index))?;
    let leaf = kept.leaf()?;
    let Body::Rejected {
        code, source, tenant, ..
    } = leaf.body
    else {
        return Err(format!(
            "a dead letter of {}, which is not rejected",
            letter.index
        ));
    };
    let due = (code, source, tenant, leaf.sealed_at, kept.via.as_deref());
    let says = (
        letter.reason,
        letter.source,
        letter.tenant,
        letter.sealed_at,
        letter.via,
    );
    if says != due || kept.raw.as_deref() != Some(letter.raw) {
        return Err(format!(
            "the dead letter of {} is not what was rejected",
            letter.index
        ));
    }
    if key != tenant.unwrap_or_default().as_bytes() {
        return Err(format!("the dead letter of {} has another key", letter.index));
    }
    Ok(())
}
