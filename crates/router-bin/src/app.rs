//! Builds everything that the router runs, for either backend.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use api::server::{ApiState, BODY_DEADLINE, Github, SecretRoutes, secret_routes};
use futures_util::StreamExt as _;
use http::HeaderName;
use ipnet::IpNet;
use pod_manager::{
    Clock, PullImage, SessionBackend, Stage,
    manager::{Leadership, Manager, ManagerSettings},
};
use proxy_core::{Cookies, FixedIdentity, IdentityExtractor, Refusals, TrustedHeaders};
use session_key::HostScheme;
use tokio::{runtime::Handle, sync::broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    attach::AttachGate,
    audit::Audit,
    config::{Backend, Config, IdentitySource, Secret},
    health::HealthState,
    metrics::Metrics,
    own_github_token::OwnGithubToken,
    refusals::{RouterRefusals, ServeRefusals},
    request_id::RequestIds,
    resolver::PortAccess,
    site::Site,
    stack::{HttpService, StackParts, stack},
    start_tracker::StartTracker,
    telemetry::Telemetry,
};

/// The header in which a sign-in proxy sends TRUSTED_PROXY_SECRET.
pub const PROXY_SECRET_HEADER: HeaderName = HeaderName::from_static("x-router-proxy-secret");

/// The parts of a router, ready to run.
pub struct App {
    /// Runs the sessions.
    pub backend: Arc<dyn SessionBackend>,
    /// Knows the sessions.
    pub manager: Arc<Manager>,
    /// Counts requests and sessions.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the router begins to shut down: it is no longer ready, and still serves for a while.
    pub ending: CancellationToken,
    /// Cancelled when what the router serves shall end, such as event streams.
    pub shutdown: CancellationToken,
    /// Cancelled when requests that wait for a session shall wait no longer.
    pub release_held: CancellationToken,
    /// Makes the responses to refused requests.
    pub refusals: Arc<dyn Refusals>,
    /// Pulls images before a session needs them; `None` at first.
    pub images: Option<Arc<dyn PullImage>>,
    /// How long a request body of the API may take to arrive.
    pub body_deadline: Duration,
    /// Asks GitHub in the users' names.
    pub github: Github,
    scheme: Arc<HostScheme>,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    telemetry: Option<Telemetry>,
}

impl App {
    /// Builds the parts; nothing runs yet.
    ///
    /// # Errors
    /// A sentence: the audit key can't be read or written, or traces can't be prepared.
    pub fn new(
        config: &Config,
        backend: Arc<dyn SessionBackend>,
        leadership: Arc<dyn Leadership>,
        clock: Arc<dyn Clock>,
        scheme: Arc<HostScheme>,
    ) -> anyhow::Result<Self> {
        let audit = Arc::new(audit(config).context("The audit key in STATE_DIR can't be read or written")?);
        let metrics = Arc::new(Metrics::new(clock.now()));
        let telemetry = config
            .traces
            .as_ref()
            .map(|settings| Telemetry::new(settings, config.instance(), metrics.clone()))
            .transpose()
            .context(
                "OTEL_EXPORTER_OTLP_ENDPOINT begins with https, but this system has no certificate authorities. \
                 Set SSL_CERT_FILE to a file with those that signed the collector's certificate",
            )?;
        let github = github(config);
        let refusals = Arc::new(RouterRefusals {
            site_origin: config.names.site_origin(&scheme),
            audit: audit.clone(),
            counts: metrics.request_counts(),
            wake: config.wake,
        });
        let defaults = ManagerSettings::default();
        let settings = ManagerSettings {
            idle_timeout: config.idle_timeout,
            // Other replicas see activity this late, so it must be short compared with the timeout.
            activity_write_interval: defaults.activity_write_interval.min(config.idle_timeout / 10),
            max_sessions: config.max_sessions,
            max_running: config.max_running,
            max_starts_per_minute: config.max_starts_per_minute,
            wake_timeout: config.wake_timeout,
            attach_token_lifetime: config.attach_token_lifetime,
            max_attach_token_lifetime: config.max_attach_token_lifetime,
            ..defaults
        };
        let manager = Manager::new(backend.clone(), leadership, clock.clone(), settings);
        Ok(Self {
            backend,
            manager,
            metrics,
            ending: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            release_held: CancellationToken::new(),
            refusals,
            images: None,
            body_deadline: BODY_DEADLINE,
            github,
            scheme,
            audit,
            clock,
            telemetry,
        })
    }

    /// Returns the service of the public listeners. `own_ports` are those that the router listens on.
    pub fn service(&self, config: &Config, own_ports: Vec<u16>) -> impl HttpService + use<> {
        self.services(config, own_ports).0
    }

    /// Returns the service of the public listeners, and that of the attach listener.
    pub fn services(
        &self,
        config: &Config,
        own_ports: Vec<u16>,
    ) -> (impl HttpService + use<>, impl HttpService + use<>) {
        stack(self.stack_parts(config, own_ports))
    }

    /// Returns what the services of this router are built from. The API and the site run on the runtime that
    /// this is called on.
    pub fn stack_parts(&self, config: &Config, own_ports: Vec<u16>) -> StackParts {
        let settings = api::server::Settings {
            scheme: HostScheme::clone(&self.scheme),
            proto: config.names.proto.to_owned(),
            repos: config.repos(),
            default_repo: config.default_repo.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            body_deadline: self.body_deadline,
        };
        let state = ApiState::new(self.manager.clone(), settings, self.github.clone(), self.shutdown.clone());
        let (api, description) = api::server::router(state);
        let templates = description.paths.paths.into_keys();
        let trusted = match &config.identity {
            IdentitySource::Headers { proxies, secret } => Some(trusted_headers(proxies, secret.as_ref())),
            IdentitySource::Dev(_) => None,
        };
        let traces = self.telemetry.as_ref().map(|telemetry| telemetry.requests(templates, trusted));
        let secret_routes = secret_routes(SecretRoutes {
            secret: config.admin_secret.as_ref().map(|secret| secret.expose().to_owned()),
            manager: self.manager.clone(),
            puller: self.images.clone(),
            body_deadline: self.body_deadline,
        });
        StackParts {
            manager: self.manager.clone(),
            api,
            secret_routes,
            site: Arc::new(Site::embedded()),
            identity: identity_extractor(&config.identity),
            refusals: self.refusals.clone(),
            administrators: config.administrators.clone(),
            scheme: self.scheme.clone(),
            proto: config.names.proto,
            ports: port_access(config, own_ports),
            wake: config.wake,
            github: self.github.clone(),
            metrics: self.metrics.clone(),
            traces,
            audit: self.audit.clone(),
            cookies: Cookies::new(config.auth_cookies.iter().map(String::as_str)),
            debug_headers: config.debug_headers,
            shutdown: self.shutdown.clone(),
            release_held: self.release_held.clone(),
            gate: AttachGate::new(
                self.manager.clone(),
                self.refusals.clone(),
                self.audit.clone(),
                self.metrics.clone(),
            ),
            runtime: Handle::current(),
        }
    }

    /// Returns how `serve` refuses requests.
    #[must_use]
    pub fn serve_refusals(&self) -> Arc<dyn Refusals> {
        Arc::new(ServeRefusals { refusals: self.refusals.clone(), ids: RequestIds::new() })
    }

    /// Returns the state of the health listener's routes.
    #[must_use]
    pub fn health(&self) -> HealthState {
        HealthState {
            manager: self.manager.clone(),
            metrics: self.metrics.clone(),
            ending: self.ending.clone(),
        }
    }

    /// Runs the manager, counts starts of sessions and sends traces, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let observing = async { tokio::join!(self.observe_sessions(), self.observe_openings()) };
        let tracing = async {
            if let Some(telemetry) = &self.telemetry {
                telemetry.run(&self.shutdown, &stop).await;
            }
        };
        tokio::join!(self.manager.clone().run(stop.clone()), stop.run_until_cancelled(observing), tracing);
    }

    /// Counts and traces what happens to sessions. All replicas see all of it; only the leader reports it.
    async fn observe_sessions(&self) {
        let (mut events, mut starts) = (self.backend.watch(), StartTracker::default());
        let mut traces = self.telemetry.as_ref().map(Telemetry::sessions);
        while let Some(event) = events.next().await {
            let is_leader = self.manager.is_leader();
            starts.observe(&event, is_leader.then_some(&self.metrics));
            if let Some(traces) = &mut traces {
                traces.observe(&event, is_leader, self.clock.now());
            }
        }
    }

    /// Counts and traces the last stage of each start.
    async fn observe_openings(&self) {
        let mut openings = self.manager.openings();
        let traces = self.telemetry.as_ref().map(Telemetry::sessions);
        loop {
            match openings.recv().await {
                Ok(opening) if self.manager.is_leader() => {
                    self.metrics.observe_stage(Stage::Ready, opening.duration);
                    if let Some(traces) = &traces {
                        traces.opened(&opening, self.clock.now());
                    }
                }
                // Openings that overflowed the channel stay uncounted.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Opens the audit with AUDIT_KEY, else with the key in the state folder, else with a key that all replicas
/// derive from TRUSTED_PROXY_SECRET.
fn audit(config: &Config) -> std::io::Result<Audit> {
    match (&config.audit_key, &config.backend, &config.identity) {
        (Some(key), _, _) => Ok(Audit::keyed(key.expose())),
        (None, Backend::Local { state_dir, .. }, _) => Audit::open(state_dir),
        (None, Backend::Kubernetes(_), IdentitySource::Headers { secret: Some(secret), .. }) => {
            Ok(Audit::keyed(secret.expose()))
        }
        (None, Backend::Kubernetes(_), _) => {
            tracing::info!(
                "AUDIT_KEY and TRUSTED_PROXY_SECRET are not set; user digests in audit lines differ between \
                 replicas and change at each start"
            );
            Ok(Audit::with_random_key())
        }
    }
}

/// Creates the client of GitHub. On a machine of their own, users have their token from its programs.
fn github(config: &Config) -> Github {
    let github = Github::new(github::Client::new(config.github_api.clone()));
    if !config.is_single_user() {
        return github;
    }
    let own_token = OwnGithubToken::new(&config.github_api, &config.environment);
    github.with_own_token(Arc::new(own_token))
}

fn port_access(config: &Config, own_ports: Vec<u16>) -> PortAccess {
    if config.on_kubernetes() {
        PortAccess::PerSession
    } else if config.is_single_user() {
        PortAccess::SharedLoopback { own_ports }
    } else {
        PortAccess::Owned
    }
}

fn identity_extractor(source: &IdentitySource) -> Arc<dyn IdentityExtractor> {
    match source {
        IdentitySource::Dev(user) => Arc::new(FixedIdentity(user.clone())),
        IdentitySource::Headers { proxies, secret } => Arc::new(trusted_headers(proxies, secret.as_ref())),
    }
}

fn trusted_headers(proxies: &[IpNet], secret: Option<&Secret>) -> TrustedHeaders {
    let headers = TrustedHeaders::from_peers(proxies.to_vec());
    match secret {
        Some(secret) => headers.with_secret(PROXY_SECRET_HEADER, secret.expose()),
        None => headers,
    }
}
