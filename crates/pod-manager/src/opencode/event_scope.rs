//! The event streams that opencode has, and what an event of `/global/event` is on each of them.

use std::borrow::Cow;

use bytes::Bytes;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    checks::MAX_DIRECTORY,
    event::{self, SYNC, is_of_connection},
};

/// One of opencode's event streams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventScope {
    /// `/global/event`: all events, each with its folder.
    Global,
    /// `/event?directory=…`: the events of this folder alone, without it and without those of type `sync`.
    Directory(String),
}

impl EventScope {
    /// Returns the stream that a request of this path and query asks for. `None`: it asks for something else,
    /// or for the events of a folder that it does not name.
    #[must_use]
    pub fn of_request(path: &str, query: Option<&str>) -> Option<Self> {
        match path {
            "/global/event" => Some(Self::Global),
            "/event" => {
                let url = Url::parse(&format!("http://opencode/?{}", query?)).ok()?;
                let (_, directory) = url.query_pairs().find(|(name, _)| name == "directory")?;
                let is_known = !directory.is_empty() && directory.len() <= MAX_DIRECTORY;
                is_known.then(|| Self::Directory(directory.into_owned()))
            }
            _ => None,
        }
    }

    /// Returns the id of an event of this stream, by its data, and whether it is of type `sync`.
    pub(crate) fn id_of(&self, data: &[u8]) -> Option<(Box<str>, bool)> {
        let head = match self {
            Self::Global => event::head(data),
            Self::Directory(_) => event::payload_head(data),
        };
        let id = head.id.filter(|_| !is_of_connection(&head.kind))?;
        Some((id, &*head.kind == SYNC))
    }

    /// Returns the data on this stream of an event of `/global/event`. `None`: this stream does not have it.
    pub(crate) fn project(&self, data: &Bytes) -> Option<Bytes> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            directory: Cow<'a, str>,
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        match self {
            Self::Global => Some(data.clone()),
            Self::Directory(directory) => {
                let Envelope { directory: folder, payload } = serde_json::from_slice(data).ok()?;
                let payload = payload.get().as_bytes();
                let is_here = folder == *directory && &*event::payload_head(payload).kind != SYNC;
                is_here.then(|| data.slice_ref(payload))
            }
        }
    }

    /// Returns the folder to which the stream is limited.
    pub(crate) fn directory(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::Directory(directory) => Some(directory),
        }
    }

    /// Returns an event of the router's own for this stream.
    pub(crate) fn event(&self, place: &Place<'_>, id: &str, kind: &str, properties: &Value) -> Bytes {
        let payload = json!({ "id": id, "type": kind, "properties": properties });
        let event = match self {
            Self::Global => {
                json!({ "directory": place.directory, "project": place.project, "payload": payload })
            }
            Self::Directory(_) => payload,
        };
        event.to_string().into()
    }
}

/// Where an event belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a str,
    pub(crate) project: &'a str,
}

#[cfg(test)]
#[path = "event_scope_tests.rs"]
mod tests;
