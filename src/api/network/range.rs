//! A network, as `203.0.113.0/24`: read strictly, since a slip of the pen in an allowlist lets the world in or a customer out.

use std::net::IpAddr;

/// Where IPv4 lies in IPv6, if it is mapped: `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// Addresses that begin with the same bits. A mapped IPv4 network is the IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    V4 { first: u32, mask: u32 },
    V6 { first: u128, mask: u128 },
}

impl Network {
    /// Reads an address with the number of bits that count, or without: then it is that one address.
    ///
    /// # Errors
    /// What is wrong. Bits beyond those that count are: nobody knows which half of the text was meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}");
        let (address, digits) = match text.split_once('/') {
            Some((address, digits)) => (address, Some(digits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("is no network, as 203.0.113.0/24 or 2001:db8::/32 are"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = digits.map_or(Some(width), |digits| read_bits(digits, width));
        let bits = bits.ok_or_else(|| wrong("must have 0 to 32 bits, of IPv6 0 to 128"))?;
        let (address, bits) = match (address.to_canonical(), bits.checked_sub(MAPPED_BITS)) {
            (mapped @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => (mapped, bits),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => (address, bits),
        };
        let network = Self::of(address, bits);
        if network.first() == address {
            return Ok(network);
        }
        let first = network.first();
        Err(wrong(&format!(
            "has bits beyond the first {bits}: write {first}/{bits}"
        )))
    }

    /// The first `bits` of an address.
    fn of(address: IpAddr, bits: u8) -> Self {
        let bits = u32::from(bits);
        match address {
            IpAddr::V4(v4) => {
                let mask = !u32::MAX.checked_shr(bits).unwrap_or(0);
                let first = v4.to_bits() & mask;
                Self::V4 { first, mask }
            }
            IpAddr::V6(v6) => {
                let mask = !u128::MAX.checked_shr(bits).unwrap_or(0);
                let first = v6.to_bits() & mask;
                Self::V6 { first, mask }
            }
        }
    }

    fn first(self) -> IpAddr {
        match self {
            Self::V4 { first, .. } => IpAddr::V4(first.into()),
            Self::V6 { first, .. } => IpAddr::V6(first.into()),
        }
    }

    /// Whether an address is in it. A mapped IPv4 address is the IPv4 address, and that is in no IPv6 network, `::/0` either.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Self::V4 { first, mask }, IpAddr::V4(v4)) => v4.to_bits() & mask == first,
            (Self::V6 { first, mask }, IpAddr::V6(v6)) => v6.to_bits() & mask == first,
            (Self::V4 { .. }, IpAddr::V6(_)) | (Self::V6 { .. }, IpAddr::V4(_)) => false,
        }
    }
}

fn read_bits(digits: &str, width: u8) -> Option<u8> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|bits| is_plain && *bits <= width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn has(network: &str, address: &str) -> bool {
        Network::parse(network)
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
            ("203.0.113.7", "203.0.113.7", "203.0.113.6"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
            ("::/0", "2001:db8::1", "8.8.8.8"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
            ("::ffff:0:0/96", "8.8.8.8", "::1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
        ] {
            assert!(has(network, inside), "{inside} is in {network}");
            assert!(!has(network, outside), "{outside} is not in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_and_bits_too_many_are_told_with_what_would_be_right() {
        for wrong in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8 ",
            " 10.0.0.0/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
            "2001:db8::/129",
            "fe80::1%eth0",
            "[::1]/128",
            "::ffff:10.0.0.0/90",
            "example.com",
            "10.0.0.0/256",
            "2001:db8::/٣",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong:?}");
        }
        let told = Network::parse("10.1.2.3/8").unwrap_err();
        assert!(told.contains("write 10.0.0.0/8"), "{told}");
        assert!(
            Network::parse("2001:db8::1/32")
                .unwrap_err()
                .contains("2001:db8::/32")
        );
    }

    proptest! {
        /// Judged bit by bit, as text.
        #[test]
        fn membership_is_a_matter_of_leading_bits(base in any::<u128>(), other in any::<u128>(), bits in 0u8..=128, near in any::<bool>()) {
            let beyond = 128 - u32::from(bits);
            let base = base & u128::MAX.checked_shl(beyond).unwrap_or(0);
            // Half of them begin alike: chance alone would hardly ever make one.
            let other = if near { base | (other & u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0)) } else { other };
            let (base6, other6) = (std::net::Ipv6Addr::from(base), std::net::Ipv6Addr::from(other));
            prop_assume!(base6.to_ipv4_mapped().is_none() && other6.to_ipv4_mapped().is_none());
            let network = Network::parse(&format!("{base6}/{bits}")).unwrap();
            let (left, right) = (format!("{base:0128b}"), format!("{other:0128b}"));
            let alike = left[..usize::from(bits)] == right[..usize::from(bits)];
            prop_assert_eq!(network.contains(IpAddr::V6(other6)), alike);
        }
    }
}
