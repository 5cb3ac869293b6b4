//! The public addresses of a session, and the conversation to which they lead.

use pod_manager::{ListeningPort, View, ViewState};
use session_key::{HostScheme, SessionHash, SessionRoute, Target};

use crate::wire;

/// Returns `<proto>://<session's host><landing path>`, if the session runs.
#[must_use]
pub fn url(view: &View, scheme: &HostScheme, proto: &str) -> Option<String> {
    let path = (view.state == ViewState::Running).then(|| view.landing_path.as_deref().unwrap_or("/"))?;
    let route = SessionRoute { hash: view.status.session.hash, target: Target::Opencode };
    Some(format!("{proto}://{}{path}", scheme.render(&route)))
}

/// Returns the address of a session for `opencode attach`.
#[must_use]
pub fn attach_url(hash: SessionHash, scheme: &HostScheme, proto: &str) -> String {
    format!("{proto}://{}", scheme.render(&SessionRoute { hash, target: Target::Attach }))
}

/// Returns the dev servers of a running session, with their public addresses.
#[must_use]
pub fn ports(view: &View, scheme: &HostScheme, proto: &str) -> Vec<wire::Port> {
    if view.state != ViewState::Running {
        return Vec::new();
    }
    let hash = view.status.session.hash;
    let port = |listening: &ListeningPort| {
        let host = scheme.render(&SessionRoute { hash, target: Target::Port(listening.port) });
        let url = format!("{proto}://{host}/");
        wire::Port { port: listening.port, url, process: listening.process.clone() }
    };
    view.ports.listening.iter().map(port).collect()
}

/// Returns the id of the newest opencode session, if the session runs and it is known.
#[must_use]
pub fn conversation_id(view: &View) -> Option<String> {
    let (_, id) = view.landing_path.as_deref()?.rsplit_once("/session/")?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_id.then(|| id.to_owned())
}
