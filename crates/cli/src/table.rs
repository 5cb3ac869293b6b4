//! What people read: tables, and one session in full.

use api::wire::{Session, SessionList, Stage, StageStatus, State};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;

use crate::terminal::harmless;

/// How a table looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// More columns.
    pub(crate) wide: bool,
    pub(crate) colour: bool,
    /// The sessions are several users', as the cluster tells them: it knows no timeout and no address.
    pub(crate) everyone: bool,
}

/// A table of sessions; empty where there is none.
pub(crate) fn sessions(list: &SessionList, look: Look, now: Timestamp) -> String {
    if list.sessions.is_empty() {
        return String::new();
    }
    let mut rows = vec![header(look)];
    rows.extend(list.sessions.iter().map(|session| row(session, look, now)));
    let mut lines = columns(&rows);
    if look.colour {
        for (line, session) in lines.iter_mut().skip(1).zip(&list.sessions) {
            let word = state_word(session);
            *line = line.replacen(&word, &painted(&word, session.state), 1);
        }
    }
    lines.join("\n")
}

fn header(look: Look) -> Vec<String> {
    let owner: &[&str] = if look.everyone { &["OWNER"] } else { &[] };
    let more: &[&str] = match (look.wide, look.everyone) {
        (false, _) => &[],
        (true, false) => &["CREATED", "ABOUT", "URL"],
        (true, true) => &["CREATED", "ABOUT"],
    };
    let all = [&["KEY", "STATE"], owner, &["REPOSITORY", "BRANCH", "ACTIVITY"], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn row(session: &Session, look: Look, now: Timestamp) -> Vec<String> {
    let mut row = vec![session.hash.to_string(), state_word(session)];
    if look.everyone {
        row.push(harmless(&session.email, false));
    }
    row.push(repository(session, look.wide));
    row.push(harmless(session.branch.as_deref().unwrap_or("-"), false));
    row.push(ago(session.last_activity, now));
    if look.wide {
        let about = session.title.as_ref().or(session.description.as_ref());
        row.push(ago(session.created_at, now));
        row.push(harmless(about.map_or("-", String::as_str), false));
        if !look.everyone {
            row.push(harmless(session.url.as_deref().unwrap_or("-"), false));
        }
    }
    row
}

fn repository(session: &Session, wide: bool) -> String {
    let Some(url) = &session.repo_url else { return "(new project)".to_owned() };
    let short = url.strip_prefix("https://").unwrap_or(url);
    let short = short.strip_suffix(".git").unwrap_or(short);
    harmless(if wide { url } else { short }, false)
}

/// Lines whose columns stand under each other, two spaces apart.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The state, and what it is busy with.
fn state_word(session: &Session) -> String {
    match session.state {
        State::Creating => "creating",
        State::Running if session.busy => "running, busy",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
    .to_owned()
}

fn painted(word: &str, state: State) -> String {
    let code = match state {
        State::Running => 32,
        State::Creating | State::Stopping => 33,
        State::Stopped => 2,
        State::Failed => 31,
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// All about one session.
pub(crate) fn session(session: &Session, look: Look, now: Timestamp) -> String {
    let state = state_word(session);
    let state = if look.colour { painted(&state, session.state) } else { state };
    let clean = |text: &str| harmless(text, false);
    let optional = |text: &Option<String>| text.as_deref().map(clean);
    let lines = [
        ("Key", Some(session.hash.to_string())),
        ("State", Some(format!("{state} ({})", ago(session.state_since, now)))),
        ("Repository", Some(repository(session, true))),
        ("Branch", optional(&session.branch)),
        ("From", optional(&session.source_branch)),
        ("Title", optional(&session.title)),
        ("About", optional(&session.description)),
        ("URL", optional(&session.url)),
        ("Attach", optional(&session.attach_url)),
        ("Activity", Some(format!("{} ({})", ago(session.last_activity, now), session.last_activity))),
        ("Created", Some(format!("{} ({})", ago(session.created_at, now), session.created_at))),
        ("Idle stop", idle_stop(session, look)),
        ("Owner", Some(clean(&session.email))),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            text += &format!("{:<12}{value}\n", format!("{name}:"));
        }
    }
    if !session.stages.is_empty() && session.state != State::Running {
        text += "Stages:\n";
        session.stages.iter().for_each(|stage| text += &format!("  {}\n", stage_line(stage)));
    }
    if let Some(reason) = &session.reason {
        text += &format!("{:<12}{}\n", "Reason:", clean(&reason.message));
        if let Some(advice) = &reason.advice {
            text += &format!("{:<12}{}\n", "", clean(advice));
        }
        if let Some(log) = &reason.log_tail {
            text += "Log:\n";
            harmless(log, true).lines().for_each(|line| text += &format!("  {line}\n"));
        }
    }
    text
}

fn idle_stop(session: &Session, look: Look) -> Option<String> {
    match session.idle_timeout_minutes {
        _ if look.everyone => None,
        0 => Some("never".to_owned()),
        minutes => Some(format!("after {minutes} min")),
    }
}

fn stage_line(stage: &Stage) -> String {
    let mark = match stage.status {
        StageStatus::Pending => "·",
        StageStatus::Active => "…",
        StageStatus::Done => "✓",
        StageStatus::Failed => "✗",
    };
    let took = match (stage.started_at, stage.ended_at) {
        (Some(from), Some(to)) => format!(" {:.1} s", to.duration_since(from).as_secs_f64()),
        _ => String::new(),
    };
    let percent = stage.percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
    let message =
        stage.message.as_deref().map(|text| format!(": {}", harmless(text, false))).unwrap_or_default();
    format!("{mark} {}{message}{percent}{took}", stage_name(stage.stage))
}

/// A stage, as the API calls it.
pub(crate) fn stage_name(stage: api::wire::StageName) -> String {
    format!("{stage:?}").to_lowercase()
}

/// `just now`, `5 min ago`, `3 h ago`, `2 d ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        ..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
