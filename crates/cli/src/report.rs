//! Sessions as the commands print them: the API's JSON, without the fields that the target does not know.

use api::wire::{AdminSession, AdminSessionList, Port, Reason, Session, SessionList, Stage, State};
use jiff::Timestamp;
use serde::Serialize;
use session_key::SessionHash;

/// A value that a router knows and the cluster's objects do not contain. An unknown one is left out of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum MaybeKnown<T> {
    Known(T),
    Unknown,
}

impl<T> MaybeKnown<T> {
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown => None,
        }
    }

    fn is_unknown(&self) -> bool {
        self.known().is_none()
    }
}

/// A [`Session`] with the fields that its source knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionReport {
    pub(crate) hash: SessionHash,
    pub(crate) email: String,
    pub(crate) repo_url: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) source_branch: Option<String>,
    pub(crate) state: State,
    pub(crate) state_since: Timestamp,
    #[serde(skip_serializing_if = "MaybeKnown::is_unknown")]
    pub(crate) url: MaybeKnown<Option<String>>,
    pub(crate) last_activity: Timestamp,
    pub(crate) created_at: Timestamp,
    #[serde(skip_serializing_if = "MaybeKnown::is_unknown")]
    pub(crate) idle_timeout_minutes: MaybeKnown<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attach_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
    #[serde(skip_serializing_if = "MaybeKnown::is_unknown")]
    pub(crate) busy: MaybeKnown<bool>,
    pub(crate) stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_millicores: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<Port>,
}

impl SessionReport {
    /// A session that the cluster's objects describe, without the values that only a router has.
    pub(crate) fn from_cluster(session: Session) -> Self {
        Self {
            url: MaybeKnown::Unknown,
            idle_timeout_minutes: MaybeKnown::Unknown,
            busy: MaybeKnown::Unknown,
            ..Self::from(session)
        }
    }
}

/// A router's session: every field is known.
impl From<Session> for SessionReport {
    fn from(session: Session) -> Self {
        Self {
            hash: session.hash,
            email: session.email,
            repo_url: session.repo_url,
            branch: session.branch,
            source_branch: session.source_branch,
            state: session.state,
            state_since: session.state_since,
            url: MaybeKnown::Known(session.url),
            last_activity: session.last_activity,
            created_at: session.created_at,
            idle_timeout_minutes: MaybeKnown::Known(session.idle_timeout_minutes),
            description: session.description,
            title: session.title,
            attach_url: session.attach_url,
            reason: session.reason,
            busy: MaybeKnown::Known(session.busy),
            stages: session.stages,
            ports: session.ports,
            node: None,
            cpu_millicores: None,
            memory_bytes: None,
        }
    }
}

/// Any user's session, as an administrator sees it.
impl From<AdminSession> for SessionReport {
    fn from(session: AdminSession) -> Self {
        Self {
            hash: session.hash,
            email: session.email,
            repo_url: session.repo_url,
            branch: session.branch,
            source_branch: None,
            state: session.state,
            state_since: session.state_since,
            url: MaybeKnown::Unknown,
            last_activity: session.last_activity,
            created_at: session.created_at,
            idle_timeout_minutes: MaybeKnown::Unknown,
            description: None,
            title: None,
            attach_url: None,
            reason: session.reason,
            busy: MaybeKnown::Known(session.busy),
            stages: Vec::new(),
            node: session.node,
            cpu_millicores: session.cpu_millicores,
            memory_bytes: session.memory_bytes,
            ports: Vec::new(),
        }
    }
}

/// A [`SessionList`] of one user, or of all users of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ListReport {
    /// The user whose sessions these are.
    #[serde(skip_serializing_if = "MaybeKnown::is_unknown")]
    pub(crate) email: MaybeKnown<String>,
    pub(crate) sessions: Vec<SessionReport>,
}

impl ListReport {
    /// The sessions of all users of a cluster, newest activity first.
    pub(crate) fn from_cluster(sessions: Vec<Session>) -> Self {
        let sessions = SessionList::newest_first("", sessions).sessions;
        let sessions = sessions.into_iter().map(SessionReport::from_cluster).collect();
        Self { email: MaybeKnown::Unknown, sessions }
    }
}

impl From<SessionList> for ListReport {
    fn from(list: SessionList) -> Self {
        let sessions = list.sessions.into_iter().map(SessionReport::from).collect();
        Self { email: MaybeKnown::Known(list.email), sessions }
    }
}

impl From<AdminSessionList> for ListReport {
    fn from(list: AdminSessionList) -> Self {
        let sessions = list.sessions.into_iter().map(SessionReport::from).collect();
        Self { email: MaybeKnown::Unknown, sessions }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session() -> Value {
        json!({
            "hash": "a48da0606867", "email": "alice@example.com", "repoUrl": null, "branch": null,
            "sourceBranch": null, "state": "running", "stateSince": "2026-11-23T11:00:00Z",
            "url": "http://a48da0606867.localhost:3000/", "lastActivity": "2026-11-23T11:00:00Z",
            "createdAt": "2026-11-23T11:00:00Z", "idleTimeoutMinutes": 30, "description": "Fix it",
            "title": "A title", "attachUrl": "http://h/", "busy": true, "stages": [],
            "reason": { "code": "idle", "message": "m" },
        })
    }

    fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).expect("the API's JSON")
    }

    fn render(report: &impl Serialize) -> Value {
        serde_json::to_value(report).expect("JSON")
    }

    #[test]
    fn a_routers_answer_is_printed_unchanged() {
        let list = json!({ "email": "alice@example.com", "sessions": [session()] });
        assert_eq!(render(&ListReport::from(parse::<SessionList>(&list))), list);
    }

    #[test]
    fn a_clusters_session_has_no_field_that_only_a_router_knows() {
        let mut expected = session();
        for unknown in ["url", "idleTimeoutMinutes", "busy"] {
            expected.as_object_mut().expect("an object").remove(unknown);
        }
        assert_eq!(render(&SessionReport::from_cluster(parse(&session()))), expected);
        let list = ListReport::from_cluster(vec![parse(&session())]);
        assert_eq!(render(&list), json!({ "sessions": [expected] }));
    }
}
