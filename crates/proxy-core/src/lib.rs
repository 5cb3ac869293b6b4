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
mod observer;
mod peer_addr;
mod port_hosts;
mod refusal;
mod replay;
mod request_head;
mod request_kind;
mod resolve;
mod resolver;
mod response_future;
mod route_hosts;
mod route_key;
mod same_origin;
mod serve;
mod tcp;
mod trailers;
mod upstream_stream;
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
pub use observer::{ConnectEvent, ObservedRefusals, Observer, ResponseEvent};
pub use peer_addr::PeerAddr;
pub use refusal::{PlainRefusals, Reason, Refusal, RefusalContext, Refusals, respond};
pub use replay::{EventLog, EventLogs, LoggedEvent, ReplayEvents, ReplayEventsLayer};
pub use request_head::RequestHead;
pub use request_kind::RequestKind;
pub use resolve::{Resolve, ResolveLayer};
pub use resolver::{Connecting, Connector, HostPolicy, ResolveError, Resolver, Upstream};
pub use response_future::{EitherFuture, ResponseFuture};
pub use route_hosts::{HostRoute, RouteHosts};
pub use route_key::RouteKey;
pub use same_origin::{SameOrigin, SameOriginLayer};
pub use serve::{listener::Listener, serve, settings::ServeSettings, workers::Workers};
pub use upstream_stream::UpstreamStream;
pub use wake::{Until, Wake, WakeFuture, WakeRequest};
