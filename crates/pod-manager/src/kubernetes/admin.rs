//! The sessions of one namespace without a router: for a tool that looks, says what is desired, and ends.
//!
//! It asks by single calls, as whoever its client is, and is refused what they may not do. What it changes is what a
//! router changes: the word on the claim ([`wanted`](super::desired)), and then the one next [`reconcile`] of the session, where that is
//! to remove a Pod. So stop and delete are done also where no router is; to make a Pod takes a router, which alone knows the
//! operator's settings: a resume is written down, and carried out by whichever router sees it.

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
    api::{ApiClient, ApiError, with_timeout},
    desired::{Desired, DesiredState},
    leader,
    logs::{last_lines, log_source, tail},
    objects::names::{MANAGED_BY, PORT, pod_name, pvc_name},
    reconcile::{Action, Current, reconcile},
    session,
    status::{
        self, Derived, ProbeResults, Ready,
        fields::wall,
        pod::{self, PodState},
    },
};
use crate::{
    clock::Clock,
    model::{Endpoint, Phase, SessionStatus, StopReason},
};

/// How many objects one call lists.
const PAGE: u32 = 500;
/// How often a change is tried that others were quicker with.
const ATTEMPTS: usize = 10;
/// Between two looks at what is going.
const PAUSE: Duration = Duration::from_millis(250);

/// The sessions of one namespace.
pub struct Admin {
    api: ApiClient,
    events: Api<Event>,
    leases: Api<Lease>,
    clock: Arc<dyn Clock>,
}

/// All sessions there are.
#[derive(Debug, Default)]
pub struct Listed {
    /// In the order of their keys.
    pub sessions: Vec<Arc<SessionStatus>>,
    /// Claims that are labelled as a session's and can't be read as one, and why.
    pub unread: Vec<String>,
}

/// Why something could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such session.
    #[error("there is no session {0} in this namespace")]
    NotFound(SessionHash),
    /// The caller may not do that, or the cluster's rules are against it. The API server's own words.
    #[error("the cluster says no: {0}")]
    Refused(String),
    /// The API server does not answer, or not now. It may be tried again.
    #[error("the API server can't be reached: {0}")]
    Unavailable(String),
    /// The session's claim is labelled as a session's and does not say enough.
    #[error("the claim of session {hash} can't be read: {why}")]
    Unreadable {
        /// Selector session's.
        hash: SessionHash,
        /// What of it.
        why: String,
    },
    /// Others went on changing the session, each time in between.
    #[error("session {0} is being changed by others")]
    Contended(SessionHash),
}

type Result<T> = std::result::Result<T, AdminError>;

impl Admin {
    /// The sessions of this namespace, as this client. Nothing is asked yet.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            api: ApiClient::new(client, namespace),
            events: Api::namespaced(client.clone(), namespace),
            leases: Api::namespaced(client.clone(), namespace),
            clock,
        }
    }

    /// All sessions, of whatever user. Needs `list` of persistentvolumeclaims and pods.
    ///
    /// `Running` here means that opencode's process runs; whether it answers is asked by routers alone.
    ///
    /// # Errors
    /// [`AdminError`], as of all these. A claim that can't be read is none.
    pub async fn list(&self) -> Result<Listed> {
        let pvcs = ours(&self.api.pvcs).await?;
        // The claims first: a session that is made in between shows as one that is about to start.
        let pods = ours(&self.api.pods).await?;
        let pods: HashMap<_, _> =
            pods.iter().filter_map(|pod| Some((session::hash_of(&pod.metadata)?, pod))).collect();
        let mut listed = Listed::default();
        for pvc in pvcs {
            let pod = session::hash_of(&pvc.metadata).and_then(|hash| pods.get(&hash).copied());
            match self.observed(&pvc, pod, &[]) {
                Ok(seen) => listed.sessions.push(seen),
                Err(why) => {
                    listed
                        .unread
                        .push(format!("{}: {why}", pvc.metadata.name.as_deref().unwrap_or_default()));
                }
            }
        }
        listed.sessions.sort_by_key(|seen| seen.session.hash);
        Ok(listed)
    }

    /// One session. Needs `get` of persistentvolumeclaims and pods; where Events may be listed, it tells more of a start that is stuck.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn get(&self, hash: SessionHash) -> Result<Arc<SessionStatus>> {
        let (pvc, pod) = self.objects(hash).await?;
        let pvc = pvc.ok_or(AdminError::NotFound(hash))?;
        let events = match &pod {
            Some(_) => [self.about(&pod_name(hash)).await, self.about(&pvc_name(hash)).await].concat(),
            None => Vec::new(),
        };
        self.observed(&pvc, pod.as_ref(), &events).map_err(|why| AdminError::Unreadable { hash, why })
    }

    /// Says that the session is not to run, and removes its Pod; its storage stays. Needs `patch` of
    /// persistentvolumeclaims and `delete` of pods: without the latter, a router removes the Pod. What is stopped is left as it is.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn stop(&self, hash: SessionHash) -> Result<()> {
        self.want(hash, |desired, has_pod, phase| {
            let state = desired.state.stopped(has_pod, phase, StopReason::Requested)?;
            Some(Desired { state, since: Some(self.clock.now()) })
        })
        .await?;
        match self.remove_pod(hash).await {
            Err(AdminError::Refused(_)) => Ok(()),
            done => done,
        }
    }

    /// Says that the session is to run. Needs `patch` of persistentvolumeclaims. What runs, or is about to, is left as it is.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn resume(&self, hash: SessionHash) -> Result<()> {
        self.want(hash, |desired, has_pod, phase| {
            (!desired.state.is_started(has_pod, phase)).then(|| Desired::new_run(self.clock.now()))
        })
        .await
    }

    /// Removes all of a session, its storage too: the claim, by its UID, and then what is left to others otherwise. Needs `delete` of
    /// persistentvolumeclaims, pods and secrets; without the second a router removes the Pod, without the third the cluster removes the Secrets that the claim
    /// owns, which all but the TypeScript router's are.
    ///
    /// # Errors
    /// [`AdminError`]; [`AdminError::Refused`] where the claim may not be deleted: nothing is changed then.
    pub async fn delete(&self, hash: SessionHash) -> Result<()> {
        let (pvc, _) = self.objects(hash).await?;
        let uid = pvc.and_then(|pvc| pvc.metadata.uid).ok_or(AdminError::NotFound(hash))?;
        there(hash, self.api.delete_pvc(hash, &uid).await)?;
        let secret = there(hash, self.api.delete_github_secret(hash).await).map(drop);
        for done in [secret, self.remove_pod(hash).await] {
            match done {
                Ok(()) | Err(AdminError::Refused(_)) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Waits until nothing of the session is left, for so long at most; whether that came about.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn gone(&self, hash: SessionHash, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if matches!(self.objects(hash).await?, (None, None)) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(PAUSE).await;
        }
    }

    /// The last `lines` lines that its opencode wrote, or what came before it; of what failed, what was kept of that. Needs
    /// `get` of pods/log.
    ///
    /// # Errors
    /// [`AdminError`]. That nothing was written yet is none.
    pub async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String> {
        let (pvc, pod) = self.objects(hash).await?;
        let pvc = pvc.ok_or(AdminError::NotFound(hash))?;
        let Some(pod) = pod else {
            let seen = self.observed(&pvc, None, &[]).map_err(|why| AdminError::Unreadable { hash, why })?;
            return Ok(match &seen.phase {
                Phase::Failed(failure) => last_lines(failure.log_tail.as_deref().unwrap_or_default(), lines),
                _ => String::new(),
            });
        };
        match tail(&self.api, hash, log_source(&pod), lines).await {
            Ok(log) => Ok(log),
            // Its container did not start yet, or it is just gone.
            Err(ApiError::NotFound) => Ok(String::new()),
            Err(error) => Err(told(hash, error)),
        }
    }

    /// When a router was at work here last, by the reaper's Lease; `None`: there never was one, or it ended in good order. The time is by
    /// that router's clock. Needs `get` of leases.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn router_seen(&self) -> Result<Option<SystemTime>> {
        match with_timeout(self.leases.get(leader::NAME)).await {
            Ok(lease) => {
                let spec = lease
                    .spec
                    .filter(|spec| spec.holder_identity.as_deref().is_some_and(|it| !it.is_empty()));
                Ok(spec.and_then(|spec| spec.renew_time).map(|at| at.0.into()))
            }
            Err(ApiError::NotFound) => Ok(None),
            Err(ApiError::Forbidden(why)) => Err(AdminError::Refused(why)),
            Err(other) => Err(AdminError::Unavailable(other.to_string())),
        }
    }

    /// Writes down what is desired, as `change` says by what is there now; `None` leaves it.
    async fn want(
        &self,
        hash: SessionHash,
        change: impl Fn(&Desired, bool, Option<&Phase>) -> Option<Desired>,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (pvc, pod) = self.objects(hash).await?;
            let pvc = pvc.filter(|pvc| pvc.metadata.deletion_timestamp.is_none());
            let pvc = pvc.ok_or(AdminError::NotFound(hash))?;
            let seen =
                self.observed(&pvc, pod.as_ref(), &[]).map_err(|why| AdminError::Unreadable { hash, why })?;
            let desired = Desired::of(&pvc, pod.as_ref());
            let Some(mut desired) = change(&desired, pod.is_some(), Some(&seen.phase)) else { return Ok(()) };
            // Never older than a Pod that the TypeScript router made, whatever this machine's clock says: the word would not count.
            let made = pod.as_ref().and_then(|pod| pod.metadata.creation_timestamp.as_ref()).map(wall);
            desired.since = desired.since.max(made.map(|made| made + Duration::from_secs(1)));
            let annotations = session::with_desired(&pvc, pod.as_ref(), &desired);
            match self.api.annotate(hash, pvc.metadata.resource_version.as_deref(), &annotations).await {
                Ok(_) => return Ok(()),
                Err(ApiError::Conflict) => {}
                Err(error) => return Err(told(hash, error)),
            }
        }
        Err(AdminError::Contended(hash))
    }

    /// The session's next step, where that is to remove its Pod. The Pod is looked at first: its claim, read after it, says
    /// whether it is desired, and one that is not wanted then never is again.
    async fn remove_pod(&self, hash: SessionHash) -> Result<()> {
        let (pvc, pod) = self.objects(hash).await?;
        let Some(pod) = pod else { return Ok(()) };
        let nothing = Desired { state: DesiredState::Unmanaged, since: None };
        let desired = pvc.as_ref().map_or(nothing, |pvc| Desired::of(pvc, Some(&pod)));
        match reconcile(&desired, &Current::of(pvc.as_ref(), Some(&pod), None)) {
            Action::DeletePod(uid) => match self.api.delete_pod(hash, &uid).await {
                Ok(_) | Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
                Err(error) => Err(told(hash, error)),
            },
            _ => Ok(()),
        }
    }

    /// The Pod, and after it the claim.
    async fn objects(&self, hash: SessionHash) -> Result<(Option<PersistentVolumeClaim>, Option<Pod>)> {
        let pod = there(hash, self.api.pod(hash).await)?;
        Ok((there(hash, self.api.pvc(hash).await)?, pod))
    }

    /// The Events about this object; none where they may not be listed.
    async fn about(&self, name: &str) -> Vec<Event> {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        with_timeout(self.events.list(&about)).await.map(|list| list.items).unwrap_or_default()
    }

    fn observed(
        &self,
        pvc: &PersistentVolumeClaim,
        pod: Option<&Pod>,
        events: &[Event],
    ) -> std::result::Result<Arc<SessionStatus>, String> {
        let session = Arc::new(session::session(pvc)?);
        let now = self.clock.now();
        let mut probes = ProbeResults::default();
        // Nobody is there to ask opencode: its process is taken for it.
        if let PodState::Running(up) = pod::derive(pvc, pod, events, now, now).state {
            let run_id = up.run_id.as_str().into();
            let endpoint = Endpoint { address: (up.address, PORT).into(), password: None, run_id };
            probes.ready = Some(Ready { run_id: up.run_id, endpoint, at: up.started_at });
        }
        let Derived { mut status, pod_state, .. } =
            status::derive(&session, (pvc, pod, events), &probes, now);
        // Routers tell of it once they have written it down; whoever looks here may be there since they don't.
        if let (Phase::Starting, PodState::Failed(failure)) = (&status.phase, pod_state) {
            status.phase = Phase::Failed(failure);
        }
        Ok(Arc::new(status))
    }
}

/// All objects that are labelled as ours, page by page.
async fn ours<K>(api: &Api<K>) -> Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params =
        ListParams::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}")).limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = with_timeout(api.list(&params)).await.map_err(|error| match error {
            ApiError::Forbidden(why) => AdminError::Refused(why),
            other => AdminError::Unavailable(other.to_string()),
        })?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn there<T>(hash: SessionHash, answer: std::result::Result<T, ApiError>) -> Result<Option<T>> {
    match answer {
        Ok(it) => Ok(Some(it)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(told(hash, error)),
    }
}

fn told(hash: SessionHash, error: ApiError) -> AdminError {
    match error {
        ApiError::NotFound => AdminError::NotFound(hash),
        ApiError::AlreadyExists | ApiError::Conflict => AdminError::Contended(hash),
        ApiError::Forbidden(why) => AdminError::Refused(why),
        ApiError::Unreachable(why) => AdminError::Unavailable(why),
    }
}
