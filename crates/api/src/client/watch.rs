//! Event streams that reconnect.

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
    error::ClientError,
    http::{ANSWER_TIMEOUT, Client},
    sse::{SseEvent, SseReader},
};
use crate::wire::{SessionEvent, SessionList, ThreadEvent};

/// The router sends a comment every 15 s: after three missing ones, the connection is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(5);

impl Client {
    /// Watches the start of a session until it runs or failed. Reconnects by itself. Ends after
    /// [`Complete`](SessionEvent::Complete), [`Error`](SessionEvent::Error), or an `Err`.
    pub fn watch(
        &self,
        hash: SessionHash,
    ) -> impl Stream<Item = Result<SessionEvent, ClientError>> + Send + Unpin + use<> {
        let watch = Watch::new(self.clone(), format!("sessions/{hash}/events"));
        Box::pin(watch.into_stream(SessionEvent::is_last))
    }

    /// Watches the caller's sessions: returns the list at once and after every change. Reconnects by itself.
    /// Ends only after an `Err`.
    pub fn watch_list(&self) -> impl Stream<Item = Result<SessionList, ClientError>> + Send + Unpin + use<> {
        let watch = Watch::new(self.clone(), "sessions/stream".to_owned());
        Box::pin(watch.into_stream(|_| false))
    }

    /// Watches the latest messages of a session: returns a snapshot at once, and what follows. Reconnects by
    /// itself, which begins with a snapshot. Ends only after an `Err`.
    pub fn watch_messages(
        &self,
        hash: SessionHash,
    ) -> impl Stream<Item = Result<ThreadEvent, ClientError>> + Send + Unpin + use<> {
        let watch = Watch::new(self.clone(), format!("sessions/{hash}/progress/stream"));
        Box::pin(watch.into_stream(|_| false))
    }
}

struct Watch<T> {
    client: Client,
    path: String,
    connection: Option<(Response, SseReader)>,
    ready: VecDeque<SseEvent>,
    reconnect: Option<Reconnect>,
    event_type: PhantomData<fn() -> T>,
}

/// The attempts to reconnect since the last event.
#[derive(Clone, Copy)]
struct Reconnect {
    since: Instant,
    next_delay: Duration,
}

impl<T: DeserializeOwned + Send + 'static> Watch<T> {
    fn new(client: Client, path: String) -> Self {
        let ready = VecDeque::new();
        Self { client, path, connection: None, ready, reconnect: None, event_type: PhantomData }
    }

    fn into_stream(self, is_last: fn(&T) -> bool) -> impl Stream<Item = Result<T, ClientError>> + Send {
        stream::unfold(Some(self), move |watch| async move {
            let mut watch = watch?;
            let item = watch.next().await;
            let has_ended = item.as_ref().map_or(true, is_last);
            Some((item, (!has_ended).then_some(watch)))
        })
    }

    async fn next(&mut self) -> Result<T, ClientError> {
        loop {
            if let Some(SseEvent { name, data }) = self.ready.pop_front() {
                return serde_json::from_str(&data).map_err(|error| {
                    let reason = format!("this version does not understand its event {name:?} ({error})");
                    self.client.unexpected(reason)
                });
            }
            if let Err(error) = self.advance().await {
                self.connection = None;
                if !error.is_transient() {
                    return Err(error);
                }
                self.wait_before_reconnect(error).await?;
            }
        }
    }

    /// Connects, or reads the next bytes of the connection.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some((response, reader)) = &mut self.connection else {
            self.connection = Some((self.connect().await?, SseReader::default()));
            return Ok(());
        };
        let chunk = match timeout(IDLE_TIMEOUT, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(self.client.unreachable("it closed the stream")),
            Ok(Err(error)) => return Err(self.client.transport_error(error)),
            Err(_) => return Err(self.client.unreachable("the stream timed out")),
        };
        let events = reader.feed(&chunk);
        self.ready.extend(events.map_err(|error| self.client.unexpected(error.to_string()))?);
        if !self.ready.is_empty() {
            self.reconnect = None;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let request = self.client.request(Method::GET, &self.path).header(ACCEPT, "text/event-stream");
        let response = timeout(ANSWER_TIMEOUT, self.client.open(request))
            .await
            .map_err(|_| self.client.unreachable("it did not answer in time"))??;
        let content_type = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        if !content_type.starts_with(b"text/event-stream") {
            let status = response.status();
            return Err(self.client.unexpected(format!("its answer ({status}) is not an event stream")));
        }
        Ok(response)
    }

    /// Waits before the next attempt. Returns the error if the client has tried for too long.
    async fn wait_before_reconnect(&mut self, error: ClientError) -> Result<(), ClientError> {
        let first = Reconnect { since: Instant::now(), next_delay: FIRST_DELAY };
        let Reconnect { since, next_delay } = self.reconnect.unwrap_or(first);
        if since.elapsed() + next_delay > self.client.reconnect_timeout {
            return Err(error);
        }
        sleep(next_delay).await;
        self.reconnect = Some(Reconnect { since, next_delay: (next_delay * 2).min(MAX_DELAY) });
        Ok(())
    }
}
