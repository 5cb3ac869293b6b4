//! Converts the manager's view of a session to wire types. Pure functions.

mod address;
mod attach_token;
mod reason;
mod session;
mod stage;
mod thread;
mod time;

pub use address::{attach_url, conversation_id, ports, url};
pub use attach_token::attach_token;
pub use session::{admin_session, session, state, unsaved};
pub use thread::message;
pub use time::minutes;
