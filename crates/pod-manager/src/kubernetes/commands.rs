//! The verbs. Each reads the claim as it is and changes it only if it is still so, as often as it takes: so they come one
//! after another, whichever routers they are asked of. That change is what is written down; the session's loop does the
//! rest.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use session_key::SessionHash;
use tokio::time::{Instant, timeout_at};

use super::{
    api::ApiError,
    context::Context,
    desired::{self, Desired, DesiredState},
    logs,
    objects::{
        names::{annotation, rfc3339},
        pvc::make_pvc,
    },
    session::{self, ACTIVITY_KEY, GREETED_KEY},
};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Phase, Session, StopReason},
};

/// How long a start waits for an earlier session of that name to be gone: longer than the Pod's grace period.
const REMOVAL: Duration = Duration::from_secs(60);

/// What came of making a claim.
enum Created {
    /// It is made, and its start is written down.
    Done,
    /// Another one was there; this is how it is now.
    Not(Option<Box<PersistentVolumeClaim>>),
}

impl Created {
    fn not(there: Option<PersistentVolumeClaim>) -> Self {
        Self::Not(there.map(Box::new))
    }
}

impl Context {
    pub(super) async fn start(
        &self,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let deadline = Instant::now() + REMOVAL;
        // Most starts are of what is new, or stopped.
        let mut there = match self.store.pvc(session.hash) {
            Some(_) => self.claim(session.hash).await?,
            None => None,
        };
        loop {
            let Some(pvc) = there else {
                match self.make(session, credentials).await? {
                    Created::Done => return Ok(()),
                    Created::Not(found) => there = found.map(|found| *found),
                }
                continue;
            };
            if pvc.metadata.deletion_timestamp.is_some() {
                self.wait_deleted(session.hash, &pvc, deadline).await?;
                there = self.claim(session.hash).await?;
                continue;
            }
            let pod = self.store.pod(session.hash);
            let desired = Desired::of(&pvc, pod.as_deref());
            let seen = self.store.status(session.hash);
            if desired.state.is_started(pod.is_some(), seen.as_deref().map(|seen| &seen.phase)) {
                return Ok(());
            }
            self.hand_over(&pvc, session, credentials).await?;
            let desired = Desired::new_run(self.clock.now());
            there = match self.set_desired(session.hash, &pvc, &desired).await? {
                Some(changed) => changed,
                None => return Ok(()),
            };
        }
    }

    /// Makes the claim.
    async fn make(&self, session: &Session, credentials: &Credentials) -> Result<Created, BackendError> {
        let now = self.clock.now();
        let mut pvc = make_pvc(session, &self.settings, session.created_at);
        // The token's Secret goes with the claim, so it comes after it; and the Pod is to find it.
        let desired = match credentials.github_token {
            Some(_) => Desired { state: DesiredState::Stopped(StopReason::NeverStarted), since: Some(now) },
            None => Desired::new_run(now),
        };
        let annotations = pvc.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation(desired::KEY), desired.write());
        match self.api.create_pvc(&pvc).await {
            Ok(made) if credentials.github_token.is_some() => {
                self.hand_over(&made, session, credentials).await?;
                self.store.mark_local(session.hash);
                let desired = Desired::new_run(now);
                // Changed in between: somebody asked for something else, or the cluster has bound it.
                Ok(self.set_desired(session.hash, &made, &desired).await?.map_or(Created::Done, Created::not))
            }
            Ok(made) => {
                self.store.mark_local(session.hash);
                self.store.apply_pvc(made);
                Ok(Created::Done)
            }
            Err(ApiError::AlreadyExists) => Ok(Created::not(self.claim(session.hash).await?)),
            Err(error) => Err(error.into()),
        }
    }

    async fn hand_over(
        &self,
        pvc: &PersistentVolumeClaim,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let write = self.api.apply_github_secret(&self.settings, pvc, session, credentials);
        Ok(write.await?)
    }

    /// Writes down what is desired, unless the claim was changed since: then gives it as it is.
    async fn set_desired(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        desired: &Desired,
    ) -> Result<Option<Option<PersistentVolumeClaim>>, BackendError> {
        let annotations = session::with_desired(pvc, self.store.pod(hash).as_deref(), desired);
        self.store.mark_local(hash);
        match self.api.annotate(hash, pvc.metadata.resource_version.as_deref(), &annotations).await {
            Ok(changed) => {
                self.store.apply_pvc(changed);
                Ok(None)
            }
            Err(ApiError::Conflict) => Ok(Some(self.claim(hash).await?)),
            Err(ApiError::NotFound) => Ok(Some(None)),
            Err(error) => Err(error.into()),
        }
    }

    /// The claim as it is now.
    async fn claim(&self, hash: SessionHash) -> Result<Option<PersistentVolumeClaim>, BackendError> {
        match self.api.pvc(hash).await {
            Ok(pvc) => {
                self.store.apply_pvc(pvc.clone());
                Ok(Some(pvc))
            }
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until this claim, which is being deleted, is gone.
    async fn wait_deleted(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        deadline: Instant,
    ) -> Result<(), BackendError> {
        self.store.mark_local(hash);
        let is_gone = || match self.store.pvc(hash) {
            Some(there) if there.metadata.uid == pvc.metadata.uid => None,
            _ => Some(()),
        };
        timeout_at(deadline, self.store.until(is_gone)).await.map_err(|_| {
            BackendError::Unavailable("the earlier session of that name is still being removed".into())
        })
    }

    pub(super) async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError> {
        let decided = self.store.pvc(hash).filter(|_| why == StopReason::Idle);
        let mut there = self.claim(hash).await?;
        loop {
            let Some(pvc) = there else { return Ok(()) };
            if pvc.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            if decided.as_ref().is_some_and(|decided| session::is_newer(&pvc, decided)) {
                return Err(BackendError::InUse);
            }
            let (pod, seen) = (self.store.pod(hash), self.store.status(hash));
            let desired = Desired::of(&pvc, pod.as_deref());
            let phase = seen.as_deref().map(|seen| &seen.phase);
            let Some(state) = desired.state.stopped(pod.is_some(), phase, why) else { return Ok(()) };
            let desired = Desired { state, since: Some(self.clock.now()) };
            there = match self.set_desired(hash, &pvc, &desired).await? {
                Some(changed) => changed,
                None => return Ok(()),
            };
        }
    }

    pub(super) async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.store.mark_local(hash);
        // The other Secrets have an owner that they go with; the TypeScript router gave this one none.
        match self.api.delete_github_secret(hash).await {
            Ok(()) | Err(ApiError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let _turn = self.lifecycle.lock(hash).await;
        // By its UID: a request that arrives late removes no session of that name that was made since.
        let seen = match self.store.pvc(hash) {
            Some(pvc) => pvc.metadata.uid.clone(),
            None => self.claim(hash).await?.and_then(|pvc| pvc.metadata.uid),
        };
        let Some(uid) = seen else { return Ok(()) };
        match self.api.delete_pvc(hash, &uid).await {
            Ok(Some(pvc)) => self.store.apply_pvc(pvc),
            // The one that was meant is gone.
            Ok(None) | Err(ApiError::NotFound | ApiError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        let mut there = match self.store.pvc(hash) {
            Some(pvc) => Some((*pvc).clone()),
            None => self.claim(hash).await?,
        };
        loop {
            let Some(pvc) = there else { return Ok(()) };
            let Ok(session) = session::session(&pvc) else { return Ok(()) };
            if at <= session::last_activity(&pvc, self.store.pod(hash).as_deref(), &session) {
                return Ok(());
            }
            let activity = [(ACTIVITY_KEY, rfc3339(at))];
            there = match self.api.annotate(hash, pvc.metadata.resource_version.as_deref(), &activity).await {
                Ok(changed) => {
                    self.store.apply_pvc(changed);
                    return Ok(());
                }
                Err(ApiError::Conflict) => self.claim(hash).await?,
                Err(ApiError::NotFound) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }

    pub(super) async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        let changed = self.api.annotate(hash, None, &[(GREETED_KEY, "true".into())]).await?;
        self.store.apply_pvc(changed);
        Ok(())
    }

    pub(super) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        let seen = self.store.status(hash).ok_or(BackendError::NotFound)?;
        let kept = || match &seen.phase {
            Phase::Failed(failure) => {
                logs::last_lines(failure.log_tail.as_deref().unwrap_or_default(), lines)
            }
            _ => String::new(),
        };
        let Some(pod) = self.store.pod(hash).filter(|_| lines > 0) else { return Ok(kept()) };
        match logs::tail(&self.api, hash, logs::log_source(&pod), lines).await {
            Ok(log) => Ok(log),
            // Nothing was written yet, or the Pod or its node is gone.
            Err(ApiError::NotFound | ApiError::Forbidden(_)) => Ok(kept()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.store.status(hash).ok_or(BackendError::NotFound)?;
        Ok(None)
    }
}
