//! One task per run of a session: greets its opencode, asks it from time to time what it does, and stops the
//! session when nobody needs it.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::time::{Instant, sleep};

use super::{
    Manager, greeter, reaper,
    slot::{NewRun, Slot},
    view::{RunFacts, answered, since},
};
use crate::{
    model::{Endpoint, SessionStatus},
    opencode::{Conversation, OpencodeError},
};

/// A message that was just handed over is not seen in opencode's status at once (2 s were seen after a cold start).
const AT_WORK_AFTER_PROMPT: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    pub(super) manager: Arc<Manager>,
    pub(super) slot: Arc<Slot>,
    pub(super) endpoint: Endpoint,
    first_prompt_sent: bool,
    /// Why the last attempt to greet it came to nothing.
    ungreeted: Option<String>,
    /// It was said already that opencode does not answer.
    warned: bool,
}

impl Keeper {
    /// Works until the run is over.
    pub(super) async fn keep(manager: Arc<Manager>, run: NewRun) {
        let token = run.token.clone();
        let (slot, endpoint) = (run.slot, run.endpoint);
        let mut keeper =
            Self { manager, slot, endpoint, first_prompt_sent: false, ungreeted: None, warned: false };
        token.run_until_cancelled(keeper.work()).await;
    }

    async fn work(&mut self) {
        self.open().await;
        loop {
            tokio::select! {
                () = sleep(self.pause()) => {}
                // Whoever comes to look sees what is so now.
                () = self.manager.hub.watching_begins(&self.slot.owner) => {}
            }
            if !self.first_prompt_sent {
                self.greet().await;
            }
            let busy = self.probe().await;
            if matches!(busy, Ok(false)) && reaper::is_idle(self) {
                reaper::stop_if_idle(self).await;
            }
        }
    }

    /// Opens it to its owner, and tells how long that took.
    async fn open(&mut self) {
        let opened =
            |(run, observed): (RunFacts, Arc<SessionStatus>)| Some((run.opened?, answered(&observed)));
        let known = self.slot.run(&self.endpoint).and_then(opened).is_some();
        self.greet_patiently().await;
        if let Some((at, from)) = self.slot.run(&self.endpoint).and_then(opened).filter(|_| !known) {
            // No receiver is no error: nobody counts.
            let _ = self.manager.openings.send(since(at, from));
        }
    }

    /// Greets until it worked, or until its owner has waited long enough.
    async fn greet_patiently(&mut self) {
        let begun = Instant::now();
        while !self.greet().await {
            if begun.elapsed() >= self.manager.settings.greet_patience {
                let why = self
                    .ungreeted
                    .as_deref()
                    .unwrap_or("another router was to speak to it first, and did not");
                tracing::warn!(session.hash = %self.slot.hash, why, "opencode could not be greeted; the session is opened without");
                let now = self.manager.clock.now();
                self.learn(|run| {
                    run.entry.get_or_insert_with(|| "/".into());
                    run.opened.get_or_insert(now);
                });
                return;
            }
            sleep(self.manager.settings.greet_pause).await;
        }
    }

    async fn greet(&mut self) -> bool {
        let Some((_, observed)) = self.slot.run(&self.endpoint) else { return false };
        let manager = &self.manager;
        let session = &observed.session;
        let prompts = session.initial_message.is_some() && !observed.first_prompt_sent;
        let (opencode, at) = (&manager.opencode, &self.endpoint);
        // Of several routers one speaks, so that nothing is said twice.
        let speaks = manager.backend.reaps();
        let greeting = if speaks {
            greeter::greet(opencode, &*manager.backend, session, observed.first_prompt_sent, at)
                .await
                .map(Some)
        } else {
            greeter::greeted_by_another(opencode, session, observed.first_prompt_sent, at).await
        };
        match greeting {
            Ok(None) => {
                self.ungreeted = None;
                false
            }
            Ok(Some(conversation)) => {
                let now = manager.clock.now();
                let entry = conversation.entry();
                self.learn(|run| {
                    run.opened.get_or_insert(now);
                    (run.title, run.entry) = (conversation.title, Some(entry));
                    if prompts && speaks {
                        (run.busy, run.busy_at, run.prompted) = (true, Some(now), Some(now));
                    }
                });
                self.first_prompt_sent = true;
                true
            }
            Err(error) => {
                tracing::debug!(session.hash = %self.slot.hash, %error, "opencode was not greeted");
                self.ungreeted = Some(error.to_string());
                false
            }
        }
    }

    /// Asks what it does, and which conversation is the newest.
    async fn probe(&mut self) -> Result<bool, OpencodeError> {
        let busy = self.ask_busy().await;
        match &busy {
            Ok(_) => self.warned = false,
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(session.hash = %self.slot.hash, %error, "opencode can't be asked what it does; the session is not stopped while that is so");
                }
                self.learn(|run| run.unasked = Some(error.to_string()));
            }
        }
        if busy.is_ok() && self.first_prompt_sent {
            self.refresh().await;
        }
        busy
    }

    /// Asks whether an agent is at work, and keeps the answer.
    pub(super) async fn ask_busy(&self) -> Result<bool, OpencodeError> {
        let mut busy = self.manager.opencode.is_busy(&self.endpoint).await?;
        let now = self.manager.clock.now();
        self.learn(|run| {
            if busy {
                run.busy_at = Some(now);
            }
            run.unasked = None;
            busy |= run.prompted.is_some_and(|at| since(now, at) < AT_WORK_AFTER_PROMPT);
            run.busy = busy;
        });
        Ok(busy)
    }

    /// Follows the newest conversation.
    async fn refresh(&self) {
        match self.manager.opencode.conversations(&self.endpoint, 1).await {
            Ok(newest) => {
                let newest = newest.into_iter().next();
                let entry = newest.as_ref().map_or_else(|| "/".into(), Conversation::entry);
                self.learn(|run| {
                    (run.title, run.entry) = (newest.and_then(|newest| newest.title), Some(entry));
                });
            }
            Err(error) => {
                tracing::debug!(session.hash = %self.slot.hash, %error, "the newest conversation is not known");
            }
        }
    }

    fn learn(&self, how: impl FnOnce(&mut RunFacts)) {
        self.slot.learn(&self.endpoint, self.manager.clock.now(), &self.manager.hub, how);
    }

    /// Until the next question: short while somebody looks at the session's state, and never past the moment at
    /// which it could be idle.
    fn pause(&self) -> Duration {
        let settings = &self.manager.settings;
        let watched = self.manager.hub.is_watched(&self.slot.owner);
        let longest = if watched { settings.probe_watched } else { settings.probe_unwatched };
        let pause = longest.mul_f64(rand::rng().random_range(0.8..1.2));
        match reaper::idle_in(self) {
            Some(left) => pause.min(left.max(settings.probe_shortest)),
            None => pause,
        }
    }
}
