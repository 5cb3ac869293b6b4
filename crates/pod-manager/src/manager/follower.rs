//! Follows the events of one run's opencode: which agents are at work, the newest conversation's title and
//! its latest messages are known at once, without asking again and again.
//!
//! Events alone are not relied on. After each connection opencode is asked once for everything that they
//! change, and whatever an event leaves open is asked for. The run's [monitor](super::monitor) probes
//! opencode in addition, now and then.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    agents::{self, Agents},
    entry::Entry,
    manager::Manager,
    run_state::RunState,
    thread::{Change, MAX_MESSAGES},
};
use crate::{
    backoff::Backoff,
    model::Endpoint,
    opencode::{self, Conversation, Event, EventStream, OpencodeError, Part, Received, Role},
};

/// The pauses before a stream that ended is opened again.
const RECONNECT_MIN: Duration = Duration::from_millis(250);
const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// A stream that lived this long counts as a good one.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// The shortest time from one reload to the next.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
const RELOAD_RETRY_MAX: Duration = Duration::from_secs(30);
/// How many events may wait while opencode is asked. Beyond that the stream is not read.
const WAITING_EVENTS: usize = 64;
/// How many parents of one child conversation are asked for.
const MAX_DEPTH: usize = 4;

/// Follows one run.
pub(super) struct Follower {
    manager: Arc<Manager>,
    entry: Arc<Entry>,
    endpoint: Endpoint,
    agents: Arc<Mutex<Agents>>,
    /// A failure is logged once, until a stream was good.
    error_logged: bool,
}

impl Follower {
    pub(super) fn new(
        manager: Arc<Manager>,
        entry: Arc<Entry>,
        endpoint: Endpoint,
        agents: Arc<Mutex<Agents>>,
    ) -> Self {
        Self { manager, entry, endpoint, agents, error_logged: false }
    }

    /// Follows until it is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
        loop {
            let begun = Instant::now();
            // On the heap while it happens, so that a follower that waits is small.
            let error = match Box::pin(self.manager.opencode.events(&self.endpoint)).await {
                Ok(stream) => Box::pin(self.follow(stream)).await,
                Err(error) => error,
            };
            if begun.elapsed() >= GOOD_STREAM {
                backoff.reset();
                self.error_logged = false;
            }
            if !std::mem::replace(&mut self.error_logged, true) {
                tracing::info!(
                    session.hash = %self.entry.hash,
                    %error,
                    "following opencode's events failed; probing it until they can be followed again"
                );
            }
            sleep(backoff.next_delay()).await;
            self.manager.follow_stats.reconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Follows an open stream until it fails.
    async fn follow(&self, stream: EventStream) -> OpencodeError {
        let _connected = Connected::new(self);
        let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
        tokio::select! {
            error = self.receive(stream, sender) => error,
            () = self.process(receiver) => OpencodeError::Unexpected("the end of its events"),
        }
    }

    /// Reads the stream, and passes on the events that are understood.
    async fn receive(&self, mut stream: EventStream, sender: mpsc::Sender<Event>) -> OpencodeError {
        let stats = &self.manager.follow_stats;
        loop {
            match stream.next().await {
                Ok(Received::Event(raw)) => {
                    stats.events.fetch_add(1, Ordering::Relaxed);
                    self.entry.events.event(&raw);
                    if let Some(event) = opencode::parse(&raw.kind, &raw.data)
                        && sender.send(event).await.is_err()
                    {
                        return OpencodeError::Unexpected("the end of its events");
                    }
                }
                Ok(Received::Oversized) => {
                    stats.lost.fetch_add(1, Ordering::Relaxed);
                    self.entry.events.lost();
                }
                Err(error) => return error,
            }
        }
    }

    /// Asks opencode for everything, and then applies each event. Asks again when an event requires it.
    async fn process(&self, mut events: mpsc::Receiver<Event>) {
        let mut backoff = Backoff::new(RELOAD_INTERVAL, RELOAD_RETRY_MAX);
        let (mut reload_at, mut next_reload) = (Some(Instant::now()), Instant::now());
        loop {
            let reload = async {
                match reload_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = reload => {
                    reload_at = None;
                    match Box::pin(self.reload()).await {
                        Ok(()) => {
                            backoff.reset();
                            next_reload = Instant::now() + RELOAD_INTERVAL;
                        }
                        Err(error) => {
                            tracing::debug!(session.hash = %self.entry.hash, %error, "loading messages failed; retrying");
                            reload_at = Some(Instant::now() + backoff.next_delay());
                        }
                    }
                }
                event = events.recv() => {
                    let Some(event) = event else { return };
                    if self.apply(event) {
                        reload_at.get_or_insert(next_reload.max(Instant::now()));
                    }
                }
            }
        }
    }

    /// Applies an event. Returns whether opencode has to be asked again.
    fn apply(&self, event: Event) -> bool {
        if self.agents.lock().apply(&event) {
            if matches!(event, Event::Status { busy: false, .. }) {
                // The agent's work is done, so no status of the first prompt is to come.
                self.update_run(|run| run.prompted_at = None);
            }
            self.publish_work();
        }
        let mut reload = false;
        let is_conversation = matches!(event, Event::Conversation(_));
        self.entry.feed.update(|thread| {
            let change = thread.apply(event);
            reload = change == Change::Reload;
            change == Change::Shown
        });
        if is_conversation {
            let title = self.entry.feed.read(|thread| thread.title().map(str::to_owned));
            if let Some(title) = title {
                self.update_run(|run| {
                    if run.title.as_ref() != Some(&title) {
                        run.title = Some(title);
                    }
                });
            }
        }
        reload
    }

    /// Asks opencode which agents are at work, which conversation is the newest, and for its messages.
    async fn reload(&self) -> Result<(), OpencodeError> {
        // The sender of permits is never closed.
        let _permit = self.manager.reload_permits.acquire().await;
        self.reload_agents().await?;
        let newest = self.manager.opencode.conversations(&self.endpoint, 1).await?.pop();
        let texts = match &newest {
            Some(newest) => self.texts(&newest.id).await?,
            None => Vec::new(),
        };
        let landing_path = newest.as_ref().map_or_else(|| "/".into(), Conversation::landing_path);
        let title = newest.as_ref().and_then(|newest| newest.title.clone());
        self.update_run(|run| {
            // Before that, opening the session sets them.
            if run.opened_at.is_some() {
                (run.title, run.landing_path) = (title, Some(landing_path));
            }
        });
        self.entry.feed.update(|thread| {
            thread.load(&self.endpoint.run_id, newest, texts);
            true
        });
        Ok(())
    }

    async fn reload_agents(&self) -> Result<(), OpencodeError> {
        let opencode = &self.manager.opencode;
        let (version, busy) = agents::ask(opencode, &self.endpoint, &self.agents).await?;
        let requests =
            if busy.is_empty() { Vec::new() } else { opencode.open_requests(&self.endpoint).await? };
        let mut parents = Vec::new();
        for (session, _) in &requests {
            let mut child = session.clone();
            for _ in 0..MAX_DEPTH {
                let Some(parent) = opencode.parent(&self.endpoint, &child).await? else { break };
                parents.push((child, parent.clone()));
                child = parent;
            }
        }
        {
            let mut agents = self.agents.lock();
            // Only this task applies events, so the version is still the same.
            agents.set_busy(version, busy);
            agents.set_requests(requests);
            for (child, parent) in parents {
                agents.set_parent(child, parent);
            }
        }
        self.publish_work();
        Ok(())
    }

    /// Returns the latest texts of a conversation. One that holds large files or outputs has too large an
    /// answer; then fewer messages are asked for.
    async fn texts(&self, conversation: &str) -> Result<Vec<(Role, Part)>, OpencodeError> {
        for limit in [MAX_MESSAGES, 8, 2] {
            match self.manager.opencode.texts(&self.endpoint, conversation, limit).await {
                Err(OpencodeError::TooLarge(_)) => {}
                texts => return texts,
            }
        }
        Ok(Vec::new())
    }

    fn publish_work(&self) {
        let work = self.agents.lock().work();
        let now = self.manager.clock.now();
        self.update_run(|run| run.set_work(work, now));
    }

    fn update_run(&self, update: impl FnOnce(&mut RunState)) {
        let now = self.manager.clock.now();
        self.entry.update_run(&self.endpoint, now, &self.manager.subscriptions, update);
    }
}

/// While this exists, a stream is open.
struct Connected<'a>(&'a Follower);

impl<'a> Connected<'a> {
    fn new(follower: &'a Follower) -> Self {
        follower.manager.follow_stats.connected.fetch_add(1, Ordering::Relaxed);
        follower.agents.lock().set_followed(true);
        follower.entry.events.connected();
        Self(follower)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.manager.follow_stats.connected.fetch_sub(1, Ordering::Relaxed);
        self.0.entry.events.disconnected();
        self.0.agents.lock().set_followed(false);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.entry.feed.update(|thread| thread.clear(&self.endpoint.run_id));
    }
}
