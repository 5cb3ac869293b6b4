//! `serve`: accepts connections and drains them at the end.

mod connection;
pub(crate) mod connection_state;
mod head_recorder;
pub(crate) mod settings;

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tower::Service;

use self::{
    connection_state::{ConnectionHandle, Shared},
    settings::ServeSettings,
};
use crate::body::Body;

/// Serves HTTP/1.1 and HTTP/2 (by prior knowledge) with upgrades until `shutdown` resolves. Then it accepts
/// no more connections, lets requests and tunnels end, aborts those that have not ended after
/// [`ServeSettings::drain`], and returns.
///
/// A connection that fails, or that cannot be accepted, does not end the loop. What is not HTTP, or has two
/// framings, is answered with 400 and never reaches `service`.
pub async fn serve<S, F>(listener: TcpListener, service: S, settings: ServeSettings, shutdown: F)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    F: Future<Output = ()>,
{
    let shared = Shared::default();
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // The permit comes first: without one, connections stay in the kernel's queue.
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let handle = ConnectionHandle::new(shared.clone(), permit.ok());
                let connection = connection::run(stream, peer, service.clone(), settings.clone(), handle);
                shared.tasks.spawn(connection);
            }
            Err(error) => tokio::select! {
                () = &mut shutdown => break,
                () = back_off(&error) => {}
            },
        }
    }
    drop(listener);
    shared.drain.cancel();
    shared.tasks.close();
    if timeout(settings.drain, shared.tasks.wait()).await.is_err() {
        shared.abort.cancel();
        shared.tasks.wait().await;
    }
}

/// Waits a second, unless only this connection failed: if the process is out of file descriptors, the next
/// attempt would fail as well.
async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "accepting a connection failed; retrying in a second");
        sleep(Duration::from_secs(1)).await;
    }
}
