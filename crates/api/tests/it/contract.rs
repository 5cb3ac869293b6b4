//! The committed openapi.json, and what it promises of every route.

use std::collections::BTreeSet;

use api::{testing::USER, wire::ErrorBody};
use serde_json::Value;

use crate::{ALICE, router, soon};

fn committed() -> &'static str {
    include_str!("../../openapi.json")
}

/// Path, method and description of every operation.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(committed()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let of_path = |(path, methods): (String, Value)| {
        let methods = methods.as_object().expect("methods").clone();
        methods.into_iter().map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation))
    };
    paths.into_iter().flat_map(of_path).collect()
}

#[test]
fn the_committed_description_is_that_of_the_routes() {
    assert_eq!(
        committed(),
        api::server::openapi_json().expect("a description"),
        "openapi.json is not that of the routes: run `cargo run -p api --example openapi`"
    );
}

#[test]
fn the_description_is_openapi_3_1_and_names_every_operation_once() {
    let document: Value = serde_json::from_str(committed()).expect("JSON");
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let operations = operations();
    let names: BTreeSet<_> =
        operations.iter().map(|(.., one)| one["operationId"].as_str().expect("a name")).collect();
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
async fn every_operation_answers_401_to_nobody_and_never_lets_itself_be_stored() {
    let router = router().await;
    for (path, method, _) in operations() {
        let url = format!("{}{}", router.address(), path.replace("{hash}", "a48da0606867"));
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

#[tokio::test]
async fn every_mutation_wants_to_be_told_that_it_is_json() {
    let router = router().await;
    let mutations: Vec<_> = operations().into_iter().filter(|(_, method, _)| method != "GET").collect();
    assert!(mutations.len() >= 4, "{mutations:?}");
    for (path, method, operation) in mutations {
        let url = format!("{}{}", router.address(), path.replace("{hash}", "a48da0606867"));
        let types =
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"];
        for wrong in types.map(Some).into_iter().chain([None]) {
            let request = reqwest::Client::new().request(method.parse().expect("a method"), &url);
            let request = request.header(USER, ALICE);
            let request = wrong.map_or_else(
                || request.try_clone().expect("no body"),
                |wrong| request.try_clone().expect("no body").header("content-type", wrong),
            );
            let answer = soon(request.send()).await.expect("an answer");
            assert_eq!(answer.status(), 415, "{method} {path} {wrong:?}");
            let body: ErrorBody = soon(answer.json()).await.expect("an error body");
            assert_eq!(body.code, "unsupported_media_type");
        }
        assert!(
            operation["responses"]["415"].is_object(),
            "{method} {path} does not say that it may answer 415"
        );
    }
}
