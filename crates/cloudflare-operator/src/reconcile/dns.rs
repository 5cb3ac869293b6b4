//! From desired hosts and present DNS records to actions; pure.
//!
//! - **One record per host**: a proxied CNAME to the tunnel, with our comment. Port hosts have none of their
//!   own: a port is not known before a server listens on it. They need a wildcard record.
//! - **Somebody else's record at a host's name is a conflict**: it is reported, and nothing else happens.
//!   That includes a record with our comment that leads to another tunnel. It may belong to another
//!   installation that still uses it, and two operators that adopt each other's records would never come to
//!   rest.
//! - **Somebody else's record that already does it is enough**: a CNAME to our tunnel at the host, or a
//!   wildcard.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    action::{Action, Conflict, Note},
    ownership::{COMMENT, Ownership},
};

/// A record, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Record {
    /// Cloudflare's id.
    pub id: String,
    /// `CNAME`, `A`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The complete name.
    pub name: String,
    /// The target or the address.
    #[serde(default)]
    pub content: String,
    /// Whether Cloudflare answers in its place.
    #[serde(default)]
    pub proxied: bool,
    /// The comment.
    #[serde(default)]
    pub comment: Option<String>,
}

impl Record {
    fn leads_to_tunnel(&self, ownership: &Ownership) -> bool {
        self.kind == "CNAME" && self.content.trim_end_matches('.').eq_ignore_ascii_case(ownership.target())
    }

    fn has_comment(&self) -> bool {
        self.comment.as_deref() == Some(COMMENT)
    }

    /// Whether the operator made this record, for this tunnel.
    fn is_ours(&self, ownership: &Ownership) -> bool {
        self.has_comment() && self.leads_to_tunnel(ownership) && ownership.may_own(&self.name)
    }

    /// Whether no CNAME can be added beside this record.
    fn excludes_cname(&self) -> bool {
        matches!(self.kind.as_str(), "A" | "AAAA" | "CNAME" | "NS")
    }
}

/// What has to change in the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// Records to create, then to repair, then to delete: nothing is unreachable in between.
    pub actions: Vec<Action>,
    /// What stays different.
    pub conflicts: Vec<Conflict>,
    /// What is as desired by somebody else's doing.
    pub notes: Vec<Note>,
    /// How many records of ours there are.
    pub ours: usize,
}

/// Compares the zone's records with the desired hosts.
#[must_use]
pub fn plan(hosts: &BTreeSet<String>, records: &[Record], ownership: &Ownership) -> DnsPlan {
    let mut by_name: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_name.entry(record.name.to_ascii_lowercase()).or_default().push(record);
    }
    let mut plan = DnsPlan::default();
    let mut covered: BTreeMap<String, usize> = BTreeMap::new();
    let mut repairs = Vec::new();
    for host in hosts {
        let at_name = by_name.get(host).map_or(&[][..], Vec::as_slice);
        match outcome(host, at_name, &by_name, ownership) {
            Outcome::Create => plan.actions.push(Action::CreateRecord { name: host.clone() }),
            Outcome::Repair(id) => repairs.push(Action::RepairRecord { id, name: host.clone() }),
            Outcome::Ours => {}
            Outcome::CoveredBy(name) => *covered.entry(name).or_default() += 1,
            Outcome::Conflict(conflict) => plan.conflicts.push(conflict),
        }
    }
    plan.actions.append(&mut repairs);
    let ours = records.iter().filter(|record| record.is_ours(ownership));
    plan.ours = ours.clone().count();
    let orphans = ours.filter(|record| !hosts.contains(&record.name.to_ascii_lowercase()));
    let mut deletions: Vec<_> = orphans.map(|record| (record.name.starts_with('*'), record)).collect();
    // The wildcard last: until then it serves the hosts whose own records come first.
    deletions.sort_by(|a, b| (a.0, &a.1.name, &a.1.id).cmp(&(b.0, &b.1.name, &b.1.id)));
    plan.actions.extend(deletions.into_iter().map(|(_, record)| Action::DeleteRecord {
        id: record.id.clone(),
        name: record.name.to_ascii_lowercase(),
    }));
    plan.notes = covered.into_iter().map(|(name, hosts)| Note::RecordCovers { name, hosts }).collect();
    plan
}

enum Outcome {
    Create,
    Repair(String),
    Ours,
    CoveredBy(String),
    Conflict(Conflict),
}

fn outcome(
    host: &str,
    at_name: &[&Record],
    by_name: &BTreeMap<String, Vec<&Record>>,
    ownership: &Ownership,
) -> Outcome {
    if let Some(ours) = at_name.iter().find(|record| record.is_ours(ownership)) {
        return if ours.proxied { Outcome::Ours } else { Outcome::Repair(ours.id.clone()) };
    }
    if let Some(theirs) = at_name.iter().find(|record| record.leads_to_tunnel(ownership)) {
        return if theirs.proxied {
            Outcome::CoveredBy(host.to_owned())
        } else {
            Outcome::Conflict(Conflict::RecordNotProxied { name: host.to_owned() })
        };
    }
    if let Some(other) = at_name.iter().find(|record| record.excludes_cname()) {
        return Outcome::Conflict(Conflict::Record {
            name: host.to_owned(),
            kind: other.kind.clone(),
            content: other.content.clone(),
            commented: other.has_comment(),
        });
    }
    // A wildcard does not apply to a name that has any record (RFC 4592 §2.2.1).
    if at_name.is_empty()
        && let Some((_, parent)) = host.split_once('.')
        && let wildcard = format!("*.{parent}")
        && wildcard != host
        && let Some(records) = by_name.get(&wildcard)
        && records
            .iter()
            .any(|record| record.leads_to_tunnel(ownership) && record.proxied && !record.is_ours(ownership))
    {
        return Outcome::CoveredBy(wildcard);
    }
    Outcome::Create
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
