//! Segments: the lines between two cuts, and the zstd frame that holds them (docs/FORMAT.md section 6).
//!
//! A line is its parts byte for byte between fixed brackets, so finding the parts and rebuilding the line are the same
//! thing. What the parts say is not judged here.

mod builder;
mod frame;

pub use builder::{Frame, SegmentBuilder};
pub use frame::{FrameError, LineReader, WINDOW_BYTES_MAX};

use super::Digest;
use super::leaf::LEAF_BYTES_MAX;
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::CParameter;

/// Uncompressed bytes of the objects of one cut together, at most.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// One line, at most: what a reader must be able to hold.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// zstd's fastest, and for lines of events the smallest too: 8.2 % and 980 MB/s where level 3 gives 9.2 % and 405 MB/s, line by line (7.8 and 8.1 % of CloudTrail records; 2026-11-28).
const COMPRESSION_LEVEL: i32 = 1;

const EVENT_OPEN: &[u8] = b"{\"event\":";
const LEAF_OPEN: &[u8] = b"{\"leaf\":";
const LEAF_AFTER_EVENT: &[u8] = b",\"leaf\":";
const RAW_AFTER_LEAF: &[u8] = b",\"raw\":\"";

/// What cannot be a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("the line is not made of a leaf with an event, with a raw input, or alone")]
    Line,
    #[error("the lines have {bytes} bytes, more than the {SEGMENT_BYTES_MAX} of a segment: cut more often")]
    TooLarge { bytes: u64 },
    #[error("compressing the segment failed")]
    Compress(#[source] std::io::Error),
}

/// The parts of a line, as they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRef<'a> {
    pub leaf: &'a [u8],
    pub event: Option<&'a [u8]>,
    pub raw_base64: Option<&'a [u8]>,
}

/// Appends one line with its newline. An entry has an `event`, a rejected leaf has `raw`, all others have neither.
pub fn write_line(out: &mut Vec<u8>, leaf: &[u8], event: Option<&[u8]>, raw: Option<&[u8]>) {
    if let Some(event) = event {
        for part in [EVENT_OPEN, event, LEAF_AFTER_EVENT, leaf] {
            out.extend_from_slice(part);
        }
    } else {
        out.extend_from_slice(LEAF_OPEN);
        out.extend_from_slice(leaf);
    }
    if let Some(raw) = raw {
        out.extend_from_slice(RAW_AFTER_LEAF);
        let at = out.len();
        out.resize(at + BASE64.encode_len(raw.len()), 0);
        BASE64.encode_mut(raw, &mut out[at..]);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
}

/// Finds the parts of a line (without its newline). The leaf is looked for from the end, so that a damaged event does not
/// hide whose it was.
///
/// # Errors
/// [`SegmentError::Line`] where no leaf of at most [`LEAF_BYTES_MAX`] bytes stands where the format has it. The parts of a
/// line without error, between the format's brackets, are that line.
pub fn parse_line(line: &[u8]) -> Result<LineRef<'_>, SegmentError> {
    let with_event = || {
        let inner = line.strip_prefix(EVENT_OPEN)?.strip_suffix(b"}")?;
        let leaf_at = find_last_leaf(inner)?;
        let (event, rest) = inner.split_at(leaf_at);
        Some(LineRef {
            leaf: &rest[LEAF_AFTER_EVENT.len()..],
            event: Some(event),
            raw_base64: None,
        })
    };
    let with_raw = || {
        let inner = line.strip_prefix(LEAF_OPEN)?.strip_suffix(b"\"}")?;
        let within = &inner[..inner.len().min(LEAF_BYTES_MAX + RAW_AFTER_LEAF.len())];
        // A leaf has a member `raw` of its own, but none behind an object.
        let leaf_end = find(within, b"},\"raw\":\"")? + 1;
        Some(LineRef {
            leaf: &inner[..leaf_end],
            event: None,
            raw_base64: Some(&inner[leaf_end + RAW_AFTER_LEAF.len()..]),
        })
    };
    let alone = || {
        let leaf = line.strip_prefix(LEAF_OPEN)?.strip_suffix(b"}")?;
        (leaf.len() <= LEAF_BYTES_MAX).then_some(LineRef {
            leaf,
            event: None,
            raw_base64: None,
        })
    };
    with_event()
        .or_else(with_raw)
        .or_else(alone)
        .ok_or(SegmentError::Line)
}

/// The last `,"leaf":{` within a leaf's reach of the end: no leaf has a member of that name.
fn find_last_leaf(inner: &[u8]) -> Option<usize> {
    let reach = inner
        .len()
        .saturating_sub(LEAF_BYTES_MAX + LEAF_AFTER_EVENT.len());
    let tail = &inner[reach..];
    (LEAF_AFTER_EVENT.len()..tail.len())
        .rev()
        .find(|&at| tail[at] == b'{' && tail[..at].ends_with(LEAF_AFTER_EVENT))
        .map(|at| reach + at - LEAF_AFTER_EVENT.len())
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// One zstd frame with content size and checksum.
///
/// # Errors
/// Where the lines exceed [`SEGMENT_BYTES_MAX`], or zstd has no memory.
pub fn compress(lines: &[u8]) -> Result<Vec<u8>, SegmentError> {
    if lines.len() as u64 > SEGMENT_BYTES_MAX {
        return Err(SegmentError::TooLarge {
            bytes: lines.len() as u64,
        });
    }
    let mut compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).map_err(SegmentError::Compress)?;
    for parameter in [CParameter::ChecksumFlag(true), CParameter::ContentSizeFlag(true)] {
        compressor
            .set_parameter(parameter)
            .map_err(SegmentError::Compress)?;
    }
    compressor.compress(lines).map_err(SegmentError::Compress)
}

/// What a segment is, whatever compressed it: the SHA-256 of its lines.
#[must_use]
pub fn identity(lines: &[u8]) -> Digest {
    Sha256::digest(lines).into()
}

/// The identity of a stored segment; `None` where the frame is none or holds more than a segment may.
#[must_use]
pub fn identity_of_frame(frame: &[u8]) -> Option<Digest> {
    lines_of_frame(frame).map(|lines| identity(&lines))
}

/// All lines of a segment at once, at most [`SEGMENT_BYTES_MAX`]; `None` as in [`identity_of_frame`].
#[must_use]
pub fn lines_of_frame(frame: &[u8]) -> Option<Vec<u8>> {
    let bytes = zstd::bulk::Decompressor::upper_bound(frame)?;
    if bytes as u64 > SEGMENT_BYTES_MAX {
        return None;
    }
    zstd::bulk::decompress(frame, bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(leaf: &[u8], event: Option<&[u8]>, raw: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        write_line(&mut out, leaf, event, raw);
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    #[test]
    fn a_line_gives_back_its_parts() {
        let leaf = br#"{"a":1,"keys":[{"x":"y"},{"x":"z"}],"raw":"00","v":1}"#;
        let event = br#"{"leaf":{"a":1},"event":{},"raw":"x","z":",\"leaf\":{"}"#;
        let plain = line(leaf, None, None);
        assert_eq!(parse_line(&plain).unwrap().leaf, leaf);
        let with_event = line(leaf, Some(event), None);
        let parts = parse_line(&with_event).unwrap();
        assert_eq!((parts.leaf, parts.event), (&leaf[..], Some(&event[..])));
        for raw in [&b""[..], b"x", b"{\"leaf\":{}}", &[0xFF; 9_000]] {
            let with_raw = line(leaf, None, Some(raw));
            let parts = parse_line(&with_raw).unwrap();
            assert_eq!(parts.leaf, leaf);
            assert_eq!(BASE64.decode(parts.raw_base64.unwrap()).unwrap(), raw);
        }
    }

    #[test]
    fn a_damaged_event_does_not_hide_its_leaf() {
        let leaf = br#"{"index":7,"v":1}"#;
        let good = line(leaf, Some(br#"{"a":"b"}"#), None);
        for at in EVENT_OPEN.len()..EVENT_OPEN.len() + 9 {
            for byte in [b'"', b'{', b'}', b',', 0, 0xFF] {
                let mut bad = good.clone();
                bad[at] = byte;
                assert_eq!(parse_line(&bad).unwrap().leaf, leaf);
            }
        }
    }

    #[test]
    fn what_has_no_leaf_in_reach_is_no_line() {
        let far = line(&vec![b'x'; LEAF_BYTES_MAX + 1], None, None);
        let far_event = line(&vec![b'{'; LEAF_BYTES_MAX + 1], Some(b"{}"), None);
        for bad in [
            &b""[..],
            b"{}",
            b"{\"leaf\":",
            b"{\"event\":{}}",
            b"{\"event\":{},\"leaf\":1}",
            &far,
            &far_event,
        ] {
            assert!(parse_line(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_longest_leaf_is_found_beside_whatever_stands_there() {
        let leaf = format!("{{\"a\":\"{}\"}}", "x".repeat(LEAF_BYTES_MAX - 8)).into_bytes();
        assert_eq!(leaf.len(), LEAF_BYTES_MAX);
        for (event, raw) in [(None, None), (Some(&b"{}"[..]), None), (None, Some(&b"x"[..]))] {
            assert_eq!(parse_line(&line(&leaf, event, raw)).unwrap().leaf, leaf);
        }
        let longer = format!("{{\"a\":\"{}\"}}", "x".repeat(LEAF_BYTES_MAX - 7)).into_bytes();
        for (event, raw) in [(None, None), (Some(&b"{}"[..]), None), (None, Some(&b"x"[..]))] {
            let found = parse_line(&line(&longer, event, raw)).map(|parts| parts.leaf.len());
            assert!(found.is_err() || found.is_ok_and(|length| length != longer.len()));
        }
    }

    #[test]
    fn a_segment_may_fill_its_limit_and_is_known_by_its_lines() {
        let mut lines = vec![b'\n'; usize::try_from(SEGMENT_BYTES_MAX).unwrap()];
        let frame = compress(&lines).unwrap();
        assert_eq!(identity_of_frame(&frame), Some(identity(&lines)));
        lines.push(b'\n');
        let bytes = SEGMENT_BYTES_MAX + 1;
        assert!(matches!(compress(&lines), Err(SegmentError::TooLarge { bytes: found }) if found == bytes));
        assert_eq!(identity_of_frame(&zstd::bulk::compress(&lines, 1).unwrap()), None);
        assert_eq!(identity_of_frame(b"no frame"), None);
        assert_ne!(identity(b"a\n"), identity(b"b\n"));
        // SHA-256 of "abc", FIPS 180.
        assert_eq!(identity(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
