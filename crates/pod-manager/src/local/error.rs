//! Why the local backend can't be opened.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::backend::BackendError;

/// Why the local backend can't be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Another router uses the folder.
    #[error(
        "{} is in use by another router{}: stop that router, or set another STATE_DIR",
        state_dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        state_dir: PathBuf,
        /// The other router's process id, if it is known.
        pid: Option<u32>,
    },
    /// A newer router wrote the folder, and this one can't read it.
    #[error(
        "{} was written by a newer router: use that version, or set another STATE_DIR",
        state_dir.display()
    )]
    Newer {
        /// The folder.
        state_dir: PathBuf,
    },
    /// The folder can't be created, read or written.
    #[error("can't store sessions in {}: make the folder writable, or set another STATE_DIR", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something that every session needs can't be created.
    #[error("the local backend can't be set up: {0}")]
    Setup(String),
}

/// Says what it means for a command that a file can't be read or written.
pub(super) fn backend_error(error: &io::Error) -> BackendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            BackendError::DiskFull(error.to_string())
        }
        _ => BackendError::Storage(error.to_string()),
    }
}
