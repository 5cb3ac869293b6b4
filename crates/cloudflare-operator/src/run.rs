//! The life of the process: build, spawn, wait for a signal, end in order.

use std::{io, sync::Arc};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client,
    core::{DynamicObject, PartialObjectMeta},
};
use pod_manager::{
    SystemClock,
    kubernetes::{
        connect::connect,
        leader::LeaderElector,
        settings::{ElectionSettings, ElectionTiming},
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    claims,
    config::Config,
    controller::{
        Context,
        cloudflare::Cloudflare,
        drive::{Pace, drive},
        routes::Routes,
    },
    health::{self, HealthState},
    metrics::Metrics,
    routes::{FIELD_MANAGER, resource},
};

/// Runs the operator until a signal ends it and the Lease is released.
///
/// # Errors
/// A sentence that says why it can't run, and what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    let listener = TcpListener::bind(config.health)
        .await
        .with_context(|| format!("HEALTH_PORT: can't listen on {}. Choose another port", config.health))?;
    let health_address = listener.local_addr()?;
    let parts = Parts::build(&config).await?;
    let leader = Arc::new(parts.elect(&config));
    let stop = CancellationToken::new();
    let state = HealthState { context: parts.context.clone(), leader: leader.clone(), stop: stop.clone() };
    let serving_health = axum::serve(listener, health::router(state)).into_future();
    tracing::info!(
        health = %health_address,
        namespace = config.namespace,
        mode = ?config.routes.mode,
        "operator started"
    );

    let context = &parts.context;
    let routes = drive(parts.routes, context, &leader, Pace::KUBERNETES, &stop);
    let cloudflare = drive(parts.cloudflare, context, &leader, Pace::CLOUDFLARE, &stop);
    let watches = watch(context, &parts.client, &config);
    let until_signal = async {
        signals.next().await;
        tracing::info!("shutting down");
        stop.cancel();
    };
    tokio::select! {
        ((), (), ()) = async { tokio::join!(routes, cloudflare, until_signal) } => {}
        () = watches => {}
        result = serving_health => result.context("The health listener failed")?,
    }
    leader.release().await;
    tracing::info!("operator stopped");
    Ok(())
}

/// What a process consists of, whether it runs on or acts once.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) context: Arc<Context>,
    pub(crate) routes: Routes,
    pub(crate) cloudflare: Cloudflare,
}

impl Parts {
    /// Connects and builds. It makes no call.
    pub(crate) async fn build(config: &Config) -> anyhow::Result<Self> {
        let connection = connect(config.kubeconfig.as_deref(), None)
            .await
            .context("No cluster. Set KUBECONFIG, or run the operator as a Pod with a service account")?;
        let client = connection.client;
        let context = Arc::new(Context::new(
            config.routes.clone(),
            Arc::new(Metrics::default()),
            Arc::new(SystemClock),
        ));
        let routes = Routes::new(context.clone(), ingress_routes(&client, config));
        let cloudflare = Cloudflare::new(context.clone(), config.cloudflare.clone())?;
        Ok(Self { client, context, routes, cloudflare })
    }

    /// Takes part in the election of the one that writes.
    pub(crate) fn elect(&self, config: &Config) -> LeaderElector {
        let settings = ElectionSettings {
            lease_name: FIELD_MANAGER.into(),
            namespace: config.namespace.clone(),
            managed_by: FIELD_MANAGER.into(),
            identity: format!("{FIELD_MANAGER}-{:016x}", rand::random::<u64>()),
            timing: ElectionTiming::default(),
        };
        LeaderElector::start(&self.client, settings, Arc::new(SystemClock))
    }
}

/// Keeps claims and IngressRoutes up to date, forever.
pub(crate) async fn watch(context: &Context, client: &Client, config: &Config) {
    let claims =
        Api::<PartialObjectMeta<PersistentVolumeClaim>>::namespaced(client.clone(), &config.namespace);
    tokio::join!(
        context.claims.run(claims, Some(claims::selector())),
        context.routes.run(ingress_routes(client, config), None),
    );
}

fn ingress_routes(client: &Client, config: &Config) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &config.routes.namespace, &resource())
}

/// The signals that end the operator.
struct Signals([Signal; 2]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
