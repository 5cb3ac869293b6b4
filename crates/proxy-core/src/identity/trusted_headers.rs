use std::{fmt, net::IpAddr};

use http::{HeaderName, HeaderValue, request::Parts};
use ipnet::IpNet;
use session_key::Identity;
use subtle::ConstantTimeEq;

use super::{
    AccessToken, IdentifyError, IdentityExtractor, normalize_name, remove_headers, single_value, strip,
};
use crate::PeerAddr;

/// The user is in a header that a sign-in proxy set (oauth2-proxy's `X-Auth-Request-Email`).
///
/// It counts only from peers in the given networks, and, where a secret is set, only with that secret in
/// its header. With neither, nobody is believed. The user's access token, where the proxy sends one beside
/// (`X-Auth-Request-Access-Token`, `X-Auth-Request-Token`, `X-Forwarded-Access-Token`), counts where the user does.
#[derive(Clone)]
pub struct TrustedHeaders {
    email: HeaderName,
    peers: Vec<IpNet>,
    secret: Option<(HeaderName, Box<[u8]>)>,
}

impl TrustedHeaders {
    /// Believes `X-Auth-Request-Email` from these networks.
    #[must_use]
    pub fn from_peers(peers: Vec<IpNet>) -> Self {
        Self { email: HeaderName::from_static("x-auth-request-email"), peers, secret: None }
    }

    /// Asks for this secret in this header as well (or alone, where no networks are given). An empty one is never
    /// given.
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

    fn trusts(&self, parts: &Parts) -> bool {
        if self.peers.is_empty() && self.secret.is_none() {
            return false;
        }
        let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
        let near = self.peers.is_empty()
            || peer.is_some_and(|peer: IpAddr| self.peers.iter().any(|net| net.contains(&peer)));
        near && self.secret.as_ref().is_none_or(|(header, secret)| {
            let given = single_value(&parts.headers, header).map_or(&[][..], HeaderValue::as_bytes);
            !secret.is_empty() && given.ct_eq(secret).into()
        })
    }

    fn read(&self, parts: &Parts) -> Result<Identity, IdentifyError> {
        // Some servers take `_` for `-`: a name that differs in that alone is a second user.
        let alias = |name: &HeaderName| {
            let name = name.as_str();
            name.contains('_')
                && name.len() == self.email.as_str().len()
                && normalize_name(name) == normalize_name(self.email.as_str())
        };
        let several = parts.headers.get_all(&self.email).iter().nth(1).is_some();
        if several || parts.headers.keys().any(alias) {
            return Err(IdentifyError::Ambiguous);
        }
        if !self.trusts(parts) {
            return Err(IdentifyError::Missing);
        }
        let value = single_value(&parts.headers, &self.email).ok_or(IdentifyError::Missing)?;
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| IdentifyError::Ambiguous)?;
        if text.trim().is_empty() {
            return Err(IdentifyError::Missing);
        }
        Identity::parse(text).map_err(|_| IdentifyError::Ambiguous)
    }
}

impl IdentityExtractor for TrustedHeaders {
    fn identify(&self, parts: &mut Parts) -> Result<Identity, IdentifyError> {
        let identity = self.read(parts);
        if identity.is_ok()
            && let Some(token) = AccessToken::read(&parts.headers)
        {
            parts.extensions.insert(token);
        }
        parts.headers.remove(&self.email);
        if let Some((header, _)) = &self.secret {
            let header = normalize_name(header.as_str());
            remove_headers(&mut parts.headers, |name| normalize_name(name) == header);
        }
        strip(&mut parts.headers);
        identity
    }
}

impl fmt::Debug for TrustedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|(header, _)| header);
        f.debug_struct("TrustedHeaders")
            .field("email", &self.email)
            .field("peers", &self.peers)
            .field("secret", &secret)
            .finish()
    }
}
