//! A proxy on a runtime of its own, so that its tasks can be counted.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use proxy_core::*;
use session_key::{HostScheme, Identity, SessionRoute, Target};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle, Runtime},
};
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

/// The proxy with all layers, three times. Dropping it ends its runtime.
pub(crate) struct Proxy {
    /// Where all timeouts are long.
    pub(crate) patient: SocketAddr,
    /// Where a client has little time for its head.
    pub(crate) hurries_clients: SocketAddr,
    /// Where an upstream has little time for its response.
    pub(crate) hurries_upstreams: SocketAddr,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts all of them.
    pub(crate) fn start(upstreams: Upstreams) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self {
            patient: start(&runtime, upstreams, LONG, LONG)?,
            hurries_clients: start(&runtime, upstreams, SHORT, LONG)?,
            hurries_upstreams: start(&runtime, upstreams, LONG, SHORT)?,
            runtime: Some(runtime),
        })
    }

    /// Returns where the proxy listens.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        [self.patient, self.hurries_clients, self.hurries_upstreams]
    }

    /// Returns the handle of the proxy's runtime.
    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until the drop").handle()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Waiting is not possible in the asynchronous functions that own a proxy.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn start(
    runtime: &Runtime,
    upstreams: Upstreams,
    of_clients: Duration,
    of_upstreams: Duration,
) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let forward = ForwardSettings {
        connect_timeout: of_upstreams,
        header_timeout: of_upstreams,
        idle_timeout: SHORT,
        ..Default::default()
    };
    let settings = ServeSettings::new().with_header_timeout(of_clients);
    let upstreams = Arc::new(upstreams);
    runtime.spawn(async move {
        let trusted = TrustedHeaders::from_peers("127.0.0.0/8".parse().into_iter().collect());
        let session = ServiceBuilder::new()
            .layer(IdentifyLayer::new(Arc::new(trusted)))
            .layer(SameOriginLayer::new())
            .layer(ResolveLayer::new(upstreams.clone()))
            .layer(TrackActivityLayer::new(upstreams))
            .service(Forward::new(forward));
        let site = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::from("the site")))
        });
        let scheme = HostScheme::new("example.org", "-oc", "attach-").expect("the names are valid");
        let listener = TcpListener::from_std(listener).expect("the runtime has a driver");
        let service = HostRouter::new(Arc::new(scheme), session, site);
        serve(listener, service, settings, std::future::pending()).await;
    });
    Ok(address)
}
