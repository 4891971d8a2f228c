//! Ids of events that came without one: UUIDs of version 7 (RFC 9562), of a request's time and seed and the event's place in it, so that the same request
//! gives the same ids.

use super::internal;
use crate::api::problem::Problem;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub unix_ms: i64,
    pub seed: [u8; 16],
}

impl Ids {
    /// Of a request that comes now.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(unix_ms: i64) -> Result<Self, Problem> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| {
            tracing::error!(%error, "the system gives no random bytes");
            internal()
        })?;
        Ok(Self { unix_ms, seed })
    }

    /// The id of the event at `index`.
    #[must_use]
    pub fn of(&self, index: usize) -> String {
        let mut digest = Sha256::new();
        digest.update(b"ledgerline event id v1");
        digest.update(self.seed);
        digest.update((index as u64).to_be_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id[..6].copy_from_slice(&self.unix_ms.to_be_bytes()[2..]);
        id[6] = 0x70 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        let hex = HEXLOWER.encode(&id);
        [0..8, 8..12, 12..16, 16..20, 20..32]
            .map(|part| &hex[part])
            .join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_7_that_time_seed_and_place_decide() {
        let ids = Ids {
            unix_ms: 0x0123_4567_89ab,
            seed: [7; 16],
        };
        let id = ids.of(0);
        assert!(id.starts_with("01234567-89ab-7"), "{id}");
        assert!(
            matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b') && id.len() == 36,
            "{id}"
        );
        assert_eq!(id, ids.of(0));
        assert_ne!(id, ids.of(1));
        assert_ne!(id, Ids { seed: [8; 16], ..ids }.of(0));
    }
}
