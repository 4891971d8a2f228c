//! What an issued key looks like: `ll_live_<id>_<secret><checksum>`, in letters and digits that a double click takes whole.
//!
//! The checksum is no protection. It tells a text that is no key of ours from one that is, without asking anybody: for whoever looks for leaked keys,
//! and before the database is asked.

const PREFIX: &str = "ll_live_";
const ID_LENGTH: usize = 12;
/// 190 bits: no search finds one, and no slow hash is needed.
const SECRET_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;
const LENGTH: usize = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as it is presented, whose form is right. It holds the secret: it is never shown.
#[derive(Clone, Copy)]
pub struct Presented<'k> {
    pub id: &'k str,
    pub whole: &'k [u8],
}

/// Whether a key says of itself that it was issued. Then no other kind of key is looked for.
#[must_use]
pub fn is_issued(key: &[u8]) -> bool {
    key.starts_with(PREFIX.as_bytes())
}

/// Whether it has the form of an id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| DIGITS.contains(&byte))
}

impl<'k> Presented<'k> {
    /// `None`: it is no issued key, whoever may have issued what it is.
    #[must_use]
    pub fn read(bytes: &'k [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() == LENGTH)?;
        let rest = text.strip_prefix(PREFIX)?;
        let (id, secret) = rest.split_once('_')?;
        let is_form = id.len() == ID_LENGTH
            && id
                .bytes()
                .chain(secret.bytes())
                .all(|byte| DIGITS.contains(&byte));
        let (body, checksum) = text.split_at(LENGTH - CHECKSUM_LENGTH);
        (is_form && checksum == self::checksum(body)).then_some(Self { id, whole: bytes })
    }
}

/// Makes a key out of random numbers; its id, and the key itself, which is shown once.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn make() -> Result<(String, String), getrandom::Error> {
    let id = random(ID_LENGTH)?;
    let body = format!("{PREFIX}{id}_{}", random(SECRET_LENGTH)?);
    let whole = format!("{body}{}", checksum(&body));
    Ok((id, whole))
}

/// Digits, each as likely as any other: bytes beyond the last whole round of 62 are thrown away.
fn random(length: usize) -> Result<String, getrandom::Error> {
    const FAIR: u8 = 4 * 62;
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let digits = fair.map(|byte| char::from(DIGITS[usize::from(byte % 62)]));
        text.extend(digits.take(length - text.len()));
    }
    Ok(text)
}

/// CRC-32 (ISO-HDLC) as six digits.
fn checksum(body: &str) -> String {
    let mut rest = crc32(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let shifted = crc >> 1;
            if crc & 1 == 1 {
                shifted ^ 0xEDB8_8320
            } else {
                shifted
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_and_one_with_any_other_character_is_not() {
        let (id, whole) = make().unwrap();
        let read = Presented::read(whole.as_bytes()).unwrap();
        assert_eq!((read.id, read.whole), (id.as_str(), whole.as_bytes()));
        for at in 0..whole.len() {
            for other in [b'A', b'a', b'0', b'_', b' ', 0xff] {
                let mut wrong = whole.clone().into_bytes();
                if wrong[at] != other {
                    wrong[at] = other;
                    assert!(Presented::read(&wrong).is_none(), "at {at}: {other}");
                }
            }
        }
        assert!(Presented::read(&whole.as_bytes()[1..]).is_none());
        assert!(Presented::read(format!("{whole}0").as_bytes()).is_none());
        assert!(Presented::read(b"").is_none());
    }

    #[test]
    fn the_checksum_is_the_crc_32_that_everybody_has() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum("123456789"), "3jZRME");
    }

    #[test]
    fn no_two_keys_are_alike() {
        let (first, second) = (make().unwrap(), make().unwrap());
        assert!(first.0 != second.0 && first.1 != second.1);
    }
}
