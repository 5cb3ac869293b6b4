//! What is written down of a session, and its form in `session.json`.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::table::Mark;
use crate::{
    model::{Failure, Session, Source, StopReason},
    persisted::{self, PersistedState},
};

/// The version of `session.json` that this router writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// What is written down of one session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) session: Arc<Session>,
    pub(super) last_activity: SystemTime,
    pub(super) first_prompt_sent: bool,
    /// What is asked for, or what came of it.
    pub(super) kept: Kept,
    /// Since when `kept` is so.
    pub(super) since: SystemTime,
    /// The group leader of the present run, or of the one that a crash of the router left.
    pub(super) process: Option<Mark>,
    /// The empty commit that a new project began with: no work of anybody's.
    pub(super) first_commit: Option<String>,
    pub(super) deletion: Option<Deletion>,
}

/// What is asked for, or what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kept {
    Running,
    Stopped(StopReason),
    Failed(Failure),
}

/// The session is to be gone.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Deletion {
    /// To be made in its place.
    pub(super) anew: Option<Arc<Session>>,
}

/// Why a `session.json` was not read.
#[derive(Debug)]
pub(super) enum Unread {
    Newer,
    Damaged(String),
}

impl Record {
    /// A session that was just asked for, and is to run.
    pub(super) fn new(session: Arc<Session>, now: SystemTime) -> Self {
        Self {
            session,
            last_activity: now,
            first_prompt_sent: false,
            kept: Kept::Running,
            since: now,
            process: None,
            first_commit: None,
            deletion: None,
        }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, String> {
        let file = RecordFile {
            version: VERSION,
            session: SessionFile::of(&self.session)?,
            last_activity: written(self.last_activity)?,
            first_prompt_sent: self.first_prompt_sent,
            kept: (&self.kept).into(),
            since: written(self.since)?,
            process: self.process,
            first_commit: self.first_commit.clone(),
            deletion: match &self.deletion {
                None => None,
                Some(Deletion { anew: None }) => Some(DeletionFile { anew: None }),
                Some(Deletion { anew: Some(anew) }) => {
                    Some(DeletionFile { anew: Some(SessionFile::of(anew)?) })
                }
            },
        };
        serde_json::to_vec_pretty(&file).map_err(|error| error.to_string())
    }

    /// Reads a record; `hash` is the name of the folder that it was found in.
    pub(super) fn from_json(bytes: &[u8], hash: SessionHash) -> Result<Self, Unread> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| Unread::Damaged(error.to_string());
        let Version { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > VERSION {
            return Err(Unread::Newer);
        }
        let file: RecordFile = serde_json::from_slice(bytes).map_err(damaged)?;
        let record = file.record().map_err(Unread::Damaged)?;
        if record.session.hash != hash {
            return Err(Unread::Damaged(format!("it is of another session, {}", record.session.hash)));
        }
        Ok(record)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordFile {
    version: u32,
    session: SessionFile,
    last_activity: Timestamp,
    #[serde(rename = "greeted")]
    first_prompt_sent: bool,
    #[serde(with = "persisted::local")]
    kept: PersistedState,
    since: Timestamp,
    #[serde(default)]
    process: Option<Mark>,
    #[serde(default)]
    first_commit: Option<String>,
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
    #[serde(default)]
    anew: Option<SessionFile>,
}

impl RecordFile {
    fn record(self) -> Result<Record, String> {
        let deletion = match self.deletion {
            None => None,
            Some(DeletionFile { anew }) => {
                Some(Deletion { anew: anew.map(SessionFile::session).transpose()?.map(Arc::new) })
            }
        };
        Ok(Record {
            session: Arc::new(self.session.session()?),
            last_activity: self.last_activity.into(),
            first_prompt_sent: self.first_prompt_sent,
            kept: self.kept.into(),
            since: self.since.into(),
            process: self.process,
            first_commit: self.first_commit,
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
            created_at: written(session.created_at)?,
        })
    }

    fn session(self) -> Result<Session, String> {
        let text = |error: session_key::InvalidName| error.to_string();
        Ok(Session {
            hash: SessionHash::parse(&self.hash).map_err(text)?,
            owner: Identity::parse(&self.owner).map_err(text)?,
            source: match self.source {
                SourceFile::Repository { url, branch, from } => Source::Repository {
                    // It was allowed when the session was made, and git is told again what is allowed now.
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

impl From<&Kept> for PersistedState {
    fn from(kept: &Kept) -> Self {
        match kept {
            Kept::Running => Self::Running { run: None },
            Kept::Stopped(reason) => Self::Stopped { reason: *reason },
            Kept::Failed(failure) => Self::Failed(failure.clone()),
        }
    }
}

impl From<PersistedState> for Kept {
    fn from(state: PersistedState) -> Self {
        match state {
            PersistedState::Running { .. } => Self::Running,
            PersistedState::Stopped { reason } => Self::Stopped(reason),
            PersistedState::Failed(failure) => Self::Failed(failure),
        }
    }
}

fn written(time: SystemTime) -> Result<Timestamp, String> {
    Timestamp::try_from(time).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::FailureCode;

    fn record(source: Source) -> Record {
        let session = Session {
            hash: SessionHash::parse("a48da0606867").unwrap(),
            owner: Identity::parse("alice@example.com").unwrap(),
            source,
            initial_message: Some("Say \"hi\"\n🦀".into()),
            created_at: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_790_000_000_123_456_789),
        };
        Record::new(Arc::new(session), SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_001))
    }

    fn repository() -> Source {
        Source::Repository {
            url: RepoUrl::parse("git@example.com:acme/widgets", RepoPolicy::OWN_MACHINE).unwrap(),
            branch: GitRef::parse("feature/ü").unwrap(),
            from: Some(GitRef::parse("main").unwrap()),
        }
    }

    #[test]
    fn what_is_written_is_read_back_to_the_letter() {
        for source in [Source::Empty, repository()] {
            let mut record = record(source);
            let failures = FailureCode::ALL.map(|code| {
                Kept::Failed(Failure {
                    code,
                    message: "it broke".into(),
                    advice: "mend it".into(),
                    log_tail: None,
                })
            });
            for kept in StopReason::ALL.map(Kept::Stopped).into_iter().chain(failures).chain([Kept::Running])
            {
                record.kept = kept;
                let hash = record.session.hash;
                assert_eq!(Record::from_json(&record.to_json().unwrap(), hash).unwrap(), record);
            }
            record.deletion = Some(Deletion { anew: Some(record.session.clone()) });
            record.process = Some(Mark { pid: 7, started: 1_790_000_002 });
            record.first_commit = Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".into());
            let hash = record.session.hash;
            assert_eq!(Record::from_json(&record.to_json().unwrap(), hash).unwrap(), record);
        }
    }

    #[test]
    fn a_reason_that_is_not_known_is_no_damage() {
        let mut record = record(Source::Empty);
        record.kept = Kept::Stopped(StopReason::Idle);
        let text = String::from_utf8(record.to_json().unwrap()).unwrap();
        let newer = text.replace("\"idle\"", "\"full_moon\"");
        assert_ne!(newer, text);
        record.kept = Kept::Stopped(StopReason::Requested);
        assert_eq!(Record::from_json(newer.as_bytes(), record.session.hash).unwrap(), record);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let hash = SessionHash::parse("a48da0606867").unwrap();
        let newer = br#"{"version": 2, "what": "nobody knows"}"#;
        assert!(matches!(Record::from_json(newer, hash), Err(Unread::Newer)));
        let whole = record(repository()).to_json().unwrap();
        for damaged in [&b""[..], b"{}", b"\0\0\0", &whole[..whole.len() / 2]] {
            assert!(matches!(Record::from_json(damaged, hash), Err(Unread::Damaged(_))));
        }
        let other = SessionHash::parse("000000000000").unwrap();
        assert!(matches!(Record::from_json(&whole, other), Err(Unread::Damaged(_))));
    }
}
