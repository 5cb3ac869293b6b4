#![doc = include_str!("../README.md")]

mod activity;
mod body;
mod cookies;
mod forward;
mod headers;
mod held_body;
mod host_router;
mod identify;
mod identity;
mod peer_addr;
mod port_hosts;
mod refusal;
mod replay;
mod request_kind;
mod resolve;
mod resolver;
mod response_future;
mod same_origin;
mod serve;
mod tcp;
mod wake;
mod websocket;

pub use activity::{Activity, RecordActivity, TrackActivity, TrackActivityLayer};
pub use body::{Body, BodyError};
pub use cookies::Cookies;
pub use forward::{Forward, end_tunnel::EndTunnelWhen, settings::ForwardSettings};
pub use host_router::HostRouter;
pub use identify::{Identify, IdentifyLayer};
pub use identity::{
    access_token::AccessToken,
    extractor::{IdentifyError, IdentityExtractor},
    fixed::FixedIdentity,
    groups::Groups,
    trusted_headers::TrustedHeaders,
};
pub use peer_addr::PeerAddr;
pub use refusal::{PlainRefusals, Reason, Refusal, RefusalContext, Refusals, respond};
pub use replay::{EventLog, EventLogs, LoggedEvent, ReplayEvents, ReplayEventsLayer};
pub use request_kind::RequestKind;
pub use resolve::{Resolve, ResolveLayer};
pub use resolver::{Connecting, Connector, HostPolicy, ResolveError, Resolver, Upstream};
pub use response_future::ResponseFuture;
pub use same_origin::{SameOrigin, SameOriginLayer};
pub use serve::{serve, settings::ServeSettings};
pub use wake::{Until, Wake, WakeFuture, WakeRequest};
