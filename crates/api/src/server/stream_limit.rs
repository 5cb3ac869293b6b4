//! Limits how many event streams of one kind each user has open.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use session_key::Identity;

/// How many event streams of messages one user may have open.
pub const MAX_MESSAGE_STREAMS: usize = 20;

/// Counts the open streams of each user.
#[derive(Debug, Clone)]
pub(super) struct StreamLimit {
    max: usize,
    open: Arc<Mutex<HashMap<Identity, usize>>>,
}

/// An open stream; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limit: StreamLimit,
    user: Identity,
}

impl StreamLimit {
    /// Creates a limit of `max` streams for each user.
    pub(super) fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// Counts a stream; `None` if the user has as many as are allowed.
    pub(super) fn acquire(&self, user: &Identity) -> Option<Permit> {
        let mut open = self.open.lock();
        let count = open.entry(user.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Permit { limit: self.clone(), user: user.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limit.open.lock();
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_as_many_streams_as_are_allowed() {
        let user = |name: &str| Identity::parse(&format!("{name}@example.com")).expect("an address");
        let limit = StreamLimit::new(2);
        let (first, _second) = (limit.acquire(&user("alice")), limit.acquire(&user("alice")));
        assert!(limit.acquire(&user("alice")).is_none());
        assert!(limit.acquire(&user("bob")).is_some());
        drop(first);
        assert!(limit.acquire(&user("alice")).is_some());
        assert_eq!(limit.open.lock().len(), 1, "users without streams are forgotten");
    }
}
