//! Promises on users' secrets.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use session_key::Identity;

use super::harness::Harness;
use crate::user_secrets::{MAX_SECRETS, SecretName, SecretValue, SecretsChange, SecretsError, UserSecrets};

fn user(email: &str) -> Identity {
    Identity::parse(email).expect("an address")
}

fn secrets<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<SecretName, SecretValue> {
    let parse = |(name, value)| {
        (SecretName::parse(name).expect("a name"), SecretValue::parse(value).expect("a value"))
    };
    all.into_iter().map(parse).collect()
}

fn bytes<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Vec<u8>> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

async fn set(store: &dyn UserSecrets, user: &Identity, all: &[(&str, &str)]) -> Vec<String> {
    store.change(user, SecretsChange::Set(secrets(all.iter().copied()))).await.expect("set")
}

/// Setting or removing a secret leaves the others as they are.
pub async fn secrets_are_set_and_removed_one_by_one(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    let store = backend.user_secrets();
    assert_eq!(store.names(&alice).await.expect("names"), [""; 0]);
    assert_eq!(set(store, &alice, &[("NPM_TOKEN", "one")]).await, ["NPM_TOKEN"]);
    assert_eq!(
        set(store, &alice, &[("API_KEY", "two"), ("Z", "three")]).await,
        ["API_KEY", "NPM_TOKEN", "Z"]
    );
    set(store, &alice, &[("NPM_TOKEN", "changed")]).await;
    assert_eq!(store.names(&alice).await.expect("names"), ["API_KEY", "NPM_TOKEN", "Z"]);
    let expected = [("API_KEY", "two"), ("NPM_TOKEN", "changed"), ("Z", "three")];
    assert_eq!(h.secrets(&alice).await, bytes(expected));
    let left = store.change(&alice, SecretsChange::Remove("API_KEY".into())).await.expect("removed");
    assert_eq!(left, ["NPM_TOKEN", "Z"]);
    for name in left {
        store.change(&alice, SecretsChange::Remove(name)).await.expect("removed");
    }
    assert_eq!(h.secrets(&alice).await, BTreeMap::new());
    assert_eq!(set(store, &alice, &[("LATER", "four")]).await, ["LATER"], "after the last one was removed");
    backend.shutdown().await;
}

/// Changes of several names at the same time all take effect.
pub async fn concurrent_changes_of_secrets_lose_nothing(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    let store = backend.user_secrets();
    set(store, &alice, &[("OLD_1", "x"), ("OLD_2", "x")]).await;
    let names: Vec<_> = (0..8).map(|number| format!("NEW_{number}")).collect();
    let sets = names.iter().map(|name| SecretsChange::Set(secrets([(name.as_str(), "y")])));
    let removes = ["OLD_1", "OLD_2"].map(|name| SecretsChange::Remove(name.into()));
    for result in join_all(sets.chain(removes).map(|change| store.change(&alice, change))).await {
        result.expect("a change");
    }
    assert_eq!(store.names(&alice).await.expect("names"), names);
    backend.shutdown().await;
}

/// A replacement and a removal of all leave nothing that was there before.
pub async fn a_replacement_of_secrets_removes_the_others(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    let store = backend.user_secrets();
    set(store, &alice, &[("A", "1"), ("B", "2")]).await;
    let names = store.change(&alice, SecretsChange::Replace(secrets([("B", "new"), ("C", "3")]))).await;
    assert_eq!(names.expect("replaced"), ["B", "C"]);
    assert_eq!(h.secrets(&alice).await, bytes([("B", "new"), ("C", "3")]));
    for _ in 0..2 {
        assert_eq!(store.change(&alice, SecretsChange::Clear).await.expect("cleared"), [""; 0]);
    }
    assert_eq!(h.secrets(&alice).await, BTreeMap::new());
    backend.shutdown().await;
}

/// A value arrives as it was set.
pub async fn a_secret_keeps_every_character(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    let all = [
        ("EMPTY", ""),
        ("SHELL_TEXT", "$HOME `id` $(id) \"'\\ %s ; & | #"),
        ("LINES", "-----BEGIN KEY-----\nYWJj\r\n\tindented\n-----END KEY-----\n"),
        ("LETTERS", "ümläut 🦀 \u{1b}[0m \u{1}"),
        ("JSON", r#"{"type": "service_account", "n": [1, null]}"#),
    ];
    set(backend.user_secrets(), &alice, &all).await;
    assert_eq!(h.secrets(&alice).await, bytes(all));
    backend.shutdown().await;
}

/// A user neither sees nor changes another's secrets.
pub async fn secrets_belong_to_one_user(h: &dyn Harness) {
    let (backend, alice, bob) = (h.open().await, user("alice@example.com"), user("bob@example.com"));
    let store = backend.user_secrets();
    set(store, &alice, &[("TOKEN", "alice's")]).await;
    assert_eq!(store.names(&bob).await.expect("names"), [""; 0]);
    set(store, &bob, &[("TOKEN", "bob's")]).await;
    store.change(&bob, SecretsChange::Clear).await.expect("cleared");
    assert_eq!(h.secrets(&alice).await, bytes([("TOKEN", "alice's")]));
    assert_eq!(h.secrets(&bob).await, BTreeMap::new());
    backend.shutdown().await;
}

/// A restarted router has the same secrets.
pub async fn secrets_survive_a_restart(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    set(backend.user_secrets(), &alice, &[("TOKEN", "value")]).await;
    let backend = h.restart(backend).await;
    assert_eq!(backend.user_secrets().names(&alice).await.expect("names"), ["TOKEN"]);
    assert_eq!(h.secrets(&alice).await, bytes([("TOKEN", "value")]));
    backend.shutdown().await;
}

/// A change that is refused has no effect.
pub async fn a_refused_change_of_secrets_changes_nothing(h: &dyn Harness) {
    let (backend, alice) = (h.open().await, user("alice@example.com"));
    let store = backend.user_secrets();
    let names: Vec<_> = (0..MAX_SECRETS).map(|number| format!("S_{number:03}")).collect();
    let full = names.iter().map(|name| (name.as_str(), "x"));
    store.change(&alice, SecretsChange::Replace(secrets(full))).await.expect("as many as are allowed");
    let one_more = SecretsChange::Set(secrets([("ONE_MORE", "x"), ("S_000", "changed")]));
    let error = store.change(&alice, one_more).await;
    assert!(matches!(error, Err(SecretsError::TooMany)), "{error:?}");
    let absent = store.change(&alice, SecretsChange::Remove("ONE_MORE".into())).await;
    assert!(matches!(absent, Err(SecretsError::NotFound)), "{absent:?}");
    assert_eq!(store.names(&alice).await.expect("names"), names);
    assert_eq!(h.secrets(&alice).await["S_000"], b"x");
    backend.shutdown().await;
}
