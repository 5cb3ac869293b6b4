//! A router whose one session runs elsewhere:
//! `OPENCODE=127.0.0.1:4096 cargo run -p router-bin --example replica`.
//!
//! The session outlives this program, and several of these programs serve the same one, as routers in a
//! cluster do. Tests use it for what happens to a client when its router restarts, or when it reaches another
//! replica. It reads `PORT` and `ROUTER_DOMAIN` as the router does.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    net::Ipv4Addr,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use pod_manager::{
    Clock as _, Endpoint, MemoryBackend, SystemClock,
    model::{Phase, Session, SessionStatus, Source},
};
use proxy_core::{ServeSettings, serve};
use router_bin::{
    app::App,
    config::{Config, IdentitySource},
    logging,
};
use session_key::{GitRef, RepoPolicy, RepoUrl, SessionHash};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("No temporary folder can be made")?;
    let opencode = variable("OPENCODE").context("OPENCODE must be the address of a running opencode")?;
    let mut variables = vec![(OsString::from("STATE_DIR"), folder.path().as_os_str().to_owned())];
    variables.extend(
        ["PORT", "ROUTER_DOMAIN"].into_iter().filter_map(|name| Some((name.into(), variable(name)?.into()))),
    );
    let config = Config::load(None, variables).map_err(|problems| anyhow!("{problems}"))?;
    logging::init(&config)?;
    let IdentitySource::Dev(user) = &config.identity else { return Err(anyhow!("IDENTITY must be dev")) };
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
    let port = listener.local_addr()?.port();

    let (clock, now) = (Arc::new(SystemClock), SystemClock.now());
    let url = RepoUrl::parse("https://github.com/acme/widgets", RepoPolicy::default())?;
    let branch = GitRef::parse("main")?;
    let session = Session {
        hash: SessionHash::of(user, &url, &branch),
        owner: user.clone(),
        source: Source::Repository { url, branch, from: None },
        initial_message: None,
        created_at: now,
    };
    let hash = session.hash;
    let backend = MemoryBackend::new(clock.clone());
    backend.show(SessionStatus {
        session: Arc::new(session),
        phase: Phase::Running(Endpoint {
            address: opencode.parse()?,
            password: None,
            run_id: "elsewhere".into(),
        }),
        since: now,
        stages: Vec::new(),
        last_activity: now,
        first_prompt_sent: true,
        attach_tokens: Arc::default(),
    });

    let scheme = Arc::new(config.names.scheme(port)?);
    let app = App::new(&config, backend.clone(), backend, clock, scheme)?;
    let service = app.service(&config, vec![port]);
    let settings = ServeSettings::new().with_refusals(app.refusals.clone());
    let stop = CancellationToken::new();
    let serving = serve(listener, service, settings, app.shutdown.clone().cancelled_owned());
    let ending = async {
        app.manager.ready().await;
        writeln!(io::stdout(), "{hash}")?;
        terminate.recv().await;
        app.shutdown.cancel();
        anyhow::Ok(())
    };
    let running = async {
        let (ended, ()) = tokio::join!(ending, serving);
        stop.cancel();
        ended
    };
    tokio::join!(running, app.run(stop.clone())).0
}

/// Returns a variable of the environment.
fn variable(name: &str) -> Option<String> {
    env::vars_os().find(|(other, _)| other == name)?.1.into_string().ok()
}
