//! Finds the session that a person means.

use api::wire::Session;
use session_key::SessionHash;

use crate::{failure::Failure, reach::Reach};

/// The keys that these names mean, in their order. A whole key is taken as it is; the beginning of one is looked
/// up among the sessions there are. All or none: a slip in one name does nothing to the others.
pub(crate) async fn hashes(reach: &Reach, names: &[String], me: &str) -> Result<Vec<SessionHash>, Failure> {
    let whole: Result<Vec<_>, _> = names.iter().map(|name| SessionHash::parse(name)).collect();
    if let Ok(hashes) = whole {
        return Ok(hashes);
    }
    let sessions = reach.list().await?.sessions;
    names.iter().map(|name| choose(name, &sessions, me)).collect()
}

/// The same for one name.
pub(crate) async fn hash(reach: &Reach, name: &str, me: &str) -> Result<SessionHash, Failure> {
    if let Ok(hash) = SessionHash::parse(name) {
        return Ok(hash);
    }
    choose(name, &reach.list().await?.sessions, me)
}

fn choose(name: &str, sessions: &[Session], me: &str) -> Result<SessionHash, Failure> {
    if let Ok(hash) = SessionHash::parse(name) {
        return Ok(hash);
    }
    if name.is_empty() || name.len() > SessionHash::LEN || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message =
            format!("{name:?} is no session: a key is made of up to 12 hexadecimal digits (0-9, a-f)");
        return Err(Failure::new(Failure::USAGE, message).hint(format!("See your sessions: {me} list")));
    }
    let start = name.to_ascii_lowercase();
    let fitting: Vec<_> = sessions
        .iter()
        .map(|session| session.hash)
        .filter(|hash| hash.to_string().starts_with(&start))
        .collect();
    match fitting[..] {
        [only] => Ok(only),
        [] => Err(Failure::new(Failure::NOT_FOUND, format!("no session's key starts with {name:?}"))
            .hint(format!("See your sessions: {me} list"))),
        _ => {
            let all: Vec<_> = fitting.iter().map(ToString::to_string).collect();
            let message = format!("{name:?} may be any of {}: give more of it", all.join(", "));
            Err(Failure::new(Failure::USAGE, message))
        }
    }
}
