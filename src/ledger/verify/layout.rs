//! Reads object names: what a name says of an archive's object, and which objects a partition's cuts call for.

use super::super::names;
use super::super::names::INTEGER_MAX;
use super::super::tile::{TileName, partial_names};
use super::super::time::parse_sealed_at;
use crate::clock::UnixMicros;

/// An object by its name, which is the one name of such an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName<'a> {
    Jwks { keys: u64 },
    Partition { origin: &'a str, part: Part<'a> },
}

/// An object of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    Segment {
        class: &'a str,
        /// When its UTC day begins.
        day: UnixMicros,
        first: u64,
        last: u64,
    },
    /// The Parquet twin of a segment: may be there, is no evidence, and is not read.
    Twin {
        class: &'a str,
        day: UnixMicros,
        first: u64,
        last: u64,
    },
    Tile(TileName),
    Checkpoint {
        size: u64,
    },
}

impl<'a> ObjectName<'a> {
    /// `None` where no object of an archive has that name.
    pub fn parse(name: &'a str) -> Option<Self> {
        if let Some(keys) = name.strip_prefix("keys/jwks-") {
            let keys = names::parse_decimal(keys.strip_suffix(".json")?)?;
            return Some(Self::Jwks { keys });
        }
        let (origin, part) = parse_segment(name)
            .or_else(|| parse_checkpoint(name))
            .or_else(|| parse_tile(name))?;
        names::is_origin(origin).then_some(Self::Partition { origin, part })
    }
}

fn parse_segment(name: &str) -> Option<(&str, Part<'_>)> {
    let (rest, file) = name.rsplit_once('/')?;
    let (rest, day) = rest.rsplit_once("/date=")?;
    let (origin, class) = rest.rsplit_once("/class=")?;
    let (file, is_twin) = match file.strip_suffix(".ndjson.zst") {
        Some(file) => (file, false),
        None => (file.strip_suffix(".parquet")?, true),
    };
    let (first, last) = file.split_once('-')?;
    let (first, last) = (parse_20_digits(first)?, parse_20_digits(last)?);
    let day = parse_sealed_at(format!("{day}T00:00:00.000000Z").as_bytes())?;
    let part = if is_twin {
        Part::Twin {
            class,
            day,
            first,
            last,
        }
    } else {
        Part::Segment {
            class,
            day,
            first,
            last,
        }
    };
    (names::is_class(class) && first <= last).then_some((origin, part))
}

fn parse_checkpoint(name: &str) -> Option<(&str, Part<'_>)> {
    let (origin, size) = name.rsplit_once("/checkpoints/")?;
    let size = parse_20_digits(size)?;
    Some((origin, Part::Checkpoint { size }))
}

fn parse_tile(name: &str) -> Option<(&str, Part<'_>)> {
    let at = name.rfind("/tile/")?;
    let tile = TileName::parse(&name[at + 1..])?;
    Some((&name[..at], Part::Tile(tile)))
}

fn parse_20_digits(text: &str) -> Option<u64> {
    let all_digits = text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|_| all_digits)?;
    (value <= INTEGER_MAX).then_some(value)
}

/// Splits `<log name>/<partition>`.
pub fn split_origin(origin: &str) -> Option<(&str, u32)> {
    let (log_name, partition) = origin.rsplit_once('/')?;
    Some((log_name, partition.parse().ok()?))
}

/// The tree sizes of a partition's cuts, ascending, say which tiles and checkpoints there must be.
pub struct CutSizes(pub Vec<u64>);

impl CutSizes {
    /// The number of leaves that a tree has at least where it calls for the tile of this name, `None` where it is no tile's.
    pub fn end_of_tile(name: &str) -> Option<u64> {
        let Some(ObjectName::Partition {
            part: Part::Tile(tile),
            ..
        }) = ObjectName::parse(name)
        else {
            return None;
        };
        let hashes = tile
            .index
            .saturating_mul(256)
            .saturating_add(tile.width.map_or(256, u64::from));
        Some(hashes.saturating_mul(256_u64.saturating_pow(tile.level.into())))
    }

    pub fn calls_for_checkpoint(&self, size: u64) -> bool {
        self.0.binary_search(&size).is_ok()
    }

    pub fn calls_for_tile(&self, tile: &TileName) -> bool {
        let hashes = |size: u64| size.checked_shr(u32::from(tile.level) * 8).unwrap_or(0);
        let Some(start) = tile.index.checked_mul(256) else {
            return false;
        };
        match tile.width {
            None => self
                .0
                .last()
                .is_some_and(|size| start.checked_add(256).is_some_and(|end| end <= hashes(*size))),
            Some(width) => {
                let end = start.saturating_add(u64::from(width));
                let at = self.0.partition_point(|size| hashes(*size) < end);
                self.0.get(at).is_some_and(|size| hashes(*size) == end)
            }
        }
    }

    /// How many checkpoints and different tiles there must be.
    pub fn objects(&self) -> u64 {
        let last = self.0.last().copied().unwrap_or(0);
        let full: u64 = (1..8).map(|level| last >> (level * 8)).sum();
        let mut partials = 0;
        let mut before: Vec<TileName> = Vec::new();
        for size in &self.0 {
            let names = partial_names(*size);
            // Sizes grow: a partial tile of two cuts is one of two neighbours.
            partials += names.iter().filter(|name| !before.contains(name)).count() as u64;
            before = names;
        }
        self.0.len() as u64 + full + partials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_an_object_is_read_back() {
        let day = parse_sealed_at(b"2026-11-22T00:00:00.000000Z").unwrap();
        let segment = names::segment("a/tile/0", "eu-1", day, 0, 41);
        assert_eq!(
            ObjectName::parse(&segment),
            Some(ObjectName::Partition {
                origin: "a/tile/0",
                part: Part::Segment {
                    class: "eu-1",
                    day,
                    first: 0,
                    last: 41
                }
            })
        );
        let checkpoint = names::checkpoint("a/checkpoints/3", 42);
        assert_eq!(
            ObjectName::parse(&checkpoint),
            Some(ObjectName::Partition {
                origin: "a/checkpoints/3",
                part: Part::Checkpoint { size: 42 }
            })
        );
        let tile = TileName {
            level: 1,
            index: 1_234,
            width: Some(7),
        };
        assert_eq!(
            ObjectName::parse(&format!("a/tile/0/{}", tile.path())),
            Some(ObjectName::Partition {
                origin: "a/tile/0",
                part: Part::Tile(tile)
            })
        );
        assert_eq!(
            ObjectName::parse(&names::jwks(12)),
            Some(ObjectName::Jwks { keys: 12 })
        );
    }

    #[test]
    fn near_names_are_not_read() {
        for name in [
            "keys/jwks-01.json",
            "keys/jwks-1.json.",
            "keys/0/checkpoints/00000000000000000001",
            "a/0/checkpoints/1",
            "a/00/checkpoints/00000000000000000001",
            "a/0/checkpoints/0000000000000000001x",
            "a/0/checkpoints/+0000000000000000001",
            "a/0/class=x/date=2026-02-30/00000000000000000000-00000000000000000001.ndjson.zst",
            "a/0/class=X/date=2026-02-03/00000000000000000000-00000000000000000001.ndjson.zst",
            "a/0/class=x/date=2026-02-03/00000000000000000002-00000000000000000001.ndjson.zst",
            "a/0/class=x/date=2026-02-03/00000000000000000000-00000000000000000001.ndjson",
            "a/0/tile/0/0",
            "a/0/tile/00/000",
            "a/0/tile/0/000.p/256",
            "a/0/tile/0/000.p/0",
            "A/0/tile/0/000",
            "",
        ] {
            assert_eq!(ObjectName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn sizes_call_for_the_tiles_that_they_complete_or_leave_open() {
        for sizes in [
            vec![1],
            vec![255, 256, 257],
            vec![300, 310, 70_000],
            vec![65_536],
            vec![0x1_0001, 0x1_0100],
        ] {
            let sizes = CutSizes(sizes);
            let last = *sizes.0.last().unwrap();
            let mut due = 0;
            for level in 0..4_u8 {
                for index in 0..=(last >> (8 * (level + 1))) {
                    for width in std::iter::once(None).chain((1..=255).map(Some)) {
                        let tile = TileName { level, index, width };
                        due += u64::from(sizes.calls_for_tile(&tile));
                    }
                }
            }
            assert_eq!(due + sizes.0.len() as u64, sizes.objects(), "{:?}", sizes.0);
        }
    }
}
