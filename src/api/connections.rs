//! Whose connections are open: of one address as long as none of its requests had a known key, then of the key's tenant. Neither has all of them, so that whoever has no key
//! keeps nobody else out.

use super::limits::{Held, Quota};
use super::network::{Peer, Proxies};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of a service, by who has them.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Without a known key, by address: a quarter of all at most.
    unknown: Quota,
    /// By tenant: half of all at most.
    known: Quota,
    proxies: Proxies,
}

/// An open connection, counted until it is dropped. Its requests have a clone.
#[derive(Debug, Clone)]
pub struct Entered {
    known: Quota,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug)]
struct Counted {
    is_unknown: bool,
    /// `None`: of a trusted proxy, behind which are many.
    _held: Option<Held>,
}

impl Connections {
    #[must_use]
    pub fn new(connections_max: u64, proxies: Proxies) -> Self {
        let gauge = metrics::gauge!("ledgerline_api_unknown_connections");
        Self {
            unknown: Quota::new(connections_max, connections_max.div_ceil(4), gauge),
            known: Quota::new(
                connections_max,
                connections_max.div_ceil(2),
                metrics::Gauge::noop(),
            ),
            proxies,
        }
    }

    /// A connection that was accepted; `None` where its address has its share.
    #[must_use]
    pub fn enter(&self, peer: Peer) -> Option<Entered> {
        let is_unknown = !self.proxies.has(peer);
        let held = is_unknown.then(|| self.unknown.take(&holder(peer.0), 1));
        let Ok(held) = held.transpose() else {
            metrics::counter!("ledgerline_api_refused_connections_total").increment(1);
            return None;
        };
        Some(Entered {
            known: self.known.clone(),
            counted: Arc::new(Mutex::new(Counted {
                is_unknown,
                _held: held,
            })),
        })
    }
}

impl Entered {
    /// A request of it had the key of this holder. Where he has his share, it stays the address'.
    pub fn know(&self, holder: &Arc<str>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_unknown
            && let Ok(held) = self.known.take(holder, 1)
        {
            *counted = Counted {
                is_unknown: false,
                _held: Some(held),
            };
        }
    }
}

/// Who has one address of version 6 has the 2^64 around it.
fn holder(address: IpAddr) -> Arc<str> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string().into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_a_quarter_until_its_keys_are_known_and_a_tenant_half() {
        let connections = Connections::new(8, Proxies::parse("10.0.0.0/8").unwrap());
        let first = connections.enter(peer("192.0.2.1")).unwrap();
        let second = connections.enter(peer("::ffff:192.0.2.1")).unwrap();
        assert!(connections.enter(peer("192.0.2.1")).is_none());
        assert!(connections.enter(peer("192.0.2.2")).is_some());
        let acme = "acme".into();
        first.know(&acme);
        first.know(&acme);
        let third = connections.enter(peer("192.0.2.1")).unwrap();
        assert!(connections.enter(peer("192.0.2.1")).is_none());
        second.know(&acme);
        third.know(&acme);
        let more: Vec<Entered> = (0..2)
            .map(|_| connections.enter(peer("192.0.2.1")).unwrap())
            .collect();
        more[0].know(&acme);
        more[1].know(&acme);
        assert!(
            connections.enter(peer("192.0.2.1")).is_some(),
            "one stays the address'"
        );
        drop((first, more));
        assert_eq!((connections.known.taken(), connections.unknown.taken()), (2, 0));
    }

    #[test]
    fn a_network_of_version_6_is_one_holder_and_a_trusted_proxy_none() {
        let connections = Connections::new(4, Proxies::parse("10.0.0.0/8").unwrap());
        let _one = connections.enter(peer("2001:db8::1")).unwrap();
        assert!(connections.enter(peer("2001:db8::2")).is_none());
        assert!(connections.enter(peer("2001:db8:0:1::1")).is_some());
        let of_proxy: Vec<Option<Entered>> = (0..9).map(|_| connections.enter(peer("10.1.1.1"))).collect();
        assert!(of_proxy.iter().all(Option::is_some));
    }
}
