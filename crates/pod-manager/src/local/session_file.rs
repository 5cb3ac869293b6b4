//! A session's file, `session.json`: what of a session outlasts the router.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::proc_table::ProcessId;
use crate::{
    attach::AttachTokens,
    model::{GitAuthor, Session, Source},
    persisted::{self, PersistedState},
    persisted_attach::{PersistedToken, from_persisted, to_persisted},
};

/// The version of `session.json` that this router writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// What is saved of one session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SavedSession {
    pub(super) session: Arc<Session>,
    pub(super) last_activity: SystemTime,
    pub(super) first_prompt_sent: bool,
    pub(super) attach_tokens: Arc<AttachTokens>,
    pub(super) desired: PersistedState,
    /// When `desired` was set.
    pub(super) since: SystemTime,
    /// The leader of the current run's process group, or of one that a killed router left.
    pub(super) process: Option<ProcessId>,
    /// The empty commit that a new project begins with; it holds no work.
    pub(super) first_commit: Option<String>,
    /// Who the session's commits are by, if it is not made of the owner.
    pub(super) git_author: Option<GitAuthor>,
    pub(super) deletion: Option<Deletion>,
}

/// The session is to be deleted.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Deletion {
    /// The session to create in its place.
    pub(super) recreate_as: Option<Arc<Session>>,
}

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum LoadError {
    Newer,
    Damaged(String),
}

impl SavedSession {
    /// Creates a new session that is to run.
    pub(super) fn new(session: Arc<Session>, now: SystemTime) -> Self {
        Self {
            session,
            last_activity: now,
            first_prompt_sent: false,
            attach_tokens: Arc::default(),
            desired: PersistedState::Running { run: None },
            since: now,
            process: None,
            first_commit: None,
            git_author: None,
            deletion: None,
        }
    }

    pub(super) fn is_to_run(&self) -> bool {
        matches!(self.desired, PersistedState::Running { .. })
    }

    pub(super) fn set_desired(&mut self, desired: PersistedState, now: SystemTime) {
        (self.desired, self.since) = (desired, now);
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, String> {
        let file = File {
            version: VERSION,
            session: SessionFile::of(&self.session)?,
            last_activity: timestamp(self.last_activity)?,
            first_prompt_sent: self.first_prompt_sent,
            attach_tokens: to_persisted(&self.attach_tokens),
            desired: self.desired.clone(),
            since: timestamp(self.since)?,
            process: self.process,
            first_commit: self.first_commit.clone(),
            git_author: self.git_author.as_ref().map(ToString::to_string),
            deletion: match &self.deletion {
                None => None,
                Some(Deletion { recreate_as: None }) => Some(DeletionFile { recreate_as: None }),
                Some(Deletion { recreate_as: Some(session) }) => {
                    Some(DeletionFile { recreate_as: Some(SessionFile::of(session)?) })
                }
            },
        };
        serde_json::to_vec_pretty(&file).map_err(|error| error.to_string())
    }

    /// Parses a file; `hash` is the name of its folder.
    pub(super) fn from_json(bytes: &[u8], hash: SessionHash) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| LoadError::Damaged(error.to_string());
        let Version { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > VERSION {
            return Err(LoadError::Newer);
        }
        let file: File = serde_json::from_slice(bytes).map_err(damaged)?;
        let saved = file.into_saved().map_err(LoadError::Damaged)?;
        if saved.session.hash != hash {
            return Err(LoadError::Damaged(format!("it belongs to another session, {}", saved.session.hash)));
        }
        Ok(saved)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    version: u32,
    session: SessionFile,
    last_activity: Timestamp,
    #[serde(rename = "greeted")]
    first_prompt_sent: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attach_tokens: Vec<PersistedToken>,
    #[serde(rename = "kept", with = "persisted::local")]
    desired: PersistedState,
    since: Timestamp,
    #[serde(default)]
    process: Option<ProcessId>,
    #[serde(default)]
    first_commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    git_author: Option<String>,
    #[serde(default)]
    deletion: Option<DeletionFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionFile {
    hash: String,
    owner: String,
    source: SourceFile,
    initial_message: Option<String>,
    created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum SourceFile {
    Repository { url: String, branch: String, from: Option<String> },
    Empty,
}

#[derive(Serialize, Deserialize)]
struct DeletionFile {
    #[serde(default, rename = "anew")]
    recreate_as: Option<SessionFile>,
}

impl File {
    fn into_saved(self) -> Result<SavedSession, String> {
        let deletion = match self.deletion {
            None => None,
            Some(DeletionFile { recreate_as }) => Some(Deletion {
                recreate_as: recreate_as.map(SessionFile::session).transpose()?.map(Arc::new),
            }),
        };
        Ok(SavedSession {
            session: Arc::new(self.session.session()?),
            last_activity: self.last_activity.into(),
            first_prompt_sent: self.first_prompt_sent,
            attach_tokens: from_persisted(self.attach_tokens, None),
            desired: self.desired,
            since: self.since.into(),
            process: self.process,
            first_commit: self.first_commit,
            git_author: self.git_author.as_deref().and_then(GitAuthor::parse),
            deletion,
        })
    }
}

impl SessionFile {
    fn of(session: &Session) -> Result<Self, String> {
        Ok(Self {
            hash: session.hash.to_string(),
            owner: session.owner.email().to_owned(),
            source: match &session.source {
                Source::Repository { url, branch, from } => SourceFile::Repository {
                    url: url.to_string(),
                    branch: branch.to_string(),
                    from: from.as_ref().map(ToString::to_string),
                },
                Source::Empty => SourceFile::Empty,
            },
            initial_message: session.initial_message.clone(),
            created_at: timestamp(session.created_at)?,
        })
    }

    fn session(self) -> Result<Session, String> {
        let text = |error: session_key::InvalidName| error.to_string();
        Ok(Session {
            hash: SessionHash::parse(&self.hash).map_err(text)?,
            owner: Identity::parse(&self.owner).map_err(text)?,
            source: match self.source {
                SourceFile::Repository { url, branch, from } => Source::Repository {
                    // It was allowed when the session was created; git allows only what is allowed now.
                    url: RepoUrl::parse(&url, RepoPolicy::OWN_MACHINE).map_err(text)?,
                    branch: GitRef::parse(&branch).map_err(text)?,
                    from: from.as_deref().map(GitRef::parse).transpose().map_err(text)?,
                },
                SourceFile::Empty => Source::Empty,
            },
            initial_message: self.initial_message,
            created_at: self.created_at.into(),
        })
    }
}

fn timestamp(time: SystemTime) -> Result<Timestamp, String> {
    Timestamp::try_from(time).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Failure, FailureCode, StopReason};

    fn saved(source: Source) -> SavedSession {
        let session = Session {
            hash: SessionHash::parse("a48da0606867").unwrap(),
            owner: Identity::parse("alice@example.com").unwrap(),
            source,
            initial_message: Some("Say \"hi\"\n🦀".into()),
            created_at: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_790_000_000_123_456_789),
        };
        SavedSession::new(Arc::new(session), SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_001))
    }

    fn repository() -> Source {
        Source::Repository {
            url: RepoUrl::parse("git@example.com:acme/widgets", RepoPolicy::OWN_MACHINE).unwrap(),
            branch: GitRef::parse("feature/ü").unwrap(),
            from: Some(GitRef::parse("main").unwrap()),
        }
    }

    #[test]
    fn a_written_file_reads_back_unchanged() {
        for source in [Source::Empty, repository()] {
            let mut saved = saved(source);
            let (message, advice) = ("It broke.", "Fix it.");
            let failures = FailureCode::ALL.map(|code| {
                let (message, advice) = (message.into(), advice.into());
                PersistedState::Failed(Failure { code, message, advice, log_tail: None })
            });
            let stops = StopReason::ALL.map(|reason| PersistedState::Stopped { reason });
            let running = PersistedState::Running { run: None };
            for desired in stops.into_iter().chain(failures).chain([running]) {
                saved.desired = desired;
                let hash = saved.session.hash;
                assert_eq!(SavedSession::from_json(&saved.to_json().unwrap(), hash).unwrap(), saved);
            }
            saved.deletion = Some(Deletion { recreate_as: Some(saved.session.clone()) });
            saved.process = Some(ProcessId { pid: 7, start_time: 1_790_000_002 });
            saved.git_author = GitAuthor::new("Alice <Smith>", "alice@example.com");
            saved.first_commit = Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".into());
            let hash = saved.session.hash;
            assert_eq!(SavedSession::from_json(&saved.to_json().unwrap(), hash).unwrap(), saved);
        }
    }

    #[test]
    fn an_unknown_reason_does_not_damage_a_file() {
        let mut saved = saved(Source::Empty);
        saved.desired = PersistedState::Stopped { reason: StopReason::Idle };
        let text = String::from_utf8(saved.to_json().unwrap()).unwrap();
        let newer = text.replace("\"idle\"", "\"full_moon\"");
        assert_ne!(newer, text);
        saved.desired = PersistedState::Stopped { reason: StopReason::Requested };
        assert_eq!(SavedSession::from_json(newer.as_bytes(), saved.session.hash).unwrap(), saved);
    }

    #[test]
    fn a_newer_version_differs_from_a_damaged_file() {
        let hash = SessionHash::parse("a48da0606867").unwrap();
        let newer = br#"{"version": 2, "what": "nobody knows"}"#;
        assert!(matches!(SavedSession::from_json(newer, hash), Err(LoadError::Newer)));
        let whole = saved(repository()).to_json().unwrap();
        for damaged in [&b""[..], b"{}", b"\0\0\0", &whole[..whole.len() / 2]] {
            assert!(matches!(SavedSession::from_json(damaged, hash), Err(LoadError::Damaged(_))));
        }
        let other = SessionHash::parse("000000000000").unwrap();
        assert!(matches!(SavedSession::from_json(&whole, other), Err(LoadError::Damaged(_))));
    }

    /// A file that an earlier version wrote.
    #[test]
    fn files_of_earlier_versions_keep_their_form() {
        let file = serde_json::json!({
            "version": 1,
            "session": {
                "hash": "a48da0606867",
                "owner": "alice@example.com",
                "source": {
                    "kind": "repository", "url": "https://example.com/a/b", "branch": "dev", "from": null
                },
                "initialMessage": null,
                "createdAt": "2026-09-21T13:33:20Z"
            },
            "lastActivity": "2026-09-21T13:33:21Z",
            "greeted": true,
            "kept": { "is": "running" },
            "since": "2026-09-21T13:33:21Z",
            "process": { "pid": 7, "started": 1_790_000_002 },
            "firstCommit": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            "deletion": { "anew": null }
        });
        let hash = SessionHash::parse("a48da0606867").unwrap();
        let saved = SavedSession::from_json(file.to_string().as_bytes(), hash).unwrap();
        assert!(saved.is_to_run() && saved.first_prompt_sent);
        assert_eq!(saved.process, Some(ProcessId { pid: 7, start_time: 1_790_000_002 }));
        assert_eq!(saved.deletion, Some(Deletion::default()));
        let written: serde_json::Value = serde_json::from_slice(&saved.to_json().unwrap()).unwrap();
        assert_eq!(written, file);
    }
}
