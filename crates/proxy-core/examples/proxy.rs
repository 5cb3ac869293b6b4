//! A proxy for load tests, with a configurable number of layers. The upstream is any HTTP/1.1 server, the
//! client `wrk`:
//!
//! ```text
//! cargo run --profile bench -p proxy-core --example proxy -- 127.0.0.1:8000 127.0.0.1:8081 whole
//! wrk -t1 -c32 -d10s -H 'Host: a48da0606867.localhost:8000' -H 'X-Auth-Request-Email: me@example.com' \
//!     http://127.0.0.1:8000/
//! ```
//!
//! The third argument is `forward` (no layers), `route` (+ `HostRouter`), `identify` (+ `Identify` by trusted
//! headers), `origin` (+ `SameOrigin`), `resolve` (+ `Resolve`) or `whole` (+ `TrackActivity`). At the end
//! (Ctrl-C) the example prints its processor time; divided by the number of requests that `wrk` reports, it
//! is the cost of a request, on a busy machine as well.
#![expect(clippy::print_stdout, reason = "the example prints its measurements")]

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, layer::util::Stack, service_fn};

struct OneSession(SocketAddr);

impl Resolver for OneSession {
    fn resolve(&self, _: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        Ok(Upstream::new(self.0))
    }
}

impl RecordActivity for OneSession {
    fn touch(&self, hash: SessionHash, _: Activity) {
        std::hint::black_box(hash);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let argument =
        |n| std::env::args().nth(n).ok_or_else(|| anyhow::anyhow!("usage: proxy LISTEN UPSTREAM DEPTH"));
    let listener = TcpListener::bind(argument(1)?).await?;
    println!("listening on {}", listener.local_addr()?);
    let upstream = argument(2)?.parse()?;
    let sessions = Arc::new(OneSession(upstream));
    let trusted: Arc<dyn IdentityExtractor> =
        Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse()?]));
    let identify = IdentifyLayer::new(trusted);
    let resolve = ResolveLayer::new(sessions.clone());
    let settings = ForwardSettings { public_proto: "http", ..Default::default() };
    let forward = Forward::new(settings);
    // Sets the upstream where no `Resolve` does.
    let mut inner = forward.clone();
    let fixed = service_fn(move |mut request: Request<Body>| {
        request.extensions_mut().insert(Upstream::new(upstream));
        inner.call(request)
    });
    let layers = ServiceBuilder::new().layer(identify.clone());
    match argument(3)?.as_str() {
        "forward" => run(listener, fixed).await,
        "route" => run(listener, routed(fixed)?).await,
        "identify" => run(listener, routed(layers.service(fixed))?).await,
        "origin" => run(listener, routed(layers.layer(SameOriginLayer::new()).service(fixed))?).await,
        "resolve" => {
            let layers = layers.layer(SameOriginLayer::new()).layer(resolve);
            run(listener, routed(layers.service(forward))?).await;
        }
        "whole" => {
            let upper = Stack::new(SameOriginLayer::new(), identify);
            let lower = Stack::new(TrackActivityLayer::new(sessions), resolve);
            run(listener, routed(Stack::new(lower, upper).layer(forward))?).await;
        }
        other => anyhow::bail!("unknown depth {other}"),
    }
    println!("{} ms of processor time", processor_time());
    Ok(())
}

fn routed<S>(session: S) -> anyhow::Result<impl HttpService>
where
    S: HttpService,
{
    let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("the site\n"))) });
    Ok(HostRouter::new(Arc::new(HostScheme::new("localhost:8000", "", "attach-")?), session, site))
}

async fn run(listener: TcpListener, stack: impl HttpService) {
    serve(listener, stack, ServeSettings::default(), async { drop(tokio::signal::ctrl_c().await) }).await;
}

/// A service that `serve` accepts.
trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Returns the processor time of this process in milliseconds (`man 5 proc`: utime and stime, in hundredths
/// of a second); 0 without /proc.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}
