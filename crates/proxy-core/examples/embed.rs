//! A proxy in forty lines: `cargo run -p proxy-core --example embed -- 127.0.0.1:8000 127.0.0.1:4096`
//! serves the upstream at the second address as session `a48da0606867`, for one user, at
//! <http://a48da0606867.localhost:8000>.
#![expect(clippy::print_stdout, reason = "the example prints what happens")]
use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute};
use tower::{ServiceBuilder, service_fn};

struct OneSession(SessionHash, SocketAddr);

impl Resolver for OneSession {
    fn resolve(&self, route: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        if route.hash != self.0 {
            return Err(ResolveError::NotFound);
        }
        Ok(Upstream::new(self.1))
    }
}

impl RecordActivity for OneSession {
    fn touch(&self, route: &SessionRoute, activity: Activity) {
        println!("{}: {activity:?}", route.hash);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = |n| std::env::args().nth(n).ok_or_else(|| anyhow::anyhow!("usage: embed LISTEN UPSTREAM"));
    let listener = tokio::net::TcpListener::bind(address(1)?).await?;
    println!("listening on {}", listener.local_addr()?);
    let sessions = Arc::new(OneSession("a48da0606867".parse()?, address(2)?.parse()?));
    let me = FixedIdentity(Identity::parse("me@example.com")?);
    let session = ServiceBuilder::new()
        .layer(IdentifyLayer::new(Arc::new(me)))
        .layer(SameOriginLayer::new())
        .layer(ResolveLayer::new(sessions.clone()))
        .layer(TrackActivityLayer::new(sessions))
        .service(Forward::new(ForwardSettings { public_proto: "http", ..Default::default() }));
    let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("the site\n"))) });
    let scheme = HostScheme::new("localhost:8000", "", "attach-")?;
    let stack = HostRouter::new(Arc::new(scheme), session, site);
    serve(listener, stack, ServeSettings::default(), async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
