//! The work queue: a worker for each session whose objects are not in the desired state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::Resource;
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    api::{ApiError, Update},
    cached_session::WorkItem,
    context::Context,
    desired::{Desired, DesiredState, RUN_KEY},
    logs,
    objects::{
        names::{annotation, github_secret_name, server_secret_name},
        pod::{git_config, make_pod},
        secret::{lacks_pod_secret, make_server_secret, owned_by, password_of},
    },
    prober::Prober,
    reconcile::Action,
    session,
};
use crate::{
    backoff::{Backoff, jitter},
    model::{Failure, FailureCode, Password, Session, StopReason},
};

/// How long a router waits for the one that was given the command.
const PEER_DELAY: Duration = Duration::from_secs(1);
/// How long routers wait until the one that was given a GitHub token has written it: longer than a call.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(12);
/// The pauses between attempts.
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The sessions that have a worker now; `true`: the session changed since the worker last read it.
type Workers = Arc<Mutex<BTreeMap<SessionHash, bool>>>;

/// Drains the work queue: probes and reconciles every session that changed.
pub(super) async fn reconcile_loop(ctx: Arc<Context>, mut queue: mpsc::UnboundedReceiver<SessionHash>) {
    let mut prober = Prober::new(ctx.clone());
    let workers = Workers::default();
    while let Some(hash) = queue.recv().await {
        prober.update(hash);
        enqueue(&ctx, &workers, hash);
    }
}

/// Hands the session to its worker. Starts one if there is something to do.
fn enqueue(ctx: &Arc<Context>, workers: &Workers, hash: SessionHash) {
    let mut active = workers.lock();
    if let Some(has_changed) = active.get_mut(&hash) {
        *has_changed = true;
        return;
    }
    // Most changes need no action.
    if ctx.store.work_item(hash).is_none_or(|item| item.action == Action::Nothing) {
        return;
    }
    active.insert(hash, false);
    let work = work(ctx.clone(), workers.clone(), hash);
    let stop = ctx.stop.clone();
    ctx.tasks.spawn(async move { stop.run_until_cancelled(Box::pin(work)).await });
}

/// Reconciles the session until it has not changed since it was last read.
async fn work(ctx: Arc<Context>, workers: Workers, hash: SessionHash) {
    let mut backoff = Backoff::new(MIN_BACKOFF, MAX_BACKOFF);
    loop {
        if let Err(error) = Box::pin(apply(&ctx, hash)).await {
            tracing::warn!(session.hash = %hash, %error, "reconcile failed; retrying");
            backoff.wait().await;
            continue;
        }
        backoff.reset();
        let mut active = workers.lock();
        match active.get_mut(&hash) {
            Some(has_changed) if *has_changed => *has_changed = false,
            _ => {
                active.remove(&hash);
                return;
            }
        }
    }
}

/// Carries out the next action. Its outcome updates the store, which queues the session again.
async fn apply(ctx: &Context, hash: SessionHash) -> Result<(), ApiError> {
    let Some(mut item) = ctx.store.work_item(hash) else { return Ok(()) };
    if item.action == Action::Nothing {
        return Ok(());
    }
    if !item.local.is_commander {
        sleep(jitter(PEER_DELAY)).await;
        let Some(current) = ctx.store.work_item(hash) else { return Ok(()) };
        item = current;
    }
    match item.action.clone() {
        Action::Nothing => Ok(()),
        Action::CreatePod(run) => create_pod_with_token(ctx, hash, run).await,
        Action::DeletePod(uid) => {
            match ctx.api.pvc(hash).await {
                // The claim has lost its label: neither the claim nor its Pod is ours any more.
                Ok(pvc) if session::hash_of(&pvc.metadata) != Some(hash) => return Ok(()),
                Ok(pvc) => ctx.store.apply_pvc(pvc),
                Err(ApiError::NotFound) => return delete_pod(ctx, hash, &uid).await,
                Err(error) => return Err(error),
            }
            match ctx.store.work_item(hash) {
                Some(item) if item.action == Action::DeletePod(uid.clone()) => {
                    delete_pod(ctx, hash, &uid).await
                }
                _ => Ok(()),
            }
        }
        Action::GiveUp(failure) => {
            let failure = logs::with_log(&ctx.api, hash, item.pod.as_ref(), failure).await;
            give_up(ctx, hash, item.pvc.as_ref(), failure).await
        }
    }
}

async fn delete_pod(ctx: &Context, hash: SessionHash, uid: &str) -> Result<(), ApiError> {
    match ctx.api.delete_pod(hash, uid).await {
        Ok(Some(pod)) => ctx.store.apply_pod(pod),
        // The Pod is gone, or it is another one: the watch delivers which.
        Ok(None) | Err(ApiError::NotFound | ApiError::Conflict) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Creates the Pod of this run, and before that waits until its GitHub token is written. If the router that
/// has the token does not write it, nobody can: the session is stopped.
async fn create_pod_with_token(ctx: &Context, hash: SessionHash, run: String) -> Result<(), ApiError> {
    let deadline = Instant::now() + TOKEN_TIMEOUT;
    loop {
        {
            // A delete in between would find no Pod yet, and the new Pod would outlast its claim.
            let _guard = ctx.lifecycle.lock(hash).await;
            let item = match ctx.store.work_item(hash) {
                Some(item) if item.action == Action::CreatePod(run.clone()) => item,
                _ => return Ok(()),
            };
            if has_its_token(ctx, hash, &item).await? {
                return create_pod(ctx, hash, &run, &item).await;
            }
            if Instant::now() >= deadline {
                tracing::warn!(session.hash = %hash, "the start's token was not written; stopping the session");
                let state = DesiredState::Stopped(StopReason::NeverStarted);
                return set_desired(ctx, hash, item.pvc.as_ref(), state).await;
            }
        }
        sleep(PEER_DELAY).await;
    }
}

/// Returns whether the GitHub token that the run awaits is written, if it awaits one.
async fn has_its_token(ctx: &Context, hash: SessionHash, item: &WorkItem) -> Result<bool, ApiError> {
    let Some((pvc, run)) = item.pvc.as_ref().and_then(|pvc| Some((pvc, session::awaited_token(pvc)?))) else {
        return Ok(true);
    };
    if item.local.token_of.as_deref() == Some(run) {
        return Ok(true);
    }
    match ctx.api.secret(&github_secret_name(hash)).await {
        Ok(secret) => Ok(is_owned(&secret, pvc)),
        Err(ApiError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates the Secret with the password, and then the Pod that uses it.
async fn create_pod(ctx: &Context, hash: SessionHash, run: &str, item: &WorkItem) -> Result<(), ApiError> {
    let (Some(session), Some(pvc)) = (&item.session, &item.pvc) else { return Ok(()) };
    let create = async {
        let password = ensure_password(ctx, session, pvc, item.local.has_created).await?;
        // The Pod may be seen to run before the answer arrives.
        let password = password.map(|password| (run.to_owned(), password));
        ctx.store.update_local(hash, |local| local.password = password);
        ctx.api.create_pod(&pod_of(ctx, session, pvc, run)).await
    };
    let created = create.await;
    ctx.store.update_local(hash, |local| local.has_created = false);
    match created {
        Ok(pod) => ctx.store.apply_pod(pod),
        // Another router was faster, or an earlier Pod still terminates: read which.
        Err(ApiError::AlreadyExists | ApiError::Conflict) => {
            ctx.store.update_local(hash, |local| local.password = None);
            match ctx.api.pod(hash).await {
                Ok(pod) => ctx.store.apply_pod(pod),
                // It was removed just now.
                Err(ApiError::NotFound) => return Err(ApiError::Conflict),
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::Forbidden(reason)) => {
            // Another attempt would not help.
            let failure = Failure {
                code: FailureCode::BackendError,
                message: format!("The cluster refused the session's Pod: {reason}."),
                advice:
                    "Fix the cause (a quota, an admission rule, the router's Role or POD_PATCH_FILE), then \
                         resume the session."
                        .into(),
                log_tail: None,
            };
            return give_up(ctx, hash, Some(pvc), failure).await;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn pod_of(ctx: &Context, session: &Session, pvc: &PersistentVolumeClaim, run: &str) -> Pod {
    let mut pod = make_pod(session, &ctx.settings, session::last_activity(pvc, None, session));
    let author = session::git_author(pvc, session);
    let annotations = [git_config(&author), (annotation(RUN_KEY), run.to_owned())];
    pod.metadata.annotations.get_or_insert_default().extend(annotations);
    // The cluster removes the Pod with its claim, even if no router runs.
    pod.metadata.owner_references = pvc.owner_ref(&()).map(|owner| vec![owner]);
    pod
}

/// Makes sure that the session has a password, in a Secret that is owned by this claim and not by an earlier
/// one. Returns the password, unless somebody removed it from the Secret.
async fn ensure_password(
    ctx: &Context,
    session: &Session,
    pvc: &PersistentVolumeClaim,
    is_new: bool,
) -> Result<Option<Password>, ApiError> {
    let password = new_password();
    let secret = owned_by(make_server_secret(session, &ctx.settings, &password), pvc);
    if is_new {
        match ctx.api.create_secret(&secret).await {
            Err(ApiError::AlreadyExists) => {}
            result => return result.map(|_| Some(password)),
        }
    }
    match ctx.api.server_secret(session.hash).await {
        Ok(existing) if is_owned(&existing, pvc) => {
            let password = password_of(&existing);
            if let (Some(password), true) = (&password, lacks_pod_secret(&existing)) {
                let secret = owned_by(make_server_secret(session, &ctx.settings, password), pvc);
                ctx.api.apply_secret(&server_secret_name(session.hash), &secret).await?;
            }
            return Ok(password);
        }
        // It belongs to an earlier session, and the cluster is about to remove it.
        Ok(existing) => {
            let uid = existing.metadata.uid.unwrap_or_default();
            match ctx.api.delete_server_secret(session.hash, &uid).await {
                Ok(()) | Err(ApiError::NotFound | ApiError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::NotFound) => {}
        Err(error) => return Err(error),
    }
    ctx.api.create_secret(&secret).await.map(|_| Some(password))
}

/// Returns whether the Secret belongs to this claim, and stays.
fn is_owned(secret: &Secret, pvc: &PersistentVolumeClaim) -> bool {
    let mut owners = secret.metadata.owner_references.iter().flatten();
    secret.metadata.deletion_timestamp.is_none()
        && owners.any(|owner| Some(&owner.uid) == pvc.metadata.uid.as_ref())
}

/// Returns a password of 192 random bits, in characters that need no quoting anywhere.
fn new_password() -> Password {
    Password::new(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()))
}

/// Writes on the claim that the run failed, unless the claim has changed.
async fn give_up(
    ctx: &Context,
    hash: SessionHash,
    pvc: Option<&PersistentVolumeClaim>,
    failure: Failure,
) -> Result<(), ApiError> {
    tracing::info!(session.hash = %hash, code = failure.code.as_str(), "session failed");
    set_desired(ctx, hash, pvc, DesiredState::Failed(failure)).await
}

/// Writes the desired state on the claim, unless the claim has changed.
async fn set_desired(
    ctx: &Context,
    hash: SessionHash,
    pvc: Option<&PersistentVolumeClaim>,
    state: DesiredState,
) -> Result<(), ApiError> {
    let Some(pvc) = pvc else { return Ok(()) };
    let desired = Desired { state, since: Some(ctx.clock.now()) };
    let annotations = session::with_desired(pvc, ctx.store.pod(hash).as_ref(), &desired);
    let update = ctx.api.update_claim(hash, Some(pvc.clone()), |current| {
        let is_same = current.metadata.resource_version == pvc.metadata.resource_version;
        Ok::<_, ApiError>(is_same.then(|| annotations.clone()))
    });
    match update.await? {
        // If the claim has changed, the next action follows from what it says now.
        Update::Written(pvc) | Update::Unchanged(pvc) => ctx.store.apply_pvc(*pvc),
        Update::Deleted => {}
    }
    Ok(())
}
