//! Who makes a request.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::access::{Caller, Credential};
use crate::relay::Relay;
use crate::tokens::TokenError;

/// The caller, from the connection and the `Authorization` header.
pub(crate) struct RequestCaller(pub(crate) Caller);

/// The address that a connection comes from, among its requests' extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

impl Deref for RequestCaller {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<Arc<Relay>> for RequestCaller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, relay: &Arc<Relay>) -> Result<Self, Infallible> {
        let address =
            parts.extensions.get::<PeerAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        Ok(Self(Caller { address, credential: credential(relay, &parts.headers) }))
    }
}

/// What the header shows. Schemes are compared without case, as SDKs differ; a Java SDK sends `null` for no token.
pub(crate) fn credential(relay: &Relay, headers: &HeaderMap) -> Credential {
    let Some(value) = headers.get(AUTHORIZATION) else { return Credential::None };
    let Some((scheme, token)) = value.to_str().ok().and_then(|text| text.trim().split_once(' ')) else {
        return Credential::Bad(TokenError::Malformed);
    };
    let known = ["tunnel", "bearer"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
    match token.trim() {
        "" | "null" => Credential::None,
        token if known => relay.credential(token),
        _ => Credential::Bad(TokenError::Malformed),
    }
}
