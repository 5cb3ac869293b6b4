//! From desired hosts and the tunnel's present document to the next document; pure.
//!
//! The document is one JSON value, and everything in it that is not ours passes through untouched: unknown
//! fields, `originRequest`, `warp-routing`, other people's rules and their order.
//!
//! - **cloudflared takes the first rule that matches**, so a rule of ours comes before the first wildcard, or
//!   the last rule, that would take its host.
//! - **A rule that already leads a host to our service is enough**, whoever made it.
//! - **Somebody else's rule for a host, with another service, is a conflict**: it is reported, not fought.
//! - **A wildcard rule is never removed or moved**: rules have no comment, so nobody can tell who made it. If
//!   another rule hides it, a second one is added before that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
        let is_first = |kept: &mut BTreeSet<String>| kept.insert(rule.hostname.clone());
        if rule.is_ours(ownership) && !(hosts.contains(&rule.hostname) && is_first(&mut kept)) {
            plan.actions.push(Action::RemoveRule { host: rule.hostname });
        } else {
            rules.push(rule);
        }
    }
    let mut covered: BTreeMap<String, usize> = BTreeMap::new();
    // Rules to insert before a rule, by its index.
    let mut inserted: BTreeMap<usize, Vec<Rule>> = BTreeMap::new();
    let mut moved = BTreeSet::new();
    let index = Index::new(&rules);
    for host in hosts {
        match index.outcome(host, &rules, ownership) {
            Outcome::Ours => {}
            Outcome::CoveredBy(hostname) => *covered.entry(hostname).or_default() += 1,
            Outcome::Conflict(service) => {
                plan.conflicts.push(Conflict::Rule { host: host.clone(), service });
            }
            Outcome::Insert { before, moved: None } => {
                plan.actions.push(Action::AddRule { host: host.clone() });
                inserted.entry(before).or_default().push(Rule::new(host, ownership.service()));
            }
            Outcome::Insert { before, moved: Some(from) } => {
                plan.actions.push(Action::MoveRule { host: host.clone() });
                inserted.entry(before).or_default().push(rules[from].clone());
                moved.insert(from);
            }
        }
    }
    plan.notes = covered.into_iter().map(|(hostname, hosts)| Note::RuleCovers { hostname, hosts }).collect();
    let mut next = Vec::new();
    for (index, rule) in rules.into_iter().enumerate() {
        next.append(&mut inserted.remove(&index).unwrap_or_default());
        if !moved.contains(&index) {
            next.push(rule);
        }
    }
    next.extend(inserted.into_values().flatten());
    plan.ours = next.iter().filter(|rule| rule.serves(ownership) && hosts.contains(&rule.hostname)).count();
    if plan.actions.is_empty() {
        return Ok(plan);
    }
    if !next.last().is_some_and(|rule| rule.matches_all() && !rule.has_path) {
        next.push(Rule::new("", CATCH_ALL));
        plan.actions.push(Action::AddCatchAll);
    }
    document.insert("ingress".to_owned(), next.into_iter().map(|rule| rule.value).collect());
    plan.document = Some(Value::Object(document));
    Ok(plan)
}

enum Outcome {
    /// The host's own rule serves it.
    Ours,
    /// The rule with this hostname serves it.
    CoveredBy(String),
    /// Somebody else's rule with this service has the host.
    Conflict(String),
    /// The host needs a rule before this index: a new one, or its own from another place.
    Insert { before: usize, moved: Option<usize> },
}

/// Finds the rules that match a host, without a look at all the others.
struct Index {
    by_host: HashMap<String, Vec<usize>>,
    /// Wildcards, and rules for all hosts.
    patterns: Vec<usize>,
    len: usize,
}

impl Index {
    fn new(rules: &[Rule]) -> Self {
        let mut index = Self { by_host: HashMap::new(), patterns: Vec::new(), len: rules.len() };
        for (position, rule) in rules.iter().enumerate() {
            if rule.is_pattern() {
                index.patterns.push(position);
            }
            index.by_host.entry(rule.hostname.clone()).or_default().push(position);
        }
        index
    }

    /// Decides what becomes of one host. The rules of other hosts make no difference to it.
    fn outcome(&self, host: &str, rules: &[Rule], ownership: &Ownership) -> Outcome {
        let exact = self.by_host.get(host).map_or(&[][..], Vec::as_slice);
        // Rules of the host with a path take only a part of it; they stay what they are, and where they are.
        let whole = || exact.iter().copied().filter(|index| !rules[*index].has_path);
        let pattern = self
            .patterns
            .iter()
            .copied()
            .find(|index| rules[*index].hostname != host && rules[*index].matches(host));
        let first = whole().next().into_iter().chain(pattern).min();
        if let Some(rule) = first.map(|index| &rules[index])
            && rule.serves(ownership)
        {
            let has_own = whole().any(|index| rules[index].serves(ownership));
            return if has_own { Outcome::Ours } else { Outcome::CoveredBy(rule.hostname.clone()) };
        }
        let own = whole().find(|index| rules[*index].is_ours(ownership));
        let other = whole().find(|index| !ownership.is_service(&rules[*index].service));
        match other {
            Some(other) if own.is_none() || Some(other) == first => {
                Outcome::Conflict(rules[other].service.clone())
            }
            _ => Outcome::Insert { before: first.unwrap_or(self.len), moved: own },
        }
    }
}

/// A rule, with the value that it came from.
#[derive(Clone)]
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

    fn is_pattern(&self) -> bool {
        self.hostname.is_empty() || self.hostname.starts_with('*')
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
