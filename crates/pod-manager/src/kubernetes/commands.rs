//! What users ask for: start, stop and delete a session, and record its use.
//!
//! A command reads the claim and writes the new desired state, unless somebody changed the claim in between;
//! then it tries again. So commands take effect one after another, whichever routers they are given to. The
//! controller does the rest.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use session_key::SessionHash;
use tokio::time::{Instant, timeout_at};

use super::{
    api::{Annotations, ApiError, Update},
    context::Context,
    desired::{DESIRED_KEY, Desired, DesiredState},
    logs,
    objects::{
        names::{annotation, rfc3339},
        pvc::make_pvc,
    },
    session::{self, ACTIVITY_KEY, AWAITED_TOKEN_KEY, ClaimError, FIRST_PROMPT_SENT_KEY, GIT_AUTHOR_KEY},
};
use crate::{
    attach::AttachChange,
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Phase, Session, StopReason},
};

/// How long a start waits until an earlier session of the same name is removed: longer than the Pod's grace
/// period.
const DELETION_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of creating a claim.
enum Created {
    /// The claim was created, and the session starts.
    Started,
    /// A claim existed, or was changed meanwhile. This is its current version, if it still exists.
    Changed(Option<Box<PersistentVolumeClaim>>),
}

impl Context {
    /// Starts the session: creates its claim, or writes a new run on it.
    pub(super) async fn start(
        &self,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let hash = session.hash;
        let deadline = Instant::now() + DELETION_TIMEOUT;
        // Most starts are of a new session, or of a stopped one. What the store has may be outdated, and the
        // API server refuses a write to it then.
        let (mut claim, mut is_current) = (self.store.pvc(hash), false);
        loop {
            let Some(pvc) = claim else {
                match self.create(session, credentials).await? {
                    Created::Started => return Ok(()),
                    Created::Changed(current) => (claim, is_current) = (current.map(|pvc| *pvc), true),
                }
                continue;
            };
            if !is_current && !may_start(&pvc, session, self.store.pod(hash).as_ref()) {
                (claim, is_current) = (self.read_claim(hash).await?, true);
                continue;
            }
            if pvc.metadata.deletion_timestamp.is_some() {
                self.wait_deleted(hash, &pvc, deadline).await?;
                claim = self.read_claim(hash).await?;
                continue;
            }
            check_identity(&pvc, session)?;
            let (pod, status) = (self.store.pod(hash), self.store.status(hash));
            let phase = status.as_deref().map(|status| &status.phase);
            if Desired::of(&pvc, pod.as_ref()).state.is_started(pod.is_some(), phase) {
                if pod.is_none() && session::awaited_token(&pvc).is_some() {
                    // The start that is to write the token has failed.
                    self.write_token(session, &pvc, credentials).await?;
                }
                return Ok(());
            }
            self.api.apply_github_secret(&self.settings, &pvc, session, credentials).await?;
            let desired = Desired::new_run(self.clock.now());
            match self.set_desired(hash, &pvc, &desired, credentials).await? {
                Update::Written(_) => return Ok(()),
                Update::Unchanged(current) => (claim, is_current) = (Some(*current), true),
                Update::Deleted => claim = None,
            }
        }
    }

    async fn create(&self, session: &Session, credentials: &Credentials) -> Result<Created, BackendError> {
        let hash = session.hash;
        let now = self.clock.now();
        let mut pvc = make_pvc(session, &self.settings, session.created_at);
        // The claim owns the token's Secret, so it is created first; and the Pod needs the Secret, so it
        // comes last: this router creates it once it gets the lock, and others once they see the Secret.
        let _guard = self.lifecycle.lock(hash).await;
        let desired = Desired::new_run(now);
        let annotations = pvc.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation(DESIRED_KEY), desired.to_annotation());
        if let (Some(_), DesiredState::Running(run)) = (&credentials.github_token, &desired.state) {
            annotations.insert(annotation(AWAITED_TOKEN_KEY), run.clone());
        }
        let author = credentials.git_author.as_ref();
        annotations.extend(author.map(|author| (annotation(GIT_AUTHOR_KEY), author.to_string())));
        self.store.mark_local(hash);
        let pvc = match self.api.create_pvc(&pvc).await {
            Ok(pvc) => pvc,
            Err(ApiError::AlreadyExists) => {
                return Ok(Created::Changed(self.read_claim(hash).await?.map(Box::new)));
            }
            Err(error) => return Err(error.into()),
        };
        self.store.update_local(hash, |local| local.has_created = true);
        if let Err(error) = self.write_token(session, &pvc, credentials).await {
            // Nobody else has the token.
            let stopped =
                Desired { state: DesiredState::Stopped(StopReason::NeverStarted), since: Some(now) };
            let _ = self.set_desired(hash, &pvc, &stopped, credentials).await;
            return Err(error.into());
        }
        self.store.apply_pvc(pvc);
        Ok(Created::Started)
    }

    /// Writes the token that the claim's run awaits, if it awaits one.
    async fn write_token(
        &self,
        session: &Session,
        pvc: &PersistentVolumeClaim,
        credentials: &Credentials,
    ) -> Result<(), ApiError> {
        if credentials.github_token.is_some() {
            self.api.apply_github_secret(&self.settings, pvc, session, credentials).await?;
            let run = session::awaited_token(pvc).map(str::to_owned);
            self.store.update_local(session.hash, |local| local.token_of = run);
        }
        Ok(())
    }

    /// Writes the desired state, and who commits if that is known, unless the claim has changed since this
    /// version of it.
    async fn set_desired(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        desired: &Desired,
        credentials: &Credentials,
    ) -> Result<Update, BackendError> {
        self.store.mark_local(hash);
        let mut annotations = session::with_desired(pvc, self.store.pod(hash).as_ref(), desired);
        let author = credentials.git_author.as_ref();
        annotations.extend(author.map(|author| (GIT_AUTHOR_KEY, author.to_string())));
        self.update_claim(hash, Some(pvc.clone()), |current| {
            let is_same = current.metadata.resource_version == pvc.metadata.resource_version;
            Ok(is_same.then(|| annotations.clone()))
        })
        .await
    }

    /// Updates the claim as [`ApiClient::update_claim`](super::api::ApiClient::update_claim) does, and the
    /// store with it.
    async fn update_claim(
        &self,
        hash: SessionHash,
        pvc: Option<PersistentVolumeClaim>,
        change: impl FnMut(&PersistentVolumeClaim) -> Result<Option<Annotations>, BackendError>,
    ) -> Result<Update, BackendError> {
        let update = self.api.update_claim(hash, pvc, change).await?;
        if let Update::Written(pvc) | Update::Unchanged(pvc) = &update {
            self.store.apply_pvc((**pvc).clone());
        }
        Ok(update)
    }

    /// Reads the claim's current version.
    async fn read_claim(&self, hash: SessionHash) -> Result<Option<PersistentVolumeClaim>, BackendError> {
        match self.api.pvc(hash).await {
            Ok(pvc) => {
                self.store.apply_pvc(pvc.clone());
                Ok(Some(pvc))
            }
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until this claim, which is being deleted, is removed.
    async fn wait_deleted(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        deadline: Instant,
    ) -> Result<(), BackendError> {
        self.store.mark_local(hash);
        let is_deleted =
            || self.store.pvc(hash).is_none_or(|pvc_now| pvc_now.metadata.uid != pvc.metadata.uid);
        timeout_at(deadline, self.store.wait_for(is_deleted)).await.map_err(|_| {
            BackendError::Unavailable("an earlier session of the same name is still being removed".into())
        })
    }

    pub(super) async fn stop(&self, hash: SessionHash, reason: StopReason) -> Result<(), BackendError> {
        // A session is idle by what this router knew of it.
        let known = self.store.pvc(hash).filter(|_| reason == StopReason::Idle);
        self.update_claim(hash, None, |pvc| {
            if pvc.metadata.deletion_timestamp.is_some() {
                return Ok(None);
            }
            if known.as_ref().is_some_and(|known| session::is_newer(pvc, known)) {
                return Err(BackendError::InUse);
            }
            let (pod, status) = (self.store.pod(hash), self.store.status(hash));
            let phase = status.as_deref().map(|status| &status.phase);
            let desired = Desired::of(pvc, pod.as_ref());
            let Some(state) = desired.state.after_stop(pod.is_some(), phase, reason) else { return Ok(None) };
            self.store.mark_local(hash);
            let desired = Desired { state, since: Some(self.clock.now()) };
            Ok(Some(session::with_desired(pvc, pod.as_ref(), &desired)))
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.store.mark_local(hash);
        // The cluster removes the other Secrets with their owner; the TypeScript router gave this one no
        // owner.
        match self.api.delete_github_secret(hash).await {
            Ok(()) | Err(ApiError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let _guard = self.lifecycle.lock(hash).await;
        // By UID, so that a request that arrives late removes no later session of the same name.
        let uid = match self.store.pvc(hash) {
            Some(pvc) => pvc.metadata.uid,
            None => self.read_claim(hash).await?.and_then(|pvc| pvc.metadata.uid),
        };
        let Some(uid) = uid else { return Ok(()) };
        match self.api.delete_pvc(hash, &uid).await {
            Ok(Some(pvc)) => self.store.apply_pvc(pvc),
            // That claim is removed already.
            Ok(None) | Err(ApiError::NotFound | ApiError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.update_claim(hash, self.store.pvc(hash), |pvc| {
            let Ok(session) = session::session(pvc) else { return Ok(None) };
            let last_activity = session::last_activity(pvc, self.store.pod(hash).as_ref(), &session);
            Ok((at > last_activity).then(|| vec![(ACTIVITY_KEY, rfc3339(at))]))
        })
        .await
        .map(drop)
    }

    pub(super) async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        let pvc = self.api.annotate(hash, None, &[(FIRST_PROMPT_SENT_KEY, "true".into())]).await?;
        self.store.apply_pvc(pvc);
        Ok(())
    }

    pub(super) async fn change_attach_tokens(
        &self,
        hash: SessionHash,
        change: &AttachChange,
    ) -> Result<(), BackendError> {
        let update = self.update_claim(hash, self.store.pvc(hash), |pvc| {
            if pvc.metadata.deletion_timestamp.is_some() || session::session(pvc).is_err() {
                return Err(BackendError::NotFound);
            }
            let tokens = session::attach_tokens(pvc).after(change, self.clock.now())?;
            Ok(Some(session::with_attach_tokens(&tokens)))
        });
        match update.await? {
            Update::Written(_) | Update::Unchanged(_) => Ok(()),
            Update::Deleted => Err(BackendError::NotFound),
        }
    }

    pub(super) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        let status = self.store.status(hash).ok_or(BackendError::NotFound)?;
        let stored = || match &status.phase {
            Phase::Failed(failure) => {
                logs::last_lines(failure.log_tail.as_deref().unwrap_or_default(), lines)
            }
            _ => String::new(),
        };
        let Some(pod) = self.store.pod(hash).filter(|_| lines > 0) else { return Ok(stored()) };
        match logs::tail(&self.api, hash, logs::log_source(&pod), lines).await {
            Ok(log) => Ok(log),
            // The container has written nothing yet, or the Pod or its node is gone.
            Err(ApiError::NotFound | ApiError::Forbidden(_)) => Ok(stored()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.store.status(hash).ok_or(BackendError::NotFound)?;
        Ok(None)
    }
}

/// Returns whether this version of the claim, which may be outdated, lets the session start. A start on an
/// outdated version is refused by the API server.
fn may_start(pvc: &PersistentVolumeClaim, session: &Session, pod: Option<&Pod>) -> bool {
    let state = Desired::of(pvc, pod).state;
    pvc.metadata.deletion_timestamp.is_none()
        && check_identity(pvc, session).is_ok()
        && matches!(state, DesiredState::Stopped(_) | DesiredState::Failed(_))
}

/// Checks that the claim is that of this session, and not of another one under the same name.
fn check_identity(pvc: &PersistentVolumeClaim, session: &Session) -> Result<(), BackendError> {
    match session::session(pvc) {
        Ok(existing) if session::is_same(&existing, session) => Ok(()),
        Ok(_) | Err(ClaimError::HashMismatch) => Err(BackendError::Conflict),
        Err(ClaimError::Unreadable(reason)) => Err(BackendError::Storage(reason)),
    }
}
