//! opencode itself: how it is started, when it is ready, and what happens when it ends by itself.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::Path,
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
    environment,
    git::{disk_full, storage_failure},
    group::Group,
    log::Log,
    run::{Interrupted, Keep, Report, Run},
    settings::Limits,
};
use crate::{
    backoff::Backoff,
    model::{Endpoint, Failure, FailureCode, Password},
    opencode::health::HealthCheck,
};

/// Signals by which the system or a person ends a process from outside.
const SIGKILL: i32 = 9;

/// How one start of opencode came to its end.
enum End {
    /// By itself.
    Crashed {
        how: String,
        killed: bool,
    },
    Interrupted(Interrupted),
}

/// Starts opencode, and again where it ends by itself, until the run is called off or it ended too often.
pub(super) async fn keep_running(run: &Run, log: &Log) -> Interrupted {
    let limits = &run.shared.settings.limits;
    let mut crashes = 0;
    let mut backoff = Backoff::new(limits.pause, Limits::LONGEST_PAUSE);
    loop {
        let mut answered_for = Duration::ZERO;
        let end = start_once(run, log, &mut answered_for).await;
        run.tell.keep(Keep::Process(None)).await;
        let (how, killed) = match end {
            End::Crashed { how, killed } => (how, killed),
            End::Interrupted(interrupted) => return interrupted,
        };
        if answered_for >= limits.settled {
            crashes = 0;
            backoff.reset();
        }
        log.line(&format!("opencode {how}."));
        tracing::warn!(session.hash = %run.session.hash, how, crashes, "opencode ended by itself");
        if crashes == limits.restarts {
            return Interrupted::Failed(crashed(run, &how, killed, crashes + 1).await);
        }
        crashes += 1;
        let again = format!("opencode {how}; starting it again ({crashes} of {})", limits.restarts);
        run.tell.report(Report::Again(again.into())).await;
        tokio::select! {
            () = run.calloff.cancelled() => return Interrupted::CalledOff,
            () = backoff.wait() => {}
        }
    }
}

/// Starts opencode once; when this returns, no process of it is left.
async fn start_once(run: &Run, log: &Log, answered_for: &mut Duration) -> End {
    if run.calloff.is_cancelled() {
        return End::Interrupted(Interrupted::CalledOff);
    }
    let limits = &run.shared.settings.limits;
    let password = new_password();
    let prepared = run.shared.ports.take().and_then(|port| link_keys(run).map(|()| port));
    let port = match prepared {
        Ok(port) => port,
        Err(error) => {
            let failure = storage_failure("opencode's start can't be prepared", &error);
            return End::Interrupted(Interrupted::Failed(failure));
        }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
    let mut group = match Group::spawn(&mut command(run, address, &password), run.traits.clone()) {
        Ok(group) => group,
        // It is being replaced at this moment.
        Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
            return End::Crashed { how: format!("could not be started: {error}"), killed: false };
        }
        Err(error) => return End::Interrupted(Interrupted::Failed(not_started(run, &error))),
    };
    run.tell.keep(Keep::Process(group.mark())).await;
    let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
    let following = tokio::spawn(join(
        OptionFuture::from(stdout.map(|output| log.clone().follow(output))),
        OptionFuture::from(stderr.map(|output| log.clone().follow(output))),
    ));
    let end = watch_over(run, &mut group, address, password, answered_for).await;
    group.end(limits.stop).await;
    // Its last words; whoever still holds on to its output is not waited for.
    let stop = following.abort_handle();
    if timeout(Duration::from_secs(1), following).await.is_err() {
        stop.abort();
    }
    end
}

/// Waits until opencode answers, tells so, and waits for its end or the run's.
async fn watch_over(
    run: &Run,
    group: &mut Group,
    address: SocketAddr,
    password: Password,
    answered_for: &mut Duration,
) -> End {
    let limits = &run.shared.settings.limits;
    let mut check = HealthCheck::new(&run.shared.http, address, Some(&password));
    let answers = tokio::select! {
        biased;
        () = run.calloff.cancelled() => return End::Interrupted(Interrupted::CalledOff),
        status = group.wait() => return ended(status),
        answers = timeout(limits.ready, check.wait_healthy()) => answers,
    };
    if answers.is_err() {
        return End::Interrupted(Interrupted::Failed(not_ready(limits)));
    }
    let name = format!("{:016x}", rand::random::<u64>());
    let endpoint = Endpoint { address, password: Some(password), run_id: name.into() };
    let since = Instant::now();
    run.tell.report(Report::Ready(endpoint)).await;
    tokio::select! {
        biased;
        () = run.calloff.cancelled() => End::Interrupted(Interrupted::CalledOff),
        status = group.wait() => {
            *answered_for = since.elapsed();
            ended(status)
        }
    }
}

fn command(run: &Run, address: SocketAddr, password: &Password) -> Command {
    let settings = &run.shared.settings;
    let mut command = Command::new(&settings.opencode);
    command
        .args(["serve", "--hostname", &address.ip().to_string(), "--port", &address.port().to_string()])
        .current_dir(run.repo())
        .env_clear()
        .envs(environment::of_session(settings, &run.traits.dir, &run.traits.marker))
        .env("PWD", run.repo())
        .env("OPENCODE_SERVER_PASSWORD", password.expose())
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Where the machine is the user's own, their providers are signed in to in every session.
fn link_keys(run: &Run) -> io::Result<()> {
    let settings = &run.shared.settings;
    let users = environment::opencode_data_of_user(settings).map(|data| data.join("auth.json"));
    let Some(users) = users.filter(|path| settings.own_machine && path.exists()) else { return Ok(()) };
    let link = run.traits.dir.join("data/opencode/auth.json");
    match fs::symlink_metadata(&link) {
        // Signed in to in this session alone, before the user had any: theirs to keep.
        Ok(found) if !found.is_symlink() => return Ok(()),
        Ok(_) => fs::remove_file(&link)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(users, link)
}

/// 32 random bytes, as text.
fn new_password() -> Password {
    let mut bytes = [0_u8; 32];
    rand::rng().fill(&mut bytes);
    Password::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn ended(status: io::Result<ExitStatus>) -> End {
    let (how, killed) = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => (format!("ended by itself with exit code {code}"), false),
            (None, Some(signal)) => (format!("was ended from outside by signal {signal}"), signal == SIGKILL),
            (None, None) => ("ended by itself".to_owned(), false),
        },
        Err(error) => (format!("could not be waited for: {error}"), false),
    };
    End::Crashed { how, killed }
}

async fn crashed(run: &Run, how: &str, killed: bool, starts: u32) -> Failure {
    let log_tail = run.log_tail().await;
    let no_space = ["no space left on device", "enospc", "database or disk is full"];
    if log_tail.as_ref().is_some_and(|tail| {
        let tail = tail.to_lowercase();
        no_space.iter().any(|words| tail.contains(words))
    }) {
        return disk_full(log_tail);
    }
    let advice = match killed {
        true => {
            "The machine has probably run out of memory: stop other sessions or programs, then start this \
             one again."
        }
        false => "The end of the log says more; start the session again once that is mended.",
    };
    Failure {
        code: FailureCode::OpencodeCrashed,
        message: format!("opencode {how}, {starts} times in a row."),
        advice: advice.to_owned(),
        log_tail,
    }
}

fn not_ready(limits: &Limits) -> Failure {
    Failure {
        code: FailureCode::OpencodeNotReady,
        message: format!(
            "opencode was started, but did not answer within {} seconds.",
            limits.ready.as_secs_f32()
        ),
        advice:
            "The end of the log may say why; if the machine is only slow at this moment, start the session \
                 again."
                .to_owned(),
        log_tail: None,
    }
}

fn not_started(run: &Run, error: &io::Error) -> Failure {
    let program = run.shared.settings.opencode.display();
    if !is_dir(&run.repo()) {
        return storage_failure("the repository's folder is gone", error);
    }
    match error.kind() {
        // Too many processes, too little memory, …
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => Failure {
            code: FailureCode::BackendError,
            message: format!("The machine can't start another process: {error}."),
            advice: "Stop other sessions or programs, then start this one again.".to_owned(),
            log_tail: None,
        },
        _ => Failure {
            code: FailureCode::OpencodeNotFound,
            message: format!("The program {program} could not be started: {error}."),
            advice: "Install opencode, or set OPENCODE_BIN to its program, and start the router again."
                .to_owned(),
            log_tail: None,
        },
    }
}

fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Ports of the sessions of this router, so that no two starts get the same one.
#[derive(Default)]
pub(super) struct Ports(std::sync::Arc<parking_lot::Mutex<std::collections::HashSet<u16>>>);

/// A port for one start; free again once this is dropped.
pub(super) struct Port {
    port: u16,
    ports: Ports,
}

impl Ports {
    /// A port that is free at this moment. Somebody else may be quicker: then opencode ends, and the next
    /// start has another one.
    pub(super) fn take(&self) -> io::Result<Port> {
        // Listeners are kept until the end, so that the system names another port each time.
        let mut listeners = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            if self.0.lock().insert(port) {
                return Ok(Port { port, ports: Self(self.0.clone()) });
            }
            listeners.push(listener);
        }
    }
}

impl std::ops::Deref for Port {
    type Target = u16;

    fn deref(&self) -> &u16 {
        &self.port
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.0.lock().remove(&self.port);
    }
}
