//! Which partition a tenant's events are in (docs/FORMAT.md section 3): what the Kafka Java client computes for a string key.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The partition of `tenant` among `partitions`. No partitions count as one.
#[must_use]
pub fn partition_of(tenant: &str, partitions: u32) -> u32 {
    (murmur2(tenant.as_bytes()) & 0x7fff_ffff) % partitions.max(1)
}

/// murmur2, 32 bits, as `org.apache.kafka.common.utils.Utils.murmur2`.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    // Java's length is an int; a tenant id is far shorter than any wrapping.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, b| tail << 8 | u32::from(*b));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_kafka_come_out() {
        // clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_tenant_stays_within_its_partitions() {
        for partitions in [0, 1, 2, 3, 7, 4_096] {
            for tenant in ["acme", "s3.amazonaws.com", "a", ""] {
                assert!(partition_of(tenant, partitions) < partitions.max(1));
            }
        }
        // -790332482 without its sign bit is 1357151166, and 1357151166 mod 10 is 6.
        assert_eq!(partition_of("foobar", 10), 6);
    }
}
