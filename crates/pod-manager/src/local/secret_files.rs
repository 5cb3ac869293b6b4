//! Users' secrets: one file per user, for its owner alone.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use session_key::Identity;

use super::{
    error::backend_error,
    files::{make_dir, sync_dir, write_atomic},
};
use crate::user_secrets::{SecretName, SecretValue, SecretsChange, SecretsError, StoredSecrets};

const VERSION: u32 = 1;

/// The files of users' secrets: `<digest of the address>.json`, mode 0600, in a folder of mode 0700.
#[derive(Clone)]
pub(super) struct SecretFiles {
    dir: PathBuf,
    /// Held while a file is read, changed and written.
    writing: Arc<Mutex<()>>,
}

/// The content of a file. It has no `Debug`: it contains the values.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    secrets: BTreeMap<String, String>,
}

impl SecretFiles {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, writing: Arc::default() }
    }

    /// Returns the user's secrets.
    pub(super) fn read(&self, user: &Identity) -> io::Result<StoredSecrets> {
        let bytes = match fs::read(self.dir.join(file_name(user))) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredSecrets::new()),
            Err(error) => return Err(error),
        };
        // serde's error would quote the text at which it stopped.
        let content: Content = serde_json::from_slice(&bytes).map_err(|_| damaged("it is damaged"))?;
        if content.version > VERSION {
            return Err(damaged("a newer router wrote it"));
        }
        let stored = |(name, value): (String, String)| (name, SecretValue::stored(value.into_bytes()));
        Ok(content.secrets.into_iter().map(stored).collect())
    }

    /// Returns the user's secrets as variables of a session. Names that no user may set are left out: they
    /// can only come from somebody who edited the file.
    pub(super) fn variables(&self, user: &Identity) -> io::Result<Vec<(OsString, OsString)>> {
        let secrets = self.read(user)?;
        let valid = secrets.iter().filter(|(name, _)| SecretName::parse(name).is_ok());
        Ok(valid.map(|(name, value)| (name.into(), OsString::from_vec(value.expose().to_vec()))).collect())
    }

    /// Changes the user's secrets, and returns their names.
    pub(super) fn change(
        &self,
        user: &Identity,
        change: &SecretsChange,
    ) -> Result<StoredSecrets, SecretsError> {
        let _writing = self.writing.lock();
        let before = match self.read(user) {
            Ok(before) => before,
            // Whatever the file holds is replaced.
            Err(error) if error.kind() == io::ErrorKind::InvalidData && change.replaces_all() => {
                StoredSecrets::new()
            }
            Err(error) => return Err(backend_error(&error).into()),
        };
        let after = change.apply(&before)?;
        self.write(&file_name(user), &after).map_err(|error| backend_error(&error))?;
        Ok(after)
    }

    fn write(&self, name: &str, secrets: &StoredSecrets) -> io::Result<()> {
        make_dir(&self.dir)?;
        if secrets.is_empty() {
            return remove(&self.dir, name);
        }
        let text = |(name, value): (&String, &SecretValue)| {
            (name.clone(), String::from_utf8_lossy(value.expose()).into_owned())
        };
        let content = Content { version: VERSION, secrets: secrets.iter().map(text).collect() };
        write_atomic(&self.dir, name, &serde_json::to_vec_pretty(&content)?)
    }
}

fn file_name(user: &Identity) -> String {
    format!("{}.json", user.digest())
}

fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(name)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file of the user's secrets can't be read: {why}"))
}
