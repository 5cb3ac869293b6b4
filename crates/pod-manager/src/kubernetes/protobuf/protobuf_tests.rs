//! Tests of protobuf with what an API server sent: the lists of Pods and of claims (`testdata`, in both
//! formats), and an error.

use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;
use crate::kubernetes::cache::{trim, trim_pvc};

const PODS: (&[u8], &str) = (include_bytes!("testdata/pods.pb"), include_str!("testdata/pods.jsonl"));
const CLAIMS: (&[u8], &str) = (
    include_bytes!("testdata/persistentvolumeclaims.pb"),
    include_str!("testdata/persistentvolumeclaims.jsonl"),
);

/// Returns a watch's events without their lengths.
fn events(mut bytes: &'static [u8]) -> Vec<Bytes> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (event, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        events.push(Bytes::from_static(event));
        bytes = rest;
    }
    events
}

/// Asserts that a list of one object, and the bookmark at its end, are the same in both formats.
#[track_caller]
fn are_the_same<K: Debug + PartialEq>(
    (protobuf, json): (&'static [u8], &str),
    trim: impl Fn(&mut K),
    unwrap: impl Fn(Watched<K>) -> K,
) where
    Watched<K>: FromProtobuf + DeserializeOwned,
{
    let protobuf: Vec<_> =
        events(protobuf).into_iter().map(|event| watch_event::<Watched<K>>(event).unwrap()).collect();
    let json: Vec<WatchEvent<Watched<K>>> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ([first, end], [expected, expected_end]) =
        (protobuf.try_into().expect("two events"), json.try_into().expect("two events"));
    let (WatchEvent::Added(object), WatchEvent::Added(expected)) = (first, expected) else {
        panic!("no object")
    };
    let (mut object, mut expected) = (unwrap(object), unwrap(expected));
    trim(&mut object);
    trim(&mut expected);
    assert_eq!(object, expected);
    let (WatchEvent::Bookmark(end), WatchEvent::Bookmark(expected)) = (end, expected_end) else {
        panic!("no bookmark")
    };
    // The list in protobuf was requested a moment later.
    let version = |bookmark: &Bookmark| bookmark.metadata.resource_version.parse::<u64>().unwrap();
    assert!(version(&end) >= version(&expected), "{}", version(&end));
    assert_eq!(end.metadata.annotations, expected.metadata.annotations);
    assert_eq!(end.metadata.annotations.len(), 1, "it ends the list");
}

#[test]
fn a_pod_in_protobuf_is_the_pod_in_json() {
    are_the_same::<Pod>(PODS, trim, |Watched(pod)| pod);
}

#[test]
fn a_claim_in_protobuf_is_the_claim_in_json() {
    are_the_same::<PersistentVolumeClaim>(CLAIMS, trim_pvc, |Watched(pvc)| pvc);
}

#[test]
fn an_error_has_its_message() {
    let error = status(Bytes::from_static(include_bytes!("testdata/status.pb"))).unwrap();
    assert_eq!(
        error.message,
        r#"resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#
    );
    assert_eq!(error.code, 500);
}

#[test]
fn a_text_that_is_not_utf_8_leaves_its_pod_readable() {
    let mut event = events(PODS.0).remove(0).to_vec();
    let position = event.windows(2).position(|two| two == "ä".as_bytes()).expect("a letter");
    event[position] = 0xff;
    let WatchEvent::Added(Watched(pod)) = watch_event::<Watched<Pod>>(event.into()).unwrap() else {
        panic!("no object")
    };
    let opencode = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let message = opencode.last_state.unwrap().terminated.unwrap().message.unwrap();
    assert_eq!(message, "opencode-router: preparing the repository\n\u{fffd}\u{fffd}");
}

#[test]
fn what_is_no_event_is_an_error() {
    for bytes in [&b""[..], b"{}", b"\x0a\x05ADDED", b"\x0a\x05ADDED\x12\x04\x0a\x02v1", &PODS.0[4..90]] {
        assert!(watch_event::<Watched<Pod>>(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
    }
}
