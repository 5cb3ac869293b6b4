//! A session's GitHub token as a Secret.

use std::time::UNIX_EPOCH;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use pod_manager::{
    Credentials, Token,
    contract::session_of,
    kubernetes::{
        api::ApiClient,
        objects::{names, pvc::make_pvc, secret::make_github_secret},
    },
};
use session_key::RepoPolicy;

use super::cluster::cluster;

fn given(token: &str) -> Credentials {
    Credentials { github_token: Token::parse(token), git_author: None }
}

#[tokio::test]
async fn a_token_is_written_refreshed_kept_and_owned_by_the_sessions_claim() {
    let Some(cluster) = cluster().await else { return };
    let (client, settings) = (&cluster.client, &cluster.settings);
    let session = session_of("https://github.com/acme/widgets", RepoPolicy::default());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &settings.namespace);
    let claim = make_pvc(&session, settings, UNIX_EPOCH);
    let claim = claims.create(&PostParams::default(), &claim).await.expect("a claim");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    let name = names::github_secret_name(session.hash);
    let api = ApiClient::new(client, &settings.namespace);
    let write = async |credentials: &Credentials| {
        api.apply_github_secret(settings, &claim, &session, credentials).await.expect("written");
        secrets.get_opt(&name).await.expect("an answer")
    };
    let token = |secret: &Secret| {
        let data = secret.data.as_ref().expect("data");
        String::from_utf8(data["GITHUB_TOKEN"].0.clone()).expect("text")
    };

    assert!(write(Credentials::NONE).await.is_none(), "without a token there is no Secret");
    let first = write(&given("gho_first")).await.expect("a Secret");
    assert_eq!(token(&first), "gho_first");
    let owner = &first.metadata.owner_references.as_ref().expect("owners")[0];
    assert_eq!(
        (&owner.name, &owner.uid),
        (&names::pvc_name(session.hash), claim.metadata.uid.as_ref().expect("uid"))
    );
    assert!(!format!("{:?}", first.metadata).contains("gho_first"), "it is in its data alone");
    assert_eq!(token(&write(&given("gho_second")).await.expect("a Secret")), "gho_second");
    assert_eq!(token(&write(Credentials::NONE).await.expect("a Secret")), "gho_second", "it is kept");

    // The TypeScript router's Secret has no owner.
    secrets.delete(&name, &DeleteParams::default()).await.expect("deleted");
    let old = make_github_secret(&session, settings, "gho_old");
    secrets.create(&PostParams::default(), &old).await.expect("a Secret");
    let adopted = write(&given("gho_third")).await.expect("a Secret");
    assert_eq!(
        (token(&adopted).as_str(), adopted.metadata.owner_references.map(|it| it.len())),
        ("gho_third", Some(1))
    );
}
