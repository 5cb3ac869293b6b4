//! A session's event stream for clients that reconnect: [`SessionEvents`].

use std::{future::ready, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use session_key::{Identity, SessionHash};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{entry::Entry, event_ring::client_id, manager::Manager};
use crate::{
    model::{Endpoint, Phase},
    opencode::{EventScope, OpencodeError, StateEvents, event_time, up_to_date_at},
};

/// How long it may take to send the state to a client.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);

/// One event stream of a running session: the latest events, and the state that they led to.
///
/// Events have the ids of opencode's own, so every router knows them.
pub struct SessionEvents {
    manager: Arc<Manager>,
    entry: Arc<Entry>,
    endpoint: Endpoint,
    scope: EventScope,
}

impl Manager {
    /// Returns an event stream of the user's session, if it runs.
    pub fn events(
        self: &Arc<Self>,
        user: &Identity,
        hash: SessionHash,
        scope: EventScope,
    ) -> Option<SessionEvents> {
        let entry = self.index.get_owned(user, hash)?;
        let endpoint = match &entry.view()?.status.phase {
            Phase::Running(endpoint) => endpoint.clone(),
            _ => return None,
        };
        Some(SessionEvents { manager: self.clone(), entry, endpoint, scope })
    }
}

impl SessionEvents {
    /// Returns the id of an event by its data, as the session sent it. `None`: no other connection has the
    /// event, or it is not an event of opencode.
    #[must_use]
    pub fn id_of(&self, data: &[u8]) -> Option<String> {
        let (id, is_sync) = self.scope.id_of(data)?;
        Some(client_id(&id, is_sync))
    }

    /// Returns the events after the one with this id, and then those that happen; of each, its id and data.
    /// The stream ends if the router does not have all of them.
    #[must_use]
    pub fn after(&self, id: &str) -> BoxStream<'static, (String, Bytes)> {
        let scope = self.scope.clone();
        let events = self.entry.events.after(id);
        events
            .filter_map(move |event| {
                let data = scope.project(&event.data);
                ready(data.map(|data| (event.client_id(), data)))
            })
            .boxed()
    }

    /// Returns events that contain the state of every conversation that changed since the event with this id,
    /// with the messages that may have changed; if the id says no time, of the newest conversation only, with
    /// all messages that are read. What can't be read from the session is left out.
    #[must_use]
    pub fn state(&self, last: &str) -> BoxStream<'static, Bytes> {
        let (sender, mut receiver) = mpsc::channel(16);
        let events = Self {
            manager: self.manager.clone(),
            entry: self.entry.clone(),
            endpoint: self.endpoint.clone(),
            scope: self.scope.clone(),
        };
        let last = last.to_owned();
        let send = async move {
            // One client of each user at a time, so that one user can't make the others wait.
            let _guard = events.manager.state_locks.lock(events.entry.owner.clone()).await;
            match timeout(STATE_TIMEOUT, events.send_state(&last, sender)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(session.hash = %events.entry.hash, %error, "reading the state failed");
                }
                Err(_) => {
                    tracing::debug!(session.hash = %events.entry.hash, "sending the state took too long");
                }
            }
        };
        // A task of its own: a client that does not read must not make others wait longer than that.
        let sending = AbortOnDropHandle::new(tokio::spawn(send));
        stream::poll_fn(move |context| {
            let _aborted_with_the_stream = &sending;
            receiver.poll_recv(context)
        })
        .boxed()
    }

    /// Sends the state until the receiver is dropped.
    async fn send_state(&self, last: &str, sender: mpsc::Sender<Bytes>) -> Result<(), OpencodeError> {
        let (manager, endpoint) = (&self.manager, &self.endpoint);
        let now = manager.clock.now();
        let since = event_time(last).map(|time| up_to_date_at(time, now));
        let state = StateEvents { scope: &self.scope, now };
        let send = async |event| sender.send(event).await.map_err(|_| OpencodeError::Unexpected("nobody"));
        let changed = {
            let _permit = manager.reload_permits.acquire().await;
            let statuses = manager.opencode.statuses(endpoint, &self.scope).await?;
            manager.opencode.changed_conversations(endpoint, &self.scope, since, &statuses).await?
        };
        for conversation in &changed {
            send(state.conversation(conversation)).await?;
            let mut cursor = None;
            for _ in 0..StateEvents::MAX_PAGES {
                let (messages, next) = {
                    let _permit = manager.reload_permits.acquire().await;
                    let page = manager.opencode.page(endpoint, conversation, cursor.as_deref()).await?;
                    (
                        state.messages(conversation, &page.changed_since(since)),
                        page.next_since(since).map(str::to_owned),
                    )
                };
                for event in messages {
                    send(event).await?;
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        // Read again: an agent that ends meanwhile is idle here, or its end is an event that follows.
        let statuses = manager.opencode.statuses(endpoint, &self.scope).await?;
        for conversation in &changed {
            send(state.status(conversation, &statuses)).await?;
        }
        Ok(())
    }
}
