//! Tables, and a model: whatever happens, the routes converge and nothing foreign changes.

use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    claims::{Claim, Claims},
    routes::{Mode, RouteSettings, desired},
};

fn settings(mode: Mode) -> RouteSettings {
    RouteSettings {
        mode,
        namespace: "code".into(),
        claims_namespace: "code".into(),
        names: HostNames {
            domain: "example.org".into(),
            suffix: "-oc".into(),
            attach_prefix: "attach-".into(),
        },
        middleware: "code-oauth2-chain".into(),
        router_service: "code".into(),
        attach_service: "code-attach".into(),
        attach_port: Some(4096),
        signin_service: "oauth2-proxy-developers".into(),
        signin_namespace: "oauth2-proxy".into(),
    }
}

fn claims(claims: &[(u64, u64)]) -> Claims {
    let claim = |(hash, uid): &(u64, u64)| {
        let hash = SessionHash::parse(&format!("{hash:012x}")).expect("a hash");
        (hash, Claim { hash, uid: uid.to_string() })
    };
    Claims { sessions: claims.iter().map(claim).collect(), ..Claims::default() }
}

type Objects = BTreeMap<String, Arc<DynamicObject>>;

fn present(objects: &BTreeMap<String, DynamicObject>) -> Objects {
    objects.iter().map(|(name, object)| (name.clone(), Arc::new(object.clone()))).collect()
}

/// Returns the present state after a plan, as the API server would have it.
fn applied(plan: &RoutePlan, before: &Objects) -> Objects {
    let mut after = before.clone();
    for apply in &plan.apply {
        let mut object = apply.object.clone();
        if let Some(old) = before.get(&object.name_any()) {
            // Server-side apply keeps what others have added.
            object.metadata.annotations.clone_from(&old.metadata.annotations);
        }
        after.insert(object.name_any(), Arc::new(object));
    }
    for deletion in &plan.delete {
        after.remove(&deletion.name);
    }
    after
}

const APP: &str = "opencode-session-000000000001-oc-app";

/// Plans for one session whose app route was changed.
#[track_caller]
fn check(change: impl FnOnce(&mut DynamicObject), expected: &str) {
    let settings = settings(Mode::PerSession);
    let desired = desired(&settings, &claims(&[(1, 1)]));
    let mut objects = desired.clone();
    change(objects.get_mut(APP).expect("an app route"));
    let plan = plan(&settings.names, &desired, &present(&objects));
    assert_eq!(plan.to_string(), expected);
}

#[test]
fn what_is_as_desired_stays() {
    check(|_| {}, "");
    check(|object| drop(object.annotations_mut().insert("a".into(), "b".into())), "");
    check(|object| object.data["spec"]["tls"] = json!({}), "");
}

#[test]
fn each_field_of_ours_is_taken_back() {
    let update = format!("update IngressRoute {APP}\n");
    check(|object| object.data["spec"]["routes"][0]["priority"] = json!(1), &update);
    check(|object| object.data["spec"]["routes"][0]["middlewares"] = json!([]), &update);
    check(|object| object.data["spec"]["routes"] = json!([]), &update);
    check(|object| object.data["spec"]["entryPoints"] = json!(["websecure"]), &update);
    check(|object| object.data = json!({}), &update);
    check(|object| object.metadata.labels = None, &update);
    check(|object| object.metadata.owner_references = None, &update);
    // The claim was deleted and created again.
    let other_owner = |object: &mut DynamicObject| object.owner_references_mut()[0].uid = "2".into();
    check(other_owner, &update);
}

#[test]
fn what_bears_no_mark_of_ours_is_a_conflict() {
    let conflict = format!(
        "conflict: IngressRoute {APP} belongs to somebody else and is left as it is. Rename or delete it.\n"
    );
    let foreign = |object: &mut DynamicObject| {
        (object.metadata.labels, object.metadata.owner_references) = (None, None);
    };
    check(foreign, &conflict);
}

#[test]
fn another_namespace_has_no_owners() {
    let settings = RouteSettings { namespace: "edge".into(), ..settings(Mode::PerSession) };
    let desired = desired(&settings, &claims(&[(1, 1)]));
    assert!(desired.values().all(|object| object.owner_references().is_empty()));
    assert_eq!(plan(&settings.names, &desired, &present(&desired)).to_string(), "");
}

/// Something that happens between two passes.
#[derive(Debug, Clone)]
enum Happening {
    Create(u64),
    Delete(u64),
    Switch(bool),
    /// Somebody changes, removes or strips one of the objects.
    Change(prop::sample::Index),
    Remove(prop::sample::Index),
    Strip(prop::sample::Index),
    /// A pass of which only so many writes have their effect.
    Pass(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..6_u64).prop_map(Happening::Create),
        (0..6_u64).prop_map(Happening::Delete),
        any::<bool>().prop_map(Happening::Switch),
        any::<prop::sample::Index>().prop_map(Happening::Change),
        any::<prop::sample::Index>().prop_map(Happening::Remove),
        any::<prop::sample::Index>().prop_map(Happening::Strip),
        (0..8_usize).prop_map(Happening::Pass),
    ]
}

fn foreign() -> Objects {
    let names =
        ["code-oauth2-app", "opencode-session-000000000001-app", "opencode-session-00000000cafe-oc-app"];
    let template =
        desired(&settings(Mode::PerSession), &claims(&[(1, 1)])).remove(APP).expect("an app route");
    let object = |name: &&str| {
        let mut object = template.clone();
        object.metadata.name = Some((*name).to_owned());
        // The last one has the name of an operator, but no label.
        if name.contains("cafe") {
            object.metadata.labels = None;
        }
        object.metadata.owner_references = None;
        ((*name).to_owned(), Arc::new(object))
    };
    names.iter().map(object).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn routes_converge_whatever_happens_and_nothing_foreign_changes(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let foreign = foreign();
        let (mut sessions, mut mode, mut uid) = (BTreeMap::new(), Mode::PerSession, 0);
        let mut objects = foreign.clone();
        let pick = |objects: &Objects, index: &prop::sample::Index| {
            let ours: Vec<String> = objects.keys().filter(|name| !foreign.contains_key(*name)).cloned().collect();
            (!ours.is_empty()).then(|| index.get(&ours).clone())
        };
        let wanted = |sessions: &BTreeMap<u64, u64>, mode| {
            let pairs: Vec<(u64, u64)> = sessions.iter().map(|(hash, uid)| (*hash, *uid)).collect();
            desired(&settings(mode), &claims(&pairs))
        };
        for happening in happenings {
            match happening {
                Happening::Create(hash) => {
                    uid += 1;
                    sessions.entry(hash).or_insert(uid);
                }
                Happening::Delete(hash) => drop(sessions.remove(&hash)),
                Happening::Switch(wildcard) => {
                    mode = if wildcard { Mode::Wildcard } else { Mode::PerSession };
                }
                Happening::Change(index) => {
                    if let Some(name) = pick(&objects, &index) {
                        let object = Arc::make_mut(objects.get_mut(&name).expect("an object"));
                        object.data = json!({ "spec": { "routes": [] } });
                    }
                }
                Happening::Remove(index) => {
                    if let Some(name) = pick(&objects, &index) {
                        objects.remove(&name);
                    }
                }
                Happening::Strip(index) => {
                    if let Some(name) = pick(&objects, &index) {
                        let object = Arc::make_mut(objects.get_mut(&name).expect("an object"));
                        object.metadata.owner_references = None;
                    }
                }
                Happening::Pass(writes) => {
                    let desired = wanted(&sessions, mode);
                    let mut plan = plan(&settings(mode).names, &desired, &objects);
                    let deletions = writes.saturating_sub(plan.apply.len());
                    plan.apply.truncate(writes);
                    plan.delete.truncate(deletions);
                    objects = applied(&plan, &objects);
                }
            }
        }
        let desired = wanted(&sessions, mode);
        let last = plan(&settings(mode).names, &desired, &objects);
        objects = applied(&last, &objects);
        let next = plan(&settings(mode).names, &desired, &objects);
        prop_assert!(next.is_empty() && next.conflicts.is_empty(), "{next}");
        let expected: Vec<&String> = foreign.keys().chain(desired.keys()).collect();
        prop_assert_eq!(objects.len(), expected.len());
        for (name, object) in &foreign {
            prop_assert_eq!(&objects[name].data, &object.data);
            prop_assert_eq!(&objects[name].metadata, &object.metadata);
        }
        for (name, object) in &desired {
            prop_assert_eq!(&objects[name].data, &object.data);
        }
    }
}
