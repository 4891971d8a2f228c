//! What the log says is archived and the listing of the archive does not have. Pure.
//!
//! Names alone say where an archive ends, so that one whose newest cuts are deleted for good is a smaller archive, and a good one.

use super::finding::{Finding, Kind};
use super::scope::Scope;
use crate::ledger::names;
use crate::ledger::verify::split_origin;
use crate::vault::known::Known;
use std::collections::BTreeMap;

/// How many leaves of each partition the log said were archived, before names were listed. Empty where no log was asked.
pub type Archived = BTreeMap<u32, u64>;

/// One finding for each partition whose archive ends sooner than the log says.
#[must_use]
pub fn judge_sizes(known: &Known, scope: &Scope, archived: &Archived) -> Vec<Finding> {
    let sooner = archived.iter().filter_map(|(partition, size)| {
        let origin = origin_of(known, scope, *partition);
        let covered = origin.as_deref().map_or(0, |origin| known.covered(origin));
        (covered < *size).then(|| missing(*partition, origin, covered, *size))
    });
    sooner.collect()
}

fn missing(partition: u32, origin: Option<String>, covered: u64, archived: u64) -> Finding {
    let what = match covered {
        0 => format!(
            "no cut of partition {partition} is there whole, and the log says that {archived} leaves are archived"
        ),
        covered => {
            format!(
                "partition {partition} ends at {covered} leaves, and the log says that {archived} are archived"
            )
        }
    };
    Finding {
        kind: Kind::Missing,
        name: origin.unwrap_or_default(),
        version: None,
        what,
        relock: None,
    }
}

/// `None` where nothing says what the log is called: of the whole archive no object is there.
fn origin_of(known: &Known, scope: &Scope, partition: u32) -> Option<String> {
    scope.origin().or_else(|| {
        let log_name = known.origins().find_map(|origin| {
            let (log_name, of) = split_origin(origin)?;
            (of == partition).then_some(log_name)
        });
        // None of its own is left: an archive is of one log.
        let any = || {
            known
                .origins()
                .find_map(split_origin)
                .map(|(log_name, _)| log_name)
        };
        Some(names::origin(log_name.or_else(any)?, partition))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "test.example/audit";
    const DAY: i64 = 86_400_000_000;

    fn known(sizes: &[(u32, u64)]) -> Known {
        let mut known = Known::default();
        for (partition, size) in sizes {
            let origin = names::origin(LOG, *partition);
            known.note(&names::segment(&origin, "default", DAY, 0, size - 1));
            known.note(&names::checkpoint(&origin, *size));
        }
        known.settle();
        known
    }

    fn found(known: &Known, scope: &Scope, archived: &[(u32, u64)]) -> Vec<String> {
        judge_sizes(known, scope, &archived.iter().copied().collect())
            .into_iter()
            .map(|finding| {
                assert_eq!((finding.kind, finding.version), (Kind::Missing, None));
                format!("{}: {}", finding.name, finding.what)
            })
            .collect()
    }

    #[test]
    fn an_archive_that_ends_where_the_log_says_or_later_misses_nothing() {
        let known = known(&[(0, 10), (1, 20)]);
        assert!(found(&known, &Scope::Whole, &[(0, 10), (1, 7), (2, 0)]).is_empty());
        assert!(found(&known, &Scope::Whole, &[]).is_empty());
    }

    #[test]
    fn one_that_ends_sooner_or_is_not_there_is_found_by_its_partition() {
        let scope = |partition| Scope::Partition {
            log_name: LOG.to_owned(),
            partition,
            partitions: 3,
        };
        let left = known(&[(0, 10), (1, 20)]);
        let sooner =
            "test.example/audit/1: partition 1 ends at 20 leaves, and the log says that 21 are archived";
        let gone = "test.example/audit/2: no cut of partition 2 is there whole, and the log says that 5 leaves are archived";
        assert_eq!(
            found(&left, &Scope::Whole, &[(0, 10), (1, 21), (2, 5)]),
            [sooner, gone]
        );
        assert_eq!(found(&left, &scope(1), &[(1, 21)]), [sooner]);
        assert_eq!(found(&Known::default(), &scope(2), &[(2, 5)]), [gone]);
        // Nothing at all is left, and nothing says what the log is called.
        assert_eq!(found(&Known::default(), &Scope::Whole, &[(2, 5)]).len(), 1);
    }
}
