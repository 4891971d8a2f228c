//! Records of `ledger.entries`: a fence, or a leaf with what it speaks of (docs/FORMAT.md section 9).
//!
//! Avro single-object encoding of `schemas/ledger_record.avsc`, written and read by hand: six fields, no copies, and a length
//! is believed only as far as there are bytes. Tests hold it against the `apache-avro` crate in both directions. Which
//! records count is not decided here but in [`super::reader`].

/// 16 random bytes that an owner draws for each fence.
pub type Session = [u8; 16];

/// The two bytes that begin a single-object encoding.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// `CRC-64-AVRO` of the parsing canonical form of `schemas/ledger_record.avsc`, little-endian.
const FINGERPRINT: [u8; 8] = [0x07, 0x36, 0x65, 0xC0, 0x0E, 0xA6, 0x51, 0xA8];

/// Index 0 of the union `["null", "bytes"]`, zigzag.
const NULL: u8 = 0;
/// Index 1 of it.
const BYTES: u8 = 2;

/// The longest zigzag varint of a long.
const VARINT_BYTES_MAX: usize = 10;

/// What a record adds to its leaf, event and raw bytes, at most.
pub const OVERHEAD_BYTES_MAX: usize =
    MARKER.len() + FINGERPRINT.len() + VARINT_BYTES_MAX + size_of::<Session>() + 4 * (1 + VARINT_BYTES_MAX);

/// A record, borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerRecord<'a> {
    Fence {
        epoch: u64,
        session: Session,
    },
    Leaf {
        epoch: u64,
        session: Session,
        /// The leaf's bytes, not looked at.
        leaf: &'a [u8],
        /// The canonical event of an entry.
        event: Option<&'a [u8]>,
        /// The input of a rejected record.
        raw: Option<&'a [u8]>,
        /// `<topic>/<partition>@<offset>` from which the input was forwarded, where it was.
        via: Option<&'a str>,
    },
}

/// Why bytes are no ledger record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record is not in Avro single-object encoding")]
    Marker,
    #[error("the record is of another Avro schema")]
    Schema,
    #[error("the record ends before its {0}, or claims more bytes than it has")]
    Truncated(&'static str),
    #[error("the record's {0} is negative, too long or of an unknown type")]
    Field(&'static str),
    #[error("the record has bytes after its last field")]
    TrailingBytes,
}

/// A fence's bytes. Epochs count up from 1.
#[must_use]
pub fn encode_fence(epoch: u64, session: &Session) -> Vec<u8> {
    let mut out = Vec::with_capacity(OVERHEAD_BYTES_MAX);
    write_head(epoch, session, &mut out);
    out.extend_from_slice(&[NULL, NULL, NULL, NULL]);
    out
}

/// The bytes of a record that is not a fence.
#[must_use]
pub fn encode_leaf(
    epoch: u64,
    session: &Session,
    leaf: &[u8],
    event: Option<&[u8]>,
    raw: Option<&[u8]>,
    via: Option<&str>,
) -> Vec<u8> {
    let content =
        leaf.len() + event.map_or(0, <[u8]>::len) + raw.map_or(0, <[u8]>::len) + via.map_or(0, str::len);
    let mut out = Vec::with_capacity(OVERHEAD_BYTES_MAX + content);
    write_head(epoch, session, &mut out);
    write_bytes(Some(leaf), &mut out);
    write_bytes(event, &mut out);
    write_bytes(raw, &mut out);
    write_bytes(via.map(str::as_bytes), &mut out);
    out
}

/// Reads a record. Allocates nothing.
///
/// # Errors
/// Where the bytes are not exactly one record of this schema. Such a record is accepted by no reader.
pub fn decode(bytes: &[u8]) -> Result<LedgerRecord<'_>, RecordError> {
    let rest = bytes.strip_prefix(&MARKER).ok_or(RecordError::Marker)?;
    let rest = rest.strip_prefix(&FINGERPRINT).ok_or(RecordError::Schema)?;
    let mut fields = Fields { rest };
    let epoch = fields.natural("epoch")?;
    let session = fields.session()?;
    let leaf = fields.optional_bytes("leaf")?;
    let event = fields.optional_bytes("event")?;
    let raw = fields.optional_bytes("raw")?;
    let via = match fields.optional_bytes("via")? {
        Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| RecordError::Field("via"))?),
        None => None,
    };
    if !fields.rest.is_empty() {
        return Err(RecordError::TrailingBytes);
    }
    Ok(match leaf {
        None => LedgerRecord::Fence { epoch, session },
        Some(leaf) => LedgerRecord::Leaf {
            epoch,
            session,
            leaf,
            event,
            raw,
            via,
        },
    })
}

fn write_head(epoch: u64, session: &Session, out: &mut Vec<u8>) {
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&FINGERPRINT);
    write_natural(epoch, out);
    out.extend_from_slice(session);
}

fn write_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.push(NULL),
        Some(bytes) => {
            out.push(BYTES);
            write_natural(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
    }
}

/// A long that is not negative: zigzag doubles it, then seven bits a byte, the lowest first. What an epoch or a length can
/// reach by counting is far below the 2^63 at which doubling would lose a bit.
fn write_natural(value: u64, out: &mut Vec<u8>) {
    let mut rest = value << 1;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The bytes of a record that are not read yet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn natural(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let mut zigzag = 0_u64;
        for shift in (0..).step_by(7).take(VARINT_BYTES_MAX) {
            let (&byte, rest) = self.rest.split_first().ok_or(RecordError::Truncated(field))?;
            self.rest = rest;
            zigzag |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                // The tenth byte holds one bit; an odd zigzag is a negative number; a last byte of nothing makes a number longer than it is.
                let (fits, shortest) = (shift < 63 || byte <= 1, shift == 0 || byte > 0);
                return if fits && shortest && zigzag & 1 == 0 {
                    Ok(zigzag >> 1)
                } else {
                    Err(RecordError::Field(field))
                };
            }
        }
        Err(RecordError::Field(field))
    }

    fn session(&mut self) -> Result<Session, RecordError> {
        let (session, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(RecordError::Truncated("session"))?;
        self.rest = rest;
        Ok(*session)
    }

    fn optional_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
        match self.natural(field)? {
            0 => return Ok(None),
            1 => {}
            _ => return Err(RecordError::Field(field)),
        }
        let length = usize::try_from(self.natural(field)?).map_err(|_| RecordError::Truncated(field))?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RecordError::Truncated(field))?;
        self.rest = rest;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::Schema;
    use apache_avro::rabin::Rabin;
    use apache_avro::types::Value;
    use apache_avro::{GenericSingleObjectReader, GenericSingleObjectWriter};
    use proptest::prelude::*;

    const SCHEMA: &str = include_str!("../../schemas/ledger_record.avsc");

    fn schema() -> Schema {
        Schema::parse_str(SCHEMA).unwrap()
    }

    fn bytes_value(bytes: Option<&[u8]>) -> Value {
        match bytes {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(bytes) => Value::Union(1, Box::new(Value::Bytes(bytes.to_vec()))),
        }
    }

    fn value(record: &LedgerRecord) -> Value {
        let (epoch, session, leaf, event, raw, via) = match *record {
            LedgerRecord::Fence { epoch, session } => (epoch, session, None, None, None, None),
            LedgerRecord::Leaf {
                epoch,
                session,
                leaf,
                event,
                raw,
                via,
            } => (epoch, session, Some(leaf), event, raw, via),
        };
        let via = match via {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(via) => Value::Union(1, Box::new(Value::String(via.to_owned()))),
        };
        Value::Record(vec![
            ("epoch".into(), Value::Long(i64::try_from(epoch).unwrap())),
            ("session".into(), Value::Fixed(16, session.to_vec())),
            ("leaf".into(), bytes_value(leaf)),
            ("event".into(), bytes_value(event)),
            ("raw".into(), bytes_value(raw)),
            ("via".into(), via),
        ])
    }

    fn encode(record: &LedgerRecord) -> Vec<u8> {
        match *record {
            LedgerRecord::Fence { epoch, session } => encode_fence(epoch, &session),
            LedgerRecord::Leaf {
                epoch,
                session,
                leaf,
                event,
                raw,
                via,
            } => encode_leaf(epoch, &session, leaf, event, raw, via),
        }
    }

    fn encode_with_the_crate(record: &LedgerRecord) -> Vec<u8> {
        let mut out = Vec::new();
        GenericSingleObjectWriter::new_with_capacity(&schema(), 64)
            .unwrap()
            .write_value(value(record), &mut out)
            .unwrap();
        out
    }

    #[test]
    fn the_fingerprint_is_the_one_of_the_schema() {
        assert_eq!(schema().fingerprint::<Rabin>().bytes, FINGERPRINT);
    }

    proptest! {
        #[test]
        fn a_record_is_written_and_read_as_the_avro_crate_does(
            epoch in prop_oneof![0..300_u64, 0..=i64::MAX as u64],
            session: Session,
            leaf in prop::option::of(prop::collection::vec(any::<u8>(), 0..400)),
            event in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            raw in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            via in prop::option::of("[a-z./@0-9é]{0,20}"),
        ) {
            let record = match leaf.as_deref() {
                None => LedgerRecord::Fence { epoch, session },
                Some(leaf) => LedgerRecord::Leaf { epoch, session, leaf, event: event.as_deref(), raw: raw.as_deref(), via: via.as_deref() },
            };
            let bytes = encode(&record);
            prop_assert_eq!(&bytes, &encode_with_the_crate(&record));
            prop_assert_eq!(decode(&bytes), Ok(record));
            let reader = GenericSingleObjectReader::new(schema()).unwrap();
            prop_assert_eq!(reader.read_value(&mut bytes.as_slice()).unwrap(), value(&record));
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = MARKER.to_vec();
            bytes.extend_from_slice(&FINGERPRINT);
            bytes.extend_from_slice(&tail);
            if let Ok(record) = decode(&bytes) {
                let again = encode(&record);
                prop_assert_eq!(decode(&again), Ok(record));
            }
        }
    }

    #[test]
    fn every_truncation_and_every_added_byte_is_refused() {
        let whole = encode_leaf(7, &[9; 16], b"leaf", Some(b"event"), Some(b"raw"), Some("t/0@1"));
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(decode(&longer), Err(RecordError::TrailingBytes));
    }

    #[test]
    fn a_claimed_length_beyond_the_bytes_is_refused_without_allocation() {
        let mut bytes = encode_fence(1, &[0; 16]);
        bytes.truncate(bytes.len() - 4);
        bytes.push(BYTES);
        write_natural(u64::MAX >> 1, &mut bytes);
        assert_eq!(decode(&bytes), Err(RecordError::Truncated("leaf")));
    }

    #[test]
    fn negative_and_overlong_numbers_and_unknown_union_branches_are_refused() {
        let head = [MARKER.as_slice(), &FINGERPRINT].concat();
        let with = |tail: &[u8]| [head.as_slice(), tail].concat();
        assert_eq!(decode(&with(&[1])), Err(RecordError::Field("epoch")));
        assert_eq!(decode(&with(&[0xFF; 11])), Err(RecordError::Field("epoch")));
        let mut over = vec![0x80; 9];
        over.push(2);
        assert_eq!(decode(&with(&over)), Err(RecordError::Field("epoch")));
        let longer_than_it_is = with(&[0x82, 0]);
        assert_eq!(decode(&longer_than_it_is), Err(RecordError::Field("epoch")));
        let branch_two = with(&[&[2], [0; 16].as_slice(), &[4]].concat());
        assert_eq!(decode(&branch_two), Err(RecordError::Field("leaf")));
    }

    #[test]
    fn bytes_of_another_encoding_or_schema_are_named_as_such() {
        assert_eq!(decode(b""), Err(RecordError::Marker));
        assert_eq!(decode(b"{}"), Err(RecordError::Marker));
        let mut other = encode_fence(1, &[0; 16]);
        other[2] ^= 1;
        assert_eq!(decode(&other), Err(RecordError::Schema));
    }
}
