//! Signed notes as <https://c2sp.org/signed-note> defines them: a text and lines of signatures. What the text says is a matter of
//! [`super::checkpoint`].

use super::key::PublicKey;
use data_encoding::BASE64;

/// The largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Most signature lines that are read. The specification demands at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// U+2014 and a space.
const LINE_START: &str = "\u{2014} ";

/// A text with signatures of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Ends with a newline. This is what is signed.
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub key_id: [u8; 4],
    pub signature: Vec<u8>,
}

/// Why bytes are no signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a note has at most {NOTE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the note is not UTF-8, or has control characters other than newlines")]
    Characters,
    #[error("the note has no empty line between text and signatures, or does not end with a newline")]
    Shape,
    #[error("a note has 1 to {SIGNATURES_MAX} signature lines")]
    SignatureCount,
    #[error("signature line {0} is not `\u{2014} <key name> <base64>`")]
    SignatureLine(usize),
}

impl NoteSignature {
    /// The line for a signature that `key` made, under the key name `name`.
    #[must_use]
    pub fn new(key: &PublicKey, name: &str, signature: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            key_id: key.key_id(name),
            signature,
        }
    }

    /// Whether this line claims to be by `key` under `name`. Says nothing of the signature.
    #[must_use]
    pub fn is_by(&self, key: &PublicKey, name: &str) -> bool {
        self.name == name && self.key_id == key.key_id(name)
    }

    /// The line with its newline.
    #[must_use]
    pub fn line(&self) -> String {
        let blob = [&self.key_id[..], &self.signature].concat();
        format!("{LINE_START}{} {}\n", self.name, BASE64.encode(&blob))
    }

    /// Reads a line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let blob = super::base64::decode(base64.as_bytes())?;
        let (key_id, signature) = blob.split_first_chunk()?;
        (is_key_name(name) && !signature.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }
}

/// Whether `name` can name a key: not empty, no Unicode space, no plus, no control character.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl Note {
    /// Reads a note. One that is read gives the same bytes when it is written.
    ///
    /// # Errors
    /// Where the bytes are no note of the specification, or beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Characters)?;
        if note.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(NoteError::Characters);
        }
        // The last empty line divides: a text may hold others.
        let at = note.rfind("\n\n").ok_or(NoteError::Shape)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Shape)?;
        Ok(Self {
            text: text.to_owned(),
            signatures: parse_lines(lines)?,
        })
    }

    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        let mut note = self.text.clone();
        note.push('\n');
        for signature in &self.signatures {
            note.push_str(&signature.line());
        }
        note.into_bytes()
    }
}

fn parse_lines(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if lines.split('\n').count() > SIGNATURES_MAX {
        return Err(NoteError::SignatureCount);
    }
    lines
        .split('\n')
        .enumerate()
        .map(|(n, line)| NoteSignature::parse(line).ok_or(NoteError::SignatureLine(n + 1)))
        .collect()
}
