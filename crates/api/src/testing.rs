//! The routes on a loopback socket, over a backend in memory, for tests that send requests like users.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::HeaderMap},
    middleware::{self, Next},
    response::Response,
};
use github::{ApiUrl, testing::StandIn};
use pod_manager::{Credentials, Manager, ManualClock, MemoryBackend, Token, memory::FakeOpencode};
use session_key::{HostScheme, Identity, RepoPolicy};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, parse_header},
    server::{self, ApiState, Github, Settings},
};

/// The header with the caller's e-mail address; it replaces the sign-in.
pub const USER: &str = "x-test-user";
/// The header with the caller's GitHub token.
pub const TOKEN: &str = "x-test-token";

/// The header that makes the caller an administrator, whatever its value.
pub const ADMIN: &str = "x-test-admin";

/// A router's API with its manager and backend. Stops when dropped.
pub struct TestRouter {
    /// The backend, whose methods provoke failures and delays.
    pub backend: Arc<MemoryBackend>,
    /// The manager's clock.
    pub clock: Arc<ManualClock>,
    /// Ends the event streams when cancelled.
    pub shutdown: CancellationToken,
    /// The GitHub that the router asks; at first it knows no user.
    pub github: StandIn,
    address: String,
    /// The opencode of every session; its event stream is off until it is enabled.
    pub opencode: FakeOpencode,
    _tasks: JoinSet<()>,
}

impl TestRouter {
    /// Starts a router with the default settings: `http://<hash>.localhost:3000`, every kind of repository.
    ///
    /// # Errors
    /// No port of this machine can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::with(pod_manager::ManagerSettings::default()).await
    }

    /// Starts a router whose manager has these settings.
    ///
    /// # Errors
    /// No port of this machine can be bound.
    pub async fn with(manager: pod_manager::ManagerSettings) -> io::Result<Self> {
        let clock = Arc::new(ManualClock::default());
        let backend = MemoryBackend::new(clock.clone());
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());

        let opencode = FakeOpencode::start(None).await;
        opencode.create_conversation("A title");
        backend.set_endpoint(opencode.address(), None);

        let manager = Manager::new(backend.clone(), backend.clone(), clock.clone(), manager);
        tasks.spawn(manager.clone().run(CancellationToken::new()));
        manager.ready().await;

        let scheme = HostScheme::new("localhost:3000", "", "attach-").map_err(io::Error::other)?;
        let settings = Settings {
            scheme,
            proto: "http".to_owned(),
            repos: RepoPolicy::OWN_MACHINE,
            default_repo: Some("https://github.com/acme/widgets".to_owned()),
            version: "0.1.0-test".to_owned(),
            body_deadline: server::BODY_DEADLINE,
        };
        let github = StandIn::start(Vec::new(), (Ipv4Addr::LOCALHOST, 0).into()).await?;
        let client = ApiUrl::parse(&github.api_url()).map_err(io::Error::other)?;
        let client = Github::new(github::Client::new(client));
        let (routes, _) = server::router(ApiState::new(manager, settings, client, shutdown.clone()));
        let site =
            routes.fallback(|| async { (StatusCode::OK, "the site") }).layer(middleware::from_fn(sign_in));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        serve(&mut tasks, listener, site);
        Ok(Self { backend, clock, shutdown, github, address, opencode, _tasks: tasks })
    }

    /// Returns the router's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns a client that is signed in as this user.
    ///
    /// # Panics
    /// If the e-mail address cannot be the value of a header.
    #[must_use]
    pub fn client(&self, email: &str) -> Client {
        self.client_with(&[(USER, email)])
    }

    /// Returns a client that is signed in as this user, with a GitHub token.
    ///
    /// # Panics
    /// If the e-mail address or the token cannot be the value of a header.
    #[must_use]
    pub fn client_with_token(&self, email: &str, token: &str) -> Client {
        self.client_with(&[(USER, email), (TOKEN, token)])
    }

    /// Returns a client that is signed in as this user, who is an administrator.
    ///
    /// # Panics
    /// If the e-mail address cannot be the value of a header.
    #[must_use]
    pub fn administrator(&self, email: &str) -> Client {
        self.client_with(&[(USER, email), (ADMIN, "yes")])
    }

    fn client_with(&self, headers: &[(&str, &str)]) -> Client {
        let header =
            |(name, value): &(&str, &str)| parse_header(&format!("{name}: {value}")).expect("a header");
        let headers = HeaderMap::from_iter(headers.iter().map(header));
        let client = Client::with_headers(&self.address, headers).expect("an address");
        client.with_reconnect_timeout(Duration::from_secs(10))
    }
}

fn serve(tasks: &mut JoinSet<()>, listener: TcpListener, routes: Router) {
    tasks.spawn(async move {
        // Ends with the test.
        let _ = axum::serve(listener, routes).await;
    });
}

async fn sign_in(mut request: Request, next: Next) -> Response {
    let email = request.headers_mut().remove(USER);
    if let Some(caller) = email.and_then(|email| Identity::parse(email.to_str().ok()?).ok()) {
        request.extensions_mut().insert(caller);
    }
    if request.headers_mut().remove(ADMIN).is_some() {
        request.extensions_mut().insert(server::Administrator);
    }
    let token = request.headers_mut().remove(TOKEN);
    if let Some(token) = token.and_then(|token| Token::parse(token.to_str().ok()?)) {
        request.extensions_mut().insert(Credentials { github_token: Some(token), git_author: None });
    }
    next.run(request).await
}
