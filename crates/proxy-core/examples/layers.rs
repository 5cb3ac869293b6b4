//! Counts what each layer costs a request: `cargo run --profile bench -p proxy-core --example layers`.
//!
//! The stack is called directly, with a service behind it that answers at once; so what is counted is the
//! layers' own work, in processor time, the best of several batches. Each line adds one layer to the one above. Quote
//! differences, from one run. What `Forward` and the sockets cost is for the example `proxy`.
#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::{convert::Infallible, future::ready, hint::black_box, sync::Arc, time::Instant};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionHash, SessionRoute};
use tower::{Service, ServiceBuilder, service_fn};

struct Sessions;

impl Resolver for Sessions {
    fn resolve(&self, _: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        Ok(Upstream { address: ([127, 0, 0, 1], 4096).into(), authorization: None })
    }
}

impl RecordActivity for Sessions {
    fn touch(&self, hash: SessionHash, _: Activity) {
        black_box(hash);
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

async fn measure<S>(what: &str, mut service: S, before: &mut f64)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut each = f64::INFINITY;
    for _ in 0..BATCHES {
        let start = computed();
        for _ in 0..BATCH {
            let _ = black_box(service.call(request()).await);
        }
        each = each.min((computed() - start) * 1e9 / f64::from(BATCH));
    }
    println!("{what:<20} {each:>8.0} ns a request, {:>+6.0} ns", each - *before);
    *before = each;
}

/// Seconds that this thread has computed (Linux: the first number of schedstat, in nanoseconds), else seconds that went by.
fn computed() -> f64 {
    thread_local!(static BEGUN: Instant = Instant::now());
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.map_or_else(|| BEGUN.with(|begun| begun.elapsed().as_secs_f64()), |ns| ns / 1e9)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let answer = service_fn(|request: Request<Body>| {
        black_box(request);
        ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let sessions = Arc::new(Sessions);
    let track = TrackActivityLayer::new(sessions.clone());
    let resolve = ResolveLayer::new(sessions);
    let trusted: Arc<dyn IdentityExtractor> =
        Arc::new(TrustedHeaders::from_peers(vec!["127.0.0.0/8".parse()?]));
    let identify = IdentifyLayer::new(trusted);
    let scheme = Arc::new(HostScheme::new("example.org", "-oc", "attach-")?);
    let site = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::from("site")))));

    let mut before = 0.0;
    measure("the request itself", answer, &mut before).await;
    let stack = HostRouter::new(scheme.clone(), answer, site);
    measure("+ HostRouter", stack, &mut before).await;
    let stack =
        HostRouter::new(scheme.clone(), ServiceBuilder::new().layer(identify.clone()).service(answer), site);
    measure("+ Identify", stack, &mut before).await;
    let inner = ServiceBuilder::new().layer(identify.clone()).layer(SameOriginLayer::new()).service(answer);
    measure("+ SameOrigin", HostRouter::new(scheme.clone(), inner, site), &mut before).await;
    let inner = ServiceBuilder::new()
        .layer(identify.clone())
        .layer(SameOriginLayer::new())
        .layer(resolve.clone())
        .service(answer);
    measure("+ Resolve", HostRouter::new(scheme.clone(), inner, site), &mut before).await;
    let inner = ServiceBuilder::new()
        .layer(identify)
        .layer(SameOriginLayer::new())
        .layer(resolve)
        .layer(track)
        .service(answer);
    measure("+ TrackActivity", HostRouter::new(scheme, inner, site), &mut before).await;
    Ok(())
}
