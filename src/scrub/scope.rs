//! What of an archive a pass looks at: all of it, or what the owner of one partition answers for. Pure.

use crate::ledger::names;
use crate::ledger::verify::split_origin;
use crate::vault::known::Known;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Whole,
    /// A partition; the first one has all that is of no partition too, so that nothing is looked at twice or by nobody.
    Partition {
        log_name: String,
        partition: u32,
        partitions: u32,
    },
}

/// Whether a name is of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covers {
    Yes,
    /// Go on behind this name: all in between is somebody else's.
    NotUntil(String),
    No,
}

impl Scope {
    /// What the names begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self {
            Self::Partition {
                log_name, partition, ..
            } if *partition > 0 => format!("{}/", names::origin(log_name, *partition)),
            Self::Whole | Self::Partition { .. } => String::new(),
        }
    }

    /// What the names begin with that a partition's verification reads.
    #[must_use]
    pub fn content_prefixes(&self) -> Vec<String> {
        match self {
            Self::Whole => vec![String::new()],
            Self::Partition {
                log_name, partition, ..
            } => vec![
                format!("{}/", names::origin(log_name, *partition)),
                "keys/".to_owned(),
            ],
        }
    }

    #[must_use]
    pub fn covers(&self, name: &str) -> Covers {
        let Self::Partition {
            log_name,
            partition,
            partitions,
        } = self
        else {
            return Covers::Yes;
        };
        let rest = name
            .strip_prefix(log_name.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        let other = rest
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(number, _)| names::parse_decimal(number))
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| number < partitions && number != partition);
        match other {
            None => Covers::Yes,
            Some(other) => {
                // Behind every name of an archive there; what is behind it is looked at by its owner too.
                let end = format!("{}/~", names::origin(log_name, other));
                if *name < *end {
                    Covers::NotUntil(end)
                } else {
                    Covers::No
                }
            }
        }
    }

    /// The one origin whose objects there may be.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Partition {
                log_name, partition, ..
            } => Some(names::origin(log_name, *partition)),
        }
    }

    /// The partition to verify; `None` for all.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        match self {
            Self::Whole => None,
            Self::Partition { partition, .. } => Some(*partition),
        }
    }

    /// Whether there is anything to verify yet.
    #[must_use]
    pub fn has_content(&self, known: &Known) -> bool {
        match self {
            Self::Whole => true,
            Self::Partition {
                log_name, partition, ..
            } => known.covered(&names::origin(log_name, *partition)) > 0,
        }
    }

    /// The partitions whose holds are demanded.
    #[must_use]
    pub fn partitions(&self, known: &Known) -> Vec<u32> {
        match self {
            Self::Whole => known
                .origins()
                .filter_map(split_origin)
                .map(|(_, partition)| partition)
                .collect(),
            Self::Partition { partition, .. } => vec![*partition],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(partition: u32) -> Scope {
        Scope::Partition {
            log_name: "a/audit".to_owned(),
            partition,
            partitions: 12,
        }
    }

    #[test]
    fn every_name_is_of_exactly_one_partition() {
        for (name, owner) in [
            ("a/audit/0/tile/0/000", 0),
            ("a/audit/1/tile/0/000", 1),
            ("a/audit/11/class=x", 11),
            ("a/audit/12/tile/0/000", 0),
            ("a/audit/01/x", 0),
            ("a/audit/1", 0),
            ("a/audit/x", 0),
            ("keys/jwks-1.json", 0),
            ("b/audit/1/x", 0),
            ("notes", 0),
        ] {
            let of = |partition: u32| {
                let scope = scope(partition);
                name.starts_with(&scope.prefix()) && scope.covers(name) == Covers::Yes
            };
            let owners: Vec<u32> = (0..12).filter(|partition| of(*partition)).collect();
            assert_eq!(owners, [owner], "{name}");
        }
        assert_eq!(Scope::Whole.covers("a/audit/3/x"), Covers::Yes);
    }

    #[test]
    fn who_has_the_rest_goes_past_what_others_have_in_one_step() {
        assert_eq!(
            scope(0).covers("a/audit/11/class=x"),
            Covers::NotUntil("a/audit/11/~".to_owned())
        );
        assert_eq!(scope(0).covers("a/audit/11/~x"), Covers::No);
        // Partition 10 begins behind the end of partition 1 and is its own.
        assert!("a/audit/1/~" < "a/audit/10/" || scope(0).covers("a/audit/10/x") != Covers::Yes);
    }
}
