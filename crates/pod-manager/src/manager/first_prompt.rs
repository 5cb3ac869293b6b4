//! Delivers the first prompt to an opencode that has just started, exactly once, and picks the conversation
//! that the session's page shows.

use crate::{
    backend::{BackendError, SessionBackend},
    model::{Endpoint, Session},
    opencode::{Conversation, MessageIds, OpencodeClient, OpencodeError},
};

/// In how many of the newest conversations the first prompt is searched for.
const SEARCHED_CONVERSATIONS: usize = 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    #[error(transparent)]
    OpencodeClient(#[from] OpencodeError),
    #[error("the delivery could not be recorded")]
    Backend(#[from] BackendError),
}

/// Makes sure that a conversation exists, and that the first prompt (if there is one that was not sent yet)
/// is in one. Returns the conversation to show.
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
