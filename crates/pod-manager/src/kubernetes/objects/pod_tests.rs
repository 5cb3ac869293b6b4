//! Snapshots of whole manifests, and tests of single fields.

use std::time::{Duration, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::{
    super::{
        pvc::make_pvc,
        secret::{make_github_secret, make_server_secret},
    },
    *,
};
use crate::{kubernetes::settings::ContainerResources, model::Password};

fn session(source: Source, initial_message: Option<&str>) -> Session {
    Session {
        hash: SessionHash::parse("a48da0606867").unwrap(),
        owner: Identity::parse("alice@example.com").unwrap(),
        source,
        initial_message: initial_message.map(str::to_owned),
        created_at: UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
    }
}

fn repository(url: &str, branch: &str, from: Option<&str>) -> Source {
    Source::Repository {
        url: RepoUrl::parse(url, RepoPolicy::default()).unwrap(),
        branch: GitRef::parse(branch).unwrap(),
        from: from.map(|from| GitRef::parse(from).unwrap()),
    }
}

fn widgets() -> Session {
    session(repository("https://github.com/acme/widgets.git", "main", Some("dev")), Some("Fix the tests"))
}

fn last_activity() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_060)
}

#[test]
fn a_pod_of_a_repository_is_this_whole_manifest() {
    insta::assert_json_snapshot!(make_pod(
        &widgets(),
        &KubernetesSettings::new("registry.example/opencode:1"),
        last_activity()
    ));
}

#[test]
fn a_volume_is_this_whole_manifest() {
    insta::assert_json_snapshot!(make_pvc(&widgets(), &KubernetesSettings::new("i"), last_activity()));
}

#[test]
fn the_secrets_are_these_whole_manifests() {
    let settings = KubernetesSettings::new("i");
    insta::assert_json_snapshot!([
        make_server_secret(&widgets(), &settings, &Password::new("p4ss")),
        make_github_secret(&widgets(), &settings, "gho_x"),
    ]);
}

#[test]
fn a_new_project_has_no_repository_in_its_environment() {
    let pod = make_pod(&session(Source::Empty, None), &KubernetesSettings::new("i"), last_activity());
    let names = pod.spec.unwrap().containers.remove(0).env.unwrap().into_iter().map(|variable| variable.name);
    assert!(names.into_iter().all(|name| !name.contains("REPO_URL") && !name.contains("BRANCH")));
}

#[test]
fn a_pod_has_an_init_container_only_if_the_operators_patch_names_it() {
    let settings = KubernetesSettings::new("i");
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    assert_eq!(spec.init_containers, None);
    assert_eq!(spec.containers[0].command.as_ref().unwrap().len(), 5, "it prepares the repository itself");
    let patch =
        "spec: { initContainers: [{ name: git-init, env: [{ name: HTTPS_PROXY, value: http://p }] }] }";
    let patch = PodPatch::parse(patch, &settings).unwrap();
    let settings = KubernetesSettings { pod_patch: Some(patch), ..settings };
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    let init = &spec.init_containers.unwrap()[0];
    let names: Vec<_> = init.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert!(["REPO_URL", "BRANCH", "SOURCE_BRANCH", "HTTPS_PROXY"].iter().all(|name| names.contains(name)));
    assert_eq!(spec.containers[0].command.as_ref().unwrap().len(), 3);
    let names = spec.containers[0].env.iter().flatten().map(|variable| variable.name.as_str());
    assert!(names.into_iter().all(|name| !name.contains("REPO_URL")));
}

#[test]
fn a_hostile_branch_is_a_literal_value_and_not_a_script() {
    let hostile = "$(OPENCODE_SERVER_PASSWORD);touch$IFS/x`id`'\"";
    let session = session(repository("https://h/r", hostile, None), None);
    let pod = make_pod(&session, &KubernetesSettings::new("i"), last_activity());
    let opencode = &pod.spec.unwrap().containers[0];
    assert!(opencode.command.iter().chain(&opencode.args).flatten().all(|word| !word.contains("touch$")));
    let variables = opencode.env.as_ref().unwrap();
    let branch = variables.iter().find(|variable| variable.name == "OPENCODE_ROUTER_BRANCH").unwrap();
    assert_eq!(branch.value.as_deref(), Some("$$(OPENCODE_SERVER_PASSWORD);touch$$IFS/x`id`'\""));
}

#[test]
fn git_sends_a_users_token_to_the_configured_github_alone() {
    let settings =
        KubernetesSettings { github_url: "https://git.acme.example".into(), ..KubernetesSettings::new("i") };
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let values = container.env.iter().flatten().filter_map(|variable| variable.value.as_deref());
        let helpers: Vec<_> = values.filter(|value| value.starts_with("credential.")).collect();
        assert_eq!(helpers, ["credential.https://git.acme.example.helper"], "{}", container.name);
    }
}

#[test]
fn settings_reach_the_manifest() {
    let settings = KubernetesSettings {
        image_pull_secret: Some("pull".into()),
        storage_class: Some("fast".into()),
        storage_size: "3Gi".into(),
        user_namespaces: true,
        environment: BTreeMap::from([("OPENCODE_MODEL".to_owned(), "a/b".to_owned())]),
        ..KubernetesSettings::new("i")
    };
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    assert_eq!(spec.host_users, Some(false));
    assert_eq!(spec.image_pull_secrets.unwrap()[0].name, "pull");
    assert!(
        spec.containers[0].env.as_ref().unwrap().iter().any(|variable| variable.name == "OPENCODE_MODEL")
    );
    let spec = make_pvc(&widgets(), &settings, last_activity()).spec.unwrap();
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(spec.resources.unwrap().requests.unwrap()["storage"].0, "3Gi");
}

#[test]
fn the_first_message_is_stored_on_the_claim_only() {
    let settings = KubernetesSettings::new("i");
    let message =
        |meta: &ObjectMeta| meta.annotations.as_ref().unwrap().get("opencode.ai/initial-message").cloned();
    assert_eq!(
        message(&make_pvc(&widgets(), &settings, last_activity()).metadata).as_deref(),
        Some("Fix the tests")
    );
    assert_eq!(message(&make_pod(&widgets(), &settings, last_activity()).metadata), None);
}

#[test]
fn ephemeral_storage_is_limited_unless_the_operator_lifts_the_limit() {
    #[track_caller]
    fn check(settings: &KubernetesSettings, expected: [Option<&str>; 3]) {
        let spec = make_pod(&widgets(), settings, last_activity()).spec.unwrap();
        let tmp = spec.volumes.unwrap().into_iter().find(|volume| volume.name == "tmp").unwrap();
        let size_limit = tmp.empty_dir.unwrap().size_limit.map(|size| size.0);
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let resources = container.resources.clone().unwrap();
            let of = |list: Option<BTreeMap<String, Quantity>>| {
                list.unwrap_or_default().remove("ephemeral-storage").map(|size| size.0)
            };
            let found = [of(resources.requests), of(resources.limits), size_limit.clone()];
            assert_eq!(found.each_ref().map(Option::as_deref), expected);
        }
    }
    let default = KubernetesSettings::new("i");
    check(&default, [Some("64Mi"), Some("8Gi"), Some("8Gi")]);
    check(&KubernetesSettings { ephemeral_storage: None, ..default.clone() }, [None; 3]);
    // Requests and limits that name it win.
    let list = |size: &str| BTreeMap::from([("ephemeral-storage".to_owned(), size.to_owned())]);
    let resources = ContainerResources { requests: list("1Gi"), limits: list("2Gi") };
    check(&KubernetesSettings { resources, ..default }, [Some("1Gi"), Some("2Gi"), Some("8Gi")]);
}

#[test]
fn a_browser_is_beside_opencode_and_only_on_the_pods_loopback() {
    let settings = KubernetesSettings {
        chromium_image: Some("registry.example/chromium:1".into()),
        ..KubernetesSettings::new("i")
    };
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    let [opencode, browser] = &spec.containers[..] else { panic!("not two containers") };
    let names = opencode.env.as_ref().unwrap().iter().map(|variable| variable.name.as_str());
    assert!(names.into_iter().any(|name| name == "OPENCODE_BROWSER_URL"));
    assert_eq!((&browser.ports, &browser.env_from), (&None, &None));
    let start = browser.command.as_ref().unwrap().last().unwrap();
    assert!(start.contains("--remote-debugging-address=127.0.0.1 --remote-debugging-port=9222"));
    let browser = Container { command: None, ..browser.clone() };
    insta::assert_json_snapshot!([
        serde_json::to_value(browser).unwrap(),
        serde_json::to_value(spec.volumes.unwrap().last()).unwrap()
    ]);
}

#[test]
fn a_session_knows_its_public_names() {
    let hosts = session_key::HostScheme::new("code.example.com", "-oc", "attach-").unwrap();
    let settings = KubernetesSettings {
        addresses: Some(crate::SessionAddresses::new("https", hosts)),
        router_url: Some("http://router:8081".into()),
        ..KubernetesSettings::new("i")
    };
    let spec = make_pod(&widgets(), &settings, last_activity()).spec.unwrap();
    let value = |name: &str| {
        let variables = spec.containers[0].env.as_ref().unwrap();
        variables.iter().find(|variable| variable.name == name).unwrap().value.clone().unwrap()
    };
    assert_eq!(value("OPENCODE_SESSION_HASH"), "a48da0606867");
    assert_eq!(value("OPENCODE_ROUTER_EXTERNAL_DOMAIN"), "code.example.com");
    assert_eq!(value("OPENCODE_PORT_URL_TEMPLATE"), "https://{port}-a48da0606867-oc.code.example.com");
    assert_eq!(value("OPENCODE_ROUTER_URL"), "http://router:8081");
}
