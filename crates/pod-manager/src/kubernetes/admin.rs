//! The sessions of one namespace without a router: for a tool that reads, writes a desired state, and ends.
//!
//! Every method makes single calls as the user of its client, and fails if they lack the right. It changes
//! what a router changes: the desired state on the claim ([`desired`](super::desired)), and then the
//! session's next action, if that is to delete its Pod. So stop and delete take effect without a router. Only
//! a router creates Pods, since it has the operator's settings: a resume is stored, and carried out by the
//! next router that sees it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        coordination::v1::Lease,
        core::v1::{Event, PersistentVolumeClaim, Pod},
    },
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;
use session_key::SessionHash;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::{
    api::{ApiClient, ApiError, Update, with_timeout},
    desired::{Desired, DesiredState},
    logs::{last_lines, log_source, tail},
    objects::names::{MANAGED_BY, PORT, pod_name, pvc_name},
    reconcile::{Action, Current, reconcile},
    session,
    settings::LEASE_NAME,
    status::{
        self, Derived, ProbeResults, Ready,
        fields::created_at,
        pod::{self, PodState, RunningContainer},
    },
};
use crate::{
    clock::Clock,
    model::{Endpoint, Phase, SessionStatus, StopReason},
};

/// How many objects one call lists.
const PAGE_SIZE: u32 = 500;
/// The pause between two checks whether a session is removed.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The sessions of one namespace.
pub struct Admin {
    api: ApiClient,
    events: Api<Event>,
    leases: Api<Lease>,
    clock: Arc<dyn Clock>,
}

/// A list of all sessions.
#[derive(Debug, Default)]
pub struct SessionList {
    /// The sessions, in the order of their hashes.
    pub sessions: Vec<Arc<SessionStatus>>,
    /// The claims that are labelled as a session's and can't be read as one, with the reason.
    pub unreadable: Vec<String>,
}

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such session.
    #[error("there is no session {0} in this namespace")]
    NotFound(SessionHash),
    /// The user lacks the right, or a rule of the cluster forbids it. In the API server's words.
    #[error("the cluster refused it: {0}")]
    Refused(String),
    /// The API server does not answer, or not now. Another attempt may succeed.
    #[error("the API server can't be reached: {0}")]
    Unavailable(String),
    /// The session's claim is labelled as a session's and lacks something.
    #[error("the claim of session {hash} can't be read: {reason}")]
    Unreadable {
        /// The session.
        hash: SessionHash,
        /// What is missing or wrong.
        reason: String,
    },
    /// Others changed the session again and again, each time in between.
    #[error("session {0} is being changed by others")]
    Contended(SessionHash),
}

type Result<T> = std::result::Result<T, AdminError>;

impl Admin {
    /// Creates a client for the sessions of this namespace. It calls nothing yet.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            api: ApiClient::new(client, namespace),
            events: Api::namespaced(client.clone(), namespace),
            leases: Api::namespaced(client.clone(), namespace),
            clock,
        }
    }

    /// Returns the sessions of all users. Needs `list` of persistentvolumeclaims and pods.
    ///
    /// `Running` means here that opencode's process runs; only routers probe whether it is healthy.
    ///
    /// # Errors
    /// [`AdminError`], as of all methods. A claim that can't be read is no error.
    pub async fn list(&self) -> Result<SessionList> {
        // The claims first: a session that is created in between shows as one that starts.
        let pvcs = list_all(&self.api.pvcs).await?;
        let pods = list_all(&self.api.pods).await?;
        let pods: HashMap<_, _> =
            pods.iter().filter_map(|pod| Some((session::hash_of(&pod.metadata)?, pod))).collect();
        let mut list = SessionList::default();
        for pvc in pvcs {
            let pod = session::hash_of(&pvc.metadata).and_then(|hash| pods.get(&hash).copied());
            match self.status(&pvc, pod, &[]) {
                Ok(status) => list.sessions.push(status),
                Err(reason) => {
                    let name = pvc.metadata.name.as_deref().unwrap_or_default();
                    list.unreadable.push(format!("{name}: {reason}"));
                }
            }
        }
        list.sessions.sort_by_key(|status| status.session.hash);
        Ok(list)
    }

    /// Returns one session. Needs `get` of persistentvolumeclaims and pods. With `list` of events, it says
    /// more about a start that is stuck.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn get(&self, hash: SessionHash) -> Result<Arc<SessionStatus>> {
        let (pvc, pod) = self.objects(hash).await?;
        let pvc = pvc.ok_or(AdminError::NotFound(hash))?;
        let events = match &pod {
            Some(_) => {
                [self.events_of(&pod_name(hash)).await, self.events_of(&pvc_name(hash)).await].concat()
            }
            None => Vec::new(),
        };
        self.status(&pvc, pod.as_ref(), &events).map_err(|reason| AdminError::Unreadable { hash, reason })
    }

    /// Stops the session and deletes its Pod; its storage stays. Needs `patch` of persistentvolumeclaims and
    /// `delete` of pods; without the latter, a router deletes the Pod. A stopped session stays as it is.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn stop(&self, hash: SessionHash) -> Result<()> {
        self.set_desired(hash, |desired, pod_exists, phase| {
            let state = desired.state.after_stop(pod_exists, phase, StopReason::Requested)?;
            Some(Desired { state, since: Some(self.clock.now()) })
        })
        .await?;
        match self.delete_pod(hash).await {
            Err(AdminError::Refused(_)) => Ok(()),
            result => result,
        }
    }

    /// Resumes the session. Needs `patch` of persistentvolumeclaims. A session that runs or starts stays as
    /// it is.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn resume(&self, hash: SessionHash) -> Result<()> {
        self.set_desired(hash, |desired, pod_exists, phase| {
            (!desired.state.is_started(pod_exists, phase)).then(|| Desired::new_run(self.clock.now()))
        })
        .await
    }

    /// Deletes the session with its storage: the claim, by its UID, and then the objects that the cluster
    /// does not remove with it. Needs `delete` of persistentvolumeclaims, pods and secrets. Without the
    /// second, a router deletes the Pod; without the third, the cluster removes the Secrets that the claim
    /// owns, which are all but the TypeScript router's.
    ///
    /// # Errors
    /// [`AdminError`]; [`AdminError::Refused`] if the claim may not be deleted: then nothing was changed.
    pub async fn delete(&self, hash: SessionHash) -> Result<()> {
        let (pvc, _) = self.objects(hash).await?;
        let uid = pvc.and_then(|pvc| pvc.metadata.uid).ok_or(AdminError::NotFound(hash))?;
        optional(hash, self.api.delete_pvc(hash, &uid).await)?;
        let secret = optional(hash, self.api.delete_github_secret(hash).await).map(drop);
        for result in [secret, self.delete_pod(hash).await] {
            match result {
                Ok(()) | Err(AdminError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the session's claim and Pod are removed; returns whether they were in time.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn wait_deleted(&self, hash: SessionHash, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if matches!(self.objects(hash).await?, (None, None)) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the last lines of the log of opencode, or of the clone before it; of a failed session, the log
    /// that was stored with the failure. Needs `get` of pods/log.
    ///
    /// # Errors
    /// [`AdminError`]. An empty log is no error.
    pub async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String> {
        let (pvc, pod) = self.objects(hash).await?;
        let pvc = pvc.ok_or(AdminError::NotFound(hash))?;
        let Some(pod) = pod else {
            let unreadable = |reason| AdminError::Unreadable { hash, reason };
            let status = self.status(&pvc, None, &[]).map_err(unreadable)?;
            return Ok(match &status.phase {
                Phase::Failed(failure) => last_lines(failure.log_tail.as_deref().unwrap_or_default(), lines),
                _ => String::new(),
            });
        };
        match tail(&self.api, hash, log_source(&pod), lines).await {
            Ok(log) => Ok(log),
            // The container has not started yet, or the Pod was removed just now.
            Err(ApiError::NotFound) => Ok(String::new()),
            Err(error) => Err(admin_error(hash, error)),
        }
    }

    /// Returns when a router last renewed the leader's Lease, by that router's clock; `None` if there never
    /// was a router, or the last one was shut down. Needs `get` of leases.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn router_seen(&self) -> Result<Option<SystemTime>> {
        match with_timeout(self.leases.get(LEASE_NAME)).await {
            Ok(lease) => {
                let has_holder = |holder: Option<&str>| holder.is_some_and(|holder| !holder.is_empty());
                let spec = lease.spec.filter(|spec| has_holder(spec.holder_identity.as_deref()));
                Ok(spec.and_then(|spec| spec.renew_time).map(|at| at.0.into()))
            }
            Err(ApiError::NotFound) => Ok(None),
            Err(ApiError::Forbidden(reason)) => Err(AdminError::Refused(reason)),
            Err(other) => Err(AdminError::Unavailable(other.to_string())),
        }
    }

    /// Writes the desired state that `change` returns for the current one; `None` leaves it.
    async fn set_desired(
        &self,
        hash: SessionHash,
        change: impl Fn(&Desired, bool, Option<&Phase>) -> Option<Desired>,
    ) -> Result<()> {
        let pod = optional(hash, self.api.pod(hash).await)?;
        let mut refused = None;
        let update = self.api.update_claim(hash, None, |pvc| {
            refused = None;
            if pvc.metadata.deletion_timestamp.is_some() {
                refused = Some(AdminError::NotFound(hash));
                return Ok(None);
            }
            let status = match self.status(pvc, pod.as_ref(), &[]) {
                Ok(status) => status,
                Err(reason) => {
                    refused = Some(AdminError::Unreadable { hash, reason });
                    return Ok(None);
                }
            };
            let desired = change(&Desired::of(pvc, pod.as_ref()), pod.is_some(), Some(&status.phase));
            Ok::<_, ApiError>(desired.map(|mut desired| {
                // The state has to be younger than a Pod of the TypeScript router, or it would not count.
                // This machine's clock may be behind the cluster's.
                let pod_created = pod.as_ref().and_then(created_at);
                desired.since = desired.since.max(pod_created.map(|at| at + Duration::from_secs(1)));
                session::with_desired(pvc, pod.as_ref(), &desired)
            }))
        });
        match (update.await, refused) {
            (Err(error), _) => Err(admin_error(hash, error)),
            (Ok(_), Some(error)) => Err(error),
            (Ok(Update::Deleted), None) => Err(AdminError::NotFound(hash)),
            (Ok(_), None) => Ok(()),
        }
    }

    /// Deletes the session's Pod, if that is the session's next action.
    async fn delete_pod(&self, hash: SessionHash) -> Result<()> {
        // The Pod was read before the claim. If the claim does not desire that Pod, it never will again.
        let (pvc, pod) = self.objects(hash).await?;
        let Some(pod) = pod else { return Ok(()) };
        let unmanaged = Desired { state: DesiredState::Unmanaged, since: None };
        let desired = pvc.as_ref().map_or(unmanaged, |pvc| Desired::of(pvc, Some(&pod)));
        match reconcile(&desired, &Current::of(pvc.as_ref(), Some(&pod), None)) {
            Action::DeletePod(uid) => match self.api.delete_pod(hash, &uid).await {
                Ok(_) | Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
                Err(error) => Err(admin_error(hash, error)),
            },
            _ => Ok(()),
        }
    }

    /// Reads the Pod, and after it the claim.
    async fn objects(&self, hash: SessionHash) -> Result<(Option<PersistentVolumeClaim>, Option<Pod>)> {
        let pod = optional(hash, self.api.pod(hash).await)?;
        Ok((optional(hash, self.api.pvc(hash).await)?, pod))
    }

    /// Returns the Events about this object; none if they may not be listed.
    async fn events_of(&self, name: &str) -> Vec<Event> {
        let params = ListParams::default().fields(&format!("involvedObject.name={name}"));
        with_timeout(self.events.list(&params)).await.map(|list| list.items).unwrap_or_default()
    }

    fn status(
        &self,
        pvc: &PersistentVolumeClaim,
        pod: Option<&Pod>,
        events: &[Event],
    ) -> std::result::Result<Arc<SessionStatus>, String> {
        let session = Arc::new(session::session(pvc).map_err(|error| error.to_string())?);
        let now = self.clock.now();
        let mut probes = ProbeResults::default();
        // Nobody probes opencode here: a running process counts as healthy.
        if let PodState::Running(container) = pod::derive(pvc, pod, events, now, now).state {
            let RunningContainer { address, run_id, started_at } = container;
            let endpoint =
                Endpoint { address: (address, PORT).into(), password: None, run_id: run_id.as_str().into() };
            probes.ready = Some(Ready { run_id, endpoint, at: started_at });
        }
        let Derived { mut status, pod_state, .. } =
            status::derive(&session, (pvc, pod, events), &probes, now);
        // A router reports a failure once it is stored on the claim. Here, no router may be running.
        if let (Phase::Starting, PodState::Failed(failure)) = (&status.phase, pod_state) {
            status.phase = Phase::Failed(failure);
        }
        Ok(Arc::new(status))
    }
}

/// Lists all objects of sessions, page by page.
async fn list_all<K>(api: &Api<K>) -> Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params =
        ListParams::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}")).limit(PAGE_SIZE);
    let mut all = Vec::new();
    loop {
        let page = with_timeout(api.list(&params)).await.map_err(|error| match error {
            ApiError::Forbidden(reason) => AdminError::Refused(reason),
            other => AdminError::Unavailable(other.to_string()),
        })?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn optional<T>(hash: SessionHash, result: std::result::Result<T, ApiError>) -> Result<Option<T>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(admin_error(hash, error)),
    }
}

fn admin_error(hash: SessionHash, error: ApiError) -> AdminError {
    match error {
        ApiError::NotFound => AdminError::NotFound(hash),
        ApiError::AlreadyExists | ApiError::Conflict => AdminError::Contended(hash),
        ApiError::Forbidden(reason) => AdminError::Refused(reason),
        ApiError::Unreachable(reason) => AdminError::Unavailable(reason),
    }
}
