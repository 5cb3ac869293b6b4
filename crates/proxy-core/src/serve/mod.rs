//! `serve`: accepts connections and drains them at the end.
//!
//! - `listener`: where connections come from
//! - `server`: what all connections of one listener share, and their drain
//! - `connection`, `connection_state`: one connection; `stream`, `lingering`, `head_recorder`: what it reads
//!   and writes; `call`: its requests; `deadline`, `signal`: when it ends
//! - `workers`: the same on several threads, each with a runtime of its own

mod call;
mod connection;
pub(crate) mod connection_state;
mod deadline;
mod head_recorder;
mod lingering;
pub(crate) mod listener;
mod load;
mod server;
pub(crate) mod settings;
mod signal;
mod stream;
pub(crate) mod workers;

use std::{convert::Infallible, future::Future, pin::pin};

use http::{Request, Response};
use tower::Service;

use self::{listener::Listener, server::Server, settings::ServeSettings};
use crate::body::Body;

/// Serves HTTP/1.1 and HTTP/2 (by prior knowledge) with upgrades until `shutdown` resolves, and then ends
/// what is open:
///
/// 1. For [`ServeSettings::shutdown_delay`] it serves as before, new connections included, so that load
///    balancers can stop sending requests here. Responses of HTTP/1.1 say `Connection: close`.
/// 2. It accepts no more connections. Idle ones are closed, HTTP/2 gets `GOAWAY`, and requests and tunnels
///    may end.
/// 3. After [`ServeSettings::drain`] it ends tunnels, those of WebSockets by a close frame with the code 1001
///    (going away). Within a second it aborts all else, and returns.
///
/// A connection that fails, or that cannot be accepted, does not end the loop. What is not HTTP, or has two
/// framings, is answered with 400 and never reaches `service`.
///
/// All connections run on the runtime that polls this future. [`crate::Workers`] serves on several.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use http::{Request, Response};
/// use proxy_core::{Body, ServeSettings, serve};
/// use tokio::{net::TcpListener, sync::oneshot};
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// // In a proxy: `HostRouter`.
/// let service = service_fn(|_: Request<Body>| async {
///     Ok::<_, Infallible>(Response::new(Body::from("hello")))
/// });
/// let settings = ServeSettings::new().with_drain(Duration::from_secs(30));
/// // Often `tokio::signal::ctrl_c` instead.
/// let (stop, stopped) = oneshot::channel();
/// let serving = tokio::spawn(serve(listener, service, settings, async { drop(stopped.await) }));
/// // …
/// drop(stop.send(()));
/// serving.await?;
/// # Ok(())
/// # }
/// ```
pub async fn serve<L, S, F>(mut listener: L, service: S, settings: ServeSettings, shutdown: F)
where
    L: Listener,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    F: Future<Output = ()>,
{
    let server = Server::new(settings);
    let mut shutdown = pin!(server.announce(shutdown));
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = server.accept(&mut listener) => accepted,
        };
        match accepted {
            Ok(accepted) => drop(server.spawn(accepted, service.clone())),
            Err(error) => tokio::select! {
                () = &mut shutdown => break,
                () = server::back_off(&error) => {}
            },
        }
    }
    server.accept_queued(&mut listener, |accepted| drop(server.spawn(accepted, service.clone()))).await;
    drop(listener);
    server.drain().await;
}
