//! The opencode process: how it is started, when it is ready, and what happens when it ends by itself.

use std::{
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{fs::symlink, process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::{OptionFuture, join};
use rand::RngExt;
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

use super::{
    config::Limits,
    environment,
    failure::{
        opencode_crashed, opencode_not_ready, opencode_not_started, secrets_unreadable, storage_failure,
    },
    files::is_dir,
    log::Log,
    process_group::ProcessGroup,
    report::{Persist, Report, RunEnd},
    run_context::RunContext,
};
use crate::{
    backoff::Backoff,
    model::{Endpoint, Password},
};

/// The signal by which the system or a person kills a process.
const SIGKILL: i32 = 9;

/// The end of one start of opencode.
enum ServeEnd {
    /// By itself.
    Crashed {
        cause: String,
        killed: bool,
    },
    Run(RunEnd),
}

/// Starts opencode, and restarts it after a crash, until the run is cancelled or opencode crashed too often.
pub(super) async fn keep_running(run: &RunContext, log: &Log) -> RunEnd {
    let limits = &run.shared.settings.limits;
    let mut crashes = 0;
    let mut backoff = Backoff::new(limits.restart_delay, Limits::MAX_RESTART_DELAY);
    loop {
        let mut healthy_for = Duration::ZERO;
        let end = serve(run, log, &mut healthy_for).await;
        run.reporter.persist(Persist::Process(None)).await;
        let (cause, killed) = match end {
            ServeEnd::Crashed { cause, killed } => (cause, killed),
            ServeEnd::Run(end) => return end,
        };
        if healthy_for >= limits.stable_after {
            crashes = 0;
            backoff.reset();
        }
        log.line(&format!("opencode {cause}."));
        tracing::warn!(session.hash = %run.session.hash, cause, crashes, "opencode ended by itself");
        if crashes == limits.restarts {
            return RunEnd::Failed(opencode_crashed(&cause, killed, crashes + 1, run.log_tail().await));
        }
        crashes += 1;
        let message = format!("opencode {cause}; restarting ({crashes} of {})", limits.restarts);
        run.reporter.report(Report::Restarting(message.into())).await;
        tokio::select! {
            () = run.cancel.cancelled() => return RunEnd::Cancelled,
            () = backoff.wait() => {}
        }
    }
}

/// Runs opencode once; no process of it is left when this returns.
async fn serve(run: &RunContext, log: &Log, healthy_for: &mut Duration) -> ServeEnd {
    if run.cancel.is_cancelled() {
        return ServeEnd::Run(RunEnd::Cancelled);
    }
    let limits = &run.shared.settings.limits;
    let password = new_password();
    let secrets = match run.shared.secrets.variables(&run.session.owner) {
        Ok(secrets) => secrets,
        // A session without them would fail later, and say less.
        Err(error) => return ServeEnd::Run(RunEnd::Failed(secrets_unreadable(&error))),
    };
    let prepared = run.shared.ports.reserve().and_then(|port| link_keys(run).map(|()| port));
    let port = match prepared {
        Ok(port) => port,
        Err(error) => {
            let failure = storage_failure("preparing opencode's start failed", &error);
            return ServeEnd::Run(RunEnd::Failed(failure));
        }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
    let mut group =
        match ProcessGroup::spawn(&mut command(run, address, &password, secrets), run.selector.clone()) {
            Ok(group) => group,
            // The program is being replaced at this moment.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                return ServeEnd::Crashed { cause: format!("could not be started: {error}"), killed: false };
            }
            Err(error) if !is_dir(&run.repo()) => {
                let failure = storage_failure("the repository's folder is missing", &error);
                return ServeEnd::Run(RunEnd::Failed(failure));
            }
            Err(error) => {
                let failure = opencode_not_started(&run.shared.settings.opencode, &error);
                return ServeEnd::Run(RunEnd::Failed(failure));
            }
        };
    run.reporter.persist(Persist::Process(group.leader())).await;
    let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
    let output = tokio::spawn(join(
        OptionFuture::from(stdout.map(|output| log.clone().copy(output))),
        OptionFuture::from(stderr.map(|output| log.clone().copy(output))),
    ));
    let end = wait_for_end(run, &mut group, address, password, healthy_for).await;
    group.end(limits.stop).await;
    // The last output; a process that still holds the pipe is not waited for.
    let abort = output.abort_handle();
    if timeout(Duration::from_secs(1), output).await.is_err() {
        abort.abort();
    }
    end
}

/// Waits until opencode is healthy, reports it, and waits for the end of opencode or of the run.
async fn wait_for_end(
    run: &RunContext,
    group: &mut ProcessGroup,
    address: SocketAddr,
    password: Password,
    healthy_for: &mut Duration,
) -> ServeEnd {
    let limits = &run.shared.settings.limits;
    let mut check = run.shared.health_checks.check(address, Some(&password));
    let healthy = tokio::select! {
        biased;
        () = run.cancel.cancelled() => return ServeEnd::Run(RunEnd::Cancelled),
        status = group.wait() => return crashed(status),
        healthy = timeout(limits.ready, check.wait_healthy()) => healthy,
    };
    if healthy.is_err() {
        return ServeEnd::Run(RunEnd::Failed(opencode_not_ready(limits)));
    }
    let run_id = format!("{:016x}", rand::random::<u64>());
    let endpoint = Endpoint { address, password: Some(password), run_id: run_id.into() };
    let since = Instant::now();
    run.reporter.report(Report::Ready(endpoint)).await;
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => ServeEnd::Run(RunEnd::Cancelled),
        status = group.wait() => {
            *healthy_for = since.elapsed();
            crashed(status)
        }
    }
}

fn command(
    run: &RunContext,
    address: SocketAddr,
    password: &Password,
    secrets: Vec<(OsString, OsString)>,
) -> Command {
    let settings = &run.shared.settings;
    let names = settings.addresses.as_ref().map(|addresses| addresses.variables(run.session.hash));
    let mut command = Command::new(&settings.opencode);
    command
        .args(["serve", "--hostname", &address.ip().to_string(), "--port", &address.port().to_string()])
        .current_dir(run.repo())
        .env_clear()
        .envs(environment::session_environment(settings, &run.selector.dir, &run.selector.marker))
        // Their names are none of those that the session needs.
        .envs(secrets)
        .envs(names.into_iter().flatten())
        .env("PWD", run.repo())
        .env("OPENCODE_SERVER_PASSWORD", password.expose())
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// On a machine with one user, links the keys of their providers into the session.
fn link_keys(run: &RunContext) -> io::Result<()> {
    let settings = &run.shared.settings;
    let keys = environment::user_opencode_data(settings).map(|data| data.join("auth.json"));
    let Some(keys) = keys.filter(|path| settings.single_user && path.exists()) else { return Ok(()) };
    let link = run.selector.dir.join("data/opencode/auth.json");
    match fs::symlink_metadata(&link) {
        // Keys that were added in this session alone stay.
        Ok(metadata) if !metadata.is_symlink() => return Ok(()),
        Ok(_) => fs::remove_file(&link)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(keys, link)
}

/// Creates a password of 32 random bytes.
fn new_password() -> Password {
    let mut bytes = [0_u8; 32];
    rand::rng().fill(&mut bytes);
    Password::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn crashed(status: io::Result<ExitStatus>) -> ServeEnd {
    let (cause, killed) = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => (format!("ended by itself with exit code {code}"), false),
            (None, Some(signal)) => (format!("was killed by signal {signal}"), signal == SIGKILL),
            (None, None) => ("ended by itself".to_owned(), false),
        },
        Err(error) => (format!("could not be waited for: {error}"), false),
    };
    ServeEnd::Crashed { cause, killed }
}
