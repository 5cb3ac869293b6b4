//! A session in every state that is not `running`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pod_manager::model::{
    Failure, FailureCode, Phase, Session, SessionStatus, Source, Stage, StageRecord, StopReason,
};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

const REPOSITORY: &str = "https://github.com/acme/widgets";
/// All stages that a backend can have. The local backend has three of them.
const STAGES: [Stage; 7] = [
    Stage::Queued,
    Stage::Scheduled,
    Stage::Volume,
    Stage::Image,
    Stage::Cloning,
    Stage::Starting,
    Stage::Ready,
];
const STAGE_SECONDS: u64 = 3;

/// Makes one session for each stage of a start, each reason to stop, and each failure.
pub(crate) fn of_all_kinds(user: &Identity, now: SystemTime) -> anyhow::Result<Vec<SessionStatus>> {
    let mut all = Vec::new();
    for stage in STAGES {
        let name = format!("starting-{stage:?}").to_lowercase();
        all.push(SessionStatus {
            stages: stages(stage, now, true),
            ..status(user, &name, Phase::Starting, now)?
        });
    }
    all.push(status(user, "stopping", Phase::Stopping, now)?);
    for reason in StopReason::ALL {
        let name = format!("stopped-{}", reason.as_str());
        all.push(status(user, &name, Phase::Stopped(reason), now)?);
    }
    for code in FailureCode::ALL {
        let name = format!("failed-{}", code.as_str());
        let (failed_at, failure) = failure(code);
        let phase = Phase::Failed(failure);
        all.push(SessionStatus { stages: stages(failed_at, now, false), ..status(user, &name, phase, now)? });
    }
    // The list shows them in this order.
    for (index, status) in (1..).zip(&mut all) {
        status.last_activity -= Duration::from_secs(60 * index);
    }
    Ok(all)
}

/// Makes a session whose branch is `name`.
pub(crate) fn status(
    user: &Identity,
    name: &str,
    phase: Phase,
    now: SystemTime,
) -> anyhow::Result<SessionStatus> {
    let url = RepoUrl::parse(REPOSITORY, RepoPolicy::default())?;
    let branch = GitRef::parse(name)?;
    let since = now - Duration::from_secs(90);
    let session = Session {
        hash: SessionHash::of(user, &url, &branch),
        owner: user.clone(),
        source: Source::Repository { url, branch, from: None },
        initial_message: Some("Make the widgets faster, and show how much that gives.".to_owned()),
        created_at: now - Duration::from_secs(3600),
    };
    Ok(SessionStatus {
        session: Arc::new(session),
        phase,
        since,
        stages: Vec::new(),
        last_activity: since,
        first_prompt_sent: true,
        attach_tokens: Arc::default(),
    })
}

/// Makes the records of a start that is in the stage `last`, or ended in it.
fn stages(last: Stage, now: SystemTime, is_active: bool) -> Vec<StageRecord> {
    let begun = |stage: Stage| {
        let before = STAGES.iter().filter(|other| (stage..last).contains(*other)).count();
        now - Duration::from_secs(STAGE_SECONDS) * (u32::try_from(before).unwrap_or_default() + 1)
    };
    let record = |stage: Stage| {
        let is_last = stage == last;
        let started = (stage <= last).then(|| begun(stage));
        let ended =
            started.filter(|_| !(is_last && is_active)).map(|at| at + Duration::from_secs(STAGE_SECONDS));
        let is_cloning = is_last && is_active && stage == Stage::Cloning;
        StageRecord {
            stage,
            started,
            ended,
            message: is_cloning.then(|| "Receiving objects".to_owned()),
            percent: is_cloning.then_some(43),
            bytes: is_cloning.then_some(12_582_912),
        }
    };
    STAGES.into_iter().map(record).collect()
}

/// Returns the stage in which a failure happens, and the failure as a backend would tell it.
fn failure(code: FailureCode) -> (Stage, Failure) {
    let (stage, message, advice, log_tail) = match code {
        FailureCode::RepositoryNotFound => (
            Stage::Cloning,
            "The repository was not found.",
            "Check the address.",
            Some(
                "remote: Repository not found.\nfatal: repository 'https://github.com/acme/widgets/' not found",
            ),
        ),
        FailureCode::AuthenticationFailed => (
            Stage::Cloning,
            "The repository's host refused the credentials.",
            "Sign in again.",
            Some("fatal: Authentication failed for 'https://github.com/acme/widgets/'"),
        ),
        FailureCode::BranchNotFound => {
            (Stage::Cloning, "The branch \"release\" does not exist.", "Start from an existing branch.", None)
        }
        FailureCode::NetworkUnreachable => (
            Stage::Cloning,
            "The repository's host could not be reached.",
            "Check the address.",
            Some(
                "fatal: unable to access 'https://github.com/acme/widgets/': Could not resolve host: github.com",
            ),
        ),
        FailureCode::CloneFailed => (
            Stage::Cloning,
            "Cloning failed (git exited with 128)",
            "The log has git's own words.",
            Some("fatal: index file corrupt"),
        ),
        FailureCode::CheckoutFailed => (
            Stage::Cloning,
            "The branch could not be checked out.",
            "The log has git's own words.",
            Some("error: invalid path 'aux.c'"),
        ),
        FailureCode::DiskFull => (
            Stage::Cloning,
            "No space is left for sessions.",
            "Delete sessions that you no longer need.",
            Some("error: file write error: No space left on device"),
        ),
        FailureCode::OpencodeNotFound => (
            Stage::Starting,
            "The program opencode can't be started: No such file or directory (os error 2).",
            "Install opencode, or set OPENCODE_BIN to its program; then restart the router.",
            None,
        ),
        FailureCode::OpencodeCrashed => (
            Stage::Starting,
            "opencode crashed 3 times; its last exit code was 1",
            "The log says why.",
            Some(
                "Error: Configuration is invalid at /home/opencode/repo/opencode.json\n↳ Invalid input mcp.search",
            ),
        ),
        FailureCode::OpencodeNotReady => (
            Stage::Starting,
            "opencode was not ready within 180 seconds.",
            "The end of the log may say why.",
            None,
        ),
        FailureCode::Unschedulable => (
            Stage::Scheduled,
            "No node accepts the session: 0/3 nodes are available: 3 Insufficient memory.",
            "It starts by itself once a node has room. Stop other sessions, or add a node.",
            None,
        ),
        FailureCode::ImagePullFailed => (
            Stage::Image,
            "The image ghcr.io/acme/session:2 can't be pulled: not found",
            "Check OPENCODE_IMAGE and IMAGE_PULL_SECRET_NAME.",
            None,
        ),
        FailureCode::OutOfMemory => (
            Stage::Ready,
            "The session ran out of memory while it was working",
            "Raise the memory limit (SESSION_LIMITS), or let the session do less at once; then resume it.",
            Some("Killed"),
        ),
        FailureCode::Evicted => (
            Stage::Ready,
            "The node evicted the session: The node was low on resource: memory.",
            "Resume the session: another node may have room. Its files are kept.",
            None,
        ),
        FailureCode::NodeLost => (
            Stage::Ready,
            "The session's node is gone or was taken out of service",
            "The session can start on another node once the cluster has released this Pod.",
            None,
        ),
        FailureCode::VolumeLost => (
            Stage::Volume,
            "The session's volume no longer exists in the cluster",
            "Restore the PersistentVolume from a backup, or delete the session.",
            None,
        ),
        FailureCode::VolumeUnavailable => (
            Stage::Volume,
            "The session's volume can't be created or attached: storageclass \"fast\" not found",
            "Check STORAGE_CLASS and the cluster's storage.",
            None,
        ),
        // Also codes of later releases.
        _ => (
            Stage::Starting,
            "The router failed while it worked on the session.",
            "Start the session again, and report this with the router's log.",
            None,
        ),
    };
    let failure = Failure {
        code,
        message: message.to_owned(),
        advice: advice.to_owned(),
        log_tail: log_tail.map(str::to_owned),
    };
    (stage, failure)
}
