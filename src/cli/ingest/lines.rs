//! Lines of an input, separated by 0x0A only, in bounded memory.

use std::io::{self, BufRead};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The input has ended.
    End,
    Whole,
    /// The last one, without a line end.
    Unended,
    /// Longer than allowed: [`Lines::text`] is its beginning, [`Lines::rest`] gives what follows.
    TooLong,
}

pub(super) struct Lines<R> {
    input: R,
    text: Vec<u8>,
    bytes_max: usize,
    /// Of the current line, from 1.
    number: u64,
    /// Bytes consumed.
    bytes: u64,
    inside_line: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines have at most `bytes_max` bytes, without their line end.
    pub fn new(input: R, bytes_max: usize) -> Self {
        Self {
            input,
            text: Vec::new(),
            bytes_max,
            number: 0,
            bytes: 0,
            inside_line: false,
        }
    }

    /// Goes to the next line. What is left of a long one is passed over.
    pub fn next(&mut self) -> io::Result<Line> {
        self.skip_rest()?;
        self.text.clear();
        self.inside_line = true;
        self.number += 1;
        while self.inside_line {
            let Some(more) = self.piece()? else {
                return Ok(self.at_end());
            };
            if !more {
                return Ok(Line::Whole);
            }
            if self.text.len() > self.bytes_max {
                return Ok(Line::TooLong);
            }
        }
        Ok(Line::Whole)
    }

    fn at_end(&mut self) -> Line {
        self.inside_line = false;
        if self.text.is_empty() {
            self.number -= 1;
            Line::End
        } else {
            Line::Unended
        }
    }

    /// Adds what is buffered of the current line to the text, one byte more than allowed at most. `Some(false)`: the line has
    /// ended; `None`: the input has.
    fn piece(&mut self) -> io::Result<Option<bool>> {
        let buffered = match self.input.fill_buf() {
            Ok(buffered) => buffered,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Some(true)),
            Err(e) => return Err(e),
        };
        if buffered.is_empty() {
            return Ok(None);
        }
        let room = (self.bytes_max + 1).saturating_sub(self.text.len()).max(1);
        let window = &buffered[..room.min(buffered.len())];
        let (taken, ended) = match window.iter().position(|b| *b == b'\n') {
            Some(end) => (end, true),
            None => (window.len(), false),
        };
        self.text.extend_from_slice(&window[..taken]);
        let consumed = taken + usize::from(ended);
        self.input.consume(consumed);
        self.bytes += consumed as u64;
        self.inside_line = !ended;
        Ok(Some(!ended))
    }

    /// Of a line that is too long, what follows the text: replaces it, up to about the allowed length. False at the line's end.
    pub fn rest(&mut self) -> io::Result<bool> {
        self.text.clear();
        while self.inside_line && self.text.len() < self.bytes_max.max(1) {
            if self.piece()?.is_none() {
                self.inside_line = false;
            }
        }
        Ok(!self.text.is_empty())
    }

    /// Passes over what is left of the current line.
    pub fn skip_rest(&mut self) -> io::Result<()> {
        while self.inside_line {
            self.rest()?;
        }
        Ok(())
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Every line, whole, read through a buffer of `buffer` bytes.
    fn all(input: &[u8], bytes_max: usize, buffer: usize) -> Vec<(Line, Vec<u8>)> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, input), bytes_max);
        let mut found = Vec::new();
        loop {
            let line = lines.next().unwrap();
            if line == Line::End {
                assert_eq!(
                    (lines.number(), lines.bytes()),
                    (found.len() as u64, input.len() as u64)
                );
                return found;
            }
            assert_eq!(lines.number(), found.len() as u64 + 1);
            let mut text = lines.text().to_vec();
            while line == Line::TooLong && lines.rest().unwrap() {
                assert!(lines.text().len() <= bytes_max + 1);
                text.extend_from_slice(lines.text());
            }
            found.push((line, text));
        }
    }

    #[test]
    fn lines_come_whole_whatever_the_buffer() {
        let input = b"ab\n\ncd\r\n12345678901\nlast";
        for buffer in 1..30 {
            assert_eq!(
                all(input, 4, buffer),
                [
                    (Line::Whole, b"ab".to_vec()),
                    (Line::Whole, b"".to_vec()),
                    (Line::Whole, b"cd\r".to_vec()),
                    (Line::TooLong, b"12345678901".to_vec()),
                    (Line::Unended, b"last".to_vec()),
                ],
                "{buffer}"
            );
        }
        assert_eq!(all(b"", 4, 8), []);
        assert_eq!(all(b"\n", 4, 8), [(Line::Whole, vec![])]);
    }

    #[test]
    fn the_longest_line_is_whole_and_one_byte_more_is_too_long() {
        assert_eq!(all(b"1234\n", 4, 3), [(Line::Whole, b"1234".to_vec())]);
        assert_eq!(all(b"1234", 4, 3), [(Line::Unended, b"1234".to_vec())]);
        assert_eq!(all(b"12345\n", 4, 3), [(Line::TooLong, b"12345".to_vec())]);
        assert_eq!(all(b"12345", 4, 3), [(Line::TooLong, b"12345".to_vec())]);
    }

    #[test]
    fn a_long_line_that_nobody_reads_is_passed_over() {
        let mut lines = Lines::new(&b"1234567890\nab\n"[..], 4);
        assert_eq!(lines.next().unwrap(), Line::TooLong);
        assert_eq!(lines.next().unwrap(), Line::Whole);
        assert_eq!((lines.text(), lines.number()), (&b"ab"[..], 2));
    }
}
