//! A segment as it grows: lines go in, and at its end there is one zstd frame. What is compressed already is all that it holds, but for the last lines: an
//! archiver has one of these open for every partition and class.

use super::{COMPRESSION_LEVEL, SEGMENT_BYTES_MAX, SegmentError, compress, write_line};
use crate::ledger::Digest;
use sha2::{Digest as _, Sha256};
use std::io;
use zstd::stream::raw::{CParameter, Encoder, Operation as _, OutBuffer};

/// Lines are compressed when there is so much of them; a segment that stays below has no compressor of its own, which takes about two of these.
const LINES_BYTES_MAX: usize = 1 << 20;
/// How far back a compressor looks, and so what it holds: 1 MiB. Of audit events the next 7 MiB save little.
const WINDOW_LOG: u32 = 20;
const OUTPUT_BYTES: usize = 128 << 10;

/// What a header says before the content's size is known (RFC 8878 section 3.1.1.1): a checksum, a window, nothing else.
const DESCRIPTOR_WITHOUT_SIZE: u8 = 0x04;
/// As well, and then the size in 4 bytes.
const DESCRIPTOR_WITH_SIZE: u8 = 0x84;
/// Magic, descriptor and window.
const HEADER_BYTES: usize = 6;

/// A whole segment.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// [`super::identity`] of its lines.
    pub identity: Digest,
}

/// The lines of one class between two cuts, as they come.
#[derive(Default)]
pub struct SegmentBuilder {
    /// Not compressed yet.
    lines: Vec<u8>,
    stream: Option<Stream>,
    bytes: u64,
    digest: Sha256,
}

struct Stream {
    encoder: Encoder<'static>,
    frame: Vec<u8>,
}

impl SegmentBuilder {
    /// Appends one line, as [`write_line`] does.
    ///
    /// # Errors
    /// Where it exceeds [`SEGMENT_BYTES_MAX`], or zstd has no memory.
    pub fn push(
        &mut self,
        leaf: &[u8],
        event: Option<&[u8]>,
        raw: Option<&[u8]>,
    ) -> Result<(), SegmentError> {
        let from = self.lines.len();
        write_line(&mut self.lines, leaf, event, raw);
        let line = self.lines.get(from..).unwrap_or_default();
        self.digest.update(line);
        self.bytes += line.len() as u64;
        if self.bytes > SEGMENT_BYTES_MAX {
            return Err(SegmentError::TooLarge { bytes: self.bytes });
        }
        if self.lines.len() >= LINES_BYTES_MAX {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => Stream::new().map_err(SegmentError::Compress)?,
            };
            stream.write(&self.lines).map_err(SegmentError::Compress)?;
            self.lines.clear();
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// One zstd frame with content size and checksum.
    ///
    /// # Errors
    /// Where zstd has no memory.
    pub fn finish(self) -> Result<Frame, SegmentError> {
        let bytes = match self.stream {
            None => compress(&self.lines)?,
            Some(mut stream) => stream
                .write(&self.lines)
                .and_then(|()| stream.finish(self.bytes))
                .map_err(SegmentError::Compress)?,
        };
        Ok(Frame {
            bytes,
            identity: self.digest.finalize().into(),
        })
    }
}

impl Stream {
    fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(COMPRESSION_LEVEL)?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self {
            encoder,
            frame: Vec::new(),
        })
    }

    fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        let mut output = vec![0; OUTPUT_BYTES];
        while !lines.is_empty() {
            let status = self.encoder.run_on_buffers(lines, &mut output)?;
            self.frame
                .extend_from_slice(output.get(..status.bytes_written).unwrap_or_default());
            lines = lines.get(status.bytes_read..).unwrap_or_default();
        }
        Ok(())
    }

    /// The frame, with its content's size in the header: no reader need believe in a frame that does not say how long it is. The checksum is of the content alone.
    fn finish(mut self, content_bytes: u64) -> io::Result<Vec<u8>> {
        let mut output = vec![0; OUTPUT_BYTES];
        loop {
            let mut into = OutBuffer::around(&mut output);
            let remaining = self.encoder.finish(&mut into, true)?;
            self.frame.extend_from_slice(into.as_slice());
            if remaining == 0 {
                break;
            }
        }
        let other = || io::Error::other("zstd wrote a header of another form");
        let size = u32::try_from(content_bytes).map_err(|_| other())?;
        match self.frame.get_mut(4) {
            Some(descriptor) if *descriptor == DESCRIPTOR_WITHOUT_SIZE => *descriptor = DESCRIPTOR_WITH_SIZE,
            Some(_) | None => return Err(other()),
        }
        self.frame.splice(HEADER_BYTES..HEADER_BYTES, size.to_le_bytes());
        Ok(self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LineReader, identity, identity_of_frame, parse_line};
    use super::*;

    fn built(lines: u64) -> (Frame, Vec<u8>) {
        let (mut builder, mut due) = (SegmentBuilder::default(), Vec::new());
        for n in 0..lines {
            let leaf = format!("{{\"index\":{n},\"v\":1}}");
            let event = format!(
                "{{\"n\":{},\"text\":\"{}\"}}",
                n * n,
                "words ".repeat((n % 50) as usize)
            );
            builder
                .push(leaf.as_bytes(), Some(event.as_bytes()), None)
                .unwrap();
            write_line(&mut due, leaf.as_bytes(), Some(event.as_bytes()), None);
        }
        (builder.finish().unwrap(), due)
    }

    #[test]
    fn a_segment_of_any_length_is_a_frame_of_its_lines_that_says_its_size() {
        // None, a few, just below and above what is kept, and many times that.
        for lines in [0, 1, 5_500, 5_600, 5_700, 60_000] {
            let (frame, due) = built(lines);
            assert_eq!(frame.identity, identity(&due), "{lines}");
            assert_eq!(identity_of_frame(&frame.bytes), Some(frame.identity), "{lines}");
            let mut reader = LineReader::open(&frame.bytes[..]).unwrap();
            assert_eq!(reader.content_bytes(), due.len() as u64);
            let mut read = Vec::new();
            while let Some(line) = reader.next_line().unwrap() {
                parse_line(line).unwrap();
                read.extend_from_slice(line);
                read.push(b'\n');
            }
            assert_eq!(read, due);
        }
    }

    #[test]
    fn a_frame_that_was_made_as_its_lines_came_gives_its_lines_or_none_when_any_byte_of_it_is_another() {
        let (frame, due) = built(8_000);
        assert!(due.len() > LINES_BYTES_MAX);
        let mut refused = 0;
        for at in (0..256).chain((256..frame.bytes.len()).step_by(997)) {
            let mut bad = frame.bytes.clone();
            bad[at] ^= 0x10;
            match identity_of_frame(&bad) {
                None => refused += 1,
                // A few bits say how, and not what.
                Some(identity) => assert_eq!(identity, frame.identity, "byte {at}"),
            }
        }
        assert!(refused > 200, "{refused}");
    }

    #[test]
    fn what_exceeds_a_segment_is_refused() {
        let mut builder = SegmentBuilder::default();
        let event = vec![b'x'; 4 << 20];
        let mut refused = None;
        for _ in 0..17 {
            if let Err(error) = builder.push(b"{}", Some(&event), None) {
                refused = Some(error);
                break;
            }
        }
        assert!(matches!(refused, Some(SegmentError::TooLarge { .. })));
    }
}
