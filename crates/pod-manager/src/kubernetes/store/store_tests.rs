//! Tests of the store: claims that contradict their owner, and late events.

use futures_util::{FutureExt, StreamExt};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl};

use super::*;
use crate::{backend::WatchEvent, kubernetes::reconcile::Action};

fn store() -> (Arc<Publisher>, Store) {
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
    let publisher = Publisher::new();
    let (store, _queue) = Store::new(publisher.clone(), clock);
    for source in [WatchSource::Pvcs, WatchSource::Pods, WatchSource::PodEvents, WatchSource::PvcEvents] {
        store.synced(source, &BTreeSet::new(), 0);
    }
    (publisher, store)
}

fn claim(hash: SessionHash, version: &str) -> PersistentVolumeClaim {
    serde_json::from_value(serde_json::json!({ "metadata": {
        "name": format!("opencode-pvc-{hash}"), "uid": version, "resourceVersion": version,
        "labels": { "opencode.ai/session-hash": hash.to_string() },
        "annotations": { "opencode.ai/user-email": "alice@example.com" },
    } }))
    .unwrap()
}

#[test]
fn a_session_that_a_list_lacks_is_removed_unless_it_is_newer() {
    let (publisher, store) = store();
    let hashes = [1, 2].map(|byte| SessionHash::from_bytes([byte; 6]));
    for (hash, version) in hashes.into_iter().zip(["5", "9"]) {
        store.apply_pvc(claim(hash, version));
    }
    assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
    // A list from before the second claim was created.
    store.synced(WatchSource::Pvcs, &BTreeSet::from([hashes[0]]), 7);
    assert!(hashes.iter().all(|hash| publisher.get(*hash).is_some()));
    store.synced(WatchSource::Pvcs, &BTreeSet::from([hashes[1]]), 20);
    assert!(publisher.get(hashes[0]).is_none() && publisher.get(hashes[1]).is_some());
    // The last session of all is removed, too.
    store.synced(WatchSource::Pvcs, &BTreeSet::new(), 21);
    assert!(publisher.get(hashes[1]).is_none());
    // An answer from before that list comes late, also one about an unknown session.
    for hash in [hashes[1], SessionHash::from_bytes([3; 6])] {
        store.apply_pvc(claim(hash, "15"));
        assert!(publisher.get(hash).is_none());
        store.apply_pvc(claim(hash, "22"));
        assert!(publisher.get(hash).is_some());
    }
}

/// A claim of Alice's session on the branch `fix`, with this owner written on it.
fn claim_of(owner: &str, uid: &str, version: &str) -> PersistentVolumeClaim {
    let (url, branch) = ("https://git.example.com/acme/widgets", "fix");
    let alice = Identity::parse("alice@example.com").unwrap();
    let hash = SessionHash::of(
        &alice,
        &RepoUrl::parse(url, RepoPolicy::default()).unwrap(),
        &GitRef::parse(branch).unwrap(),
    );
    serde_json::from_value(serde_json::json!({ "metadata": {
        "name": format!("opencode-pvc-{hash}"), "uid": uid, "resourceVersion": version,
        "labels": { "opencode.ai/session-hash": hash.to_string() },
        "annotations": {
            "opencode.ai/user-email": owner, "opencode.ai/repo-url": url, "opencode.ai/branch": branch,
        },
    } }))
    .unwrap()
}

/// A claim of a session without a repository, whose hash says nothing about its owner.
fn empty_claim_of(owner: &str, uid: &str, version: &str) -> PersistentVolumeClaim {
    let mut claim = claim(SessionHash::from_bytes([7; 6]), version);
    claim.metadata.uid = Some(uid.into());
    let annotations = claim.metadata.annotations.get_or_insert_default();
    annotations.insert("opencode.ai/user-email".into(), owner.into());
    claim
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

#[test]
fn a_claim_whose_hash_is_not_that_of_its_owner_is_served_to_nobody() {
    let (publisher, store) = store();
    let claim = claim_of(BOB, "u1", "5");
    let hash = session::hash_of(&claim.metadata).unwrap();
    store.apply_pvc(claim);
    assert_eq!(publisher.get(hash), None);
    store.apply_pvc(claim_of(BOB, "u1", "6"));
    assert_eq!((publisher.get(hash), store.conflicts()), (None, 1), "counted once");
    assert_eq!(store.work_item(hash).unwrap().action, Action::Nothing, "it is left alone");
    store.apply_pvc(claim_of(ALICE, "u1", "7"));
    assert!(publisher.get(hash).is_some());
}

#[test]
fn a_claim_whose_owner_changes_is_served_to_nobody_until_it_changes_back() {
    let (publisher, store) = store();
    let hash = SessionHash::from_bytes([7; 6]);
    store.apply_pvc(empty_claim_of(ALICE, "u1", "5"));
    assert!(publisher.get(hash).is_some());
    store.apply_pvc(empty_claim_of(BOB, "u1", "6"));
    assert_eq!((publisher.get(hash), store.conflicts()), (None, 1));
    store.apply_pvc(empty_claim_of(ALICE, "u1", "7"));
    assert_eq!(publisher.get(hash).unwrap().session.owner.email(), ALICE);
    assert_eq!(store.conflicts(), 1);
}

#[test]
fn a_new_claim_of_another_owner_is_another_session() {
    let (publisher, store) = store();
    let hash = SessionHash::from_bytes([7; 6]);
    store.apply_pvc(empty_claim_of(ALICE, "u1", "5"));
    let mut events = publisher.watch();
    let mut next = || events.next().now_or_never().flatten();
    assert!(matches!(next(), Some(WatchEvent::Snapshot(all)) if all.len() == 1));
    // The deletion of the first claim was missed.
    store.apply_pvc(empty_claim_of(BOB, "u2", "9"));
    assert_eq!(next(), Some(WatchEvent::Removed(hash)));
    let Some(WatchEvent::Applied(status)) = next() else { panic!("not applied") };
    assert_eq!(status.session.owner.email(), BOB);
    assert_eq!(store.conflicts(), 0);
}
