//! Who asks, and what he may: decided before any handler of a guarded route runs.

use super::Api;
use super::issued::signed::{self, Signature};
use super::issued::text::is_issued;
use super::keys::Holder;
use super::problem::{Code, Problem};
use super::rate::KeyLimits;
use super::target::{self, Query};
use crate::ledger::{Digest, names};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use serde::Deserialize;
use std::sync::Arc;

/// Names the tenant in a request of a key that is no tenant's. So does the parameter `tenant_id`.
pub const TENANT_HEADER: HeaderName = HeaderName::from_static("ledgerline-tenant");
const SCHEME: &str = "bearer ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Events may be sent.
    Write,
    /// The tenant's own entries may be read.
    Read,
    /// It may be checked that they are there and whole, by hashes, proofs and checks, without their content.
    Verify,
    /// Every tenant's may.
    Auditor,
}

impl Scope {
    const ALL: [Self; 4] = [Self::Write, Self::Read, Self::Verify, Self::Auditor];

    const fn bit(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Read => 2,
            Self::Auditor => 4,
            Self::Verify => 8,
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// All of them, for a person.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Verify => "verify",
            Self::Auditor => "auditor",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    #[must_use]
    pub fn all() -> Self {
        Self::of(&Scope::ALL)
    }

    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

/// Whose key a request has. A handler that takes one is guarded.
#[derive(Debug, Clone)]
pub struct Caller {
    pub id: Arc<str>,
    tenant: Option<Arc<str>>,
    scopes: Scopes,
    limits: Arc<KeyLimits>,
    /// What the body was when the request was signed.
    signed_body: Option<Digest>,
}

impl Caller {
    /// The caller of a request.
    ///
    /// # Errors
    /// 401 without a key that is known; 403 where it may not be used from there, or names another tenant than its own; 400 where headers are there twice
    /// or name no tenant; 503 where a key cannot be looked up.
    pub(super) async fn of(api: &Api, parts: &Parts) -> Result<Self, Problem> {
        let (holder, signed_body) = authorize(api, parts).await?;
        api.networks.admit(&holder, parts)?;
        let named = named_tenant(parts)?;
        let tenant = match (&holder.tenant, named) {
            (Some(own), Some(named)) if **own != *named => {
                return Err(Problem::new(
                    Code::OtherTenant,
                    "the request names another tenant than the key's: leave the name out",
                ));
            }
            (Some(own), Some(_) | None) => Some(Arc::clone(own)),
            (None, named) => named.map(Into::into),
        };
        Ok(Self {
            id: Arc::clone(&holder.id),
            tenant,
            scopes: holder.scopes,
            limits: Arc::clone(&holder.limits),
            signed_body,
        })
    }

    /// The tenant that the request is about.
    ///
    /// # Errors
    /// Where the key is no tenant's, and the request names none.
    pub fn tenant(&self) -> Result<&Arc<str>, Problem> {
        self.tenant.as_ref().ok_or_else(|| {
            Problem::new(
                Code::TenantRequired,
                "this key is no tenant's: name the tenant in the header Ledgerline-Tenant or the parameter tenant_id",
            )
        })
    }

    #[must_use]
    pub const fn has(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// # Errors
    /// 403 where the key has not this scope.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let what = format!("the key {} has not the scope {}", self.id, scope.as_str());
        Err(Problem::new(Code::Scope, what))
    }

    /// The body of its request, which ends with an error where it is not the one that was signed.
    pub(super) fn body(&self, body: Body) -> Body {
        match self.signed_body {
            Some(due) => signed::checked(body, due),
            None => body,
        }
    }

    /// Whose buckets its requests are counted in.
    pub(super) fn limits(&self) -> &KeyLimits {
        &self.limits
    }

    /// Whose shares its requests count in: one that is no tenant's has its own.
    pub(super) fn share(&self) -> Arc<str> {
        match &self.tenant {
            Some(tenant) => Arc::clone(tenant),
            // No tenant is called so.
            None => format!("/{}", self.id).into(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // A route that is not guarded has none: nobody is let in by mistake.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "this route is not guarded"))
    }
}

/// Who holds the key of a request, and of a signed one what its body must be.
async fn authorize(api: &Api, parts: &Parts) -> Result<(Arc<Holder>, Option<Digest>), Problem> {
    let Some(value) = target::single(&parts.headers, &header::AUTHORIZATION)? else {
        return Err(unauthenticated(
            "send a key of this service in the header Authorization, as Bearer KEY",
        ));
    };
    if let Some(text) = behind(value.as_bytes(), signed::SCHEME) {
        return signed_by(api, parts, text).await;
    }
    let key = behind(value.as_bytes(), SCHEME)
        .ok_or_else(|| unauthenticated("the header Authorization must be Bearer KEY"))?
        .trim_ascii();
    let found = match &api.issued {
        Some(issued) if is_issued(key) => issued.find(key).await?,
        Some(_) | None => api.keys.find(key),
    };
    let holder = found.ok_or_else(|| unauthenticated("the key is none of this service's"))?;
    Ok((holder, None))
}

async fn signed_by(api: &Api, parts: &Parts, text: &[u8]) -> Result<(Arc<Holder>, Option<Digest>), Problem> {
    let read = std::str::from_utf8(text).ok().and_then(Signature::read);
    let signature = read.ok_or_else(|| {
        unauthenticated(
            "the header Authorization must be Ledgerline-HMAC-SHA256 Key=ID, Timestamp=SECONDS, Nonce=NONCE, Body=SHA256, Signature=HMAC",
        )
    })?;
    let found = match &api.issued {
        Some(issued) => issued.find_signed(&signature, parts).await?,
        None => None,
    };
    let holder = found.ok_or_else(|| unauthenticated("the signature is of no key of this service"))?;
    Ok((holder, Some(signature.body)))
}

/// What stands behind the scheme, where it is this one.
fn behind<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (given, rest) = value.split_at_checked(scheme.len())?;
    given.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
}

fn unauthenticated(what: &str) -> Problem {
    Problem::new(Code::Unauthenticated, what)
}

fn named_tenant(parts: &Parts) -> Result<Option<String>, Problem> {
    let in_header = target::single(&parts.headers, &TENANT_HEADER)?;
    let in_header = in_header
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .into_iter();
    let mut named = in_header.chain(Query::tenant(&parts.uri)?);
    let (first, second) = (named.next(), named.next());
    let is_one = first.as_deref().is_none_or(names::is_tenant) && (second.is_none() || second == first);
    if is_one {
        return Ok(first);
    }
    Err(Problem::new(
        Code::InvalidParameter,
        format!(
            "Ledgerline-Tenant and tenant_id must name one tenant: {}",
            names::TENANT_FORM
        ),
    ))
}
