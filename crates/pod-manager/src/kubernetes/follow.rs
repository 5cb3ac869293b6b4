//! Follows all objects of one kind: a list, and then a watch that goes on where the list ended.
//!
//! kube's own `watcher` does not tell how new a list is, and by that alone it is known whether what a list lacks is gone
//! or was made after it; and of a watch that is refused as too old it asks for ever.

use std::{collections::BTreeSet, fmt::Debug, pin::pin, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use session_key::SessionHash;
use tokio::time::{Instant, timeout};

use super::{
    drive::about,
    index::{Index, Source},
    kept::version,
    record,
};

/// After so many seconds a watch is begun anew where it was; a connection that died unseen is seen to be dead then.
const WATCH_SECONDS: u32 = 120;
/// How long after that it is waited for, and how long an answer may take to begin.
const LATE: Duration = Duration::from_secs(15);
/// Between two attempts, at first and at most. A watch that held for longer than that was one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// By this mark the API server says that a streamed list is whole.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// What is done with each object.
pub(super) trait Taken:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
    fn apply(self, index: &Index);
    fn forget(&self, index: &Index);
}

/// Which objects.
pub(super) enum Which {
    Labels(String),
    Fields(String),
}

/// Why a watch ended.
enum End {
    /// As it is to: it goes on where it was.
    Over,
    /// It can't go on where it was: what was between is forgotten there.
    TooOld,
    /// The API server streams no lists.
    NotStreamed,
    Lost(String),
}

impl From<kube::Error> for End {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::TooOld,
            error => Self::Lost(error.to_string()),
        }
    }
}

/// One kind of object, and how far it was followed.
pub(super) struct Follower<'a, K> {
    api: Api<K>,
    which: Which,
    source: Source,
    index: &'a Index,
    /// Lists come as the beginning of a watch.
    streams: bool,
    /// Where the next watch goes on; `None`: with a list.
    at: Option<String>,
    /// Something was told since the last pause.
    heard: bool,
}

impl<'a, K: Taken> Follower<'a, K> {
    pub(super) fn new(api: Api<K>, which: Which, source: Source, index: &'a Index, streams: bool) -> Self {
        Self { api, which, source, index, streams, at: None, heard: false }
    }

    /// For ever.
    pub(super) async fn follow(mut self) {
        let mut pause = PAUSES[0];
        let mut warned = false;
        loop {
            let begun = Instant::now();
            let end = self.watch().await;
            // What is refused again and again is asked for less and less often.
            if std::mem::take(&mut self.heard) || begun.elapsed() > PAUSES[1] {
                (pause, warned) = (PAUSES[0], false);
            }
            match end {
                End::Over => {}
                End::TooOld => {
                    tracing::info!(source = ?self.source, "a watch can't go on where it was; all is listed anew");
                    self.at = None;
                }
                End::NotStreamed => {
                    tracing::info!(source = ?self.source, "the API server streams no lists; they are asked for");
                    self.streams = false;
                    continue;
                }
                End::Lost(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(source = ?self.source, error, "a watch was lost; what is known goes on being served");
                    }
                }
            }
            tokio::time::sleep(about(pause)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Until the watch ends.
    async fn watch(&mut self) -> End {
        match self.try_watch().await {
            Ok(()) => End::Over,
            Err(end) => end,
        }
    }

    async fn try_watch(&mut self) -> Result<(), End> {
        if self.at.is_none() && !self.streams {
            self.list().await?;
        }
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let params = match &self.which {
            Which::Labels(labels) => params.labels(labels),
            Which::Fields(fields) => params.fields(fields),
        };
        // Without a version the list is of what is there now, and not of what some API server still remembers.
        let (params, from, mut listing) = match &self.at {
            Some(at) => (params, at.clone(), None),
            None => (params.initial_events(), String::new(), Some(BTreeSet::new())),
        };
        let opened = timeout(LATE, self.api.watch(&params, &from)).await.map_err(|_| too_late())?;
        let mut news = pin!(opened.map_err(|error| match error {
            kube::Error::Api(status) if listing.is_some() && matches!(status.code, 400 | 422) =>
                End::NotStreamed,
            error => error.into(),
        })?);
        let silence = Duration::from_secs(WATCH_SECONDS.into()) + LATE;
        while let Some(event) = timeout(silence, news.next()).await.map_err(|_| too_late())? {
            match event {
                Ok(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
                Ok(event) => self.take(event, &mut listing),
                Err(kube::Error::SerdeError(error)) => {
                    tracing::warn!(source = ?self.source, %error, "what the API server tells can't be read; it is left out");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, event: WatchEvent<K>, listing: &mut Option<BTreeSet<SessionHash>>) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let meta = object.meta().clone();
                object.apply(self.index);
                match listing {
                    Some(there) => there.extend(record::hash_of(&meta)),
                    None => self.passed(&meta),
                }
            }
            WatchEvent::Deleted(object) => {
                object.forget(self.index);
                match listing {
                    Some(there) => {
                        if let Some(hash) = record::hash_of(object.meta()) {
                            there.remove(&hash);
                        }
                    }
                    None => self.passed(object.meta()),
                }
            }
            WatchEvent::Bookmark(mark) => {
                let ends = mark.metadata.annotations.contains_key(LIST_ENDS);
                let at = mark.metadata.resource_version;
                match listing.take_if(|_| ends) {
                    Some(there) => self.listed(&there, at),
                    None if listing.is_none() => {
                        let meta = ObjectMeta { resource_version: Some(at), ..ObjectMeta::default() };
                        self.passed(&meta);
                    }
                    // Not whole yet: a watch that is lost now begins with a list again.
                    None => {}
                }
            }
            // It has ended the watch.
            WatchEvent::Error(_) => {}
        }
    }

    /// All that was so until then is known.
    fn passed(&mut self, meta: &ObjectMeta) {
        self.index.passed(self.source, version(meta));
        self.at.clone_from(&meta.resource_version);
        self.heard = true;
    }

    fn listed(&mut self, there: &BTreeSet<SessionHash>, at: String) {
        self.index.listed(self.source, there, at.parse().unwrap_or(0));
        self.at = Some(at);
    }

    /// Asks for all there is.
    async fn list(&mut self) -> Result<(), End> {
        let params = ListParams::default().limit(PAGE);
        let mut params = match &self.which {
            Which::Labels(labels) => params.labels(labels),
            Which::Fields(fields) => params.fields(fields),
        };
        let mut there = BTreeSet::new();
        loop {
            let page = timeout(LATE, self.api.list(&params)).await.map_err(|_| too_late())??;
            for object in page.items {
                there.extend(record::hash_of(object.meta()));
                object.apply(self.index);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let at = page.metadata.resource_version.filter(|at| !at.is_empty());
                let at = at.ok_or_else(|| End::Lost("a list that does not say how new it is".into()))?;
                self.listed(&there, at);
                return Ok(());
            }
        }
    }
}

fn too_late() -> End {
    End::Lost("the API server does not answer".into())
}
