//! Base64 as the format has it (docs/FORMAT.md): one spelling for each sequence of bytes.
//!
//! The crate's decoder also takes padding in the middle, as concatenated texts have it; two spellings of one signature would be two
//! checkpoints that differ and verify alike.

use data_encoding::BASE64;

/// Decodes `text`. `None` where it is not the one spelling of some bytes.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !is_padded_only_at_end(text) {
        return None;
    }
    BASE64.decode(text).ok()
}

/// As [`decode`], into memory that is used again.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !is_padded_only_at_end(text) {
        return None;
    }
    out.resize(BASE64.decode_len(text.len()).ok()?, 0);
    let bytes = BASE64.decode_mut(text, out).ok()?;
    out.truncate(bytes);
    Some(())
}

fn is_padded_only_at_end(text: &[u8]) -> bool {
    let inner = text.len().saturating_sub(2);
    !text[..inner].contains(&b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_and_no_other() {
        for good in [&b""[..], b"QQ==", b"QUI=", b"QUJD", b"QUJDRA=="] {
            let bytes = decode(good).unwrap();
            assert_eq!(BASE64.encode(&bytes).as_bytes(), good);
            let mut again = vec![7; 99];
            assert_eq!(decode_into(good, &mut again), Some(()));
            assert_eq!(again, bytes);
        }
        for bad in [
            &b"QQ==QQ=="[..],
            b"QUI=QUJD",
            b"QR==",
            b"QQ",
            b"QQ=",
            b"QUJD\n",
            b" QUJD",
            b"Q===",
            b"====",
            b"QU-_",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
            assert_eq!(decode_into(bad, &mut Vec::new()), None, "{bad:?}");
        }
    }
}
