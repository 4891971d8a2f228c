//! The headers of a record as one column: name and value in turn, each after its length as four bytes, big-endian.

/// The most bytes that the headers of a record have in this form.
pub const HEADERS_BYTES_MAX: usize = 65_536;

type Headers = Vec<(String, Vec<u8>)>;

/// The column, or `None` where the headers are too large.
pub fn encode(headers: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in headers {
        for part in [name.as_bytes(), value.as_slice()] {
            out.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    (out.len() <= HEADERS_BYTES_MAX).then_some(out)
}

/// The headers, or `None` where the bytes are no such column.
pub fn decode(mut bytes: &[u8]) -> Option<Headers> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = String::from_utf8(take_part(&mut bytes)?.to_vec()).ok()?;
        headers.push((name, take_part(&mut bytes)?.to_vec()));
    }
    Some(headers)
}

fn take_part<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(part)
}
