//! Measures what each layer costs per request: `cargo run --profile bench -p proxy-core --example layers`.
//!
//! The stack is called directly, around a service that responds at once. Measured is the layers' own work, in
//! processor time, the best of several batches. Each line adds one layer to the line above. Only differences
//! within one run are comparable. `Forward` and the sockets are measured by the example `proxy`.
#![expect(clippy::print_stdout, reason = "the example prints its measurements")]

use std::{convert::Infallible, future::ready, hint::black_box, sync::Arc, time::Instant};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionRoute};
use tower::{Service, ServiceBuilder, service_fn};

struct Sessions;

impl Resolver for Sessions {
    fn resolve(&self, _: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        Ok(Upstream::new(([127, 0, 0, 1], 4096).into()))
    }
}

impl EventLogs for Sessions {
    fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>> {
        black_box(request.uri.path() == "/event").then_some(())?;
        None
    }
}

impl RecordActivity for Sessions {
    fn touch(&self, route: &SessionRoute, _: Activity) {
        black_box(route);
    }
}

const BATCHES: u32 = 25;
const BATCH: u32 = 20_000;

fn request() -> Request<Body> {
    Request::get("/session/ses_1/message?limit=20")
        .header("host", "a48da0606867-oc.example.org")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0",
        )
        .header("accept", "*/*")
        .header("accept-language", "en-US,en;q=0.9")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("cookie", "theme=dark; _oauth2_proxy=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw|1|x")
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "cors")
        .header("x-auth-request-email", "alice@example.com")
        .extension(PeerAddr(([127, 0, 0, 1], 50_000).into()))
        .body(Body::empty())
        .unwrap_or_default()
}

async fn measure<S>(layer: &str, mut service: S, previous: &mut f64)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut best = f64::INFINITY;
    for _ in 0..BATCHES {
        let start = processor_seconds();
        for _ in 0..BATCH {
            let _ = black_box(service.call(request()).await);
        }
        best = best.min((processor_seconds() - start) * 1e9 / f64::from(BATCH));
    }
    println!("{layer:<20} {best:>8.0} ns per request, {:>+6.0} ns", best - *previous);
    *previous = best;
}

/// Returns the processor time of this thread in seconds (Linux: the first number of schedstat), else the
/// elapsed time.
fn processor_seconds() -> f64 {
    thread_local!(static START: Instant = Instant::now());
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.with(|start| start.elapsed().as_secs_f64()), |ns| ns / 1e9)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let respond = service_fn(|request: Request<Body>| {
        black_box(request);
        ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let sessions = Arc::new(Sessions);
    let track = TrackActivityLayer::new(sessions.clone());
    let replay = ReplayEventsLayer::new(sessions.clone());
    let resolve = ResolveLayer::new(sessions);
    let trusted: Arc<dyn IdentityExtractor> =
        Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse()?]));
    let identify = IdentifyLayer::new(trusted);
    let scheme = Arc::new(HostScheme::new("example.org", "-oc", "attach-")?);
    let site = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::from("site")))));

    let mut previous = 0.0;
    measure("the request itself", respond, &mut previous).await;
    let stack = HostRouter::new(scheme.clone(), respond, site);
    measure("+ HostRouter", stack, &mut previous).await;
    let stack =
        HostRouter::new(scheme.clone(), ServiceBuilder::new().layer(identify.clone()).service(respond), site);
    measure("+ Identify", stack, &mut previous).await;
    let inner = ServiceBuilder::new().layer(identify.clone()).layer(SameOriginLayer::new()).service(respond);
    measure("+ SameOrigin", HostRouter::new(scheme.clone(), inner, site), &mut previous).await;
    let inner = ServiceBuilder::new()
        .layer(identify.clone())
        .layer(SameOriginLayer::new())
        .layer(resolve.clone())
        .service(respond);
    measure("+ Resolve", HostRouter::new(scheme.clone(), inner, site), &mut previous).await;
    let inner = ServiceBuilder::new()
        .layer(identify.clone())
        .layer(SameOriginLayer::new())
        .layer(resolve.clone())
        .layer(track.clone())
        .service(respond);
    measure("+ TrackActivity", HostRouter::new(scheme.clone(), inner, site), &mut previous).await;
    let inner = ServiceBuilder::new()
        .layer(identify)
        .layer(SameOriginLayer::new())
        .layer(resolve)
        .layer(track)
        .layer(replay)
        .service(respond);
    measure("+ ReplayEvents", HostRouter::new(scheme, inner, site), &mut previous).await;
    Ok(())
}
