//! The user in a header of a sign-in proxy.

use std::{fmt, net::IpAddr};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, request::Parts};
use ipnet::IpNet;
use session_key::Identity;
use subtle::ConstantTimeEq;

use super::{
    access_token::AccessToken,
    extractor::{IdentifyError, IdentityExtractor},
    groups::Groups,
};
use crate::{
    headers::{normalize_name, remove_headers, remove_identity_headers, single_value},
    peer_addr::PeerAddr,
};

/// Reads the user from a header that a sign-in proxy sets (oauth2-proxy's `X-Auth-Request-Email`).
///
/// The header is trusted only from peers in the given networks and, if a secret is set, only together with
/// that secret in its own header. Without networks and secret nobody is trusted. The user's access token is
/// read from `X-Auth-Request-Access-Token`, `X-Auth-Request-Token` or `X-Forwarded-Access-Token`, if the user
/// is trusted; so are their groups, from `X-Auth-Request-Groups`. A proxy that sets one of these headers for
/// some users only must remove it from the requests of all others.
pub struct TrustedHeaders<I = Identity> {
    email: HeaderName,
    peers: Vec<IpNet>,
    secret: Option<(HeaderName, Box<[u8]>)>,
    parse: fn(&str) -> Option<I>,
}

impl TrustedHeaders {
    /// Trusts `X-Auth-Request-Email` from these networks.
    #[must_use]
    pub fn from_peers(peers: Vec<IpNet>) -> Self {
        Self {
            email: HeaderName::from_static("x-auth-request-email"),
            peers,
            secret: None,
            parse: |text| Identity::parse(text).ok(),
        }
    }
}

impl<I> TrustedHeaders<I> {
    /// Parses the header's value with `parse`, to a user of another type. A value that is none is refused as
    /// ambiguous.
    #[must_use]
    pub fn with_parser<J>(self, parse: fn(&str) -> Option<J>) -> TrustedHeaders<J> {
        TrustedHeaders { email: self.email, peers: self.peers, secret: self.secret, parse }
    }

    /// Requires this secret in this header, in addition to the networks if there are any. An empty secret
    /// never matches.
    #[must_use]
    pub fn with_secret(mut self, header: HeaderName, secret: &str) -> Self {
        self.secret = Some((header, secret.as_bytes().into()));
        self
    }

    /// Reads the user from another header.
    #[must_use]
    pub fn with_email_header(mut self, header: HeaderName) -> Self {
        self.email = header;
        self
    }

    /// Returns whether a request with these headers and extensions comes from a trusted proxy.
    #[must_use]
    pub fn trusts(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        if self.peers.is_empty() && self.secret.is_none() {
            return false;
        }
        let peer = extensions.get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
        let peer_is_trusted = self.peers.is_empty()
            || peer.is_some_and(|peer: IpAddr| self.peers.iter().any(|net| net.contains(&peer)));
        peer_is_trusted
            && self.secret.as_ref().is_none_or(|(header, secret)| {
                let given = single_value(headers, header).map_or(&[][..], HeaderValue::as_bytes);
                !secret.is_empty() && given.ct_eq(secret).into()
            })
    }

    fn read(&self, parts: &Parts) -> Result<I, IdentifyError> {
        // Some servers treat `_` as `-`: to them, a name that differs in that alone is a second user.
        let is_alias = |name: &HeaderName| {
            let name = name.as_str();
            name.contains('_')
                && name.len() == self.email.as_str().len()
                && normalize_name(name) == normalize_name(self.email.as_str())
        };
        let several = parts.headers.get_all(&self.email).iter().nth(1).is_some();
        if several || parts.headers.keys().any(is_alias) {
            return Err(IdentifyError::Ambiguous);
        }
        if !self.trusts(&parts.headers, &parts.extensions) {
            return Err(IdentifyError::Missing);
        }
        let value = single_value(&parts.headers, &self.email).ok_or(IdentifyError::Missing)?;
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| IdentifyError::Ambiguous)?;
        if text.trim().is_empty() {
            return Err(IdentifyError::Missing);
        }
        (self.parse)(text).ok_or(IdentifyError::Ambiguous)
    }
}

impl<I: 'static> IdentityExtractor<I> for TrustedHeaders<I> {
    fn identify(&self, parts: &mut Parts) -> Result<I, IdentifyError> {
        let identity = self.read(parts);
        if identity.is_ok() {
            if let Some(token) = AccessToken::read(&parts.headers) {
                parts.extensions.insert(token);
            }
            if let Some(groups) = Groups::read(&parts.headers) {
                parts.extensions.insert(groups);
            }
        }
        parts.headers.remove(&self.email);
        if let Some((header, _)) = &self.secret {
            let header = normalize_name(header.as_str());
            remove_headers(&mut parts.headers, |name| normalize_name(name) == header);
        }
        remove_identity_headers(&mut parts.headers);
        identity
    }
}

impl<I> Clone for TrustedHeaders<I> {
    fn clone(&self) -> Self {
        Self {
            email: self.email.clone(),
            peers: self.peers.clone(),
            secret: self.secret.clone(),
            parse: self.parse,
        }
    }
}

impl<I> fmt::Debug for TrustedHeaders<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|(header, _)| header);
        f.debug_struct("TrustedHeaders")
            .field("email", &self.email)
            .field("peers", &self.peers)
            .field("secret", &secret)
            .finish()
    }
}
