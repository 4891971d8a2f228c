//! Records as rows: several to a row, as Kafka keeps them several to a batch. A row costs SQLite, and the thread that sqlx
//! hands it to, more than the records in it.
//!
//! A row holds, for each record in turn, key, headers and value, each after its length as four bytes, big-endian. The headers are
//! name and value in turn, in the same form.

use super::{HEADERS_BYTES_MAX, Headers};
use crate::log::{NewRecord, Offset, Record};

/// Records of one row, and about how many bytes: what a reader that wants one record has to read.
const ROW_RECORDS_MAX: usize = 200;
const ROW_BYTES_MAX: usize = 256 << 10;

/// Takes records off the front of `records` into one row. Answers the row and how many it holds; `None` where there are no more, `Err` for
/// headers that are too large.
pub fn take_row(records: &mut std::vec::IntoIter<NewRecord>) -> Option<Result<(Vec<u8>, usize), String>> {
    let mut row = Vec::new();
    let mut count = 0;
    while count < ROW_RECORDS_MAX && row.len() < ROW_BYTES_MAX {
        let Some(record) = records.next() else { break };
        let Some(headers) = encode_headers(&record.headers) else {
            return Some(Err(format!(
                "the headers of a record have at most {HEADERS_BYTES_MAX} bytes"
            )));
        };
        for part in [&record.key, &headers, &record.value] {
            put_part(part, &mut row)?;
        }
        count += 1;
    }
    (count > 0).then_some(Ok((row, count)))
}

/// The records of a row whose first has offset `first`. `None` where the bytes are no row.
pub fn read_row(first: Offset, timestamp_ms: i64, mut row: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !row.is_empty() {
        let key = take_part(&mut row)?.to_vec();
        let headers = decode_headers(take_part(&mut row)?)?;
        let value = take_part(&mut row)?.to_vec();
        records.push(Record {
            offset: first + records.len() as u64,
            timestamp_ms,
            key,
            value,
            headers,
        });
    }
    Some(records)
}

/// `None` where the headers are too large.
fn encode_headers(headers: &Headers) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in headers {
        put_part(name.as_bytes(), &mut out)?;
        put_part(value, &mut out)?;
    }
    (out.len() <= HEADERS_BYTES_MAX).then_some(out)
}

fn decode_headers(mut bytes: &[u8]) -> Option<Headers> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = String::from_utf8(take_part(&mut bytes)?.to_vec()).ok()?;
        headers.push((name, take_part(&mut bytes)?.to_vec()));
    }
    Some(headers)
}

fn put_part(part: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
    out.extend_from_slice(part);
    Some(())
}

fn take_part<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize, bytes: usize) -> Vec<NewRecord> {
        let record = |n: usize| NewRecord {
            key: n.to_string().into_bytes(),
            value: vec![n as u8; bytes],
            headers: if n.is_multiple_of(3) {
                vec![("h".to_owned(), vec![1, 2])]
            } else {
                Vec::new()
            },
        };
        (0..count).map(record).collect()
    }

    #[test]
    fn rows_give_back_their_records_in_order_whatever_their_size() {
        for (count, bytes) in [(1, 0), (3, 10), (450, 20), (9, 100_000), (2, 3 << 20)] {
            let given = records(count, bytes);
            let (mut rest, mut back) = (given.clone().into_iter(), Vec::new());
            while let Some(row) = take_row(&mut rest) {
                let (row, held) = row.unwrap();
                let read = read_row(back.len() as u64, 7, &row).unwrap();
                assert_eq!(read.len(), held);
                back.extend(read);
            }
            assert_eq!(back.len(), count);
            for (n, (given, back)) in given.iter().zip(&back).enumerate() {
                assert_eq!(
                    (back.offset, &back.key, &back.value),
                    (n as u64, &given.key, &given.value)
                );
                assert_eq!(back.headers, given.headers);
            }
        }
    }

    #[test]
    fn rows_that_are_cut_short_are_none() {
        let (row, _) = take_row(&mut records(2, 5).into_iter()).unwrap().unwrap();
        let cuts = (0..row.len()).filter(|cut| read_row(0, 0, &row[..*cut]).is_some());
        // Only the empty row and the end of the first record are whole.
        assert_eq!(cuts.count(), 2);
    }
}
