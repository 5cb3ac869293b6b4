//! Resolves what a user typed to the keys of sessions.

use session_key::SessionHash;

use crate::{error::CliError, report::SessionReport, target::Target};

/// Returns the keys of the named sessions, in order.
///
/// A whole key needs no lookup; a prefix of one is looked up in the list of sessions. One wrong name fails
/// all, so that a typo in one name leaves the other sessions alone.
pub(crate) async fn pick_all(
    target: &Target,
    names: &[String],
    program: &str,
) -> Result<Vec<SessionHash>, CliError> {
    let whole_keys: Result<Vec<_>, _> = names.iter().map(|name| SessionHash::parse(name)).collect();
    if let Ok(hashes) = whole_keys {
        return Ok(hashes);
    }
    let sessions = target.list().await?.sessions;
    names.iter().map(|name| find(name, &sessions, program)).collect()
}

/// Returns the key of the named session.
pub(crate) async fn pick(target: &Target, name: &str, program: &str) -> Result<SessionHash, CliError> {
    match SessionHash::parse(name) {
        Ok(hash) => Ok(hash),
        Err(_) => find(name, &target.list().await?.sessions, program),
    }
}

fn find(name: &str, sessions: &[SessionReport], program: &str) -> Result<SessionHash, CliError> {
    if let Ok(hash) = SessionHash::parse(name) {
        return Ok(hash);
    }
    let list_hint = format!("List your sessions: {program} list");
    if name.is_empty() || name.len() > SessionHash::LEN || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("{name:?} is not a session's key: a key has 12 hexadecimal digits (0-9, a-f)");
        return Err(CliError::new(CliError::USAGE, message).hint(list_hint));
    }
    let prefix = name.to_ascii_lowercase();
    let matches: Vec<_> = sessions
        .iter()
        .map(|session| session.hash)
        .filter(|hash| hash.to_string().starts_with(&prefix))
        .collect();
    match matches[..] {
        [hash] => Ok(hash),
        [] => {
            let message = format!("no session's key starts with {name:?}");
            Err(CliError::new(CliError::NOT_FOUND, message).hint(list_hint))
        }
        _ => {
            let keys: Vec<_> = matches.iter().map(ToString::to_string).collect();
            let message = format!("{name:?} is ambiguous: it matches {}", keys.join(", "));
            Err(CliError::new(CliError::USAGE, message).hint("Type more characters of the key."))
        }
    }
}
