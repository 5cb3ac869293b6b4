#![doc = include_str!("../README.md")]

mod activity;
mod body;
mod cookies;
mod forward;
mod future;
mod host_router;
mod identify;
mod identity;
mod refusal;
mod resolve;
mod resolver;
mod same_origin;
mod serve;
mod websocket;

pub use activity::{Activity, RecordActivity, TrackActivity, TrackActivityLayer};
pub use body::{Body, BodyError};
pub use cookies::Cookies;
pub use forward::{Forward, ForwardSettings};
pub use future::ResponseFuture;
pub use host_router::HostRouter;
pub use identify::{Identify, IdentifyLayer};
pub use identity::{AccessToken, FixedIdentity, IdentifyError, IdentityExtractor, TrustedHeaders};
pub use refusal::{PlainRefusals, Refusal, Refusals, respond};
pub use resolve::{Resolve, ResolveLayer};
pub use resolver::{ResolveError, Resolver, Upstream};
pub use same_origin::{SameOrigin, SameOriginLayer};
pub use serve::{PeerAddr, ServeSettings, serve};
