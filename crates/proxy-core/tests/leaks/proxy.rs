//! A proxy on threads of its own, so that its tasks can be counted.

use std::{convert::Infallible, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionRoute, Target};
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc};
use tower::{ServiceBuilder, service_fn};

/// The session's own host.
pub(crate) const HOST: &str = "a48da0606867-oc.example.org";
/// The host of a port at which nothing listens.
pub(crate) const CLOSED_HOST: &str = "8081-a48da0606867-oc.example.org";
/// The host of a port whose queue of connections is full, so that connecting to it takes forever.
pub(crate) const FULL_HOST: &str = "8082-a48da0606867-oc.example.org";
/// The host of a port whose server closes its connections without notice: a request that is not idempotent
/// may find one of those in the pool, and fail.
pub(crate) const CARELESS_HOST: &str = "8083-a48da0606867-oc.example.org";

/// How long connections may be idle, and how long a proxy waits that is not patient.
const SHORT: Duration = Duration::from_millis(300);
/// Never reached, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Where the session's servers are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstreams {
    pub(crate) session: SocketAddr,
    pub(crate) careless: SocketAddr,
    pub(crate) closed: SocketAddr,
    pub(crate) full: SocketAddr,
}

impl Resolver for Upstreams {
    fn resolve(&self, route: &SessionRoute, _: &Identity) -> Result<Upstream, ResolveError> {
        match route.target {
            Target::Opencode => Ok(Upstream::new(self.session)),
            Target::Port(8081) => Ok(Upstream::new(self.closed)),
            Target::Port(8083) => Ok(Upstream::new(self.careless)),
            Target::Port(_) => Ok(Upstream::new(self.full)),
            _ => Err(ResolveError::NotFound),
        }
    }
}

impl RecordActivity for Upstreams {
    fn touch(&self, _: &SessionRoute, _: Activity) {}
}

/// The proxy with all layers, three times, as the router runs it. Dropping it ends its threads.
pub(crate) struct Proxy {
    /// Where all timeouts are long.
    pub(crate) patient: SocketAddr,
    /// Where a client has little time for its head.
    pub(crate) hurries_clients: SocketAddr,
    /// Where an upstream has little time for its response.
    pub(crate) hurries_upstreams: SocketAddr,
    /// The runtimes of its threads.
    pub(crate) runtimes: Vec<Handle>,
    _workers: Arc<Workers>,
}

const THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("it is not zero");

impl Proxy {
    /// Starts all of them.
    pub(crate) async fn start(upstreams: Upstreams) -> std::io::Result<Self> {
        let workers = Arc::new(Workers::start(THREADS)?);
        let (patient, mut runtimes) = start(&workers, upstreams, LONG, LONG).await?;
        let (hurries_clients, more) = start(&workers, upstreams, SHORT, LONG).await?;
        let (hurries_upstreams, most) = start(&workers, upstreams, LONG, SHORT).await?;
        runtimes.extend(more.into_iter().chain(most));
        runtimes.sort_by_key(|runtime| runtime.id().to_string());
        runtimes.dedup_by_key(|runtime| runtime.id());
        Ok(Self { patient, hurries_clients, hurries_upstreams, runtimes, _workers: workers })
    }

    /// Returns where the proxy listens.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        [self.patient, self.hurries_clients, self.hurries_upstreams]
    }
}

/// Starts one proxy. Returns its address and the runtimes of its threads.
async fn start(
    workers: &Arc<Workers>,
    upstreams: Upstreams,
    of_clients: Duration,
    of_upstreams: Duration,
) -> std::io::Result<(SocketAddr, Vec<Handle>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let forward = ForwardSettings {
        connect_timeout: of_upstreams,
        header_timeout: of_upstreams,
        idle_timeout: SHORT,
        ..Default::default()
    };
    let settings = ServeSettings::new().with_header_timeout(of_clients);
    let upstreams = Arc::new(upstreams);
    let (started, mut runtimes) = mpsc::unbounded_channel();
    let make_service = move |_| {
        let _ = started.send(Handle::current());
        let trusted = TrustedHeaders::from_peers("127.0.0.0/8".parse().into_iter().collect());
        let session = ServiceBuilder::new()
            .layer(IdentifyLayer::new(Arc::new(trusted)))
            .layer(SameOriginLayer::new())
            .layer(ResolveLayer::new(upstreams.clone()))
            .layer(TrackActivityLayer::new(upstreams.clone()))
            .service(Forward::new(forward.clone()));
        let site = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::from("the site")))
        });
        let scheme = HostScheme::new("example.org", "-oc", "attach-").expect("the names are valid");
        HostRouter::new(Arc::new(scheme), session, site)
    };
    let serving = workers.clone();
    tokio::spawn(async move {
        serving.serve(listener, make_service, settings, std::future::pending()).await.expect("it never ends");
    });
    let mut handles = Vec::new();
    while handles.len() < THREADS.get() {
        handles.extend(runtimes.recv().await);
    }
    Ok((address, handles))
}
