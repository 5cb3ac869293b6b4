//! From desired hosts and the tunnel's present document to the next document; pure.
//!
//! The document is one JSON value, and everything in it that is not ours passes through untouched: unknown
//! fields, `originRequest`, `warp-routing`, other people's rules and their order.
//!
//! - **cloudflared takes the first rule that matches**, so a rule of ours comes before the first wildcard, or
//!   the last rule, that would take its host.
//! - **A rule that already leads a host to our service is enough**, whoever made it.
//! - **Somebody else's rule for a host, with another service, is a conflict**: it is reported, not fought.
//! - **A wildcard rule is never removed**: rules have no comment, so nobody can tell who made it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    action::{Action, Conflict, Note},
    ownership::Ownership,
};

/// The service of the last rule, if the document has none.
const CATCH_ALL: &str = "http_status:404";

/// What has to change in the tunnel's document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TunnelPlan {
    /// The changes.
    pub actions: Vec<Action>,
    /// What stays different.
    pub conflicts: Vec<Conflict>,
    /// What is as desired by somebody else's doing.
    pub notes: Vec<Note>,
    /// The next document (the value of `config`), if there is a change.
    pub document: Option<Value>,
    /// How many rules of ours the next document has.
    pub ours: usize,
}

/// Compares the tunnel's document (`config`; null for a tunnel that was never configured) with the desired
/// hosts.
///
/// # Errors
/// What makes the document unsafe to change: it has a form that the API does not document.
pub fn plan(hosts: &BTreeSet<String>, config: &Value, ownership: &Ownership) -> Result<TunnelPlan, String> {
    let mut document = match config {
        Value::Null => Map::new(),
        Value::Object(fields) => fields.clone(),
        _ => return Err("`config` is not an object".to_owned()),
    };
    let mut plan = TunnelPlan::default();
    let mut rules = Vec::new();
    let mut kept = BTreeSet::new();
    for rule in parse_rules(document.get("ingress"))? {
        if !rule.is_ours(ownership) {
            rules.push(rule);
        } else if hosts.contains(&rule.hostname) && kept.insert(rule.hostname.clone()) {
            rules.push(rule);
        } else {
            plan.actions.push(Action::RemoveRule { host: rule.hostname });
        }
    }
    let mut covered: BTreeMap<String, usize> = BTreeMap::new();
    for host in hosts {
        place(host, &mut rules, &mut plan, &mut covered, ownership);
    }
    plan.notes = covered.into_iter().map(|(hostname, hosts)| Note::RuleCovers { hostname, hosts }).collect();
    plan.ours = rules.iter().filter(|rule| rule.serves(ownership) && hosts.contains(&rule.hostname)).count();
    if plan.actions.is_empty() {
        return Ok(plan);
    }
    if !rules.last().is_some_and(|rule| rule.matches_all() && !rule.has_path) {
        rules.push(Rule::new("", CATCH_ALL));
        plan.actions.push(Action::AddCatchAll);
    }
    document.insert("ingress".to_owned(), rules.into_iter().map(|rule| rule.value).collect());
    plan.document = Some(Value::Object(document));
    Ok(plan)
}

/// Gives one host its rule, unless another rule serves it or stands in its way.
fn place(
    host: &str,
    rules: &mut Vec<Rule>,
    plan: &mut TunnelPlan,
    covered: &mut BTreeMap<String, usize>,
    ownership: &Ownership,
) {
    let is_own = |rule: &Rule| rule.hostname == host && rule.serves(ownership);
    let own = rules.iter().position(is_own);
    // Rules of the host with a path take only a part of it; they stay what they are, and where they are.
    let first = rules.iter().position(|rule| rule.matches(host) && !(rule.hostname == host && rule.has_path));
    let other = rules
        .iter()
        .find(|rule| rule.hostname == host && !rule.has_path && !ownership.is_service(&rule.service));
    let reached = first.map(|index| &rules[index]);
    if reached.is_some_and(|rule| rule.serves(ownership)) {
        let rule = reached.expect("the rule that was just looked at");
        if own.is_none() && rule.hostname != host {
            *covered.entry(rule.hostname.clone()).or_default() += 1;
        }
    } else if let Some(other) = other
        && (own.is_none() || reached.is_some_and(|rule| rule.hostname == host))
    {
        plan.conflicts.push(Conflict::Rule { host: host.to_owned(), service: other.service.clone() });
    } else {
        let rule = match own {
            Some(index) => {
                plan.actions.push(Action::MoveRule { host: host.to_owned() });
                rules.remove(index)
            }
            None => {
                plan.actions.push(Action::AddRule { host: host.to_owned() });
                Rule::new(host, ownership.service())
            }
        };
        rules.insert(first.unwrap_or(rules.len()), rule);
    }
}

/// A rule, with the value that it came from.
struct Rule {
    /// In lower case; empty if the rule has none.
    hostname: String,
    service: String,
    has_path: bool,
    value: Value,
}

impl Rule {
    fn new(hostname: &str, service: &str) -> Self {
        let value = if hostname.is_empty() {
            json!({ "service": service })
        } else {
            json!({ "hostname": hostname, "service": service })
        };
        Self { hostname: hostname.to_owned(), service: service.to_owned(), has_path: false, value }
    }

    fn parse(position: usize, value: &Value) -> Result<Self, String> {
        let text = |field: &str| match value.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("`{field}` of rule {position} is not a text")),
        };
        if !value.is_object() {
            return Err(format!("rule {position} is not an object"));
        }
        Ok(Self {
            hostname: text("hostname")?.to_ascii_lowercase(),
            service: text("service")?,
            has_path: !text("path")?.is_empty(),
            value: value.clone(),
        })
    }

    fn matches_all(&self) -> bool {
        matches!(self.hostname.as_str(), "" | "*")
    }

    /// As cloudflared matches: a wildcard takes names of any depth.
    fn matches(&self, host: &str) -> bool {
        self.matches_all()
            || self.hostname == host
            || self.hostname.strip_prefix('*').is_some_and(|end| end.starts_with('.') && host.ends_with(end))
    }

    /// Whether all that it matches reaches our service.
    fn serves(&self, ownership: &Ownership) -> bool {
        !self.has_path && ownership.is_service(&self.service)
    }

    fn is_ours(&self, ownership: &Ownership) -> bool {
        self.serves(ownership) && ownership.is_session_host(&self.hostname)
    }
}

fn parse_rules(ingress: Option<&Value>) -> Result<Vec<Rule>, String> {
    match ingress {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(rules)) => {
            rules.iter().enumerate().map(|(index, rule)| Rule::parse(index + 1, rule)).collect()
        }
        Some(_) => Err("`ingress` is not a list".to_owned()),
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
