//! What the stand-in knows, and what it answers.

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Requests per hour, GitHub's limit of a user.
const LIMIT: u64 = 5000;

/// The content of a GitHub.
#[derive(Debug, Default)]
pub struct Model {
    /// The users, found by their tokens.
    pub users: Vec<User>,
    /// What goes wrong; the first one that fits counts.
    pub faults: Vec<Fault>,
    /// Paths with queries of all calls since the start.
    pub calls: Vec<String>,
    /// Calls that counted against the limit: all but those answered with 304.
    pub counted: u64,
}

/// A user and what their token may read.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// The token.
    pub token: String,
    /// The id.
    pub id: u64,
    /// The login.
    pub login: String,
    /// The name, if the user gave one.
    #[serde(default)]
    pub name: Option<String>,
    /// The repositories, the one with the latest change first.
    #[serde(default)]
    pub repositories: Vec<Repo>,
    /// Whether repositories of an organization with single sign-on are left out.
    #[serde(default)]
    pub partial: bool,
}

/// A repository.
#[derive(Debug, Clone, Deserialize)]
pub struct Repo {
    /// `owner/name`.
    pub full_name: String,
    /// Whether it is private.
    #[serde(default)]
    pub private: bool,
    /// The branches; the first one is the default branch.
    pub branches: Vec<String>,
    /// Its former name, which redirects.
    #[serde(default)]
    pub formerly: Option<String>,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    /// How the paths of the calls begin, after the API's own path.
    #[serde(default)]
    pub path: String,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// An answer with this status.
    Status {
        /// The status.
        status: u16,
    },
    /// The hour's requests are used up.
    RateLimit {
        /// Seconds until the next hour.
        seconds: u64,
    },
    /// A secondary limit.
    SecondaryLimit {
        /// `Retry-After`.
        seconds: u64,
    },
    /// The organization requires single sign-on.
    Sso {
        /// Where the token is authorized.
        url: String,
    },
    /// A redirect to this address.
    Redirect {
        /// `Location`.
        location: String,
    },
    /// A page whose next page is at this address.
    Next {
        /// The address.
        next: String,
    },
    /// An answer that is not JSON.
    Html,
    /// A body that does not end.
    Endless,
    /// No answer.
    Silent,
}

/// An answer of the stand-in.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn json(status: StatusCode, body: &Value) -> Self {
        let headers = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        )]);
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    fn error(status: StatusCode, message: &str) -> Self {
        let page = "https://docs.github.com/rest";
        Self::json(
            status,
            &json!({ "message": message, "documentation_url": page, "status": status.as_str() }),
        )
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }
}

impl Model {
    /// Returns the fault that a call meets.
    pub(super) fn fault(&self, path: &str) -> Option<FaultKind> {
        self.faults.iter().find(|fault| path.starts_with(&fault.path)).map(|fault| fault.kind.clone())
    }

    /// Answers a call. `base` is the API's address; `path` is the path after it.
    pub(super) fn answer(&mut self, base: &str, path: &str, url: &Url, headers: &HeaderMap) -> Answer {
        let query = url.query().map_or(String::new(), |query| format!("?{query}"));
        self.calls.push(format!("{path}{query}"));
        if let Some(kind) = self.fault(path) {
            self.counted += 1;
            if let Some(answer) = refusal(&kind) {
                return answer;
            }
        }
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let user = self.users.iter().find(|user| Some(user.token.as_str()) == token);
        let Some(user) = user else {
            return Answer::error(StatusCode::UNAUTHORIZED, "Bad credentials");
        };
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let not_found = || Answer::error(StatusCode::NOT_FOUND, "Not Found");
        let mut answer = match segments[..] {
            ["user"] => {
                let User { id, login, name, .. } = user;
                Answer::json(
                    StatusCode::OK,
                    &json!({ "id": id, "login": login, "name": name, "type": "User" }),
                )
            }
            ["user", "repos"] => {
                let web = base.trim_end_matches("/api/v3");
                let repos: Vec<Value> = user.repositories.iter().map(|repo| repository(web, repo)).collect();
                let answer = page(base, path, url, repos);
                if user.partial {
                    answer.with("x-github-sso", "partial-results; organizations=21955855")
                } else {
                    answer
                }
            }
            ["repos", owner, name, "branches"] => {
                let full_name = format!("{owner}/{name}");
                let is_former = |repo: &&Repo| repo.formerly.as_deref() == Some(&full_name);
                if let Some(renamed) = user.repositories.iter().find(is_former) {
                    let location = format!("{base}/repos/{}/branches{query}", renamed.full_name);
                    return Answer::error(StatusCode::MOVED_PERMANENTLY, "Moved Permanently")
                        .with("location", &location);
                }
                let repo = user.repositories.iter().find(|repo| repo.full_name == full_name);
                let Some(repo) = repo else { return not_found() };
                let branches = repo.branches.iter();
                let branches = branches.map(|name| json!({ "name": name, "protected": false })).collect();
                page(base, path, url, branches)
            }
            _ => return not_found(),
        };
        let etag = format!("W/\"{}\"", hex(&Sha256::digest(&answer.body)));
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.body.clear();
        } else {
            self.counted += 1;
        }
        if let Some(FaultKind::Next { next }) = self.fault(path) {
            answer = answer.with("link", &format!("<{next}>; rel=\"next\""));
        }
        answer
            .with("etag", &etag)
            .with("x-ratelimit-limit", &LIMIT.to_string())
            .with("x-ratelimit-remaining", &LIMIT.saturating_sub(self.counted).to_string())
            .with("x-ratelimit-reset", &(now() + 3600).to_string())
    }
}

/// Returns the answer of a fault that is one.
fn refusal(kind: &FaultKind) -> Option<Answer> {
    Some(match kind {
        FaultKind::Status { status } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::error(status, status.canonical_reason().unwrap_or("Error"))
        }
        FaultKind::RateLimit { seconds } => {
            Answer::error(StatusCode::FORBIDDEN, "API rate limit exceeded for user ID 1.")
                .with("x-ratelimit-limit", &LIMIT.to_string())
                .with("x-ratelimit-remaining", "0")
                .with("x-ratelimit-reset", &(now() + seconds).to_string())
        }
        FaultKind::SecondaryLimit { seconds } => {
            Answer::error(StatusCode::TOO_MANY_REQUESTS, "You have exceeded a secondary rate limit.")
                .with("retry-after", &seconds.to_string())
        }
        FaultKind::Sso { url } => {
            let message = "Resource protected by organization SAML enforcement. You must grant your OAuth token \
                           access to this organization.";
            Answer::error(StatusCode::FORBIDDEN, message)
                .with("x-github-sso", &format!("required; url={url}"))
        }
        FaultKind::Redirect { location } => {
            Answer::error(StatusCode::FOUND, "Found").with("location", location)
        }
        FaultKind::Html => Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: b"<html>Sign in</html>".to_vec(),
        },
        FaultKind::Next { .. } | FaultKind::Endless | FaultKind::Silent => return None,
    })
}

fn repository(web: &str, repo: &Repo) -> Value {
    let (owner, name) = repo.full_name.split_once('/').unwrap_or(("", &repo.full_name));
    json!({
        "name": name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": { "login": owner },
        "html_url": format!("{web}/{}", repo.full_name),
        "clone_url": format!("{web}/{}.git", repo.full_name),
        "default_branch": repo.branches.first(),
        "description": null,
    })
}

/// Returns one page of a list, with the links to the others.
fn page(base: &str, path: &str, url: &Url, mut items: Vec<Value>) -> Answer {
    let number = |name: &str| {
        url.query_pairs().find(|(key, _)| key == name).and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let per_page = number("per_page").unwrap_or(30).clamp(1, 100);
    let page = number("page").unwrap_or(1).max(1);
    let last = items.len().div_ceil(per_page).max(1);
    let first_item = items.len().min((page - 1) * per_page);
    let rest: Vec<Value> = items.drain(first_item..).take(per_page).collect();
    let link = |page: usize, relation: &str| {
        let others = url.query_pairs().filter(|(key, _)| key != "page");
        let others: Vec<String> = others.map(|(key, value)| format!("{key}={value}&")).collect();
        format!("<{base}{path}?{}page={page}>; rel=\"{relation}\"", others.concat())
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(link(page - 1, "prev"));
    }
    if page < last {
        links.push(link(page + 1, "next"));
        links.push(link(last, "last"));
    }
    if page > 1 {
        links.push(link(1, "first"));
    }
    let answer = Answer::json(StatusCode::OK, &Value::Array(rest));
    if links.is_empty() { answer } else { answer.with("link", &links.join(", ")) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a stand-in writes the real time, as GitHub does")]
    let now = std::time::SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
