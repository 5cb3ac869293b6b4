//! Streams that reconnect.

use std::{collections::VecDeque, marker::PhantomData, time::Duration};

use futures_util::{Stream, stream};
use reqwest::{
    Method, Response,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use session_key::SessionHash;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Client, ClientError,
    sse::{SseEvent, SseReader},
};
use crate::wire::{SessionEvent, SessionList};

/// How long a router may be away before a stream gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The router sends a comment every 15 s: after three that are missing, the connection is dead.
const SILENCE: Duration = Duration::from_secs(50);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) fn lists(client: Client) -> impl Stream<Item = Result<SessionList, ClientError>> + Send + Unpin {
    let path = vec!["sessions".to_owned(), "stream".to_owned()];
    Box::pin(watch(Watch::new(client, path), |_| false))
}

pub(super) fn events(
    client: Client,
    hash: SessionHash,
) -> impl Stream<Item = Result<SessionEvent, ClientError>> + Send + Unpin {
    let path = vec!["sessions".to_owned(), hash.to_string(), "events".to_owned()];
    Box::pin(watch(Watch::new(client, path), SessionEvent::is_last))
}

fn watch<T: DeserializeOwned + Send + 'static>(
    watch: Watch<T>,
    is_last: fn(&T) -> bool,
) -> impl Stream<Item = Result<T, ClientError>> + Send {
    stream::unfold(Some(watch), move |watch| async move {
        let mut watch = watch?;
        let item = watch.next().await;
        let over = item.as_ref().map_or(true, is_last);
        Some((item, (!over).then_some(watch)))
    })
}

struct Watch<T> {
    client: Client,
    path: Vec<String>,
    connection: Option<(Response, SseReader)>,
    ready: VecDeque<SseEvent>,
    /// Since when there is no connection that gives events, and the pause before the next try.
    away: Option<(Instant, Duration)>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Watch<T> {
    fn new(client: Client, path: Vec<String>) -> Self {
        Self { client, path, connection: None, ready: VecDeque::new(), away: None, of: PhantomData }
    }

    async fn next(&mut self) -> Result<T, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return serde_json::from_str(&event.data).map_err(|why| {
                    self.strange(format!(
                        "its event {:?} is not what this version understands ({why})",
                        event.name
                    ))
                });
            }
            match self.advance().await {
                Ok(()) => {}
                Err(why) if why.is_passing() => self.pause(why).await?,
                Err(why) => return Err(why),
            }
        }
    }

    /// Connects, or reads what comes next.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some((response, reader)) = &mut self.connection else {
            self.connection = Some((self.connect().await?, SseReader::default()));
            return Ok(());
        };
        let chunk = match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(self.lost("it closed the stream")),
            Ok(Err(why)) => {
                self.connection = None;
                return Err(self.client.failed(why));
            }
            Err(_) => return Err(self.lost("the stream fell silent")),
        };
        match reader.feed(&chunk) {
            Ok(events) => self.ready.extend(events),
            Err(_) => return Err(self.strange("its event is longer than any of a router".to_owned())),
        }
        if !self.ready.is_empty() {
            self.away = None;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let path: Vec<_> = self.path.iter().map(String::as_str).collect();
        let request = self.client.request(Method::GET, &path)?.header(ACCEPT, "text/event-stream");
        let response = timeout(super::ANSWER_TIMEOUT, self.client.open(request))
            .await
            .map_err(|_| self.unreachable("it did not answer in time"))??;
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(self.strange(format!("it answers {} where events were asked for", response.status())));
        }
        Ok(response)
    }

    /// Waits before the next try; gives the reason back when it has been away for too long.
    async fn pause(&mut self, why: ClientError) -> Result<(), ClientError> {
        let (since, pause) = self.away.unwrap_or((Instant::now(), FIRST_PAUSE));
        if since.elapsed() + pause > self.client.patience {
            return Err(why);
        }
        sleep(pause).await;
        self.away = Some((since, (pause * 2).min(LONGEST_PAUSE)));
        Ok(())
    }

    fn lost(&mut self, why: &str) -> ClientError {
        self.connection = None;
        self.unreachable(why)
    }

    fn unreachable(&self, why: &str) -> ClientError {
        ClientError::Unreachable { server: self.client.base.to_string(), why: why.to_owned() }
    }

    fn strange(&self, why: String) -> ClientError {
        ClientError::Unexpected { server: self.client.base.to_string(), why }
    }
}
