//! The committed openapi.json, and its promises about every route.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::collections::BTreeSet;

use api::{
    testing::{ADMIN, TestRouter, USER},
    wire::ErrorBody,
};
use serde_json::Value;

use crate::{ALICE, router, soon};

fn committed() -> &'static str {
    include_str!("../../openapi.json")
}

/// Returns the path, method and description of every operation.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(committed()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let of_path = |(path, methods): (String, Value)| {
        let methods = methods.as_object().expect("methods").clone();
        methods.into_iter().map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation))
    };
    paths.into_iter().flat_map(of_path).collect()
}

/// Returns the operations of signed-in callers. Those with a secret instead are in front of the sign-in, and
/// are tested with it.
fn signed_in_operations() -> Vec<(String, String, Value)> {
    let has_secret = |operation: &Value| {
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        parameters.iter().any(|parameter| parameter["name"] == "x-admin-secret")
    };
    let (with_secret, signed_in): (Vec<_>, _) =
        operations().into_iter().partition(|(.., operation)| has_secret(operation));
    let names: BTreeSet<_> = with_secret
        .iter()
        .map(|(.., operation)| operation["operationId"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, BTreeSet::from(["listSessionPorts", "pullImage"]));
    signed_in
}

#[test]
fn the_committed_description_is_up_to_date() {
    assert_eq!(
        committed(),
        api::server::openapi_json().expect("a description"),
        "openapi.json is out of date: run `cargo run -p api --example openapi`"
    );
}

#[test]
fn the_description_is_openapi_3_1_and_names_every_operation_once() {
    let document: Value = serde_json::from_str(committed()).expect("JSON");
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let operations = operations();
    let names: BTreeSet<_> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), operations.len(), "{names:?}");
    assert!(names.contains("createSession"), "{names:?}");
}

#[tokio::test]
async fn the_router_serves_its_description() {
    let router = router().await;
    let request = reqwest::Client::new().get(format!("{}/api/openapi.json", router.address()));
    let answer = soon(request.header(USER, ALICE).send()).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(soon(answer.text()).await.expect("a body"), committed());
}

#[tokio::test]
async fn every_operation_answers_401_without_a_caller_and_is_never_cached() {
    let router = router().await;
    for (path, method, _) in signed_in_operations() {
        let url = format!(
            "{}{}",
            router.address(),
            path.replace("{hash}", "a48da0606867").replace("{id}", "0123456789ab")
        );
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new().request(method, url).header("content-type", "application/json");
        let answer = soon(request.send()).await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        let body: ErrorBody = soon(answer.json()).await.expect("an error body");
        assert_eq!(body.code, "unauthenticated", "{path}");
    }
}

/// Sends a mutation as an administrator, to whom no address is unknown; returns the status and the code of
/// the answer.
async fn mutate(
    router: &TestRouter,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &'static str,
) -> (u16, String) {
    let url = format!(
        "{}{}",
        router.address(),
        path.replace("{hash}", "a48da0606867").replace("{id}", "0123456789ab")
    );
    let mut request = reqwest::Client::new().request(method.parse().expect("a method"), &url).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.header(USER, ALICE).header(ADMIN, "yes");
    let answer = soon(request.send()).await.expect("an answer");
    let status = answer.status().as_u16();
    let body: ErrorBody = soon(answer.json()).await.expect("an error body");
    (status, body.code)
}

fn mutations() -> Vec<(String, String, Value)> {
    let mutations: Vec<_> =
        signed_in_operations().into_iter().filter(|(_, method, _)| method != "GET").collect();
    assert!(mutations.len() >= 4, "{mutations:?}");
    mutations
}

#[tokio::test]
async fn every_mutation_refuses_a_body_that_does_not_say_that_it_is_json() {
    let router = router().await;
    for (path, method, operation) in mutations() {
        let types =
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"];
        for wrong in types.map(Some).into_iter().chain([None]) {
            let (status, code) = mutate(&router, &method, &path, wrong, "{}").await;
            let expected = (415, "unsupported_media_type");
            assert_eq!((status, code.as_str()), expected, "{method} {path} {wrong:?}");
        }
        assert!(
            operation["responses"]["415"].is_object(),
            "{method} {path} does not say that it may answer 415"
        );
    }
}

#[tokio::test]
async fn a_mutation_without_a_body_needs_no_content_type_where_none_is_described() {
    let router = router().await;
    for (path, method, operation) in mutations() {
        let needs_body = operation["requestBody"]["required"] == true;
        let id = operation["operationId"].as_str().expect("a name");
        let with_body = ["createAttachToken", "createSession", "replaceSecrets", "setSecrets", "setSecret"];
        assert_eq!(needs_body, with_body.contains(&id), "{method} {path}");
        // It succeeds: a user without secrets has deleted all of them.
        if id == "deleteSecrets" {
            continue;
        }
        // The caller has no session with that hash.
        let expected = if needs_body { (415, "unsupported_media_type") } else { (404, "not_found") };
        for content_type in [None, Some("text/plain"), Some("application/json")] {
            if needs_body && content_type == Some("application/json") {
                continue;
            }
            let (status, code) = mutate(&router, &method, &path, content_type, "").await;
            assert_eq!((status, code.as_str()), expected, "{method} {path} {content_type:?}");
        }
    }
}
