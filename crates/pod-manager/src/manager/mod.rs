//! The manager, shared by all backends: one index from which every question is answered, the commands that
//! users give, and a task for each run that opens the session, follows its events, probes it and stops it
//! once it is idle.

mod administration;
mod agents;
mod attach;
mod commands;
mod entry;
mod entry_state;
mod error;
mod event_ring;
mod events;
mod feed;
mod first_prompt;
mod follower;
mod idle;
mod index;
pub(crate) mod leadership;
#[expect(clippy::module_inception, reason = "it defines `Manager`; this file only names what is public")]
mod manager;
mod monitor;
mod port_watch;
mod reports;
mod run;
mod run_state;
mod settings;
mod start_limiter;
mod subscriptions;
mod thread;
mod thread_subscription;
mod view;
mod waiting;
mod wake;

pub use attach::AttachGrant;
pub use commands::{Created, NewSession};
pub use error::{Limit, ManagerError};
pub use events::SessionEvents;
pub use leadership::{AlwaysLeader, Leadership};
pub use manager::{Following, Manager, Opening, RouteError};
pub use settings::{ManagerSettings, WaitingLimits};
pub use subscriptions::Subscription;
pub use thread::{ThreadMessage, ThreadUpdate};
pub use thread_subscription::ThreadSubscription;
pub use view::{View, ViewState};
pub use waiting::Waited;
pub use wake::{WakeError, WakeStart};

pub use crate::opencode::{EventScope, Role};
