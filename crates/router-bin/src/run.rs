//! The life of the process: build, spawn, wait for a signal, drain.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use futures_util::future::{join_all, try_join_all};
use pod_manager::SystemClock;
use proxy_core::{ServeSettings, serve};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{app::App, backend, banner, config::Config, health, reports, stack::HttpService, startup};

/// Runs the router until a signal (SIGTERM, SIGINT, SIGHUP) ends it and everything that it started has ended.
///
/// # Errors
/// A sentence that says why it can't run, and what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let Listeners { public, health, attach } = listeners(&config).await?;
    let addresses = [public[0].local_addr()?, health.local_addr()?];
    let reports = reports::listen(&config).await?;
    let report_port =
        reports.as_ref().map(TcpListener::local_addr).transpose()?.map(|address| address.port());
    let scheme = Arc::new(config.names.scheme(addresses[0].port())?);

    let backend = backend::open(&config, addresses[0].port()).await?;
    let mut app =
        App::new(&config, backend.sessions, backend.leadership, Arc::new(SystemClock), scheme.clone())?;
    app.images = backend.images;
    let attach_address = attach.first().map(TcpListener::local_addr).transpose()?;
    let own_ports =
        addresses.iter().chain(&attach_address).map(SocketAddr::port).chain(report_port).collect();
    let (service, attach_service) = app.services(&config, own_ports);
    let stop = CancellationToken::new();
    let running = app.run(stop.clone());
    let serving_health = axum::serve(health, health::router(app.health())).into_future();
    let public = public.into_iter().map(|listener| spawn_serve(&app, &config, listener, service.clone()));
    let attach =
        attach.into_iter().map(|listener| spawn_serve(&app, &config, listener, attach_service.clone()));
    let serving = join_all(public.chain(attach).collect::<Vec<_>>());

    let serving_reports = reports.map(|listener| reports::spawn(&app, listener));

    let until_drained = async {
        tokio::select! {
            () = app.manager.ready() => {
                banner::announce(&config, &scheme, addresses, attach_address, &backend.info);
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

/// Serves a listener in a task of its own.
fn spawn_serve(
    app: &App,
    config: &Config,
    listener: TcpListener,
    service: impl HttpService,
) -> JoinHandle<()> {
    let settings = ServeSettings {
        drain: config.drain_timeout,
        refusals: app.refusals.clone(),
        ..ServeSettings::default()
    };
    let (manager, shutdown) = (app.manager.clone(), app.shutdown.clone());
    let serving = serve(listener, service, settings, shutdown.clone().cancelled_owned());
    tokio::spawn(async move {
        // Before the sessions are known, they would all be answered with 404. Until then, connections wait.
        if shutdown.run_until_cancelled(manager.ready()).await.is_some() {
            serving.await;
        }
    })
}

/// The router's listeners.
struct Listeners {
    public: Vec<TcpListener>,
    health: TcpListener,
    /// For attach hosts alone; often none.
    attach: Vec<TcpListener>,
}

/// Opens all listeners.
async fn listeners(config: &Config) -> anyhow::Result<Listeners> {
    let public = listen_all(config, config.port, "PORT").await?;
    let health = startup::listen(config.health_address(), "HEALTH_PORT").await?;
    let attach = match config.attach_port {
        Some(port) => listen_all(config, port, "ATTACH_PORT").await?,
        None => Vec::new(),
    };
    Ok(Listeners { public, health, attach })
}

/// Listens on all addresses; `variable` is the one that sets the port.
async fn listen_all(config: &Config, port: u16, variable: &'static str) -> anyhow::Result<Vec<TcpListener>> {
    let first = startup::listen(SocketAddr::new(config.listen[0], port), variable).await?;
    // If the kernel chose the port, all addresses get the same one.
    let chosen = first.local_addr()?.port();
    let others = config.listen[1..].iter().map(|&ip| startup::listen(SocketAddr::new(ip, chosen), variable));
    let mut listeners = vec![first];
    listeners.extend(try_join_all(others).await?);
    if let Some(ip) = config.optional_listen {
        let address = SocketAddr::new(ip, chosen);
        listeners.extend(startup::listen_if_available(address, variable, port == 0).await?);
    }
    Ok(listeners)
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
