//! A router without a cluster and without opencode, for people who work on the site: its sessions are in
//! memory, one in every state that a session can have. `make dev` starts it together with Vite.
//!
//! Each address of a session is named after its state. What the site asks for happens: a stopped session
//! starts, within a few seconds; a deleted one is gone until the next start of this program.
//!
//! It reads the router's own variables; `PORT` and `DEV_EMAIL` are the useful ones. It is an example, so no
//! release contains it.

mod conversations;
mod states;

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    net::Ipv4Addr,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use pod_manager::{Clock as _, MemoryBackend, SystemClock, model::Stage};
use proxy_core::{ServeSettings, serve};
use router_bin::{
    app::App,
    config::{Config, IdentitySource},
    health, logging,
};
use tokio::{net::TcpListener, signal::ctrl_c, time::sleep};
use tokio_util::sync::CancellationToken;

use conversations::Conversations;

/// How long a session that is started here stays in each of its stages.
const STAGE_DURATION: std::time::Duration = std::time::Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("No temporary folder can be made")?;
    let config = config(folder.path().as_os_str().to_owned())?;
    logging::init(&config)?;
    let IdentitySource::Dev(user) = &config.identity else {
        return Err(anyhow!("IDENTITY must be dev here: the sessions belong to DEV_EMAIL."));
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await;
    let listener =
        listener.with_context(|| format!("PORT {} can't be used; set PORT to another one", config.port))?;
    let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();

    let clock = Arc::new(SystemClock);
    let backend = MemoryBackend::new(clock.clone());
    let conversations = Conversations::start(&backend, user, clock.now()).await?;
    for status in states::of_all_kinds(user, clock.now())? {
        backend.show(status);
    }

    let scheme = Arc::new(config.names.scheme(port)?);
    let app = App::new(&config, backend.clone(), backend.clone(), clock, scheme)?;
    let service = app.service(&config, vec![port, health.local_addr()?.port()]);
    let settings = ServeSettings::new().with_refusals(app.refusals.clone());
    let routes = health::router(app.health());
    let serving = serve(listener, service, settings, std::future::pending());
    let running = async { tokio::join!(serving, app.run(CancellationToken::new())) };
    writeln!(io::stdout(), "sessions in every state: http://localhost:{port}")?;
    tokio::select! {
        ((), ()) = running => {}
        result = axum::serve(health, routes).into_future() => result?,
        () = pass_stages(&backend) => {}
        () = conversations.go_on(&backend, &app.manager) => {}
        () = async {
            // Without signals, the program can still be killed.
            let _ = ctrl_c().await;
        } => {}
    }
    Ok(())
}

/// Returns the configuration from the environment, with another port and a throw-away state folder.
fn config(folder: OsString) -> anyhow::Result<Config> {
    let ours = ["PORT", "HEALTH_PORT", "STATE_DIR", "BACKEND"];
    let mut variables: Vec<_> =
        env::vars_os().filter(|(name, _)| !ours.iter().any(|our| name == our)).collect();
    let port = env::vars_os().find(|(name, _)| name == "PORT").map_or("3000".into(), |(_, port)| port);
    let values = [port, "0".into(), folder, "local".into()];
    variables.extend(ours.map(OsString::from).into_iter().zip(values));
    Config::load(None, variables).map_err(|problems| anyhow!("{problems}"))
}

/// Lets starts pass their stages slowly enough to be seen. Never returns.
async fn pass_stages(backend: &MemoryBackend) {
    loop {
        for (held, released) in [(Stage::Starting, Stage::Cloning), (Stage::Cloning, Stage::Starting)] {
            backend.hold(held);
            backend.release(released);
            sleep(STAGE_DURATION).await;
        }
    }
}
