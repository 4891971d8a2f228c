//! The bytes of one Avro datum, read by hand. A length is believed only as far as there are bytes, values that take no bytes are counted, and
//! nothing is allocated.

use super::schema::{Node, NodeId, Schema};

/// How deep a value that nobody reads may be nested.
const DEPTH_MAX: usize = 64;
/// Values that are passed over cost work, also those that take no bytes: so many are allowed, and so many more for each byte.
const STEPS_FREE: usize = 4_096;
const STEPS_A_BYTE: usize = 16;
/// The longest zigzag varint of a long.
const VARINT_BYTES_MAX: usize = 10;

/// What is wrong with the bytes.
pub(super) type Malformed = &'static str;

const ENDS_EARLY: Malformed = "the bytes end before it does";

pub(super) struct Datum<'a> {
    rest: &'a [u8],
    steps_left: usize,
}

/// Items of an array or map that stand together.
pub(super) struct Block {
    pub count: u64,
    /// What they take, where the writer says so.
    bytes: Option<usize>,
}

impl<'a> Datum<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            steps_left: bytes
                .len()
                .saturating_mul(STEPS_A_BYTE)
                .saturating_add(STEPS_FREE),
        }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn long(&mut self) -> Result<i64, Malformed> {
        let mut zigzag = 0_u64;
        for shift in (0..).step_by(7).take(VARINT_BYTES_MAX) {
            let (&byte, rest) = self.rest.split_first().ok_or(ENDS_EARLY)?;
            self.rest = rest;
            // The tenth byte holds one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            zigzag |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err("a number has more than 64 bits")
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        simdutf8::basic::from_utf8(self.bytes()?).map_err(|_| "a string is not UTF-8")
    }

    /// The branch of a union that was written.
    pub fn branch(&mut self, branches: &[NodeId]) -> Result<NodeId, Malformed> {
        let branch = usize::try_from(self.long()?).ok();
        branch
            .and_then(|branch| branches.get(branch))
            .copied()
            .ok_or("a union has no such branch")
    }

    /// The next items of an array or map; `None` behind the last ones.
    pub fn block(&mut self) -> Result<Option<Block>, Malformed> {
        let count = self.long()?;
        let bytes = if count < 0 {
            Some(usize::try_from(self.long()?).map_err(|_| "the size of a block is negative")?)
        } else {
            None
        };
        let count = count.unsigned_abs();
        Ok((count > 0).then_some(Block { count, bytes }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Passes over a value that is not part of an audit event.
    pub fn skip(&mut self, schema: &Schema, id: NodeId) -> Result<(), Malformed> {
        self.skip_nested(schema, id, DEPTH_MAX)
    }

    fn skip_nested(&mut self, schema: &Schema, id: NodeId, depth_left: usize) -> Result<(), Malformed> {
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        self.steps_left = self
            .steps_left
            .checked_sub(1)
            .ok_or("it has more values than its bytes account for")?;
        match schema.node(id) {
            Node::Null => Ok(()),
            Node::Boolean => self.take(1).map(drop),
            Node::Int | Node::Long | Node::Enum => self.long().map(drop),
            Node::Float => self.take(4).map(drop),
            Node::Double => self.take(8).map(drop),
            Node::Bytes | Node::Text => self.bytes().map(drop),
            Node::Fixed(size) => {
                let size = usize::try_from(*size).map_err(|_| ENDS_EARLY)?;
                self.take(size).map(drop)
            }
            Node::Array(items) => self.skip_blocks(schema, *items, false, depth_left),
            Node::Map(values) => self.skip_blocks(schema, *values, true, depth_left),
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip_nested(schema, branch, depth_left)
            }
            Node::Record { fields, .. } => fields
                .iter()
                .try_for_each(|(_, field)| self.skip_nested(schema, *field, depth_left)),
        }
    }

    fn skip_blocks(
        &mut self,
        schema: &Schema,
        items: NodeId,
        have_keys: bool,
        depth_left: usize,
    ) -> Result<(), Malformed> {
        while let Some(block) = self.block()? {
            if let Some(bytes) = block.bytes {
                self.take(bytes)?;
                continue;
            }
            for _ in 0..block.count {
                if have_keys {
                    self.bytes()?;
                }
                self.skip_nested(schema, items, depth_left)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skip(document: &str, bytes: &[u8]) -> Result<bool, Malformed> {
        let schema = Schema::parse(document).unwrap();
        let mut datum = Datum::new(bytes);
        datum.skip(&schema, schema.root()).map(|()| datum.is_at_end())
    }

    #[test]
    fn numbers_are_read_to_both_ends_of_their_range() {
        let long = |bytes: &[u8]| Datum::new(bytes).long();
        assert_eq!(long(&[0]), Ok(0));
        assert_eq!(long(&[1]), Ok(-1));
        assert_eq!(long(&[0x80, 1]), Ok(64));
        let largest = [[0xFE].as_slice(), &[0xFF; 8], &[1]].concat();
        let smallest = [[0xFF; 9].as_slice(), &[1]].concat();
        assert_eq!((long(&largest), long(&smallest)), (Ok(i64::MAX), Ok(i64::MIN)));
        let over = [[0xFF; 9].as_slice(), &[2]].concat();
        assert!(long(&over).is_err() && long(&[0x80; 11]).is_err() && long(&[0x80]).is_err());
    }

    #[test]
    fn a_value_of_every_type_is_passed_over() {
        for (document, bytes) in [
            (r#""null""#, &[][..]),
            (r#""boolean""#, &[1]),
            (r#""int""#, &[0x80, 1]),
            (r#""float""#, &[0; 4]),
            (r#""double""#, &[0; 8]),
            (r#""bytes""#, &[4, 1, 2]),
            (r#"{"type":"fixed","name":"f","size":3}"#, &[0; 3]),
            (r#"{"type":"array","items":"int"}"#, &[4, 2, 2, 2, 2, 0]),
            // The same with a block that says its size, and one of nulls.
            (r#"{"type":"array","items":"int"}"#, &[3, 4, 2, 2, 0]),
            (r#"{"type":"array","items":"null"}"#, &[200, 1, 0]),
            (r#"{"type":"map","values":"boolean"}"#, &[2, 2, b'k', 1, 0]),
            (r#"["null","string"]"#, &[2, 2, b'x']),
        ] {
            assert_eq!(skip(document, bytes), Ok(true), "{document}");
            for length in 0..bytes.len() {
                assert!(skip(document, &bytes[..length]).is_err(), "{document} {length}");
            }
        }
    }

    #[test]
    fn hostile_lengths_and_counts_end_early() {
        let huge = [[0xFE].as_slice(), &[0xFF; 8], &[1]].concat();
        for document in [
            r#""string""#,
            r#""bytes""#,
            r#"{"type":"array","items":"string"}"#,
            r#"{"type":"array","items":"null"}"#,
            r#"{"type":"array","items":{"type":"record","name":"r","fields":[]}}"#,
            r#"{"type":"array","items":{"type":"fixed","name":"f","size":0}}"#,
            r#"{"type":"map","values":"null"}"#,
            r#"["null","string"]"#,
        ] {
            assert!(skip(document, &huge).is_err(), "{document}");
        }
        let sized = r#"{"type":"fixed","name":"f","size":18446744073709551615}"#;
        assert_eq!(skip(sized, &[0; 64]), Err(ENDS_EARLY));
    }

    #[test]
    fn a_schema_that_holds_itself_ends_by_depth() {
        let endless = r#"{"type":"record","name":"r","fields":[{"name":"r","type":"r"}]}"#;
        assert_eq!(skip(endless, &[0; 64]), Err("it is nested too deep"));
        let list = r#"{"type":"record","name":"r","fields":[{"name":"r","type":["null","r"]}]}"#;
        assert_eq!(skip(list, &vec![2; 1 << 20]), Err("it is nested too deep"));
        assert_eq!(skip(list, &[2, 2, 2, 0]), Ok(true));
        // Every list twice: the work doubles with each level.
        let tree = r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":"null"}},
            {"name":"l","type":["null","r"]},{"name":"r","type":["null","r"]}]}"#;
        assert!(skip(tree, &[[0xFE, 0xFF, 0xFF, 0x7F].as_slice(), &[2; 4_096]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_passed_over_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let document = r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":["null","r","string"]}},
                {"name":"m","type":{"type":"map","values":"r"}},{"name":"n","type":"long"}]}"#;
            // At most all of them.
            let left = Schema::parse(document).map(|schema| {
                let mut datum = Datum::new(&bytes);
                datum.skip(&schema, schema.root()).map(|()| datum.rest.len())
            });
            prop_assert!(!matches!(left, Ok(Ok(left)) if left > bytes.len()));
        }
    }
}
