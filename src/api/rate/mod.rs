//! How often a tenant may ask: a token bucket for each tenant and class of routes, and for a key that has limits of its own.
//!
//! Buckets are this process's: behind several instances a tenant has as many times its limit. What is shared one day is the number in a [`Bucket`], by
//! [`RateLimits::take`] alone. It is no protection from those without a key, whom nothing here counts.

mod bucket;
mod buckets;

pub use bucket::{BURST_MAX, Bucket, PER_SECOND_MAX, Rate, Verdict};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use buckets::Buckets;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Buckets that are not full; full ones are forgotten. Where there are more, those without one are let in, and counted.
const BUCKETS_MAX: usize = 65_536;
const WEBHOOKS_PREFIX: &str = "/v1/webhooks";

/// Routes that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// What only reads.
    Default,
    Writes,
    /// Endpoints of webhooks, and what is done with them.
    Webhooks,
}

impl Class {
    #[must_use]
    pub fn of(method: &Method, path: &str) -> Self {
        let rest = path.strip_prefix(WEBHOOKS_PREFIX);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Self::Webhooks
        } else if method.is_safe() {
            Self::Default
        } else {
            Self::Writes
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Writes => "writes",
            Self::Webhooks => "webhooks",
        }
    }
}

/// A rate for each class; `None`: without a limit, or, of a key, as everybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub default: Option<Rate>,
    pub writes: Option<Rate>,
    pub webhooks: Option<Rate>,
}

impl Rates {
    const fn of(&self, class: Class) -> Option<Rate> {
        match class {
            Class::Default => self.default,
            Class::Writes => self.writes,
            Class::Webhooks => self.webhooks,
        }
    }
}

/// Limits of a key, as a file of keys has them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesForm {
    default: Option<RateForm>,
    writes: Option<RateForm>,
    webhooks: Option<RateForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateForm {
    burst: u32,
    per_second: u32,
}

impl RatesForm {
    /// # Errors
    /// Where a number is 0 or too large.
    pub fn read(self) -> Result<Rates, String> {
        let read = |form: Option<RateForm>| {
            let rate = form.map(|form| Rate::new(form.burst, form.per_second).ok_or_else(range));
            rate.transpose()
        };
        Ok(Rates {
            default: read(self.default)?,
            writes: read(self.writes)?,
            webhooks: read(self.webhooks)?,
        })
    }
}

fn range() -> String {
    format!("a limit must have a burst from 1 to {BURST_MAX} and a per_second from 1 to {PER_SECOND_MAX}")
}

/// Reads `BURST:PER_SECOND`, or `off`.
///
/// # Errors
/// What would be right.
pub fn parse(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let numbers = text.split_once(':');
    let numbers =
        numbers.and_then(|(burst, per_second)| Some((burst.parse().ok()?, per_second.parse().ok()?)));
    let rate = numbers.and_then(|(burst, per_second)| Rate::new(burst, per_second));
    rate.map(Some).ok_or_else(|| {
        format!("must be BURST:PER_SECOND, as 100:50, up to {BURST_MAX}:{PER_SECOND_MAX}, or off")
    })
}

/// Reads a limit of a key's own: `BURST:PER_SECOND`.
///
/// # Errors
/// What is wrong. `off` is none: without a limit of its own a key has its tenant's.
pub fn parse_own(text: &str) -> Result<Rate, String> {
    parse(text)?
        .ok_or_else(|| "must be BURST:PER_SECOND; without it the key is limited with its tenant".to_owned())
}

/// Whose buckets the requests of a key are counted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLimits {
    /// The tenant's, which all its keys share: more keys are no more requests.
    shared: Arc<str>,
    /// The key's, of classes in which it has a limit of its own.
    own: Arc<str>,
    rates: Rates,
}

impl KeyLimits {
    #[must_use]
    pub fn new(id: &str, tenant: Option<&str>, rates: Rates) -> Self {
        // No tenant's name has a slash.
        let own: Arc<str> = format!("{}/{id}", tenant.unwrap_or_default()).into();
        let shared = tenant.map_or_else(|| Arc::clone(&own), Into::into);
        Self { shared, own, rates }
    }

    fn of(&self, class: Class, all: &Rates) -> Option<(&Arc<str>, Rate)> {
        match self.rates.of(class) {
            Some(rate) => Some((&self.own, rate)),
            None => all.of(class).map(|rate| (&self.shared, rate)),
        }
    }
}

/// The buckets of a service.
#[derive(Debug)]
pub struct RateLimits {
    rates: Rates,
    buckets: Buckets,
    begun: Instant,
}

/// What became of a request, as its answer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    class: Class,
    rate: Rate,
    verdict: Verdict,
}

impl RateLimits {
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            buckets: Buckets::new(BUCKETS_MAX),
            begun: Instant::now(),
        }
    }

    /// Counts a request. `None`: nothing limits it.
    pub fn take(&self, key: &KeyLimits, class: Class) -> Option<Counted> {
        let now_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(key, class, now_ns)
    }

    fn take_at(&self, key: &KeyLimits, class: Class, now_ns: u64) -> Option<Counted> {
        let (holder, rate) = key.of(class, &self.rates)?;
        let Some(verdict) = self.buckets.take(holder, class, rate, now_ns) else {
            metrics::counter!("ledgerline_api_rate_uncounted_total").increment(1);
            return None;
        };
        if matches!(verdict, Verdict::Empty { .. }) {
            metrics::counter!("ledgerline_api_rate_limited_total", "class" => class.as_str()).increment(1);
        }
        Some(Counted { class, rate, verdict })
    }
}

impl Counted {
    /// For how many seconds to wait, where the request is one too many.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self.verdict {
            Verdict::Taken { .. } => None,
            Verdict::Empty { next_in, .. } => Some(seconds(next_in)),
        }
    }

    /// As draft-ietf-httpapi-ratelimit-headers-10 has it: the quota and the time in which it comes back whole, what is left of it and when that is.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let (name, window) = (self.class.as_str(), self.rate.window_seconds());
        let (left, full_in) = match self.verdict {
            Verdict::Taken { left, full_in } => (left, full_in),
            Verdict::Empty { full_in, .. } => (0, full_in),
        };
        let policy = format!("\"{name}\";q={};w={window}", self.rate.burst());
        let limit = format!("\"{name}\";r={left};t={}", seconds(full_in));
        for (header, text) in [(POLICY, policy), (LIMIT, limit)] {
            // Visible ASCII always is a value.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }
}

/// Whole seconds, at least as long.
fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_nanos().div_ceil(1_000_000_000);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_of_one_class() {
        for (method, path, class) in [
            (Method::GET, "/v1/events", Class::Default),
            (Method::HEAD, "/v1/ledger/head", Class::Default),
            (Method::POST, "/v1/events", Class::Writes),
            (Method::DELETE, "/nowhere", Class::Writes),
            (Method::GET, "/v1/webhooks", Class::Webhooks),
            (Method::POST, "/v1/webhooks/endpoints", Class::Webhooks),
            (Method::GET, "/v1/webhooksand", Class::Default),
        ] {
            assert_eq!(Class::of(&method, path), class, "{method} {path}");
        }
    }

    #[test]
    fn keys_of_a_tenant_share_a_bucket_but_for_one_with_limits_of_its_own() {
        let limits = RateLimits::new(Rates {
            default: Rate::new(2, 1),
            writes: None,
            webhooks: None,
        });
        let key = |id, tenant, rates| KeyLimits::new(id, tenant, rates);
        let (a, b) = (
            key("a", Some("acme"), Rates::default()),
            key("b", Some("acme"), Rates::default()),
        );
        let own = Rates {
            default: Rate::new(1, 1),
            ..Rates::default()
        };
        let (own, other) = (
            key("own", Some("acme"), own),
            key("a", Some("globex"), Rates::default()),
        );
        let may = |key: &KeyLimits| {
            let counted = limits.take_at(key, Class::Default, 0);
            counted.is_some_and(|counted| counted.retry_after().is_none())
        };
        assert!(may(&a) && may(&b));
        assert!(!may(&a) && !may(&b), "two of the tenant, whichever key they have");
        assert!(may(&own) && !may(&own) && may(&other));
        let (auditor, admin) = (
            key("auditor", None, Rates::default()),
            key("admin", None, Rates::default()),
        );
        assert!(may(&auditor) && may(&auditor) && !may(&auditor) && may(&admin));
        assert_eq!(
            limits.take_at(&a, Class::Writes, 0),
            None,
            "without a limit nothing is counted"
        );
    }

    #[test]
    fn an_answer_tells_the_quota_and_what_is_left_of_it() {
        let limits = RateLimits::new(Rates {
            writes: Rate::new(2, 1),
            ..Rates::default()
        });
        let key = KeyLimits::new("k", Some("acme"), Rates::default());
        let told = || {
            let counted = limits.take_at(&key, Class::Writes, 0).unwrap();
            let mut headers = HeaderMap::new();
            counted.tell(&mut headers);
            let text = |name: &HeaderName| headers[name].to_str().unwrap().to_owned();
            (text(&POLICY), text(&LIMIT), counted.retry_after())
        };
        let policy = "\"writes\";q=2;w=2".to_owned();
        assert_eq!(told(), (policy.clone(), "\"writes\";r=1;t=1".to_owned(), None));
        assert_eq!(told(), (policy.clone(), "\"writes\";r=0;t=2".to_owned(), None));
        assert_eq!(told(), (policy, "\"writes\";r=0;t=2".to_owned(), Some(1)));
    }

    #[test]
    fn a_limit_is_two_numbers_or_off() {
        assert_eq!(parse("100:50"), Ok(Rate::new(100, 50)));
        assert_eq!(parse("off"), Ok(None));
        for wrong in [
            "",
            "100",
            "100:",
            ":50",
            "0:50",
            "100:0",
            "100:50:1",
            "-1:50",
            "1000001:1",
            "none",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
