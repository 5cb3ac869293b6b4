//! Delivers the first prompt to an opencode that has just started, exactly once, and picks the conversation
//! that the session's page shows.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    backend::{BackendError, SessionBackend},
    model::{Endpoint, Session},
    opencode::{Conversation, MessageIds, OpencodeClient, OpencodeError},
};

/// In how many of the newest conversations the first prompt is searched for.
const SEARCHED_CONVERSATIONS: usize = 20;
/// Between two requests for a prompt that opencode is storing.
const STORE_INTERVAL: Duration = Duration::from_millis(25);

#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    #[error(transparent)]
    OpencodeClient(#[from] OpencodeError),
    #[error("the delivery could not be recorded")]
    Backend(#[from] BackendError),
}

/// Makes sure that a conversation exists, and that the first prompt (if there is one that was not sent yet)
/// is in one. Returns the conversation to show. It waits for opencode to store the prompt, but not for longer
/// than `store_timeout`.
///
/// It may be cancelled at any point, also by the end of the router, and called again: the prompt has the same
/// ids each time, so that opencode takes it for the same message; and it is searched for in the existing
/// conversations, so that it is not sent to a second one.
pub(super) async fn deliver(
    opencode: &OpencodeClient,
    backend: &dyn SessionBackend,
    session: &Session,
    first_prompt_sent: bool,
    endpoint: &Endpoint,
    store_timeout: Duration,
) -> Result<Conversation, DeliverError> {
    match session.initial_message.as_deref().filter(|_| !first_prompt_sent) {
        None => match opencode.conversations(endpoint, 1).await?.pop() {
            Some(newest) => Ok(newest),
            None => Ok(opencode.create_conversation(endpoint).await?),
        },
        Some(message) => {
            let ids = MessageIds::of(session);
            let conversation = conversation_for_prompt(opencode, endpoint, &ids).await?;
            opencode.send_prompt(endpoint, &conversation.id, &ids, message).await?;
            wait_stored(opencode, endpoint, &conversation.id, &ids, store_timeout).await?;
            backend.mark_first_prompt_sent(session.hash).await?;
            Ok(conversation)
        }
    }
}

/// Returns the conversation to show while another router delivers: `None` until the first prompt is in one.
pub(super) async fn delivered_by_leader(
    opencode: &OpencodeClient,
    session: &Session,
    first_prompt_sent: bool,
    endpoint: &Endpoint,
) -> Result<Option<Conversation>, DeliverError> {
    if session.initial_message.is_some() && !first_prompt_sent {
        return Ok(None);
    }
    Ok(opencode.conversations(endpoint, 1).await?.pop())
}

/// Waits until opencode has stored the prompt. Its page lists the messages, and opens its event stream
/// afterwards: a prompt that was stored in between would be missing there until the page is loaded again.
///
/// opencode reports only in its event stream that it could not store a prompt, so the wait ends after
/// `timeout`.
async fn wait_stored(
    opencode: &OpencodeClient,
    endpoint: &Endpoint,
    conversation: &str,
    ids: &MessageIds,
    timeout: Duration,
) -> Result<(), OpencodeError> {
    let begun = Instant::now();
    loop {
        match opencode.has_prompt(endpoint, conversation, ids).await {
            Ok(true) => return Ok(()),
            Ok(false) if begun.elapsed() < timeout => sleep(STORE_INTERVAL).await,
            // opencode may have ended before it stored the prompt.
            Err(error @ (OpencodeError::Unreachable(_) | OpencodeError::Timeout)) => return Err(error),
            answer => {
                tracing::warn!(
                    conversation,
                    ?answer,
                    "opencode does not show the first prompt; not waiting longer"
                );
                return Ok(());
            }
        }
    }
}

/// Returns the conversation that has the first prompt; otherwise the newest one if it is empty, since an
/// earlier message must not follow later ones; otherwise a new one.
async fn conversation_for_prompt(
    opencode: &OpencodeClient,
    endpoint: &Endpoint,
    ids: &MessageIds,
) -> Result<Conversation, OpencodeError> {
    let conversations = opencode.conversations(endpoint, SEARCHED_CONVERSATIONS).await?;
    for conversation in &conversations {
        if opencode.has_message(endpoint, &conversation.id, ids).await? {
            return Ok(conversation.clone());
        }
    }
    match conversations.into_iter().next() {
        Some(newest) if opencode.is_empty(endpoint, &newest.id).await? => Ok(newest),
        _ => opencode.create_conversation(endpoint).await,
    }
}
