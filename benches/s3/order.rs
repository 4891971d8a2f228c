//! In what order an archive's objects are put: as archivers of all its partitions, each at the same cut, would put them.

use std::collections::{BTreeMap, BTreeSet};

/// Leaves of a tile of level 0, and tiles of one of the next level.
const WIDTH: u64 = 256;

/// What is stored of a cut at once, in this order; see `Storage` in the archiver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Segment,
    Closing,
    Tile,
    Checkpoint,
}

/// Of which partition a name is, what it is there, and how large the tree must be for it.
struct Part<'n> {
    origin: &'n str,
    step: Step,
    size: u64,
}

/// Sorts names: keys first, then the first cut of each partition, the second of each, and so on; within these the segments, then tiles, then checkpoints.
pub fn sort<T>(objects: &mut [T], name: impl Fn(&T) -> &str) {
    let mut cuts: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for part in objects.iter().filter_map(|object| part(name(object))) {
        if part.step == Step::Checkpoint {
            cuts.entry(part.origin.to_owned()).or_default().insert(part.size);
        }
    }
    // A tile is of the first cut that has all of it.
    let place = |name: &str| {
        let part = part(name)?;
        let before = cuts
            .get(part.origin)
            .map_or(0, |sizes| sizes.range(..part.size).count());
        Some((before, part.step))
    };
    objects.sort_by_cached_key(|object| (place(name(object)), name(object).to_owned()));
}

/// `None` of what is of no partition: key sets.
fn part(name: &str) -> Option<Part<'_>> {
    if let Some((origin, size)) = name.split_once("/checkpoints/") {
        let (step, size) = (Step::Checkpoint, size.parse().ok()?);
        return Some(Part { origin, step, size });
    }
    if let Some((origin, rest)) = name.split_once("/class=") {
        let (_, last) = rest.strip_suffix(".ndjson.zst")?.rsplit_once('-')?;
        let step = if rest.starts_with("default/") {
            Step::Closing
        } else {
            Step::Segment
        };
        let size = last.parse::<u64>().ok()? + 1;
        return Some(Part { origin, step, size });
    }
    let (origin, tile) = name.split_once("/tile/")?;
    let size = size_of_tile(tile)?;
    Some(Part {
        origin,
        step: Step::Tile,
        size,
    })
}

/// How many leaves there must be for `LEVEL/x001/234`, or for as much of it as `.p/WIDTH` says.
fn size_of_tile(tile: &str) -> Option<u64> {
    let (level, rest) = tile.split_once('/')?;
    let (groups, width) = match rest.split_once(".p/") {
        None => (rest, WIDTH),
        Some((groups, width)) => (groups, width.parse().ok()?),
    };
    let index: u64 = groups.replace(['x', '/'], "").parse().ok()?;
    let of_level = index.checked_mul(WIDTH)?.checked_add(width)?;
    of_level.checked_mul(WIDTH.checked_pow(level.parse().ok()?)?)
}
