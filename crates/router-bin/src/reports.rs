//! The listener for what sessions report about themselves. It is the only one that sessions' Pods reach, and
//! knows only the routes of reports.

use std::{net::SocketAddr, time::Duration};

use proxy_core::{Body, ServeSettings, serve};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceBuilder;

use crate::{app::App, config::Config, startup};

/// Sessions report rarely, each on a connection of its own.
const MAX_CONNECTIONS: usize = 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(1);

/// Opens the listener, if the configuration has one.
///
/// # Errors
/// A sentence: the port can't be listened on.
pub(crate) async fn listen(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    match config.report_port {
        Some(port) => startup::listen(SocketAddr::new(config.listen[0], port), "REPORT_PORT").await.map(Some),
        None => Ok(None),
    }
}

/// Serves reports in a task of its own, until the router shuts down.
pub(crate) fn spawn(app: &App, listener: TcpListener) -> JoinHandle<()> {
    let service = ServiceBuilder::new()
        .map_response(|response: axum::response::Response| response.map(Body::new))
        .service(api::server::reports(app.manager.clone()));
    let settings = ServeSettings::new()
        .with_max_connections(MAX_CONNECTIONS)
        .with_header_timeout(HEADER_TIMEOUT)
        .with_drain(DRAIN);
    let (manager, shutdown) = (app.manager.clone(), app.shutdown.clone());
    let serving = serve(listener, service, settings, shutdown.clone().cancelled_owned());
    tokio::spawn(async move {
        // Before the sessions are known, none of them could identify itself. Until then, connections wait.
        if shutdown.run_until_cancelled(manager.ready()).await.is_some() {
            serving.await;
        }
    })
}
