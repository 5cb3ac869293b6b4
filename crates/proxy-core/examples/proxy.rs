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

use std::{convert::Infallible, net::SocketAddr, num::NonZeroUsize, sync::Arc};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionRoute};
use tokio::net::TcpListener;
use tower::{Layer, Service, layer::util::Stack, service_fn};

/// What the router uses as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct OneSession(SocketAddr);

impl Resolver for OneSession {
    fn resolve(&self, _: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        Ok(Upstream::new(self.0))
    }
}

impl RecordActivity for OneSession {
    fn touch(&self, route: &SessionRoute, _: Activity) {
        std::hint::black_box(route);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let argument =
        |n| std::env::args().nth(n).ok_or_else(|| anyhow::anyhow!("usage: proxy LISTEN UPSTREAM DEPTH"));
    let listener = TcpListener::bind(argument(1)?).await?;
    println!("listening on {}", listener.local_addr()?);
    let layers = Layers::new(argument(2)?.parse()?)?;
    match argument(3)?.as_str() {
        "forward" => run(listener, move || layers.fixed()).await?,
        "route" => run(listener, move || layers.routed(layers.fixed())).await?,
        "identify" => {
            run(listener, move || layers.routed(layers.identify.layer(layers.fixed()))).await?;
        }
        "origin" => {
            let stack = Stack::new(SameOriginLayer::new(), layers.identify.clone());
            run(listener, move || layers.routed(stack.layer(layers.fixed()))).await?;
        }
        "resolve" => {
            let upper = Stack::new(SameOriginLayer::new(), layers.identify.clone());
            let stack = Stack::new(layers.resolve.clone(), upper);
            run(listener, move || layers.routed(stack.layer(layers.forward()))).await?;
        }
        "whole" => {
            let upper = Stack::new(SameOriginLayer::new(), layers.identify.clone());
            let lower = Stack::new(TrackActivityLayer::new(layers.sessions.clone()), layers.resolve.clone());
            let stack = Stack::new(lower, upper);
            run(listener, move || layers.routed(stack.layer(layers.forward()))).await?;
        }
        other => anyhow::bail!("unknown depth {other}"),
    }
    println!("{} ms of processor time", processor_time());
    Ok(())
}

/// What the services are made of.
struct Layers {
    upstream: SocketAddr,
    sessions: Arc<OneSession>,
    identify: IdentifyLayer,
    resolve: ResolveLayer,
    scheme: Arc<HostScheme>,
}

impl Layers {
    fn new(upstream: SocketAddr) -> anyhow::Result<Self> {
        let sessions = Arc::new(OneSession(upstream));
        let trusted: Arc<dyn IdentityExtractor> =
            Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse()?]));
        Ok(Self {
            upstream,
            identify: IdentifyLayer::new(trusted),
            resolve: ResolveLayer::new(sessions.clone()),
            sessions,
            scheme: Arc::new(HostScheme::new("localhost:8000", "", "attach-")?),
        })
    }

    fn forward(&self) -> Forward {
        Forward::new(ForwardSettings { public_proto: "http", ..Default::default() })
    }

    /// Sets the upstream where no `Resolve` does.
    fn fixed(&self) -> impl HttpService + use<> {
        let (upstream, mut forward) = (self.upstream, self.forward());
        service_fn(move |mut request: Request<Body>| {
            request.extensions_mut().insert(Upstream::new(upstream));
            forward.call(request)
        })
    }

    fn routed<S: HttpService>(&self, session: S) -> impl HttpService + use<S> {
        let site = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::from("the site\n"))) });
        HostRouter::new(self.scheme.clone(), session, site)
    }
}

/// Serves on as many threads as the fourth argument says, each with a service of its own. Without one, there
/// is a thread per core; with 0, tokio's runtime for several threads serves.
async fn run<S: HttpService>(
    listener: TcpListener,
    stack: impl Fn() -> S + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let threads = std::env::args().nth(4).map_or(Ok(cores), |threads| threads.parse())?;
    let (settings, shutdown) = (ServeSettings::new(), async { drop(tokio::signal::ctrl_c().await) });
    match NonZeroUsize::new(threads) {
        Some(threads) => {
            Workers::start(threads)?.serve(listener, move |_| stack(), settings, shutdown).await?;
        }
        None => serve(listener, stack(), settings, shutdown).await,
    }
    Ok(())
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
