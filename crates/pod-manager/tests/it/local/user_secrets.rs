//! Users' secrets as files, and in the environment of their sessions.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use pod_manager::{
    SecretName, SecretValue, SecretsChange, SecretsError, SessionBackend,
    model::{FailureCode, Session},
};

use super::harness::{Local, environment_of, fail, run, stop};

fn set(all: &[(&str, &str)]) -> SecretsChange {
    let parse = |(name, value): &(&str, &str)| {
        (SecretName::parse(name).expect("a name"), SecretValue::parse(value).expect("a value"))
    };
    SecretsChange::Set(all.iter().map(parse).collect::<BTreeMap<_, _>>())
}

fn file(local: &Local, session: &Session) -> PathBuf {
    local.settings.state_dir.join(format!("user-secrets/{}.json", session.owner.digest()))
}

#[tokio::test]
async fn the_next_start_has_the_secrets_in_its_environment() {
    let mut local = Local::new();
    local.settings.environment.push(("ANTHROPIC_API_KEY".into(), "of the router".into()));
    let (backend, session) = (local.backend().await, local.session("origin", "work", None));
    let store = backend.user_secrets();
    let key = "two\nlines \"$HOME\" 🦀";
    let all = [("ANTHROPIC_API_KEY", "of the user"), ("DEPLOY_KEY", key)];
    store.change(&session.owner, set(&all)).await.expect("set");
    run(&backend, &session).await;
    let Some(environment) = environment_of(&local, session.hash) else { return };
    assert_eq!(environment["ANTHROPIC_API_KEY"], "of the user", "a user's own wins");
    assert_eq!(environment["DEPLOY_KEY"], key);
    store.change(&session.owner, SecretsChange::Remove("DEPLOY_KEY".into())).await.expect("removed");
    let environment = environment_of(&local, session.hash).expect("as before");
    assert!(environment.contains_key("DEPLOY_KEY"), "a running session keeps what it has");
    stop(&backend, &session).await;
    run(&backend, &session).await;
    let environment = environment_of(&local, session.hash).expect("as before");
    assert!(!environment.contains_key("DEPLOY_KEY"));
    backend.shutdown().await;
}

#[tokio::test]
async fn a_file_that_somebody_edited_cannot_replace_what_the_session_needs() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "work", None));
    backend.user_secrets().change(&session.owner, set(&[("FINE", "1")])).await.expect("set");
    let edited = r#"{ "version": 1, "secrets": { "FINE": "2", "XDG_DATA_HOME": "/elsewhere", "A B": "3",
        "OPENCODE_SERVER_PASSWORD": "known", "LD_PRELOAD": "/evil.so", "PATH": "/nowhere" } }"#;
    fs::write(file(&local, &session), edited).expect("written");
    run(&backend, &session).await;
    let Some(environment) = environment_of(&local, session.hash) else { return };
    assert_eq!(environment["FINE"], "2");
    assert!(!environment.contains_key("LD_PRELOAD") && !environment.contains_key("A B"));
    assert_ne!(environment["OPENCODE_SERVER_PASSWORD"], "known");
    assert_ne!(environment["XDG_DATA_HOME"], "/elsewhere");
    backend.shutdown().await;
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "work", None));
    let store = backend.user_secrets();
    for value in ["1", "2"] {
        store.change(&session.owner, set(&[("A", value)])).await.expect("set");
        let mode = |path: PathBuf| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(file(&local, &session)), 0o600);
        assert_eq!(mode(local.settings.state_dir.join("user-secrets")), 0o700);
    }
    let files = |local: &Local| {
        fs::read_dir(local.settings.state_dir.join("user-secrets")).expect("a folder").count()
    };
    assert_eq!(files(&local), 1, "nothing else is left beside it");
    store.change(&session.owner, SecretsChange::Clear).await.expect("cleared");
    assert_eq!(files(&local), 0);
    backend.shutdown().await;
}

#[tokio::test]
async fn a_damaged_file_fails_the_start_until_all_secrets_are_deleted() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "work", None));
    let store = backend.user_secrets();
    store.change(&session.owner, set(&[("A", "s3cr3t")])).await.expect("set");
    fs::write(file(&local, &session), r#"{ "version": 1, "secrets": { "A": "s3cr3t"#).expect("written");
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::BackendError);
    assert!(failure.advice.contains("secrets"), "{failure:?}");
    let error = store.change(&session.owner, set(&[("B", "2")])).await.expect_err("damaged");
    assert!(matches!(&error, SecretsError::Store(_)), "{error:?}");
    assert!(!format!("{error:?}{failure:?}").contains("s3cr3t"), "{error:?} {failure:?}");
    store.change(&session.owner, SecretsChange::Clear).await.expect("deleted");
    run(&backend, &session).await;
    backend.shutdown().await;
}
