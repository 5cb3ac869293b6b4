//! The state folder: who holds it, what lies where, and how it is written.
//!
//! ```text
//! state.json                 version, and an id that marks this folder's processes
//! lock                       held by the one router; names its process
//! sessions/<hash>/           session.json, repo/, data/, state/, cache/, home/, log/
//! trash/                     what is being removed
//! ```

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;

use super::{
    record::{Record, Unread},
    settings::LocalError,
    table::Traits,
};

const RECORD: &str = "session.json";
const VERSION: u32 = 1;

/// The state folder, held.
pub(super) struct Store {
    root: PathBuf,
    id: String,
    lock: Mutex<Option<File>>,
}

/// What was found in a state folder.
#[derive(Default)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    /// Sessions that a newer router wrote; not to be touched.
    pub(super) newer: HashSet<SessionHash>,
    /// Folders of sessions whose record is damaged or missing; processes of theirs are leftovers too.
    pub(super) unknown: Vec<SessionHash>,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    #[serde(default)]
    id: String,
}

impl Store {
    /// Makes the folder where it is not there, and holds it until it is [let go](Store::release).
    pub(super) fn open(root: &Path) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Folder { path: root.to_owned(), source };
        // One that is there already is the user's: what is open to others in it is their affair.
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        // Processes tell their working folder without symbolic links; theirs and ours are compared.
        let root = root.canonicalize().map_err(failed)?;
        let lock = hold(&root)?;
        let id = state_id(&root)?;
        for name in ["sessions", "trash"] {
            make_dir(&root.join(name)).map_err(failed)?;
        }
        Ok(Self { root, id, lock: Mutex::new(Some(lock)) })
    }

    /// Lets the folder go.
    pub(super) fn release(&self) {
        if let Some(lock) = self.lock.lock().take() {
            // Closing it is not enough: a child that is being started at this moment has a copy of it.
            let _ = lock.unlock();
        }
    }

    pub(super) fn dir(&self, hash: SessionHash) -> PathBuf {
        self.root.join("sessions").join(hash.to_string())
    }

    pub(super) fn traits(&self, hash: SessionHash) -> Traits {
        Traits { marker: format!("{}/{hash}", self.id), dir: self.dir(hash), leader: None }
    }

    /// Reads what there is. A damaged record is set aside, beside its session's files, and told in the log.
    pub(super) fn load(&self) -> Result<Found, LocalError> {
        let sessions = self.root.join("sessions");
        let failed = |source| LocalError::Folder { path: sessions.clone(), source };
        let mut found = Found::default();
        for entry in fs::read_dir(&sessions).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(hash) = name.to_str().and_then(|name| SessionHash::parse(name).ok()) else {
                tracing::warn!(?name, "what lies among the sessions is none, and is left alone");
                continue;
            };
            let path = self.dir(hash).join(RECORD);
            let read = match fs::read(&path) {
                Ok(bytes) => Record::from_json(&bytes, hash),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A router that ended while it made the folder left nothing in it.
                    let _ = fs::remove_file(path.with_file_name(partial_name(RECORD)));
                    if fs::remove_dir(self.dir(hash)).is_err() {
                        found.unknown.push(hash);
                    }
                    continue;
                }
                Err(error) => Err(Unread::Damaged(error.to_string())),
            };
            match read {
                Ok(record) => found.records.push(record),
                Err(Unread::Newer) => {
                    tracing::error!(session.hash = %hash, "a newer router wrote this session: it is left alone");
                    found.newer.insert(hash);
                }
                Err(Unread::Damaged(why)) => {
                    set_aside(&path, hash, &why);
                    found.unknown.push(hash);
                }
            }
        }
        Ok(found)
    }

    /// Writes a record, for good before it returns. The session's folder is made where it is not there.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let hash = record.session.hash;
        let dir = self.dir(hash);
        let bytes = record.to_json().map_err(io::Error::other)?;
        if dir.is_dir() {
            return write_whole(&dir, RECORD, &bytes);
        }
        make_dir(&dir)?;
        let made = sync_dir(&self.root.join("sessions")).and_then(|()| write_whole(&dir, RECORD, &bytes));
        if made.is_err() {
            let _ = fs::remove_dir(&dir);
        }
        made
    }

    /// Reads a session's record; `None` where it is not there or can't be read.
    pub(super) fn read(&self, hash: SessionHash) -> Option<Record> {
        Record::from_json(&fs::read(self.dir(hash).join(RECORD)).ok()?, hash).ok()
    }

    /// Moves what a session has stored out of the way, into a folder that is given back to be
    /// [removed](remove_tree). With `keep_record` its folder stays, with nothing but its record.
    ///
    /// A crash half-way leaves a session whose record says that it is to be gone.
    pub(super) fn clear(&self, hash: SessionHash, keep_record: bool) -> io::Result<PathBuf> {
        let dir = self.dir(hash);
        let trash = self.root.join("trash").join(format!("{hash}.{:016x}", rand::random::<u64>()));
        make_dir(&trash)?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trash),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            if name != RECORD {
                fs::rename(dir.join(&name), trash.join(&name))?;
            }
        }
        sync_dir(&dir)?;
        if !keep_record {
            fs::rename(&dir, trash.join(RECORD.replace('.', "-")))?;
            sync_dir(&self.root.join("sessions"))?;
        }
        Ok(trash)
    }

    /// What was on its way out when the last router ended.
    pub(super) fn trash(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join("trash"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.release();
    }
}

/// Removes a folder with all there is in it, read-only folders too. What is not there is removed.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes every folder below (and this one) one that its owner may change. No link is followed.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes a folder, and those above it, for the owner alone; one that is there is closed to others.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes what was done in a folder (a rename, a new file) outlast a loss of power.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a file so that there is always either the old one or the new one, whole.
fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let partial = dir.join(partial_name(name));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&partial, dir.join(name))) {
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    sync_dir(dir)
}

fn partial_name(name: &str) -> String {
    format!(".{name}.partial")
}

/// Renames a damaged record, so that it is neither read again nor lost.
fn set_aside(path: &Path, hash: SessionHash, why: &str) {
    let aside = (0..)
        .map(|number| path.with_file_name(format!("session.damaged-{number}.json")))
        .find(|aside| !aside.exists());
    let Some(aside) = aside else { return };
    match fs::rename(path, &aside) {
        Ok(()) => tracing::error!(
            session.hash = %hash, why, aside = %aside.display(),
            "a session's record is damaged: it is set aside, and the session's files are kept; \
             creating the session again finds them",
        ),
        Err(error) => tracing::error!(
            session.hash = %hash, why, %error,
            "a session's record is damaged, and can't be set aside: the session is left alone",
        ),
    }
}

fn hold(root: &Path) -> Result<File, LocalError> {
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

/// The id of the state folder, which is made up at its first use.
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
            tracing::error!(path = %path.display(), "the state folder's own record is damaged: it is made anew");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let state = State { version: VERSION, id: format!("{:032x}", rand::random::<u128>()) };
    let bytes = serde_json::to_vec_pretty(&state).map_err(|error| failed(error.into()))?;
    write_whole(root, "state.json", &bytes).map_err(failed)?;
    Ok(state.id)
}
