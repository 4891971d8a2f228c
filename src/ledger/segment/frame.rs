//! Reads the lines of a segment from its zstd frame, in memory that depends on the longest line and not on the segment.

use super::{LINE_BYTES_MAX, SEGMENT_BYTES_MAX};
use std::io::{BufRead as _, Read};
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

/// The largest window that a frame may ask its reader to hold (RFC 8878 section 3.1.1.1.2 names 8 MiB for interoperation).
pub const WINDOW_BYTES_MAX: u64 = 8 << 20;
const WINDOW_LOG_MAX: u32 = 23;

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Magic, descriptor, window, dictionary id and content size, each at its longest.
const HEADER_BYTES_MAX: usize = 18;
const INPUT_BYTES: usize = 64 << 10;
const OUTPUT_BYTES: usize = 256 << 10;

/// Why an object gives no more lines.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The object could not be read: this says nothing about what it holds.
    #[error("the object cannot be read")]
    Read(#[source] std::io::Error),
    #[error("the object is not a zstd frame")]
    NotAFrame,
    #[error("the zstd frame has no checksum")]
    NoChecksum,
    #[error("the zstd frame does not say how long its content is")]
    NoContentSize,
    #[error("the zstd frame needs a dictionary")]
    Dictionary,
    #[error("the zstd frame needs a window of {bytes} bytes, more than {WINDOW_BYTES_MAX}")]
    Window { bytes: u64 },
    #[error("the segment has {bytes} bytes, more than {SEGMENT_BYTES_MAX}")]
    TooLarge { bytes: u64 },
    #[error("the zstd frame is damaged: {0}")]
    Damaged(#[source] std::io::Error),
    #[error("the zstd frame ends before its end")]
    Truncated,
    #[error("something follows the zstd frame")]
    Trailing,
    #[error("the last line has no newline")]
    LastLine,
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
}

/// The lines of one segment. After an error it gives no more lines.
pub struct LineReader<R> {
    source: R,
    input: Vec<u8>,
    /// `input[input_at..input_end]` is read and not yet decoded.
    input_at: usize,
    input_end: usize,
    decoder: Decoder<'static>,
    frame_done: bool,
    content_bytes: u64,
    /// `lines[line_at..lines_end]` is decoded and not yet given; up to `searched` it has no newline.
    lines: Vec<u8>,
    line_at: usize,
    searched: usize,
    lines_end: usize,
}

impl<R: Read> LineReader<R> {
    /// Reads and judges the frame's header.
    ///
    /// # Errors
    /// Where it is not one that the format allows.
    pub fn open(source: R) -> Result<Self, FrameError> {
        let mut decoder = Decoder::new().map_err(FrameError::Read)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(FrameError::Read)?;
        let mut reader = Self {
            source,
            input: vec![0; INPUT_BYTES],
            input_at: 0,
            input_end: 0,
            decoder,
            frame_done: false,
            content_bytes: 0,
            lines: vec![0; OUTPUT_BYTES],
            line_at: 0,
            searched: 0,
            lines_end: 0,
        };
        while reader.input_end < HEADER_BYTES_MAX && reader.read_more()? > 0 {}
        reader.content_bytes = judge_header(&reader.input[..reader.input_end])?;
        Ok(reader)
    }

    /// Uncompressed bytes of the whole segment, as the header has them; zstd holds the content against it.
    #[must_use]
    pub const fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// The next line without its newline, `None` after the last. With `None` the frame was whole, its checksum right, and
    /// nothing followed it.
    ///
    /// # Errors
    /// Where the frame is not whole and alone, or a line exceeds its limit.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, FrameError> {
        loop {
            let mut unsearched = &self.lines[self.searched..self.lines_end];
            // The standard library's memchr: counts up to and with the newline, or to the end where there is none.
            let passed = unsearched.skip_until(b'\n').map_err(FrameError::Read)?;
            self.searched += passed;
            if passed > 0 && self.lines[self.searched - 1] == b'\n' {
                let line = self.line_at..self.searched - 1;
                self.line_at = self.searched;
                return Ok(Some(&self.lines[line]));
            }
            if self.frame_done {
                self.expect_end()?;
                return Ok(None);
            }
            self.decode_more()?;
        }
    }

    fn expect_end(&mut self) -> Result<(), FrameError> {
        if self.line_at < self.lines_end {
            return Err(FrameError::LastLine);
        }
        if self.input_at < self.input_end {
            return Err(FrameError::Trailing);
        }
        (self.input_at, self.input_end) = (0, 0);
        if self.read_more()? > 0 {
            return Err(FrameError::Trailing);
        }
        Ok(())
    }

    fn decode_more(&mut self) -> Result<(), FrameError> {
        self.make_room()?;
        if self.input_at == self.input_end {
            (self.input_at, self.input_end) = (0, 0);
            if self.read_more()? == 0 {
                return Err(FrameError::Truncated);
            }
        }
        let status = self
            .decoder
            .run_on_buffers(
                &self.input[self.input_at..self.input_end],
                &mut self.lines[self.lines_end..],
            )
            .map_err(FrameError::Damaged)?;
        self.input_at += status.bytes_read;
        self.lines_end += status.bytes_written;
        self.frame_done = status.remaining == 0;
        Ok(())
    }

    /// Moves an unfinished line to the front, or lets the buffer grow where the line fills it.
    fn make_room(&mut self) -> Result<(), FrameError> {
        self.lines.copy_within(self.line_at..self.lines_end, 0);
        self.lines_end -= self.line_at;
        self.searched -= self.line_at;
        self.line_at = 0;
        if self.lines_end == self.lines.len() {
            if self.lines_end > LINE_BYTES_MAX {
                return Err(FrameError::LineTooLong);
            }
            let grown = (self.lines.len() * 2).min(LINE_BYTES_MAX + 1);
            self.lines.resize(grown, 0);
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<usize, FrameError> {
        loop {
            match self.source.read(&mut self.input[self.input_end..]) {
                Ok(read) => {
                    self.input_end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FrameError::Read(error)),
            }
        }
    }
}

/// RFC 8878 section 3.1.1.1. Answers with the content size.
fn judge_header(header: &[u8]) -> Result<u64, FrameError> {
    let Some((&descriptor, mut fields)) = header.strip_prefix(&MAGIC).and_then(|rest| rest.split_first())
    else {
        return Err(FrameError::NotAFrame);
    };
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x08 != 0 {
        return Err(FrameError::NotAFrame);
    }
    if descriptor & 0x04 == 0 {
        return Err(FrameError::NoChecksum);
    }
    if descriptor & 0x03 != 0 {
        return Err(FrameError::Dictionary);
    }
    let mut window_bytes = None;
    if !single_segment {
        let (&byte, rest) = fields.split_first().ok_or(FrameError::Truncated)?;
        let base = 1_u64 << (10 + (byte >> 3));
        window_bytes = Some(base + base / 8 * u64::from(byte & 7));
        fields = rest;
    }
    let size_bytes = match (descriptor >> 6, single_segment) {
        (0, false) => return Err(FrameError::NoContentSize),
        (0, true) => 1,
        (1, _) => 2,
        (2, _) => 4,
        _ => 8,
    };
    let mut little_endian = [0; 8];
    little_endian[..size_bytes].copy_from_slice(fields.get(..size_bytes).ok_or(FrameError::Truncated)?);
    let content_bytes =
        u64::from_le_bytes(little_endian).saturating_add(if size_bytes == 2 { 256 } else { 0 });
    if content_bytes > SEGMENT_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes: content_bytes });
    }
    let window_bytes = window_bytes.unwrap_or(content_bytes);
    if window_bytes > WINDOW_BYTES_MAX {
        return Err(FrameError::Window { bytes: window_bytes });
    }
    Ok(content_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::compress;
    use super::*;
    use zstd::zstd_safe::CParameter;

    fn read_all(object: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut reader = LineReader::open(object)?;
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            lines.push(line.to_vec());
        }
        Ok(lines)
    }

    fn frame(content: &[u8], parameters: &[CParameter]) -> Vec<u8> {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
        for parameter in parameters {
            compressor.set_parameter(*parameter).unwrap();
        }
        compressor.compress(content).unwrap()
    }

    #[test]
    fn lines_of_any_length_come_back() {
        let lines: Vec<Vec<u8>> = [
            0,
            1,
            255,
            OUTPUT_BYTES - 1,
            OUTPUT_BYTES,
            OUTPUT_BYTES + 1,
            700_000,
        ]
        .into_iter()
        .map(|length| {
            (0..length)
                .map(|n: usize| b"squares of n modulo"[n * n % 19])
                .collect()
        })
        .collect();
        let mut content = lines.join(&b'\n');
        content.push(b'\n');
        assert_eq!(read_all(&compress(&content).unwrap()).unwrap(), lines);
        assert!(read_all(&compress(b"").unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_frame_that_is_not_alone_whole_and_checked_is_refused() {
        let good = compress(b"one\ntwo\n").unwrap();
        assert!(matches!(
            read_all(&[&good[..], b"x"].concat()),
            Err(FrameError::Trailing)
        ));
        assert!(matches!(
            read_all(&[&good[..], &good[..]].concat()),
            Err(FrameError::Trailing)
        ));
        for end in 0..good.len() {
            assert!(read_all(&good[..end]).is_err(), "truncated to {end}");
        }
        assert!(matches!(
            read_all(&compress(b"one\ntwo").unwrap()),
            Err(FrameError::LastLine)
        ));
        assert!(matches!(
            read_all(&frame(b"one\n", &[CParameter::ChecksumFlag(false)])),
            Err(FrameError::NoChecksum)
        ));
        assert!(matches!(
            read_all(&frame(b"one\n", &[CParameter::ContentSizeFlag(false)])),
            Err(FrameError::NoContentSize)
        ));
    }

    #[test]
    fn what_would_need_too_much_memory_is_refused() {
        let wide: Vec<u8> = (0..(9_u32 << 20)).map(|n| (n >> 9).to_le_bytes()[0]).collect();
        assert!(matches!(
            read_all(&frame(&wide, &[CParameter::WindowLog(24)])),
            Err(FrameError::Window { .. })
        ));
        let too_long = vec![b'a'; usize::try_from(SEGMENT_BYTES_MAX).unwrap() + 1];
        assert!(matches!(
            read_all(&frame(&too_long, &[])),
            Err(FrameError::TooLarge { .. })
        ));
        assert!(compress(&too_long).is_err());
        let line_too_long = vec![b'a'; LINE_BYTES_MAX * 2 + 2];
        assert!(matches!(
            read_all(&frame(&line_too_long, &[])),
            Err(FrameError::LineTooLong)
        ));
    }

    /// A reader that is interrupted before every byte, and gives one at a time.
    struct Drip<'a>(&'a [u8], bool);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let one = into.len().min(1);
            self.0.read(&mut into[..one])
        }
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_source_may_drip_and_may_not_fail() {
        let good = compress(b"one\ntwo\n").unwrap();
        let mut reader = LineReader::open(Drip(&good, false)).unwrap();
        assert_eq!(reader.content_bytes(), 8);
        assert_eq!(reader.next_line().unwrap(), Some(&b"one"[..]));
        assert_eq!(reader.next_line().unwrap(), Some(&b"two"[..]));
        assert_eq!(reader.next_line().unwrap(), None);
        let followed = [&good[..], b"x"].concat();
        let mut reader = LineReader::open(Drip(&followed, false)).unwrap();
        assert_eq!(reader.next_line().unwrap(), Some(&b"one"[..]));
        assert_eq!(reader.next_line().unwrap(), Some(&b"two"[..]));
        assert!(matches!(reader.next_line(), Err(FrameError::Trailing)));
        assert!(matches!(LineReader::open(Broken), Err(FrameError::Read(_))));
    }

    #[test]
    fn a_header_is_judged_field_by_field() {
        let judge =
            |fields: &[u8]| judge_header(&[&MAGIC[..], fields].concat()).map_err(|error| error.to_string());
        let window = |bytes| Err(FrameError::Window { bytes }.to_string());
        // One segment: the content is the window. Sizes of one, two, four and eight bytes.
        assert_eq!(judge(&[0x24, 7]), Ok(7));
        assert_eq!(judge(&[0x64, 7, 1]), Ok(256 + 0x107));
        assert_eq!(judge(&[0xA4, 1, 2, 3, 0]), Ok(0x0003_0201));
        assert_eq!(judge(&[0xE4, 1, 2, 3, 0, 0, 0, 0, 0]), Ok(0x0003_0201));
        assert_eq!(judge(&[0xA4, 0, 0, 0x80, 0]), Ok(WINDOW_BYTES_MAX));
        assert_eq!(judge(&[0xA4, 1, 0, 0x80, 0]), window(WINDOW_BYTES_MAX + 1));
        // A window of its own: exponent 13 is 8 MiB, and every eighth more is too much.
        assert_eq!(judge(&[0x84, 13 << 3, 0, 0, 0, 4]), Ok(SEGMENT_BYTES_MAX));
        assert_eq!(judge(&[0x84, 13 << 3 | 1, 0, 0, 0, 4]), window(9 << 20));
        assert_eq!(judge(&[0x84, 12 << 3 | 7, 9, 0, 0, 0]), Ok(9));
        assert_eq!(judge(&[0x84, 14 << 3 | 2, 9, 0, 0, 0]), window(20 << 20));
        let too_large = |bytes| Err(FrameError::TooLarge { bytes }.to_string());
        assert_eq!(judge(&[0x84, 0, 1, 0, 0, 4]), too_large(SEGMENT_BYTES_MAX + 1));
        assert_eq!(judge(&[&[0xE4][..], &[0xFF; 8]].concat()), too_large(u64::MAX));
        for (fields, due) in [
            (&[][..], FrameError::NotAFrame),
            (&[0x2C, 7], FrameError::NotAFrame),
            (&[0x20, 7], FrameError::NoChecksum),
            (&[0x25, 7, 7], FrameError::Dictionary),
            (&[0x26, 7, 7], FrameError::Dictionary),
            (&[0x04, 0], FrameError::NoContentSize),
            (&[0x04], FrameError::Truncated),
            (&[0x24], FrameError::Truncated),
            (&[0x64, 7], FrameError::Truncated),
            (&[0xA4, 1, 2, 3], FrameError::Truncated),
            (&[0xE4, 1, 2, 3, 4, 5, 6, 7], FrameError::Truncated),
        ] {
            assert_eq!(judge(fields), Err(due.to_string()), "{fields:?}");
        }
    }

    #[test]
    fn a_line_may_fill_its_limit_and_not_pass_it() {
        let mut longest = vec![b'a'; LINE_BYTES_MAX];
        longest.push(b'\n');
        assert_eq!(
            read_all(&compress(&longest).unwrap()).unwrap()[0].len(),
            LINE_BYTES_MAX
        );
        longest.insert(0, b'a');
        assert!(matches!(
            read_all(&compress(&longest).unwrap()),
            Err(FrameError::LineTooLong)
        ));
    }
}
