//! The loop of each session: looks, and does what [`step`](super::reconcile) says, until nothing is left to do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Resource;
use parking_lot::Mutex;
use session_key::SessionHash;
use tokio::{sync::mpsc, time::sleep};

use super::{
    api::ApiError,
    context::Context,
    desired::{self, Desired, DesiredState},
    logs,
    objects::{
        names::annotation,
        pod::make_pod,
        secret::{make_server_secret, owned_by},
    },
    prober,
    reconcile::Action,
    session,
    store::WorkItem,
    watcher::jitter,
};
use crate::model::{Failure, FailureCode, Password, Session};

/// How long another router than the one that was asked waits for that one.
const PEER_DELAY: Duration = Duration::from_secs(1);
/// Between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// The sessions that a worker reconciles now; `true`: the session changed since the worker last read it.
type Active = Arc<Mutex<BTreeMap<SessionHash, bool>>>;

/// Has the loop of every session that changed look again, for ever.
pub(super) async fn reconcile_loop(ctx: Arc<Context>, mut queue: mpsc::UnboundedReceiver<SessionHash>) {
    let active = Active::default();
    while let Some(hash) = queue.recv().await {
        prober::attend(&ctx, hash);
        let mut active_now = active.lock();
        if let Some(again) = active_now.get_mut(&hash) {
            *again = true;
            continue;
        }
        // Most changes ask for nothing.
        if ctx.store.work_item(hash).is_none_or(|item| item.action == Action::Nothing) {
            continue;
        }
        active_now.insert(hash, false);
        let (ctx, active, stop) = (ctx.clone(), active.clone(), ctx.stop.clone());
        ctx.clone()
            .tasks
            .spawn(async move { stop.run_until_cancelled(Box::pin(worker(ctx, active, hash))).await });
    }
}

async fn worker(ctx: Arc<Context>, active: Active, hash: SessionHash) {
    let mut pause = PAUSES[0];
    loop {
        match apply(&ctx, hash).await {
            Ok(()) => pause = PAUSES[0],
            Err(error) => {
                tracing::warn!(session.hash = %hash, error = %error, "the session's next step could not be done; it is tried again");
                sleep(jitter(pause)).await;
                pause = (pause * 2).min(PAUSES[1]);
                continue;
            }
        }
        let mut active_now = active.lock();
        match active_now.get_mut(&hash) {
            Some(again) if *again => *again = false,
            _ => {
                active_now.remove(&hash);
                return;
            }
        }
    }
}

/// One step. What came of it is seen by the index, which has this called again.
async fn apply(ctx: &Context, hash: SessionHash) -> Result<(), ApiError> {
    let Some(item) = ctx.store.work_item(hash) else { return Ok(()) };
    if item.action == Action::Nothing {
        return Ok(());
    }
    let item = if item.is_local {
        item
    } else {
        sleep(jitter(PEER_DELAY)).await;
        let Some(item) = ctx.store.work_item(hash) else { return Ok(()) };
        item
    };
    match item.action.clone() {
        Action::Nothing => Ok(()),
        Action::CreatePod(run) => {
            // No delete comes in between: it would find no Pod yet, and this one would outlast its claim.
            let _turn = ctx.lifecycle.lock(hash).await;
            match ctx.store.work_item(hash) {
                Some(item) if item.action == Action::CreatePod(run.clone()) => {
                    create_pod(ctx, hash, &run, &item).await
                }
                _ => Ok(()),
            }
        }
        Action::DeletePod(uid) => {
            match ctx.api.pvc(hash).await {
                // Somebody took its label away: it is not ours to judge, and nor is its Pod.
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
            let failure = logs::with_log(&ctx.api, hash, item.pod.as_deref(), failure).await;
            give_up(ctx, hash, item.pvc.as_deref(), failure).await
        }
    }
}

async fn delete_pod(ctx: &Context, hash: SessionHash, uid: &str) -> Result<(), ApiError> {
    match ctx.api.delete_pod(hash, uid).await {
        Ok(Some(pod)) => ctx.store.apply_pod(pod),
        // It is gone, or another one is there: the watch will tell.
        Ok(None) | Err(ApiError::NotFound | ApiError::Conflict) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Makes the password's Secret, and then the Pod that takes it.
async fn create_pod(ctx: &Context, hash: SessionHash, run: &str, item: &WorkItem) -> Result<(), ApiError> {
    let (Some(session), Some(pvc)) = (&item.session, &item.pvc) else { return Ok(()) };
    let denied = match ensure_password(ctx, session, pvc).await {
        Ok(()) => match ctx.api.create_pod(&pod_of(ctx, session, pvc, run)).await {
            Ok(pod) => {
                ctx.store.apply_pod(pod);
                return Ok(());
            }
            // Another router was quicker, or an older one is still going: whatever it is, it is looked at.
            Err(ApiError::AlreadyExists | ApiError::Conflict) => {
                match ctx.api.pod(hash).await {
                    Ok(pod) => ctx.store.apply_pod(pod),
                    // It went just now.
                    Err(ApiError::NotFound) => return Err(ApiError::Conflict),
                    Err(error) => return Err(error),
                }
                return Ok(());
            }
            Err(ApiError::Forbidden(why)) => why,
            Err(error) => return Err(error),
        },
        Err(ApiError::Forbidden(why)) => why,
        Err(error) => return Err(error),
    };
    // Asking again would not help.
    let failure = Failure {
        code: FailureCode::BackendError,
        message: format!("The cluster does not take the session's Pod: {denied}."),
        advice: "Mend what it says (a quota, an admission rule, the router's Role or the Pod's patch), then resume the session.".into(),
        log_tail: None,
    };
    give_up(ctx, hash, item.pvc.as_deref(), failure).await
}

fn pod_of(ctx: &Context, session: &Session, pvc: &PersistentVolumeClaim, run: &str) -> Pod {
    let last_activity = session::last_activity(pvc, None, session);
    let mut pod = make_pod(session, &ctx.settings, last_activity);
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation(desired::RUN_KEY), run.to_owned());
    // Goes with the claim also where no router comes to it.
    pod.metadata.owner_references = pvc.owner_ref(&()).map(|owner| vec![owner]);
    pod
}

/// Makes sure that the session has a password, in a Secret that goes with this claim and not with an earlier one.
async fn ensure_password(
    ctx: &Context,
    session: &Session,
    pvc: &PersistentVolumeClaim,
) -> Result<(), ApiError> {
    let password = Password::new(new_password());
    let secret = owned_by(make_server_secret(session, &ctx.settings, &password), pvc);
    match ctx.api.create_secret(&secret).await {
        Err(ApiError::AlreadyExists) => {}
        done => return done.map(drop),
    }
    let there = match ctx.api.server_secret(session.hash).await {
        Ok(there) => there,
        Err(ApiError::NotFound) => return Err(ApiError::Conflict),
        Err(error) => return Err(error),
    };
    let owners = there.metadata.owner_references.iter().flatten();
    let is_ours = owners.into_iter().any(|owner| Some(&owner.uid) == pvc.metadata.uid.as_ref());
    if is_ours && there.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    // An earlier session's, which the cluster is about to remove.
    let uid = there.metadata.uid.unwrap_or_default();
    match ctx.api.delete_server_secret(session.hash, &uid).await {
        Ok(()) | Err(ApiError::NotFound | ApiError::Conflict) => {}
        Err(error) => return Err(error),
    }
    ctx.api.create_secret(&secret).await.map(drop)
}

/// 192 random bits, in letters that need no quoting anywhere.
fn new_password() -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
}

/// Writes down that the run failed, if nothing else was asked for since.
async fn give_up(
    ctx: &Context,
    hash: SessionHash,
    pvc: Option<&PersistentVolumeClaim>,
    failure: Failure,
) -> Result<(), ApiError> {
    let Some(pvc) = pvc else { return Ok(()) };
    tracing::info!(session.hash = %hash, code = failure.code.as_str(), "the session failed");
    let desired = Desired { state: DesiredState::Failed(failure), since: Some(ctx.clock.now()) };
    let annotations = session::with_desired(pvc, ctx.store.pod(hash).as_deref(), &desired);
    match ctx.api.annotate(hash, pvc.metadata.resource_version.as_deref(), &annotations).await {
        Ok(pvc) => ctx.store.apply_pvc(pvc),
        // It is another one now: whatever it says, it is looked at again.
        Err(ApiError::Conflict) => match ctx.api.pvc(hash).await {
            Ok(pvc) => ctx.store.apply_pvc(pvc),
            Err(ApiError::NotFound) => {}
            Err(error) => return Err(error),
        },
        Err(ApiError::NotFound) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
