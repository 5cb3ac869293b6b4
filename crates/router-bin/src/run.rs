//! Build, spawn, wait for a signal, drain.

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

use crate::{backends, compose::Composition, config::Config, health, start};

/// Runs the router until it is told to end (SIGTERM, SIGINT, SIGHUP) and has ended everything that it started.
///
/// # Errors
/// A sentence that says why it can't run, and what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let (public, health) = listeners(&config).await?;
    let addresses @ [address, health_address] = [public[0].local_addr()?, health.local_addr()?];
    let scheme = Arc::new(config.names.scheme(address.port())?);

    let (backend, leadership, about) = backends::open(&config).await?;
    let router = Composition::new(&config, backend, leadership, Arc::new(SystemClock), scheme.clone())
        .context("The key of the audit can't be kept in STATE_DIR")?;
    let service = router.service(&config, vec![address.port(), health_address.port()]);
    let stop = CancellationToken::new();
    let manager = router.run(stop.clone());
    let healthy = axum::serve(health, health::router(router.health())).into_future();
    let serving = public.into_iter().map(|listener| {
        let settings = ServeSettings {
            drain: config.drain_timeout,
            refusals: router.refusals.clone(),
            ..ServeSettings::default()
        };
        let (manager, ending) = (router.manager.clone(), router.ending.clone());
        let serving = serve(listener, service.clone(), settings, ending.clone().cancelled_owned());
        tokio::spawn(async move {
            // A router that does not know its sessions yet would deny them. Who connects meanwhile waits.
            if ending.run_until_cancelled(manager.ready()).await.is_some() {
                serving.await;
            }
        })
    });
    let serving = join_all(serving);

    let life = async {
        tokio::select! {
            () = router.manager.ready() => {
                start::announce(&config, &scheme, addresses, &about);
                signals.next().await;
            }
            () = signals.next() => {}
        }
        tracing::info!("the router is ending: no more requests are taken");
        router.ending.cancel();
        tokio::select! {
            _ = serving => {}
            () = signals.next() => tracing::info!("asked again: what is under way is cut off"),
        }
        stop.cancel();
    };
    tokio::select! {
        // The manager ends when `life` has told it to, with the last activity written down.
        ((), ()) = async { tokio::join!(life, manager) } => {}
        ended = healthy => ended.context("The health listener failed")?,
    }
    router.backend.shutdown().await;
    tracing::info!("the router has ended");
    Ok(())
}

/// The listeners of the public port, and the one of health.
async fn listeners(config: &Config) -> anyhow::Result<(Vec<TcpListener>, TcpListener)> {
    let first = start::listen(config.addresses()[0], "PORT").await?;
    // Where the kernel chose the port, all addresses get the same one.
    let port = first.local_addr()?.port();
    let others = config.listen[1..].iter().map(|&ip| start::listen(SocketAddr::new(ip, port), "PORT"));
    let mut public = vec![first];
    public.extend(try_join_all(others).await?);
    if let Some(ip) = config.listen_if_there {
        public.extend(start::listen_if_there(SocketAddr::new(ip, port), config.port == 0).await?);
    }
    Ok((public, start::listen(config.health_address(), "HEALTH_PORT").await?))
}

/// What asks the router to end. A closed terminal does, too: its sessions would be left running.
struct Signals {
    all: [Signal; 3],
}

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |kind| signal(kind);
        Ok(Self {
            all: [
                listen(SignalKind::terminate())?,
                listen(SignalKind::interrupt())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.all;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
