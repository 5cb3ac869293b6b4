//! The types that are sent and received as JSON: camelCase, times in RFC 3339 UTC.

mod admin_session;
mod attach;
mod error;
mod event;
mod image;
mod port;
mod repository;
mod secret;
mod session;
mod site;
mod stage;
mod thread;

pub use admin_session::{AdminSession, AdminSessionList};
pub use attach::{AttachInfo, AttachToken, CreateAttachToken, NewAttachToken};
pub use error::ErrorBody;
pub use event::SessionEvent;
pub use image::{ImagePull, ImagePullProgress, PullOutcome, PullStatus};
pub use port::{Port, PortNumbers};
pub use repository::{Branch, Repository};
pub use secret::{Acknowledged, SecretNames, SecretText, SetSecret, SetSecrets};
pub use session::{
    CreateSession, Reason, Session, SessionList, SessionState, State, SuggestedBranch, UnsavedWork,
};
pub use site::SiteConfig;
pub use stage::{Stage, StageName, StageStatus};
pub use thread::{Role, Thread, ThreadEvent, ThreadMessage};
