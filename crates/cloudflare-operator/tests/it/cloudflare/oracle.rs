//! What must hold at Cloudflare, said a second time, without the operator's code.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::SERVICE;

/// The content of our records.
pub(super) const TARGET: &str = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415.cfargotunnel.com";
/// The comment of our records.
pub(super) const COMMENT: &str = "opencode session — managed by opencode-cloudflare-operator";
pub(super) const WILDCARD: &str = "*.example.org";

/// Whether a name is a host that the operator may publish.
fn is_session_host(name: &str) -> bool {
    let Some(first) = name.strip_suffix("-oc.example.org") else { return false };
    let hash = first.strip_prefix("attach-").unwrap_or(first);
    hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

pub(super) fn is_our_record(record: &Value) -> bool {
    text(record, "type") == "CNAME"
        && text(record, "content") == TARGET
        && text(record, "comment") == COMMENT
        && (is_session_host(text(record, "name")) || text(record, "name") == WILDCARD)
}

pub(super) fn is_our_rule(rule: &Value) -> bool {
    text(rule, "path").is_empty()
        && text(rule, "service") == SERVICE
        && is_session_host(text(rule, "hostname"))
}

/// Returns the records of others.
pub(super) fn foreign_records(records: &[Value]) -> Vec<Value> {
    records.iter().filter(|record| !is_our_record(record)).cloned().collect()
}

pub(super) fn rules(config: &Value) -> &[Value] {
    config["ingress"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns the document of others: all of it but our rules, in its order. The last rule, and the default of
/// `warp-routing`, are there in any document that was ever written.
pub(super) fn foreign_document(config: &Value) -> Value {
    let mut document = if config.is_null() { json!({}) } else { config.clone() };
    let mut foreign: Vec<_> =
        rules(config).iter().filter(|rule| !is_our_rule(rule) && !is_wildcard_rule(rule)).cloned().collect();
    if foreign.is_empty() {
        foreign.push(json!({ "service": "http_status:404" }));
    }
    document["ingress"] = json!(foreign);
    if document["warp-routing"].is_null() {
        document["warp-routing"] = json!({ "enabled": false });
    }
    document
}

/// The operator's rule for all hosts. Nothing shows who created it, so it may be added but never removed.
fn is_wildcard_rule(rule: &Value) -> bool {
    *rule == json!({ "hostname": WILDCARD, "service": SERVICE })
}

pub(super) fn wildcard_rules(config: &Value) -> usize {
    rules(config).iter().filter(|rule| is_wildcard_rule(rule)).count()
}

/// Asserts that all desired hosts are published, unless somebody else's record or rule is in the way, and
/// that nothing of ours is left of others.
pub(super) fn assert_published(hosts: &BTreeSet<String>, records: &[Value], config: &Value, local: bool) {
    for host in hosts {
        assert_resolves(host, records);
        if !local {
            assert_routed(host, config);
        }
    }
    for record in records.iter().filter(|record| is_our_record(record)) {
        assert!(hosts.contains(text(record, "name")), "a record is left: {record}");
        assert_eq!(record["proxied"], json!(true), "{record}");
    }
    let ours: Vec<_> = rules(config).iter().filter(|rule| is_our_rule(rule)).collect();
    for rule in ours.iter().filter(|_| !local) {
        let host = text(rule, "hostname");
        assert!(hosts.contains(host), "a rule is left: {rule}");
        assert_eq!(ours.iter().filter(|rule| text(rule, "hostname") == host).count(), 1, "twice: {host}");
    }
}

fn assert_resolves(host: &str, records: &[Value]) {
    let at = |name: &str| -> Vec<&Value> {
        records.iter().filter(|record| text(record, "name") == name).collect()
    };
    let at_name = at(host);
    let is_taken = at_name.iter().any(|record| !is_our_record(record) && text(record, "type") != "TXT");
    let leads = |record: &&&Value| text(record, "content") == TARGET && record["proxied"] == json!(true);
    let covered = at_name.is_empty() && at(WILDCARD).iter().any(|record| leads(&record));
    let own = at_name.iter().filter(|record| is_our_record(record)).any(|record| leads(&record));
    assert!(own || is_taken || covered, "{host} does not resolve: {at_name:?}");
}

fn assert_routed(host: &str, config: &Value) {
    let rules = rules(config);
    let matches = |rule: &&Value| {
        let pattern = text(rule, "hostname");
        pattern.is_empty()
            || pattern == host
            || pattern.strip_prefix('*').is_some_and(|end| host.ends_with(end))
    };
    let whole = |rule: &&Value| text(rule, "path").is_empty() || text(rule, "hostname") != host;
    let first = rules.iter().find(|rule| matches(rule) && whole(rule));
    let first = first.unwrap_or_else(|| panic!("no rule matches {host}"));
    let is_reached = text(first, "service") == SERVICE && text(first, "path").is_empty();
    let is_taken = rules.iter().any(|rule| {
        text(rule, "hostname") == host && text(rule, "path").is_empty() && text(rule, "service") != SERVICE
    });
    assert!(is_reached || is_taken, "{host} reaches {first}");
}
