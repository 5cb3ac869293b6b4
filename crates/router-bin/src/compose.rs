//! From a configuration and a backend to everything that the router runs, whichever backend it is.

use std::sync::Arc;

use futures_util::StreamExt as _;
use http::HeaderName;
use pod_manager::{
    Clock, SessionBackend, Stage,
    manager::{Leadership, Manager, ManagerSettings},
};
use proxy_core::{Cookies, FixedIdentity, IdentityExtractor, Refusals, TrustedHeaders};
use session_key::HostScheme;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Backend, Config, IdentitySource},
    health::Health,
    logging::Audit,
    metrics::{Metrics, Starts},
    refusals::SitePages,
    sessions::Ports,
    site::Site,
    stack::{Entrance, Ingredients, stack},
};

/// The header in which a sign-in proxy proves itself by TRUSTED_PROXY_SECRET.
pub const PROXY_SECRET_HEADER: HeaderName = HeaderName::from_static("x-router-proxy-secret");

/// What the router is made of, ready to run.
pub struct Composition {
    /// Brings sessions about.
    pub backend: Arc<dyn SessionBackend>,
    /// Knows them.
    pub manager: Arc<Manager>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the router is ending: it wants no more requests then, and event streams end.
    pub ending: CancellationToken,
    /// Makes the responses to refused requests.
    pub refusals: Arc<dyn Refusals>,
    scheme: Arc<HostScheme>,
    audit: Arc<Audit>,
}

impl Composition {
    /// Puts it together; nothing runs yet.
    ///
    /// # Errors
    /// The audit's key can't be read or written.
    pub fn new(
        config: &Config,
        backend: Arc<dyn SessionBackend>,
        leadership: Arc<dyn Leadership>,
        clock: Arc<dyn Clock>,
        scheme: Arc<HostScheme>,
    ) -> std::io::Result<Self> {
        let audit = Arc::new(audit(config)?);
        let metrics = Arc::new(Metrics::new(clock.now()));
        let refusals = Arc::new(SitePages {
            site: format!("{}://{}", config.names.proto, scheme.domain()),
            audit: audit.clone(),
            metrics: metrics.clone(),
        });
        let defaults = ManagerSettings::default();
        let settings = ManagerSettings {
            idle_timeout: config.idle_timeout,
            // What another router can't see for so long must not be much beside the timeout that it reckons with.
            activity_write_interval: defaults.activity_write_interval.min(config.idle_timeout / 10),
            max_sessions: config.max_sessions,
            max_running: config.max_running,
            ..defaults
        };
        let manager = Manager::new(backend.clone(), leadership, clock, settings);
        Ok(Self { backend, manager, metrics, ending: CancellationToken::new(), refusals, scheme, audit })
    }

    /// The service of the public listeners; `ports` are those that the router itself listens on.
    pub fn service(&self, config: &Config, ports: Vec<u16>) -> impl Entrance + use<> {
        let settings = api::server::Settings {
            scheme: HostScheme::clone(&self.scheme),
            proto: config.names.proto.to_owned(),
            repos: config.repos(),
            default_repo: config.default_repo.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let state = api::server::ApiState::new(self.manager.clone(), settings, self.ending.clone());
        let (api, _) = api::server::router(state);
        stack(Ingredients {
            manager: self.manager.clone(),
            api,
            site: Arc::new(Site::embedded()),
            identity: extractor(&config.identity),
            refusals: self.refusals.clone(),
            scheme: self.scheme.clone(),
            proto: config.names.proto,
            ports: self::ports(config, ports),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
            cookies: Cookies::new(config.auth_cookies.iter().map(String::as_str)),
            debug_headers: config.debug_headers,
            ending: self.ending.clone(),
        })
    }

    /// What the health listener answers from.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { manager: self.manager.clone(), metrics: self.metrics.clone(), ending: self.ending.clone() }
    }

    /// Runs the manager, and counts what the backend tells, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let counting = async {
            let (mut seen, mut starts) = (self.backend.watch(), Starts::default());
            while let Some(seen) = seen.next().await {
                // Of several routers that all see it, one counts.
                starts.observe(&seen, self.manager.is_leader().then_some(&self.metrics));
            }
        };
        let mut ready_durations = self.manager.ready_durations();
        let observe_ready = async {
            loop {
                match ready_durations.recv().await {
                    Ok(took) if self.manager.is_leader() => self.metrics.stage_took(Stage::Ready, took),
                    Ok(_) => {}
                    // Some went by uncounted.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        let counting = async { tokio::join!(counting, observe_ready) };
        tokio::join!(self.manager.clone().run(stop.clone()), stop.run_until_cancelled(counting));
    }
}

/// With the key that was given; else with the one of the state folder; else with one that all replicas can make of
/// what they share.
fn audit(config: &Config) -> std::io::Result<Audit> {
    match (&config.audit_key, &config.backend, &config.identity) {
        (Some(key), _, _) => Ok(Audit::keyed(key.expose())),
        (None, Backend::Local { state_dir, .. }, _) => Audit::open(state_dir),
        (None, Backend::Kubernetes(_), IdentitySource::Headers { secret: Some(secret), .. }) => {
            Ok(Audit::keyed(secret.expose()))
        }
        (None, Backend::Kubernetes(_), _) => {
            tracing::info!(
                "neither AUDIT_KEY nor TRUSTED_PROXY_SECRET is set: a user's digest in audit lines is another one \
                 in each router and after each start"
            );
            Ok(Audit::of_this_process())
        }
    }
}

fn ports(config: &Config, ours: Vec<u16>) -> Ports {
    if config.on_kubernetes() {
        Ports::OfEachSession
    } else if config.own_machine() {
        Ports::OfTheMachine { ours }
    } else {
        Ports::Nobodys
    }
}

fn extractor(source: &IdentitySource) -> Arc<dyn IdentityExtractor> {
    match source {
        IdentitySource::Dev(who) => Arc::new(FixedIdentity(who.clone())),
        IdentitySource::Headers { proxies, secret } => {
            let headers = TrustedHeaders::from_peers(proxies.clone());
            Arc::new(match secret {
                Some(secret) => headers.with_secret(PROXY_SECRET_HEADER, secret.expose()),
                None => headers,
            })
        }
    }
}
