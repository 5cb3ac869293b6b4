use super::*;

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
