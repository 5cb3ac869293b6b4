//! The loops that keep routes, records and rules as desired.
//!
//! - `drive`: when a pass begins: after every change, after a while, and after a pause if it failed
//! - `routes`: a pass over the IngressRoutes
//! - `cloudflare`: a pass over records and tunnel
//!
//! Each half has a loop of its own, so that Cloudflare's outage leaves IngressRoutes alone. Passes are
//! level-triggered: each compares all that is desired with all that is there, so nothing is lost if a pass
//! fails, or if the process is killed in the middle of one.

pub mod cloudflare;
pub mod drive;
pub mod routes;

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::{DynamicObject, PartialObjectMeta};
use pod_manager::Clock;

use crate::{
    claims::Claims,
    metrics::{Counted, Metrics},
    routes::RouteSettings,
    status::Status,
    watched::Watched,
};

/// What both halves share.
pub struct Context {
    /// What the IngressRoutes are made of.
    pub settings: RouteSettings,
    /// The claims of sessions.
    pub claims: Watched<PartialObjectMeta<PersistentVolumeClaim>>,
    /// The IngressRoutes of the namespace, also those of others.
    pub routes: Watched<DynamicObject>,
    /// How both halves are doing.
    pub status: Status,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Creates a context that has listed nothing yet.
    #[must_use]
    pub fn new(settings: RouteSettings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            // Annotations change each minute that a session is used; they publish nothing.
            claims: Watched::new(|old, new| {
                let (old, new) = (&old.metadata, &new.metadata);
                old.uid != new.uid
                    || old.labels != new.labels
                    || old.deletion_timestamp.is_some() != new.deletion_timestamp.is_some()
            }),
            routes: Watched::new(|_, _| true),
            status: Status::new(clock),
            metrics,
        }
    }

    /// Returns the sessions, or `None` before the claims are listed.
    pub fn sessions(&self) -> Option<Claims> {
        let objects = self.claims.objects()?;
        let claims = Claims::read(objects.values().map(|object| &object.metadata));
        self.status.record_skipped(&claims.skipped);
        self.metrics.set_count(Counted::Sessions, claims.sessions.len());
        Some(claims)
    }

    /// Waits until claims and IngressRoutes are listed.
    pub async fn wait_synced(&self) {
        self.claims.wait_synced().await;
        self.routes.wait_synced().await;
    }
}

/// Why a pass failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for metrics and conditions.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How long the other side asked to wait.
    pub retry_after: Option<std::time::Duration>,
    /// Whether only somebody's change of the configuration helps, so that attempts should be rare.
    pub needs_operator: bool,
}
