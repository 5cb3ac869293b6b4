//! The records' part, case by case.

use std::collections::BTreeSet;

use serde_json::json;
use session_key::HostScheme;

use super::*;

const SESSION: &str = "a48da0606867-oc.example.org";
const ATTACH: &str = "attach-a48da0606867-oc.example.org";
const WILDCARD: &str = "*.example.org";
const TARGET: &str = "f70ff985.cfargotunnel.com";

fn ownership() -> Ownership {
    let names = HostScheme::new("example.org", "-oc", "attach-").unwrap();
    Ownership::new(&names, "F70FF985", "http://traefik:80")
}

/// A record of ours.
fn ours(name: &str) -> Record {
    record("CNAME", name, TARGET).comment(COMMENT)
}

/// A proxied record without a comment.
fn record(kind: &str, name: &str, content: &str) -> Record {
    let id = format!("{kind}/{name}/{content}");
    let fields = json!({ "id": id, "type": kind, "name": name, "content": content, "proxied": true });
    serde_json::from_value(fields).unwrap()
}

impl Record {
    fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(comment.to_owned());
        self
    }

    fn dns_only(mut self) -> Self {
        self.proxied = false;
        self
    }
}

/// Asserts what happens, one line for each action, conflict and note.
#[track_caller]
fn check(hosts: &[&str], records: &[Record], expected: &[&str]) {
    let hosts: BTreeSet<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let plan = plan(&hosts, records, &ownership());
    let actions = plan.actions.iter().map(|action| match action {
        Action::CreateRecord { name } => format!("create {name}"),
        Action::RepairRecord { name, .. } => format!("repair {name}"),
        Action::DeleteRecord { name, id } => {
            assert!(records.iter().any(|record| record.id == *id && record.is_ours(&ownership())));
            format!("delete {name}")
        }
        other => panic!("{other}"),
    });
    let conflicts = plan.conflicts.iter().map(|conflict| match conflict {
        Conflict::Record { name, kind, commented, .. } => format!("conflict {name} {kind} {commented}"),
        Conflict::RecordNotProxied { name } => format!("not proxied {name}"),
        other => panic!("{other}"),
    });
    let notes = plan.notes.iter().map(|note| match note {
        Note::RecordCovers { name, hosts } => format!("{name} covers {hosts}"),
        other @ (Note::RuleCovers { .. } | Note::LocalTunnel) => panic!("{other}"),
    });
    let lines: Vec<_> = actions.chain(conflicts).chain(notes).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_desired_host_without_a_record_gets_one() {
    check(&[SESSION, ATTACH], &[], &[&format!("create {SESSION}"), &format!("create {ATTACH}")]);
    check(&[SESSION, ATTACH], &[ours(SESSION)], &[&format!("create {ATTACH}")]);
}

#[test]
fn a_zone_as_desired_stays_as_it_is() {
    check(&[SESSION, ATTACH], &[ours(SESSION), ours(ATTACH)], &[]);
    check(&[WILDCARD], &[ours(WILDCARD)], &[]);
    check(&[], &[], &[]);
}

#[test]
fn cloudflares_spelling_of_names_makes_no_difference() {
    let mut record = ours(&SESSION.to_ascii_uppercase());
    record.content = format!("{}.", TARGET.to_ascii_uppercase());
    check(&[SESSION], std::slice::from_ref(&record), &[]);
    check(&[], &[record], &[&format!("delete {SESSION}")]);
}

#[test]
fn a_record_of_ours_that_is_not_proxied_is_repaired() {
    check(&[SESSION], &[ours(SESSION).dns_only()], &[&format!("repair {SESSION}")]);
}

#[test]
fn a_record_of_ours_without_a_session_is_deleted() {
    check(&[], &[ours(SESSION), ours(ATTACH)], &[&format!("delete {SESSION}"), &format!("delete {ATTACH}")]);
    check(&[], &[ours(WILDCARD)], &[&format!("delete {WILDCARD}")]);
}

#[test]
fn nothing_else_is_deleted() {
    let elsewhere = record("CNAME", SESSION, "other.cfargotunnel.com").comment(COMMENT);
    check(&[], &[elsewhere], &[]);
    check(&[], &[record("CNAME", SESSION, TARGET)], &[]);
    check(&[], &[record("CNAME", SESSION, TARGET).comment("by hand")], &[]);
    check(&[], &[record("TXT", SESSION, TARGET).comment(COMMENT)], &[]);
    for name in
        ["www.example.org", "example.org", "5173-a48da0606867-oc.example.org", "a48da0606867.example.org"]
    {
        check(&[], &[ours(name)], &[]);
    }
}

#[test]
fn another_record_at_a_hosts_name_is_a_conflict() {
    check(&[SESSION], &[record("A", SESSION, "192.0.2.1")], &[&format!("conflict {SESSION} A false")]);
    check(&[SESSION], &[record("AAAA", SESSION, "::1")], &[&format!("conflict {SESSION} AAAA false")]);
    check(&[SESSION], &[record("NS", SESSION, "ns.example")], &[&format!("conflict {SESSION} NS false")]);
    check(
        &[SESSION],
        &[record("CNAME", SESSION, "pages.example")],
        &[&format!("conflict {SESSION} CNAME false")],
    );
}

#[test]
fn our_comment_with_another_tunnel_is_a_conflict() {
    let elsewhere = record("CNAME", SESSION, "other.cfargotunnel.com").comment(COMMENT);
    check(&[SESSION], &[elsewhere], &[&format!("conflict {SESSION} CNAME true")]);
}

#[test]
fn a_text_record_is_no_conflict() {
    check(&[SESSION], &[record("TXT", SESSION, "v=1")], &[&format!("create {SESSION}")]);
}

#[test]
fn somebody_elses_record_to_our_tunnel_is_enough() {
    check(&[SESSION], &[record("CNAME", SESSION, TARGET)], &[&format!("{SESSION} covers 1")]);
    check(&[SESSION], &[record("CNAME", SESSION, TARGET).dns_only()], &[&format!("not proxied {SESSION}")]);
    check(&[WILDCARD], &[record("CNAME", WILDCARD, TARGET)], &["*.example.org covers 1"]);
}

#[test]
fn somebody_elses_wildcard_to_our_tunnel_is_enough() {
    let wildcard = record("CNAME", WILDCARD, TARGET);
    check(&[SESSION, ATTACH], std::slice::from_ref(&wildcard), &["*.example.org covers 2"]);
    check(&[SESSION], &[wildcard.clone(), ours(SESSION)], &[]);
    check(&[], &[wildcard.clone(), ours(SESSION)], &[&format!("delete {SESSION}")]);
    check(&[SESSION], &[wildcard.clone().dns_only()], &[&format!("create {SESSION}")]);
    check(&[SESSION], &[record("CNAME", WILDCARD, "pages.example")], &[&format!("create {SESSION}")]);
}

#[test]
fn a_wildcard_does_not_cover_a_name_with_another_record() {
    let records = [record("CNAME", WILDCARD, TARGET), record("TXT", SESSION, "v=1")];
    check(&[SESSION], &records, &[&format!("create {SESSION}")]);
}

#[test]
fn the_change_of_routes_creates_before_it_deletes() {
    check(&[SESSION], &[ours(WILDCARD)], &[&format!("create {SESSION}"), &format!("delete {WILDCARD}")]);
    check(
        &[WILDCARD],
        &[ours(SESSION), ours(ATTACH)],
        &[&format!("create {WILDCARD}"), &format!("delete {SESSION}"), &format!("delete {ATTACH}")],
    );
}
