//! From where a key may be used: allowlists of networks, and whose request it is when it comes through proxies.
//!
//! It is no firewall: whoever can connect is read as far as his head. What it decides is whether a key that is right is taken from where it was sent.

mod client;
mod range;

pub use client::{Peer, Proxies};
pub use range::Network;

use super::keys::Holder;
use super::problem::{Code, Problem};
use axum::http::request::Parts;
use client::{Client, Untold};

/// Networks of one allowlist; a list with more is not read.
pub const NETWORKS_MAX: usize = 256;

/// Networks that a key, or a tenant, may be used from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowlist {
    /// From these and no others; from nowhere, where there are none.
    Only(Vec<Network>),
    /// What is there is no list of networks, and why. Nobody knows what was meant: nobody is let in.
    Unreadable(String),
}

impl Allowlist {
    /// Whatever stands in a file under `networks`.
    #[must_use]
    pub fn read(value: &toml::Value) -> Self {
        Self::try_read(value).map_or_else(Self::Unreadable, Self::Only)
    }

    /// Of networks as they are written.
    #[must_use]
    pub fn of(networks: &[String]) -> Self {
        if networks.len() > NETWORKS_MAX {
            return Self::Unreadable(too_many());
        }
        let each = networks.iter().map(|text| Network::parse(text));
        each.collect::<Result<_, _>>()
            .map_or_else(Self::Unreadable, Self::Only)
    }

    fn try_read(value: &toml::Value) -> Result<Vec<Network>, String> {
        let is_list = "networks must be a list of networks, as [\"203.0.113.0/24\", \"2001:db8::/32\"]";
        let listed = value.as_array().ok_or(is_list)?;
        if listed.len() > NETWORKS_MAX {
            return Err(too_many());
        }
        let each = listed.iter().map(|one| one.as_str().ok_or(is_list));
        each.map(|text| Network::parse(text?)).collect()
    }
}

fn too_many() -> String {
    format!("networks must be at most {NETWORKS_MAX}")
}

/// What becomes of a request by where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Inside,
    Outside,
    UnreadableList,
    UnknownAddress,
}

impl Verdict {
    /// Every list must have the client. One that surely has not decides, so that failing open opens nothing that another list closes.
    fn of<'l>(lists: impl Iterator<Item = &'l Allowlist>, client: &Client) -> Self {
        let mut verdict = Self::Inside;
        for list in lists {
            match (list, client) {
                (Allowlist::Only(networks), Ok(address)) => {
                    if !networks.iter().any(|network| network.contains(*address)) {
                        return Self::Outside;
                    }
                }
                (Allowlist::Only(networks), Err(_)) if networks.is_empty() => return Self::Outside,
                (Allowlist::Only(_), Err(Untold)) => verdict = Self::UnknownAddress,
                (Allowlist::Unreadable(_), Ok(_) | Err(Untold)) => verdict = Self::UnreadableList,
            }
        }
        verdict
    }

    /// As a label; `None`: nothing is wrong.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Inside => None,
            Self::Outside => Some("outside"),
            Self::UnreadableList => Some("allowlist"),
            Self::UnknownAddress => Some("address"),
        }
    }
}

/// How addresses of clients are found and judged, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    pub proxies: Proxies,
    /// What cannot be read lets in.
    pub fails_open: bool,
}

impl Networks {
    /// Lets a request with a holder's key in, or not, by where it comes from.
    ///
    /// # Errors
    /// 403 where the key, or its tenant, is bound to networks, and the client is in none or cannot be told.
    pub fn admit(&self, holder: &Holder, parts: &Parts) -> Result<(), Problem> {
        if holder.networks.is_empty() {
            return Ok(());
        }
        let peer = parts.extensions.get::<Peer>();
        let client = self.proxies.client(peer, &parts.headers);
        let lists = holder.networks.iter().map(AsRef::as_ref);
        let verdict = Verdict::of(lists, &client);
        let Some(reason) = verdict.reason() else {
            return Ok(());
        };
        if self.fails_open && verdict != Verdict::Outside {
            metrics::counter!("ledgerline_api_network_failed_open_total", "reason" => reason).increment(1);
            return Ok(());
        }
        metrics::counter!("ledgerline_api_network_refused_total", "reason" => reason).increment(1);
        Err(refused(verdict, holder, &client))
    }
}

/// Tells the client his own address as it arrives here: a proxy that is not configured is found by it.
fn refused(verdict: Verdict, holder: &Holder, client: &Client) -> Problem {
    let id = &holder.id;
    let detail = match (verdict, client) {
        (Verdict::Inside | Verdict::Outside, Ok(address)) => {
            format!("the key {id} may not be used from {address}")
        }
        (Verdict::UnreadableList, _) => {
            format!(
                "the networks that the key {id} may be used from cannot be read, and nobody is let in: the operator's log says why"
            )
        }
        (Verdict::Inside | Verdict::Outside | Verdict::UnknownAddress, _) => {
            format!(
                "the key {id} is bound to networks, and the proxy does not say in X-Forwarded-For where this request comes from"
            )
        }
    };
    Problem::new(Code::Network, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn list(text: &str) -> Allowlist {
        let table: toml::Table = format!("networks = {text}").parse().unwrap();
        Allowlist::read(&table["networks"])
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_that_is_wrong_anywhere_is_unreadable_and_lets_nobody_in() {
        let many = format!("[{}]", "\"10.0.0.1\",".repeat(NETWORKS_MAX + 1));
        for text in [
            "\"10.0.0.0/8\"",
            "7",
            "[7]",
            "{}",
            "[\"10.0.0.0/8\", \"nonsense\"]",
            "[\"10.0.0.1/8\"]",
            &many,
        ] {
            let list = list(text);
            assert!(matches!(list, Allowlist::Unreadable(_)), "{text}");
            assert_eq!(
                Verdict::of([&list].into_iter(), &Ok(at("10.0.0.1"))),
                Verdict::UnreadableList
            );
        }
    }

    #[test]
    fn every_list_must_have_the_client_and_one_that_has_not_decides() {
        let (wide, narrow) = (
            list("[\"10.0.0.0/8\", \"2001:db8::/32\"]"),
            list("[\"10.1.0.0/16\"]"),
        );
        let (none, broken) = (list("[]"), list("7"));
        let judge = |lists: &[&Allowlist], client: Client| Verdict::of(lists.iter().copied(), &client);
        assert_eq!(judge(&[], Err(Untold)), Verdict::Inside);
        assert_eq!(judge(&[&wide, &narrow], Ok(at("10.1.2.3"))), Verdict::Inside);
        assert_eq!(judge(&[&wide, &narrow], Ok(at("10.2.2.3"))), Verdict::Outside);
        assert_eq!(judge(&[&wide], Ok(at("2001:db8:1::1"))), Verdict::Inside);
        assert_eq!(judge(&[&none], Ok(at("10.1.2.3"))), Verdict::Outside);
        assert_eq!(judge(&[&none], Err(Untold)), Verdict::Outside);
        assert_eq!(judge(&[&broken, &narrow], Ok(at("10.2.2.3"))), Verdict::Outside);
        assert_eq!(
            judge(&[&narrow, &broken], Ok(at("10.1.2.3"))),
            Verdict::UnreadableList
        );
        assert_eq!(judge(&[&wide], Err(Untold)), Verdict::UnknownAddress);
    }
}
