//! The life of the process: build, spawn, wait for a signal, drain.

use std::{
    future::pending, io, net::SocketAddr, num::NonZeroUsize, pin::pin, sync::Arc,
    thread::available_parallelism, time::Duration,
};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use pod_manager::SystemClock;
use proxy_core::{ServeSettings, Workers};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    backend, banner,
    config::Config,
    health, reports,
    stack::{HttpService, stack},
    startup,
};

/// The most threads of each kind; more do not make a proxy of this kind faster.
const MAX_THREADS: usize = 8;

/// Returns as many threads as this process has cores, of which a container may have fewer than the machine.
#[must_use]
pub fn threads() -> NonZeroUsize {
    let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores.min(const { NonZeroUsize::new(MAX_THREADS).unwrap() })
}

/// How long before the end of the drain requests that wait for a session are answered.
const LAST_CALL: Duration = Duration::from_secs(1);

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
    let workers = Workers::start(threads()).context("The threads that serve can't be started")?;
    let parts = app.stack_parts(&config, own_ports);
    let attach_parts = parts.clone();
    let (service, attach_service) = (move || stack(parts.clone()).0, move || stack(attach_parts.clone()).1);
    let stop = CancellationToken::new();
    let running = app.run(stop.clone());
    let serving_health = axum::serve(health, health::router(app.health())).into_future();
    let public = public.into_iter().map(|listener| serve(&app, &config, &workers, listener, service.clone()));
    let attach =
        attach.into_iter().map(|listener| serve(&app, &config, &workers, listener, attach_service.clone()));
    let mut serving = pin!(async { tokio::try_join!(try_join_all(public), try_join_all(attach)).map(drop) });
    let serving_reports = reports.map(|listener| reports::spawn(&app, listener));

    let until_drained = async {
        let announced = async {
            app.manager.ready().await;
            banner::announce(&config, &scheme, addresses, attach_address, &backend.info);
            pending::<()>().await;
        };
        let mut served = tokio::select! {
            () = announced => Ok(()),
            () = signals.next() => Ok(()),
            // Before the shutdown, it ends only if it failed.
            served = &mut serving => served,
        };
        tracing::info!(delay = ?config.shutdown_delay, "shutting down; no longer ready");
        app.ending.cancel();
        let phases = async {
            if app.manager.is_ready() {
                sleep(config.shutdown_delay).await;
            }
            tracing::info!(timeout = ?config.drain_timeout, "draining requests");
            app.shutdown.cancel();
            if config.on_kubernetes() {
                // Most sessions start in less. On one machine, they all end.
                sleep(config.drain_timeout.saturating_sub(LAST_CALL)).await;
            }
            app.release_held.cancel();
            pending::<()>().await;
        };
        if served.is_ok() {
            served = tokio::select! {
                served = &mut serving => served,
                () = phases => Ok(()),
                () = signals.next() => {
                    tracing::info!("second signal; aborting requests");
                    Ok(())
                }
            };
        }
        if let Some(serving) = serving_reports {
            serving.abort();
        }
        stop.cancel();
        served
    };
    let served = tokio::select! {
        // The manager ends after `stop`, once the last activity is written.
        (served, ()) = async { tokio::join!(until_drained, running) } => served,
        result = serving_health => return result.context("The health listener failed"),
    };
    app.backend.shutdown().await;
    served.context("Serving requests failed")?;
    tracing::info!("router stopped");
    Ok(())
}

/// Serves a listener on the workers, each with a service of its own. Panics of a worker are passed on.
async fn serve<S: HttpService>(
    app: &App,
    config: &Config,
    workers: &Workers,
    listener: TcpListener,
    make_service: impl Fn() -> S + Send + Sync + 'static,
) -> io::Result<()> {
    let settings = ServeSettings::new()
        .with_shutdown_delay(config.shutdown_delay)
        .with_drain(config.drain_timeout)
        .with_refusals(app.serve_refusals());
    // Before the sessions are known, they would all be answered with 404. Until then, connections wait.
    if app.ending.run_until_cancelled(app.manager.ready()).await.is_none() {
        return Ok(());
    }
    workers.serve(listener, move |_| make_service(), settings, app.ending.cancelled()).await
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
