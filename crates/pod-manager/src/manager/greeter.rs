//! The first words to an opencode that has just come up: which conversation is its page to show, and is there a
//! first message to hand over.

use crate::{
    backend::{BackendError, SessionBackend},
    model::{Endpoint, Session},
    opencode::{Conversation, MessageIds, Opencode, OpencodeError},
};

/// In how many of the newest conversations the first message is looked for.
const LOOK_BACK: usize = 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum NotGreeted {
    #[error(transparent)]
    Opencode(#[from] OpencodeError),
    #[error("the greeting could not be written down")]
    Backend(#[from] BackendError),
}

/// Makes sure that there is a conversation (the newest one is given), and that the first message (where there is one that was not handed
/// over yet) is in one.
///
/// It may be cut off anywhere, by the router's end too, and called again: a message that may have been handed
/// over before is handed over under the same ids, which opencode takes for the same message; and it is looked for
/// in the conversations that there are, so that it does not go to a second one.
pub(super) async fn greet(
    opencode: &Opencode,
    backend: &dyn SessionBackend,
    session: &Session,
    first_prompt_sent: bool,
    at: &Endpoint,
) -> Result<Conversation, NotGreeted> {
    match session.initial_message.as_deref().filter(|_| !first_prompt_sent) {
        None => match opencode.conversations(at, 1).await?.pop() {
            Some(newest) => Ok(newest),
            None => Ok(opencode.converse(at).await?),
        },
        Some(message) => {
            let ids = MessageIds::of(session);
            let conversation = place(opencode, at, &ids).await?;
            opencode.prompt(at, &conversation.id, &ids, message).await?;
            backend.mark_first_prompt_sent(session.hash).await?;
            Ok(conversation)
        }
    }
}

/// What there is to be shown where another router greets: a conversation, once the first message is in one.
pub(super) async fn greeted_by_another(
    opencode: &Opencode,
    session: &Session,
    first_prompt_sent: bool,
    at: &Endpoint,
) -> Result<Option<Conversation>, NotGreeted> {
    if session.initial_message.is_some() && !first_prompt_sent {
        return Ok(None);
    }
    Ok(opencode.conversations(at, 1).await?.pop())
}

/// Where the first message is, or else is to go: into the newest conversation if nothing was said there, since
/// a message of an earlier time must not come behind later ones.
async fn place(opencode: &Opencode, at: &Endpoint, ids: &MessageIds) -> Result<Conversation, OpencodeError> {
    let conversations = opencode.conversations(at, LOOK_BACK).await?;
    for conversation in &conversations {
        if opencode.holds(at, &conversation.id, ids).await? {
            return Ok(conversation.clone());
        }
    }
    match conversations.into_iter().next() {
        Some(newest) if opencode.is_empty(at, &newest.id).await? => Ok(newest),
        _ => opencode.converse(at).await,
    }
}
