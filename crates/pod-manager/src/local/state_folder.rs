//! The state folder: its lock, its layout, and how sessions are read and written.
//!
//! ```text
//! state.json                 version, and an id that marks this folder's processes
//! lock                       held by the router; contains its process id
//! user-secrets/<digest>.json a user's secrets
//! sessions/<hash>/           session.json, repo/, data/, state/, cache/, home/, log/
//! trash/                     files that are being removed
//! ```

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;

use super::{
    error::LocalError,
    files::{make_dir, partial_name, sync_dir, write_atomic},
    proc_table::ProcessSelector,
    session_file::{LoadError, SavedSession},
};

const SESSION_FILE: &str = "session.json";
const VERSION: u32 = 1;

/// The state folder, locked.
pub(super) struct StateFolder {
    root: PathBuf,
    id: String,
    lock: Mutex<Option<File>>,
}

/// The content of a state folder.
#[derive(Default)]
pub(super) struct Content {
    pub(super) sessions: Vec<SavedSession>,
    /// Sessions that a newer router wrote; they are not touched.
    pub(super) newer: HashSet<SessionHash>,
    /// Sessions whose file is damaged or missing; their processes are leftovers too.
    pub(super) unreadable: Vec<SessionHash>,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    #[serde(default)]
    id: String,
}

impl StateFolder {
    /// Creates the folder if it is missing, and locks it until it is [released](StateFolder::release).
    pub(super) fn open(root: &Path) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Folder { path: root.to_owned(), source };
        // An existing folder keeps its permissions: they are the user's choice.
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        // Working folders of processes are compared with it, and contain no symbolic links.
        let root = root.canonicalize().map_err(failed)?;
        let lock = lock(&root)?;
        let id = state_id(&root)?;
        for name in ["sessions", "trash"] {
            make_dir(&root.join(name)).map_err(failed)?;
        }
        Ok(Self { root, id, lock: Mutex::new(Some(lock)) })
    }

    /// Unlocks the folder.
    pub(super) fn release(&self) {
        if let Some(lock) = self.lock.lock().take() {
            // Closing it is not enough: a child that is being spawned at this moment has a copy of it.
            let _ = lock.unlock();
        }
    }

    /// Returns the folder of users' secrets; it may not exist yet.
    pub(super) fn secrets_dir(&self) -> PathBuf {
        self.root.join("user-secrets")
    }

    pub(super) fn session_dir(&self, hash: SessionHash) -> PathBuf {
        self.root.join("sessions").join(hash.to_string())
    }

    pub(super) fn selector(&self, hash: SessionHash) -> ProcessSelector {
        ProcessSelector { marker: format!("{}/{hash}", self.id), dir: self.session_dir(hash), leader: None }
    }

    /// Reads all sessions. A damaged file is set aside beside its session's other files, and logged.
    pub(super) fn load(&self) -> Result<Content, LocalError> {
        let sessions = self.root.join("sessions");
        let failed = |source| LocalError::Folder { path: sessions.clone(), source };
        let mut content = Content::default();
        for entry in fs::read_dir(&sessions).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(hash) = name.to_str().and_then(|name| SessionHash::parse(name).ok()) else {
                tracing::warn!(?name, "a file among the sessions is no session; it is not touched");
                continue;
            };
            let path = self.session_dir(hash).join(SESSION_FILE);
            let read = match fs::read(&path) {
                Ok(bytes) => SavedSession::from_json(&bytes, hash),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A router that was killed while it created the folder left nothing in it.
                    let _ = fs::remove_file(path.with_file_name(partial_name(SESSION_FILE)));
                    if fs::remove_dir(self.session_dir(hash)).is_err() {
                        content.unreadable.push(hash);
                    }
                    continue;
                }
                Err(error) => Err(LoadError::Damaged(error.to_string())),
            };
            match read {
                Ok(saved) => content.sessions.push(saved),
                Err(LoadError::Newer) => {
                    tracing::error!(
                        session.hash = %hash, "a newer router wrote this session; it is not touched",
                    );
                    content.newer.insert(hash);
                }
                Err(LoadError::Damaged(why)) => {
                    set_aside(&path, hash, &why);
                    content.unreadable.push(hash);
                }
            }
        }
        Ok(content)
    }

    /// Writes a session's file durably. Creates the session's folder if it is missing.
    pub(super) fn write(&self, saved: &SavedSession) -> io::Result<()> {
        let hash = saved.session.hash;
        let dir = self.session_dir(hash);
        let bytes = saved.to_json().map_err(io::Error::other)?;
        if dir.is_dir() {
            return write_atomic(&dir, SESSION_FILE, &bytes);
        }
        make_dir(&dir)?;
        let made =
            sync_dir(&self.root.join("sessions")).and_then(|()| write_atomic(&dir, SESSION_FILE, &bytes));
        if made.is_err() {
            let _ = fs::remove_dir(&dir);
        }
        made
    }

    /// Reads a session's file; `None` if it is missing or can't be read.
    pub(super) fn read(&self, hash: SessionHash) -> Option<SavedSession> {
        SavedSession::from_json(&fs::read(self.session_dir(hash).join(SESSION_FILE)).ok()?, hash).ok()
    }

    /// Moves a session's files into a folder of the trash, which is returned. With `keep_file` the session's
    /// folder stays, with nothing but `session.json`.
    ///
    /// A crash half-way leaves a session whose file says that it is to be deleted.
    pub(super) fn clear(&self, hash: SessionHash, keep_file: bool) -> io::Result<PathBuf> {
        let dir = self.session_dir(hash);
        let trash = self.root.join("trash").join(format!("{hash}.{:016x}", rand::random::<u64>()));
        make_dir(&trash)?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trash),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            if name != SESSION_FILE {
                fs::rename(dir.join(&name), trash.join(&name))?;
            }
        }
        sync_dir(&dir)?;
        if !keep_file {
            fs::rename(&dir, trash.join(SESSION_FILE.replace('.', "-")))?;
            sync_dir(&self.root.join("sessions"))?;
        }
        Ok(trash)
    }

    /// Returns what the last router had still to remove.
    pub(super) fn trash(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join("trash"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        self.release();
    }
}

/// Renames a damaged file, so that it is neither read again nor lost.
fn set_aside(path: &Path, hash: SessionHash, why: &str) {
    let aside = (0..)
        .map(|number| path.with_file_name(format!("session.damaged-{number}.json")))
        .find(|aside| !aside.exists());
    let Some(aside) = aside else { return };
    match fs::rename(path, &aside) {
        Ok(()) => tracing::error!(
            session.hash = %hash, why, aside = %aside.display(),
            "session.json is damaged and was set aside; the session's other files are kept, and are used \
             when the session is created again",
        ),
        Err(error) => tracing::error!(
            session.hash = %hash, why, %error,
            "session.json is damaged, and setting it aside failed; the session is not touched",
        ),
    }
}

fn lock(root: &Path) -> Result<File, LocalError> {
    let path = root.join("lock");
    let failed = |source| LocalError::Folder { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(LocalError::InUse { state_dir: root.to_owned(), pid: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Returns the id of the state folder, which is created at its first use.
fn state_id(root: &Path) -> Result<String, LocalError> {
    let path = root.join("state.json");
    let failed = |source| LocalError::Folder { path: path.clone(), source };
    match fs::read(&path) {
        Ok(bytes) => {
            if let Ok(state) = serde_json::from_slice::<State>(&bytes) {
                if state.version > VERSION {
                    return Err(LocalError::Newer { state_dir: root.to_owned() });
                }
                if !state.id.is_empty() {
                    return Ok(state.id);
                }
            }
            tracing::error!(path = %path.display(), "state.json is damaged; it is created again");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let state = State { version: VERSION, id: format!("{:032x}", rand::random::<u128>()) };
    let bytes = serde_json::to_vec_pretty(&state).map_err(|error| failed(error.into()))?;
    write_atomic(root, "state.json", &bytes).map_err(failed)?;
    Ok(state.id)
}
