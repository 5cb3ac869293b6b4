//! The loop of each session: looks, and does what [`step`](super::step::step) says, until nothing is left to do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use parking_lot::Mutex;
use rand::RngExt;
use session_key::SessionHash;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Inner, attend,
    calls::Refusal,
    credentials, failure,
    index::Look,
    manifest::{self, annotation},
    record,
    step::Action,
    wanted::{self, Wanted, What},
};
use crate::model::{Failure, FailureCode, Password, Session};

/// How long another router than the one that was asked waits for that one.
const DEFERENCE: Duration = Duration::from_secs(1);
/// Between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// The loops that are under way; `true`: something changed since it last looked.
#[derive(Default)]
pub(super) struct Loops(Mutex<BTreeMap<SessionHash, bool>>);

/// Has the loop of every session that changed look again, for ever.
pub(super) async fn drive(inner: Arc<Inner>, mut kicked: mpsc::UnboundedReceiver<SessionHash>) {
    while let Some(hash) = kicked.recv().await {
        attend::attend(&inner, hash);
        let mut loops = inner.loops.0.lock();
        if let Some(again) = loops.get_mut(&hash) {
            *again = true;
            continue;
        }
        // Most changes ask for nothing.
        if inner.index.look(hash).is_none_or(|look| look.action == Action::Nothing) {
            continue;
        }
        loops.insert(hash, false);
        let (inner, stop) = (inner.clone(), inner.stop.clone());
        inner.clone().tasks.spawn(async move { stop.run_until_cancelled(Box::pin(go(inner, hash))).await });
    }
}

async fn go(inner: Arc<Inner>, hash: SessionHash) {
    let mut pause = PAUSES[0];
    loop {
        match turn(&inner, hash).await {
            Ok(()) => pause = PAUSES[0],
            Err(refusal) => {
                tracing::warn!(session.hash = %hash, error = %refusal, "the session's next step could not be done; it is tried again");
                sleep(about(pause)).await;
                pause = (pause * 2).min(PAUSES[1]);
                continue;
            }
        }
        let mut loops = inner.loops.0.lock();
        match loops.get_mut(&hash) {
            Some(again) if *again => *again = false,
            _ => {
                loops.remove(&hash);
                return;
            }
        }
    }
}

/// Not all at once.
pub(super) fn about(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.8..1.2))
}

/// One step. What came of it is seen by the index, which has this called again.
async fn turn(inner: &Inner, hash: SessionHash) -> Result<(), Refusal> {
    let Some(look) = inner.index.look(hash) else { return Ok(()) };
    if look.action == Action::Nothing {
        return Ok(());
    }
    let look = if look.mine {
        look
    } else {
        sleep(about(DEFERENCE)).await;
        let Some(look) = inner.index.look(hash) else { return Ok(()) };
        look
    };
    match look.action.clone() {
        Action::Nothing => Ok(()),
        Action::CreatePod(run) => {
            // No delete comes in between: it would find no Pod yet, and this one would outlast its claim.
            let _turn = inner.making.lock(hash).await;
            match inner.index.look(hash) {
                Some(look) if look.action == Action::CreatePod(run.clone()) => {
                    create_pod(inner, hash, &run, &look).await
                }
                _ => Ok(()),
            }
        }
        Action::DeletePod(uid) => {
            match inner.calls.pvc(hash).await {
                // Somebody took its label away: it is not ours to judge, and nor is its Pod.
                Ok(pvc) if record::hash_of(&pvc.metadata) != Some(hash) => return Ok(()),
                Ok(pvc) => inner.index.apply_pvc(pvc),
                Err(Refusal::NotFound) => return delete_pod(inner, hash, &uid).await,
                Err(refusal) => return Err(refusal),
            }
            match inner.index.look(hash) {
                Some(look) if look.action == Action::DeletePod(uid.clone()) => {
                    delete_pod(inner, hash, &uid).await
                }
                _ => Ok(()),
            }
        }
        Action::GiveUp(failure) => {
            let failure = failure::with_log(inner, hash, look.pod.as_deref(), failure).await;
            give_up(inner, hash, look.pvc.as_deref(), failure).await
        }
    }
}

async fn delete_pod(inner: &Inner, hash: SessionHash, uid: &str) -> Result<(), Refusal> {
    match inner.calls.delete_pod(hash, uid).await {
        Ok(Some(pod)) => inner.index.apply_pod(pod),
        // It is gone, or another one is there: the watch will tell.
        Ok(None) | Err(Refusal::NotFound | Refusal::Conflict) => {}
        Err(refusal) => return Err(refusal),
    }
    Ok(())
}

/// Makes the password's Secret, and then the Pod that takes it.
async fn create_pod(inner: &Inner, hash: SessionHash, run: &str, look: &Look) -> Result<(), Refusal> {
    let (Some(session), Some(pvc)) = (&look.session, &look.pvc) else { return Ok(()) };
    let denied = match ensure_password(inner, session, pvc).await {
        Ok(()) => match inner.calls.create_pod(&pod_of(inner, session, pvc, run)).await {
            Ok(pod) => {
                inner.index.apply_pod(pod);
                return Ok(());
            }
            // Another router was quicker, or an older one is still going: whatever it is, it is looked at.
            Err(Refusal::Exists | Refusal::Conflict) => {
                match inner.calls.pod(hash).await {
                    Ok(pod) => inner.index.apply_pod(pod),
                    // It went just now.
                    Err(Refusal::NotFound) => return Err(Refusal::Conflict),
                    Err(refusal) => return Err(refusal),
                }
                return Ok(());
            }
            Err(Refusal::Denied(why)) => why,
            Err(refusal) => return Err(refusal),
        },
        Err(Refusal::Denied(why)) => why,
        Err(refusal) => return Err(refusal),
    };
    // Asking again would not help.
    let failure = Failure {
        code: FailureCode::BackendError,
        message: format!("The cluster does not take the session's Pod: {denied}."),
        advice: "Mend what it says (a quota, an admission rule, the router's Role or the Pod's patch), then resume the session.".into(),
        log_tail: None,
    };
    give_up(inner, hash, look.pvc.as_deref(), failure).await
}

fn pod_of(inner: &Inner, session: &Session, pvc: &PersistentVolumeClaim, run: &str) -> Pod {
    let last_activity = record::last_activity(pvc, None, session);
    let mut pod = manifest::pod(session, &inner.settings, last_activity);
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation(wanted::RUN_KEY), run.to_owned());
    // Goes with the claim also where no router comes to it.
    pod.metadata.owner_references = owner(pvc).map(|owner| vec![owner]);
    pod
}

fn owner(pvc: &PersistentVolumeClaim) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".into(),
        kind: "PersistentVolumeClaim".into(),
        name: pvc.metadata.name.clone()?,
        uid: pvc.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

/// Makes sure that the session has a password, in a Secret that goes with this claim and not with an earlier one.
async fn ensure_password(
    inner: &Inner,
    session: &Session,
    pvc: &PersistentVolumeClaim,
) -> Result<(), Refusal> {
    let password = Password::new(new_password());
    let secret = credentials::owned(manifest::server_secret(session, &inner.settings, &password), pvc);
    match inner.calls.create_secret(&secret).await {
        Err(Refusal::Exists) => {}
        done => return done.map(drop),
    }
    let there = match inner.calls.server_secret(session.hash).await {
        Ok(there) => there,
        Err(Refusal::NotFound) => return Err(Refusal::Conflict),
        Err(refusal) => return Err(refusal),
    };
    let owners = there.metadata.owner_references.iter().flatten();
    let is_ours = owners.into_iter().any(|owner| Some(&owner.uid) == pvc.metadata.uid.as_ref());
    if is_ours && there.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    // An earlier session's, which the cluster is about to remove.
    let uid = there.metadata.uid.unwrap_or_default();
    match inner.calls.delete_server_secret(session.hash, &uid).await {
        Ok(()) | Err(Refusal::NotFound | Refusal::Conflict) => {}
        Err(refusal) => return Err(refusal),
    }
    inner.calls.create_secret(&secret).await.map(drop)
}

/// 192 random bits, in letters that need no quoting anywhere.
fn new_password() -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
}

/// Writes down that the run failed, if nothing else was asked for since.
async fn give_up(
    inner: &Inner,
    hash: SessionHash,
    pvc: Option<&PersistentVolumeClaim>,
    failure: Failure,
) -> Result<(), Refusal> {
    let Some(pvc) = pvc else { return Ok(()) };
    tracing::info!(session.hash = %hash, code = failure.code.as_str(), "the session failed");
    let wanted = Wanted { what: What::Failed(failure), at: Some(inner.clock.now()) };
    let annotations = record::with_wanted(pvc, inner.index.pod(hash).as_deref(), &wanted);
    match inner.calls.annotate(hash, pvc.metadata.resource_version.as_deref(), &annotations).await {
        Ok(pvc) => inner.index.apply_pvc(pvc),
        // It is another one now: whatever it says, it is looked at again.
        Err(Refusal::Conflict) => match inner.calls.pvc(hash).await {
            Ok(pvc) => inner.index.apply_pvc(pvc),
            Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        },
        Err(Refusal::NotFound) => {}
        Err(refusal) => return Err(refusal),
    }
    Ok(())
}
