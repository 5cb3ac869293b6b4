//! Output for people: a table of sessions, and a session with all its details.

use api::wire::{AttachToken, Stage, StageName, StageStatus, State};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;

use crate::{
    report::{ListReport, SessionReport},
    terminal::{sanitize, sanitize_line},
};

/// How to print.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Whether to print more columns.
    pub(crate) wide: bool,
    pub(crate) color: bool,
    /// Whether to print where the sessions run and what they use.
    pub(crate) usage: bool,
    /// Whether the sessions are those of all users, without addresses.
    pub(crate) all_users: bool,
}

/// Returns a table of attach tokens, or an empty text if there are none.
pub(crate) fn attach_tokens(tokens: &[AttachToken], now: Timestamp) -> String {
    if tokens.is_empty() {
        return String::new();
    }
    let header = ["ID", "NAME", "CREATED", "EXPIRES"].map(str::to_owned).to_vec();
    let row = |token: &AttachToken| {
        let name = if token.name.is_empty() { "-" } else { &token.name };
        let expires = token.expires_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
        vec![sanitize_line(&token.id), sanitize_line(name), ago(token.created_at, now), expires]
    };
    align(&std::iter::once(header).chain(tokens.iter().map(row)).collect::<Vec<_>>()).join("\n")
}

/// Returns a table of sessions, or an empty text if there are none.
pub(crate) fn sessions(list: &ListReport, style: Style, now: Timestamp) -> String {
    if list.sessions.is_empty() {
        return String::new();
    }
    // Where and how much is known only to a router that may ask the cluster for it.
    let has_usage = list.sessions.iter().any(|session| session.node.is_some());
    let style = Style { usage: style.wide && style.all_users && has_usage, ..style };
    let mut rows = vec![header(style)];
    rows.extend(list.sessions.iter().map(|session| row(session, style, now)));
    let mut lines = align(&rows);
    if style.color {
        for (line, session) in lines.iter_mut().skip(1).zip(&list.sessions) {
            let word = state_word(session);
            *line = line.replacen(&word, &colored(&word, session.state), 1);
        }
    }
    lines.join("\n")
}

fn header(style: Style) -> Vec<String> {
    let owner: &[&str] = if style.all_users { &["OWNER"] } else { &[] };
    let more: &[&str] = match (style.wide, style.all_users) {
        (false, _) => &[],
        (true, false) => &["CREATED", "ABOUT", "URL"],
        (true, true) if style.usage => &["CREATED", "NODE", "CPU", "MEMORY"],
        (true, true) => &["CREATED", "ABOUT"],
    };
    let all = [&["KEY", "STATE"], owner, &["REPOSITORY", "BRANCH", "ACTIVITY"], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn row(session: &SessionReport, style: Style, now: Timestamp) -> Vec<String> {
    let mut row = vec![session.hash.to_string(), state_word(session)];
    if style.all_users {
        row.push(sanitize_line(&session.email));
    }
    row.push(repository(session, style.wide));
    row.push(sanitize_line(session.branch.as_deref().unwrap_or("-")));
    row.push(ago(session.last_activity, now));
    if style.wide {
        row.push(ago(session.created_at, now));
        if style.usage {
            row.push(sanitize_line(session.node.as_deref().unwrap_or("-")));
            row.push(session.cpu_millicores.map_or("-".to_owned(), |cpu| format!("{cpu}m")));
            row.push(session.memory_bytes.map_or("-".to_owned(), |bytes| format!("{}Mi", bytes >> 20)));
        }
        if !style.usage {
            let about = session.title.as_ref().or(session.description.as_ref());
            row.push(sanitize_line(about.map_or("-", String::as_str)));
        }
        if !style.all_users {
            row.push(sanitize_line(url(session).unwrap_or("-")));
        }
    }
    row
}

fn url(session: &SessionReport) -> Option<&str> {
    session.url.known().and_then(Option::as_deref)
}

fn repository(session: &SessionReport, wide: bool) -> String {
    let Some(url) = &session.repo_url else { return "(new project)".to_owned() };
    let short = url.strip_prefix("https://").unwrap_or(url);
    let short = short.strip_suffix(".git").unwrap_or(short);
    sanitize_line(if wide { url } else { short })
}

/// Aligns the columns of the rows, two spaces apart.
fn align(rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Returns the state, and whether the agent is busy.
fn state_word(session: &SessionReport) -> String {
    match session.state {
        State::Creating => "creating",
        State::Running if session.busy.known() == Some(&true) => "running, busy",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
    .to_owned()
}

fn colored(word: &str, state: State) -> String {
    let code = match state {
        State::Running => 32,
        State::Creating | State::Stopping => 33,
        State::Stopped => 2,
        State::Failed => 31,
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// Returns a session with all its details, a line for each.
pub(crate) fn session(session: &SessionReport, style: Style, now: Timestamp) -> String {
    let state = state_word(session);
    let state = if style.color { colored(&state, session.state) } else { state };
    let optional = |text: &Option<String>| text.as_deref().map(sanitize_line);
    let lines = [
        ("Key", Some(session.hash.to_string())),
        ("State", Some(format!("{state} ({})", ago(session.state_since, now)))),
        ("Repository", Some(repository(session, true))),
        ("Branch", optional(&session.branch)),
        ("From", optional(&session.source_branch)),
        ("Title", optional(&session.title)),
        ("About", optional(&session.description)),
        ("URL", url(session).map(sanitize_line)),
        ("Attach", optional(&session.attach_url)),
        ("Activity", Some(format!("{} ({})", ago(session.last_activity, now), session.last_activity))),
        ("Created", Some(format!("{} ({})", ago(session.created_at, now), session.created_at))),
        ("Idle stop", idle_stop(session)),
        ("Owner", Some(sanitize_line(&session.email))),
        ("Node", optional(&session.node)),
        ("Processor", session.cpu_millicores.map(|cpu| format!("{cpu} m"))),
        ("Memory", session.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20))),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            text += &format!("{:<12}{value}\n", format!("{name}:"));
        }
    }
    for (index, port) in session.ports.iter().enumerate() {
        let name = if index == 0 { "Servers:" } else { "" };
        let process = port.process.as_deref().map(|process| format!(" ({})", sanitize_line(process)));
        text += &format!("{name:<12}{}{}\n", sanitize_line(&port.url), process.unwrap_or_default());
    }
    if !session.stages.is_empty() && session.state != State::Running {
        text += "Stages:\n";
        session.stages.iter().for_each(|stage| text += &format!("  {}\n", stage_line(stage)));
    }
    if let Some(reason) = &session.reason {
        text += &format!("{:<12}{}\n", "Reason:", sanitize_line(&reason.message));
        if let Some(advice) = &reason.advice {
            text += &format!("{:<12}{}\n", "", sanitize_line(advice));
        }
        if let Some(log) = &reason.log_tail {
            text += "Log:\n";
            sanitize(log).lines().for_each(|line| text += &format!("  {line}\n"));
        }
    }
    text
}

fn idle_stop(session: &SessionReport) -> Option<String> {
    session.idle_timeout_minutes.known().map(|minutes| match minutes {
        0 => "never".to_owned(),
        minutes => format!("after {minutes} min"),
    })
}

fn stage_line(stage: &Stage) -> String {
    let mark = match stage.status {
        StageStatus::Pending => "·",
        StageStatus::Active => "…",
        StageStatus::Done => "✓",
        StageStatus::Failed => "✗",
    };
    let duration = match (stage.started_at, stage.ended_at) {
        (Some(from), Some(to)) => format!(" {:.1} s", to.duration_since(from).as_secs_f64()),
        _ => String::new(),
    };
    let percent = stage.percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
    let message =
        stage.message.as_deref().map(|text| format!(": {}", sanitize_line(text))).unwrap_or_default();
    format!("{mark} {}{message}{percent}{duration}", stage_name(stage.stage))
}

/// Returns a stage's name as in the API.
pub(crate) fn stage_name(stage: StageName) -> String {
    format!("{stage:?}").to_lowercase()
}

/// Returns the age of a time in one unit: `just now`, `5 min ago`, `3 h ago`, `2 d ago`.
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
