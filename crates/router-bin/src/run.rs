//! The life of the process: build, spawn, wait for a signal, drain.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use futures_util::future::{join_all, try_join_all};
use pod_manager::SystemClock;
use proxy_core::{ServeSettings, serve};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{app::App, backend, banner, config::Config, health, reports, startup};

/// Runs the router until a signal (SIGTERM, SIGINT, SIGHUP) ends it and everything that it started has ended.
///
/// # Errors
/// A sentence that says why it can't run, and what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let (public, health) = listeners(&config).await?;
    let addresses @ [address, health_address] = [public[0].local_addr()?, health.local_addr()?];
    let reports = reports::listen(&config).await?;
    let report_port =
        reports.as_ref().map(TcpListener::local_addr).transpose()?.map(|address| address.port());
    let scheme = Arc::new(config.names.scheme(address.port())?);

    let backend = backend::open(&config, address.port()).await?;
    let app = App::new(&config, backend.sessions, backend.leadership, Arc::new(SystemClock), scheme.clone())?;
    let own_ports = [address.port(), health_address.port()].into_iter().chain(report_port).collect();
    let service = app.service(&config, own_ports);
    let stop = CancellationToken::new();
    let running = app.run(stop.clone());
    let serving_health = axum::serve(health, health::router(app.health())).into_future();
    let serving = join_all(public.into_iter().map(|listener| {
        let settings = ServeSettings {
            drain: config.drain_timeout,
            refusals: app.refusals.clone(),
            ..ServeSettings::default()
        };
        let (manager, shutdown) = (app.manager.clone(), app.shutdown.clone());
        let serving = serve(listener, service.clone(), settings, shutdown.clone().cancelled_owned());
        tokio::spawn(async move {
            // Before the sessions are known, they would all be answered with 404. Until then, connections
            // wait.
            if shutdown.run_until_cancelled(manager.ready()).await.is_some() {
                serving.await;
            }
        })
    }));

    let serving_reports = reports.map(|listener| reports::spawn(&app, listener));

    let until_drained = async {
        tokio::select! {
            () = app.manager.ready() => {
                banner::announce(&config, &scheme, addresses, &backend.info);
                signals.next().await;
            }
            () = signals.next() => {}
        }
        tracing::info!("shutting down; draining requests");
        app.shutdown.cancel();
        tokio::select! {
            _ = serving => {}
            () = signals.next() => tracing::info!("second signal; aborting requests"),
        }
        if let Some(serving) = serving_reports {
            serving.abort();
        }
        stop.cancel();
    };
    tokio::select! {
        // The manager ends after `stop`, once the last activity is written.
        ((), ()) = async { tokio::join!(until_drained, running) } => {}
        result = serving_health => result.context("The health listener failed")?,
    }
    app.backend.shutdown().await;
    tracing::info!("router stopped");
    Ok(())
}

/// Opens the public listeners and the one of health.
async fn listeners(config: &Config) -> anyhow::Result<(Vec<TcpListener>, TcpListener)> {
    let first = startup::listen(config.addresses()[0], "PORT").await?;
    // If the kernel chose the port, all addresses get the same one.
    let port = first.local_addr()?.port();
    let others = config.listen[1..].iter().map(|&ip| startup::listen(SocketAddr::new(ip, port), "PORT"));
    let mut public = vec![first];
    public.extend(try_join_all(others).await?);
    if let Some(ip) = config.optional_listen {
        let address = SocketAddr::new(ip, port);
        public.extend(startup::listen_if_available(address, config.port == 0).await?);
    }
    Ok((public, startup::listen(config.health_address(), "HEALTH_PORT").await?))
}

/// The signals that end the router. SIGHUP, from a closed terminal, is one of them: otherwise the router
/// would die at once and leave its local sessions running.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
