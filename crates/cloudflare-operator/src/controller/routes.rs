//! A pass over the IngressRoutes.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};
use pod_manager::kubernetes::connect::with_causes;
use tokio::{sync::watch, time::timeout};

use super::{Context, Failure, drive::Reconcile};
use crate::{
    metrics::Counted,
    routes::{Apply, Deletion, FIELD_MANAGER, RoutePlan, desired, plan},
    status::Half,
};

/// How many writes are under way at once.
const AT_ONCE: usize = 8;
/// How long a write may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The IngressRoutes.
pub struct Routes {
    context: Arc<Context>,
    api: Api<DynamicObject>,
}

impl Routes {
    /// Creates the half. `api` has the IngressRoutes of the namespace.
    #[must_use]
    pub fn new(context: Arc<Context>, api: Api<DynamicObject>) -> Self {
        Self { context, api }
    }

    /// Compares what is desired with what is there. `None` before both are known.
    #[must_use]
    pub fn plan(&self) -> Option<RoutePlan> {
        let (claims, present) = (self.context.sessions()?, self.context.routes.objects()?);
        let desired = desired(&self.context.settings, &claims);
        let plan = plan(&self.context.settings.names, &desired, &present);
        self.context.metrics.set_count(Counted::Routes, desired.len());
        self.context.status.record_conflicts(Half::Kubernetes, plan.conflicts.clone());
        Some(plan)
    }

    async fn apply(&self, apply: Apply) -> Result<(), Failure> {
        let name = apply.object.metadata.name.clone().unwrap_or_default();
        // Fields that another manager has changed are taken back.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&apply.object);
        let object = self.call("apply", &name, self.api.patch(&name, &params, &patch)).await?;
        if let Some(object) = object {
            self.context.routes.record(object);
            tracing::info!(name, "IngressRoute applied");
        }
        Ok(())
    }

    async fn delete(&self, deletion: Deletion) -> Result<(), Failure> {
        let Deletion { name, uid, resource_version } = deletion;
        let preconditions = Preconditions { uid: uid.clone(), resource_version };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if self.call("delete", &name, self.api.delete(&name, &params)).await?.is_some() {
            self.context.routes.record_deleted(&name, uid.as_deref());
            tracing::info!(name, "IngressRoute deleted");
        }
        Ok(())
    }

    /// Makes a write and counts it. `None`: the object has changed or is gone, which the watch reports.
    async fn call<T>(
        &self,
        call: &'static str,
        name: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<Option<T>, Failure> {
        let result = timeout(CALL_TIMEOUT, request).await;
        let record = |outcome: &str| self.context.metrics.record_kubernetes_call(call, outcome);
        let (reason, message) = match result {
            Ok(Ok(value)) => {
                record("200");
                return Ok(Some(value));
            }
            Ok(Err(kube::Error::Api(status))) => {
                record(&status.code.to_string());
                if call == "delete" && matches!(status.code, 404 | 409) {
                    return Ok(None);
                }
                let reason = match status.code {
                    401 | 403 => "forbidden",
                    404 => "not_found",
                    429 | 500.. => "unavailable",
                    _ => "refused",
                };
                (reason, status.message.clone())
            }
            Ok(Err(error)) => {
                record("unreachable");
                ("unreachable", with_causes(&error))
            }
            Err(_) => {
                record("timeout");
                ("timeout", format!("the API server did not answer within {} s", CALL_TIMEOUT.as_secs()))
            }
        };
        let message = format!("could not {call} IngressRoute {name}: {message}");
        Err(Failure { reason: reason.into(), message, retry_after: None, needs_operator: false })
    }
}

impl Reconcile for Routes {
    const HALF: Half = Half::Kubernetes;

    async fn reconcile(&mut self) -> Result<bool, Failure> {
        let Some(plan) = self.plan() else { return Ok(false) };
        // New hosts first: somebody waits for them.
        let applied = stream::iter(plan.apply).map(|apply| self.apply(apply)).buffer_unordered(AT_ONCE);
        let mut failures: Vec<Failure> = applied.filter_map(async |result| result.err()).collect().await;
        let deleted =
            stream::iter(plan.delete).map(|deletion| self.delete(deletion)).buffer_unordered(AT_ONCE);
        failures.extend(deleted.filter_map(async |result| result.err()).collect::<Vec<_>>().await);
        let count = failures.len();
        match failures.into_iter().next() {
            None => Ok(true),
            Some(first) if count == 1 => Err(first),
            Some(first) => Err(Failure {
                message: format!("{count} writes failed, the first: {}", first.message),
                ..first
            }),
        }
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.context.claims.subscribe(), self.context.routes.subscribe()]
    }
}
