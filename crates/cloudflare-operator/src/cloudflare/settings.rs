//! Where the records and the tunnel are.

use std::fmt;

use session_key::HostScheme;

use crate::reconcile::Ownership;

/// The zone, the tunnel and the token.
#[derive(Clone)]
pub struct CloudflareSettings {
    /// The API's address without a final slash (`CF_API_URL`).
    pub api_url: String,
    /// The bearer token (`CF_API_TOKEN`).
    pub token: String,
    /// The zone of all records (`CF_ZONE_ID`).
    pub zone_id: String,
    /// The tunnel (`CF_TUNNEL_ID`).
    pub tunnel_id: String,
    /// The `service` of our rules (`ROUTER_SERVICE_URL`).
    pub service_url: String,
    /// The names that sessions can have (`DOMAIN`, `ROUTE_SUFFIX`, `ATTACH_ROUTE_PREFIX`). A record or rule
    /// of another name is never removed.
    pub names: HostScheme,
}

impl CloudflareSettings {
    /// Returns the name that stands for all hosts: `*.<domain>`, unless the suffix has a dot.
    #[must_use]
    pub fn wildcard(&self) -> String {
        self.ownership().wildcard().to_owned()
    }

    pub(super) fn ownership(&self) -> Ownership {
        Ownership::new(&self.names, &self.tunnel_id, &self.service_url)
    }
}

impl fmt::Debug for CloudflareSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudflareSettings")
            .field("api_url", &self.api_url)
            .field("zone_id", &self.zone_id)
            .field("tunnel_id", &self.tunnel_id)
            .field("service_url", &self.service_url)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
