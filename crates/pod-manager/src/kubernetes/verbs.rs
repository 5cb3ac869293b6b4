//! The verbs. Each reads the claim as it is and changes it only if it is still so, as often as it takes: so they come one
//! after another, whichever routers they are asked of. That change is what is written down; the session's loop does the
//! rest.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use session_key::SessionHash;
use tokio::time::{Instant, timeout_at};

use super::{
    Inner,
    calls::Refusal,
    credentials, failure, manifest,
    manifest::annotation,
    record::{self, ACTIVITY_KEY, GREETED_KEY},
    sight::container,
    wanted::{self, Wanted, What},
};
use crate::{
    backend::{BackendError, UnsavedWork},
    model::{Credentials, Phase, Session, StopReason},
};

/// How long a start waits for an earlier session of that name to be gone: longer than the Pod's grace period.
const REMOVAL: Duration = Duration::from_secs(60);

/// What came of making a claim.
enum Made {
    /// It is made, and its start is written down.
    Done,
    /// Another one was there; this is how it is now.
    Not(Option<Box<PersistentVolumeClaim>>),
}

impl Made {
    fn not(there: Option<PersistentVolumeClaim>) -> Self {
        Self::Not(there.map(Box::new))
    }
}

impl Inner {
    pub(super) async fn start(
        &self,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let deadline = Instant::now() + REMOVAL;
        // Most starts are of what is new, or stopped.
        let mut there = match self.index.pvc(session.hash) {
            Some(_) => self.claim(session.hash).await?,
            None => None,
        };
        loop {
            let Some(pvc) = there else {
                match self.make(session, credentials).await? {
                    Made::Done => return Ok(()),
                    Made::Not(found) => there = found.map(|found| *found),
                }
                continue;
            };
            if pvc.metadata.deletion_timestamp.is_some() {
                self.gone(session.hash, &pvc, deadline).await?;
                there = self.claim(session.hash).await?;
                continue;
            }
            let pod = self.index.pod(session.hash);
            let wanted = Wanted::of(&pvc, pod.as_deref());
            let seen = self.index.observed(session.hash);
            if wanted.what.is_started(pod.is_some(), seen.as_deref().map(|seen| &seen.phase)) {
                return Ok(());
            }
            self.hand_over(&pvc, session, credentials).await?;
            let wanted = Wanted::new_run(self.clock.now());
            there = match self.want(session.hash, &pvc, &wanted).await? {
                Some(changed) => changed,
                None => return Ok(()),
            };
        }
    }

    /// Makes the claim.
    async fn make(&self, session: &Session, credentials: &Credentials) -> Result<Made, BackendError> {
        let now = self.clock.now();
        let mut pvc = manifest::pvc(session, &self.settings, session.created_at);
        // The token's Secret goes with the claim, so it comes after it; and the Pod is to find it.
        let wanted = match credentials.github_token {
            Some(_) => Wanted { what: What::Stopped(StopReason::NeverStarted), at: Some(now) },
            None => Wanted::new_run(now),
        };
        let annotations = pvc.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation(wanted::KEY), wanted.write());
        match self.calls.create_pvc(&pvc).await {
            Ok(made) if credentials.github_token.is_some() => {
                self.hand_over(&made, session, credentials).await?;
                self.index.take(session.hash);
                let wanted = Wanted::new_run(now);
                // Changed in between: somebody asked for something else, or the cluster has bound it.
                Ok(self.want(session.hash, &made, &wanted).await?.map_or(Made::Done, Made::not))
            }
            Ok(made) => {
                self.index.take(session.hash);
                self.index.apply_pvc(made);
                Ok(Made::Done)
            }
            Err(Refusal::Exists) => Ok(Made::not(self.claim(session.hash).await?)),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn hand_over(
        &self,
        pvc: &PersistentVolumeClaim,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let write = credentials::write(&self.client, &self.settings, pvc, session, credentials);
        Ok(super::calls::within(write).await?)
    }

    /// Writes down what is wanted, unless the claim was changed since: then gives it as it is.
    async fn want(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        wanted: &Wanted,
    ) -> Result<Option<Option<PersistentVolumeClaim>>, BackendError> {
        let annotations = record::with_wanted(pvc, self.index.pod(hash).as_deref(), wanted);
        self.index.take(hash);
        match self.calls.annotate(hash, pvc.metadata.resource_version.as_deref(), &annotations).await {
            Ok(changed) => {
                self.index.apply_pvc(changed);
                Ok(None)
            }
            Err(Refusal::Conflict) => Ok(Some(self.claim(hash).await?)),
            Err(Refusal::NotFound) => Ok(Some(None)),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The claim as it is now.
    async fn claim(&self, hash: SessionHash) -> Result<Option<PersistentVolumeClaim>, BackendError> {
        match self.calls.pvc(hash).await {
            Ok(pvc) => {
                self.index.apply_pvc(pvc.clone());
                Ok(Some(pvc))
            }
            Err(Refusal::NotFound) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Waits until this claim, which is being deleted, is gone.
    async fn gone(
        &self,
        hash: SessionHash,
        pvc: &PersistentVolumeClaim,
        deadline: Instant,
    ) -> Result<(), BackendError> {
        self.index.take(hash);
        let is_gone = || match self.index.pvc(hash) {
            Some(there) if there.metadata.uid == pvc.metadata.uid => None,
            _ => Some(()),
        };
        timeout_at(deadline, self.index.until(is_gone)).await.map_err(|_| {
            BackendError::Unavailable("the earlier session of that name is still being removed".into())
        })
    }

    pub(super) async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError> {
        let decided = self.index.pvc(hash).filter(|_| why == StopReason::Idle);
        let mut there = self.claim(hash).await?;
        loop {
            let Some(pvc) = there else { return Ok(()) };
            if pvc.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            if decided.as_ref().is_some_and(|decided| record::is_newer(&pvc, decided)) {
                return Err(BackendError::InUse);
            }
            let (pod, seen) = (self.index.pod(hash), self.index.observed(hash));
            let wanted = Wanted::of(&pvc, pod.as_deref());
            let phase = seen.as_deref().map(|seen| &seen.phase);
            let Some(what) = wanted.what.stopped(pod.is_some(), phase, why) else { return Ok(()) };
            let wanted = Wanted { what, at: Some(self.clock.now()) };
            there = match self.want(hash, &pvc, &wanted).await? {
                Some(changed) => changed,
                None => return Ok(()),
            };
        }
    }

    pub(super) async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.index.take(hash);
        // The other Secrets have an owner that they go with; the TypeScript router gave this one none.
        match self.calls.delete_github_secret(hash).await {
            Ok(()) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let _turn = self.making.lock(hash).await;
        // By its UID: a request that arrives late removes no session of that name that was made since.
        let seen = match self.index.pvc(hash) {
            Some(pvc) => pvc.metadata.uid.clone(),
            None => self.claim(hash).await?.and_then(|pvc| pvc.metadata.uid),
        };
        let Some(uid) = seen else { return Ok(()) };
        match self.calls.delete_pvc(hash, &uid).await {
            Ok(Some(pvc)) => self.index.apply_pvc(pvc),
            // The one that was meant is gone.
            Ok(None) | Err(Refusal::NotFound | Refusal::Conflict) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }

    pub(super) async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        let mut there = match self.index.pvc(hash) {
            Some(pvc) => Some((*pvc).clone()),
            None => self.claim(hash).await?,
        };
        loop {
            let Some(pvc) = there else { return Ok(()) };
            let Ok(session) = record::session(&pvc) else { return Ok(()) };
            if at <= record::last_activity(&pvc, self.index.pod(hash).as_deref(), &session) {
                return Ok(());
            }
            let activity = [(ACTIVITY_KEY, manifest::rfc3339(at))];
            there = match self.calls.annotate(hash, pvc.metadata.resource_version.as_deref(), &activity).await
            {
                Ok(changed) => {
                    self.index.apply_pvc(changed);
                    return Ok(());
                }
                Err(Refusal::Conflict) => self.claim(hash).await?,
                Err(Refusal::NotFound) => return Ok(()),
                Err(refusal) => return Err(refusal.into()),
            };
        }
    }

    pub(super) async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        let changed = self.calls.annotate(hash, None, &[(GREETED_KEY, "true".into())]).await?;
        self.index.apply_pvc(changed);
        Ok(())
    }

    pub(super) async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        let seen = self.index.observed(hash).ok_or(BackendError::NotFound)?;
        let kept = || match &seen.phase {
            Phase::Failed(failure) => last(failure.log_tail.as_deref().unwrap_or_default(), lines),
            _ => String::new(),
        };
        let Some(pod) = self.index.pod(hash).filter(|_| lines > 0) else { return Ok(kept()) };
        let (name, is_previous) = speaker(&pod);
        match self.calls.log(hash, name, is_previous, lines).await {
            Ok(log) => Ok(last(&failure::readable(&log), lines)),
            // Nothing was written yet, or the Pod or its node is gone.
            Err(Refusal::NotFound | Refusal::Denied(_)) => Ok(kept()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    pub(super) async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.index.observed(hash).ok_or(BackendError::NotFound)?;
        Ok(None)
    }
}

/// The container whose log tells what goes on, and whether it is the one before its last start that does.
pub(super) fn speaker(pod: &Pod) -> (&'static str, bool) {
    let opencode = container(pod, "opencode");
    let began = opencode
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    let restarted = opencode.is_some_and(|container| container.restart_count > 0);
    (if began || restarted { "opencode" } else { "git-init" }, restarted && !began)
}

pub(super) fn last(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
