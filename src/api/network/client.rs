//! Whose request it is. A header is believed only from a proxy that the settings name: anybody can write one.

use super::Network;
use axum::http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Trusted proxies in a row; behind more of them nobody is looked for.
const HOPS_MAX: usize = 16;

/// Who holds the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// A trusted proxy does not say, or not legibly, from where the request came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untold;

/// Where a request comes from.
pub type Client = Result<IpAddr, Untold>;

/// Proxies whose word is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Reads networks, separated by commas.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let each = text.split(',').map(|one| Network::parse(one.trim()));
        each.collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is a trusted proxy's that is mapped no more.
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether the peer is one of them.
    pub fn has(&self, peer: Peer) -> bool {
        self.trusts(peer.0.to_canonical())
    }

    /// The peer; where that is a trusted proxy, the nearest hop behind it that is none. What stands left of that hop whoever it is wrote himself.
    ///
    /// Where every hop is a trusted proxy, the farthest is the client: it asked by itself.
    pub fn client(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Client {
        let peer = peer.ok_or(Untold)?.0.to_canonical();
        if !self.trusts(peer) {
            return Ok(peer);
        }
        let mut farthest = Err(Untold);
        for (nth, hop) in hops(headers).enumerate() {
            let hop = hop?;
            if !self.trusts(hop) {
                return Ok(hop);
            }
            if nth + 1 == HOPS_MAX {
                return Err(Untold);
            }
            farthest = Ok(hop);
        }
        farthest
    }

    /// Whether a trusted proxy says that the client spoke TLS to it.
    pub fn tells_of_tls(&self, peer: Option<&Peer>, headers: &HeaderMap) -> bool {
        if !peer.is_some_and(|peer| self.trusts(peer.0.to_canonical())) {
            return false;
        }
        let last = headers.get_all(FORWARDED_PROTO).iter().next_back();
        let last = last.and_then(|value| value.as_bytes().rsplit(|byte| *byte == b',').next());
        last.is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"https"))
    }
}

/// The hops of X-Forwarded-For, the nearest first: several lines of it are one list.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Client> {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',').map(read_hop))
}

/// An address, also with a port, as some proxies write it.
fn read_hop(bytes: &[u8]) -> Client {
    let text = std::str::from_utf8(bytes).map_err(|_| Untold)?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical()).map_err(|_| Untold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn client(peer: &str, lines: &[&str]) -> Client {
        let proxies = Proxies::parse("10.0.0.0/8, 2001:db8:ff::/48").unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies.client(Some(&Peer(peer.parse().unwrap())), &headers)
    }

    #[test]
    fn the_client_is_the_nearest_hop_that_is_no_trusted_proxy() {
        for (peer, lines, due) in [
            // Nobody's word but a proxy's counts.
            ("198.51.100.1", &["10.1.1.1"][..], "198.51.100.1"),
            ("198.51.100.1", &[], "198.51.100.1"),
            ("::ffff:198.51.100.1", &["192.0.2.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            // What the client wrote stands on the left.
            ("10.0.0.1", &["192.0.2.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["nonsense, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &["192.0.2.1", "203.0.113.9 ,10.9.9.9"], "203.0.113.9"),
            ("10.0.0.1", &["192.0.2.1, 203.0.113.9", "10.9.9.9"], "203.0.113.9"),
            ("2001:db8:ff::1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            // A proxy that asks by itself.
            ("10.0.0.1", &["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        ] {
            assert_eq!(client(peer, lines), Ok(due.parse().unwrap()), "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_say_leaves_the_client_unknown() {
        let endless = vec!["10.1.1.1"; HOPS_MAX + 1].join(",");
        for lines in [
            &[][..],
            &[""],
            &["203.0.113.9,"],
            &["unknown"],
            &["203.0.113.9, nonsense"],
            &["203.0.113.9", ""],
            &["203.0.113.300"],
            &["fe80::1%eth0"],
            &["\u{e9}"],
            &[&endless],
        ] {
            assert_eq!(client("10.0.0.1", lines), Err(Untold), "{lines:?}");
        }
        assert_eq!(Proxies::default().client(None, &HeaderMap::new()), Err(Untold));
    }

    #[test]
    fn tls_is_believed_of_a_trusted_proxy_alone() {
        let proxies = Proxies::parse("10.0.0.1").unwrap();
        let tells = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_PROTO, line.parse().unwrap());
            }
            proxies.tells_of_tls(Some(&Peer(peer.parse().unwrap())), &headers)
        };
        assert!(tells("10.0.0.1", &["https"]) && tells("::ffff:10.0.0.1", &["http", "http, HTTPS"]));
        assert!(!tells("10.0.0.2", &["https"]) && !tells("10.0.0.1", &["https,http"]));
        assert!(!tells("10.0.0.1", &[]) && !tells("10.0.0.1", &["https", "http"]));
    }

    #[test]
    fn proxies_are_networks_and_nothing_else() {
        for wrong in ["", "10.0.0.1,", "all", "10.0.0.1/8", "10.0.0.1 10.0.0.2"] {
            assert!(Proxies::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
