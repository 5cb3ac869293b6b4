//! The tunnel's part, case by case.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use session_key::HostScheme;

use super::*;

const SESSION: &str = "a48da0606867-oc.example.org";
const ATTACH: &str = "attach-a48da0606867-oc.example.org";
const WILDCARD: &str = "*.example.org";
const SERVICE: &str = "http://traefik:80";

fn ownership() -> Ownership {
    let names = HostScheme::new("example.org", "-oc", "attach-").unwrap();
    Ownership::new(&names, "f70ff985", SERVICE)
}

fn hosts(hosts: &[&str]) -> BTreeSet<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn rule(hostname: &str, service: &str) -> Value {
    json!({ "hostname": hostname, "service": service })
}

fn not_found() -> Value {
    json!({ "service": "http_status:404" })
}

/// Asserts the next rules (`None`: no write), and that a second pass writes nothing. Returns the plan.
#[track_caller]
fn check(wanted: &[&str], ingress: &[Value], expected: Option<&[Value]>) -> TunnelPlan {
    let config = json!({ "ingress": ingress });
    let first = plan(&hosts(wanted), &config, &ownership()).unwrap();
    let next = first.document.as_ref().map(|document| document["ingress"].clone());
    assert_eq!(next, expected.map(|rules| json!(rules)), "{:?}", first.actions);
    let second = plan(&hosts(wanted), first.document.as_ref().unwrap_or(&config), &ownership()).unwrap();
    assert_eq!((second.document, second.actions), (None, vec![]), "a second pass writes");
    first
}

#[test]
fn a_desired_host_gets_a_rule_before_the_last_one() {
    let www = rule("www.example.org", "http://www:80");
    let next = [www.clone(), rule(SESSION, SERVICE), rule(ATTACH, SERVICE), not_found()];
    let plan = check(&[SESSION, ATTACH], &[www, not_found()], Some(&next));
    assert_eq!(plan.ours, 2);
}

#[test]
fn a_tunnel_that_was_never_configured_gets_a_document() {
    for config in [Value::Null, json!({}), json!({ "ingress": null }), json!({ "ingress": [] })] {
        let plan = plan(&hosts(&[SESSION]), &config, &ownership()).unwrap();
        assert_eq!(plan.document.unwrap()["ingress"], json!([rule(SESSION, SERVICE), not_found()]));
        assert_eq!(super::plan(&hosts(&[]), &config, &ownership()).unwrap().document, None);
    }
}

#[test]
fn a_host_goes_before_each_wildcard_that_would_take_it() {
    let net = rule("*.example.net", "http://net:80");
    let star = rule(WILDCARD, "http://other:80");
    let all = rule("*", "http://other:80");
    let next = [net.clone(), rule(SESSION, SERVICE), star.clone(), not_found()];
    check(&[SESSION], &[net.clone(), star.clone(), not_found()], Some(&next));
    let next = [rule(SESSION, SERVICE), all.clone(), net.clone()];
    check(&[SESSION], &[all, net], Some(&[&next[..], &[not_found()]].concat()));
    let deep = rule("*.org", "http://other:80");
    let next = [rule(SESSION, SERVICE), deep.clone(), star.clone(), not_found()];
    check(&[SESSION], &[deep, star, not_found()], Some(&next));
}

#[test]
fn a_rule_of_ours_that_a_wildcard_hides_is_moved_with_its_fields() {
    let star = rule(WILDCARD, "http://other:80");
    let mut own = rule(SESSION, SERVICE);
    own["originRequest"] = json!({ "connectTimeout": 10 });
    let plan = check(&[SESSION], &[star.clone(), own.clone(), not_found()], Some(&[own, star, not_found()]));
    assert_eq!(plan.actions, [Action::MoveRule { host: SESSION.to_owned() }]);
}

#[test]
fn a_rule_that_leads_to_our_service_is_enough() {
    let star = rule(WILDCARD, SERVICE);
    let plan = check(&[SESSION, ATTACH], &[star.clone(), not_found()], None);
    assert_eq!(plan.notes, [Note::RuleCovers { hostname: WILDCARD.to_owned(), hosts: 2 }]);
    let plan = check(&[SESSION], &[json!({ "service": "http://traefik:80/" })], None);
    assert_eq!(plan.notes, [Note::RuleCovers { hostname: String::new(), hosts: 1 }]);
    // A session's rule stays while the session does, and goes with it.
    check(&[SESSION], &[star.clone(), rule(SESSION, SERVICE), not_found()], None);
    check(&[], &[star.clone(), rule(SESSION, SERVICE), not_found()], Some(&[star, not_found()]));
}

#[test]
fn a_wildcard_that_is_hidden_by_another_one_is_not_enough() {
    let (other, star) = (rule("*.org", "http://other:80"), rule(WILDCARD, SERVICE));
    let next = [rule(SESSION, SERVICE), other.clone(), star.clone(), not_found()];
    check(&[SESSION], &[other, star, not_found()], Some(&next));
}

#[test]
fn a_rule_of_ours_without_a_session_is_removed() {
    let own = [rule(SESSION, SERVICE), rule(ATTACH, SERVICE), not_found()];
    check(&[], &own, Some(&[not_found()]));
    check(&[ATTACH], &own, Some(&own[1..]));
    check(&[], &own[..2], Some(&[not_found()]));
}

#[test]
fn nothing_else_is_removed() {
    let with_path = json!({ "hostname": SESSION, "path": "^/x", "service": SERVICE });
    let others = [
        rule(SESSION, "http://other:80"),
        with_path,
        rule(WILDCARD, SERVICE),
        rule("www-oc.example.org", SERVICE),
        rule("5173-a48da0606867-oc.example.org", SERVICE),
        rule("a48da0606867.example.org", SERVICE),
        rule("a48da0606867-oc.example.net", SERVICE),
        rule("example.org", SERVICE),
        not_found(),
    ];
    check(&[], &others, None);
}

#[test]
fn a_second_rule_of_a_host_is_removed() {
    let own = rule(SESSION, SERVICE);
    check(&[SESSION], &[own.clone(), own.clone(), not_found()], Some(&[own, not_found()]));
}

#[test]
fn a_rule_with_another_service_is_a_conflict() {
    let other = rule(SESSION, "http://other:80");
    let conflict = Conflict::Rule { host: SESSION.to_owned(), service: "http://other:80".to_owned() };
    for rules in [
        vec![other.clone(), not_found()],
        vec![other.clone(), rule(SESSION, SERVICE), not_found()],
        vec![rule(WILDCARD, "http://star:80"), other.clone(), not_found()],
    ] {
        let plan = check(&[SESSION], &rules, None);
        assert_eq!(plan.conflicts, std::slice::from_ref(&conflict));
    }
    check(&[SESSION], &[rule(SESSION, SERVICE), other, not_found()], None);
}

#[test]
fn a_rule_with_a_path_stays_before_ours() {
    let with_path = json!({ "hostname": SESSION, "path": "^/x", "service": "http://other:80" });
    let next = [with_path.clone(), rule(SESSION, SERVICE), not_found()];
    check(&[SESSION], &[with_path, not_found()], Some(&next));
}

#[test]
fn a_wildcard_with_a_path_does_not_cover_a_host() {
    let with_path = json!({ "hostname": WILDCARD, "path": "^/x", "service": SERVICE });
    let next = [rule(SESSION, SERVICE), with_path.clone(), not_found()];
    check(&[SESSION], &[with_path, not_found()], Some(&next));
}

#[test]
fn the_wildcard_is_one_rule_and_stays_when_the_routes_change() {
    let star = rule(WILDCARD, SERVICE);
    check(&[WILDCARD], &[not_found()], Some(&[star.clone(), not_found()]));
    let plan = check(&[WILDCARD], &[star.clone(), not_found()], None);
    assert_eq!((plan.ours, plan.notes), (1, vec![]));
    let before = [rule(SESSION, SERVICE), not_found()];
    check(&[WILDCARD], &before, Some(&[star.clone(), not_found()]));
    let plan = check(&[WILDCARD], &[rule(WILDCARD, "http://other:80"), not_found()], None);
    assert_eq!(plan.conflicts.len(), 1);
    check(&[SESSION], &[star.clone(), not_found()], None);
    let hidden = [rule("*.org", "http://other:80"), star.clone(), not_found()];
    check(&[WILDCARD], &hidden, Some(&[&[star][..], &hidden].concat()));
}

#[test]
fn a_missing_last_rule_is_added_with_the_next_write_only() {
    let www = rule("www.example.org", "http://www:80");
    check(&[], std::slice::from_ref(&www), None);
    check(&[SESSION], std::slice::from_ref(&www), Some(&[www.clone(), rule(SESSION, SERVICE), not_found()]));
}

#[test]
fn all_that_is_not_ours_passes_through() {
    let www = json!({
        "hostname": "www.example.org",
        "service": "http://www:80",
        "path": "",
        "id": "7",
        "originRequest": { "noTLSVerify": true, "access": { "audTag": ["a"], "required": true } },
        "future": [1, { "a": null }],
    });
    let config = json!({
        "originRequest": { "connectTimeout": 30, "future": "x" },
        "warp-routing": { "enabled": true },
        "ingress": [www, { "service": "http_status:503" }],
        "future": { "b": [true] },
    });
    let plan = plan(&hosts(&[SESSION]), &config, &ownership()).unwrap();
    let mut expected = config.clone();
    expected["ingress"].as_array_mut().unwrap().insert(1, rule(SESSION, SERVICE));
    assert_eq!(plan.document.unwrap(), expected);
}

#[test]
fn a_document_of_unknown_form_is_not_changed() {
    for config in [
        json!("text"),
        json!([]),
        json!({ "ingress": {} }),
        json!({ "ingress": ["rule"] }),
        json!({ "ingress": [{ "hostname": 7, "service": "x" }] }),
    ] {
        assert!(plan(&hosts(&[SESSION]), &config, &ownership()).is_err(), "{config}");
    }
}
