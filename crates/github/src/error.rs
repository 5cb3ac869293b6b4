//! Errors of the API, and what GitHub's refusals mean.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::DATE, header::RETRY_AFTER};

/// Without a hint, GitHub asks to wait for at least one minute.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(60);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Why GitHub gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GithubError {
    /// The token is invalid, expired or revoked.
    #[error("GitHub does not accept the token")]
    Unauthorized,
    /// The token must first be authorized for an organization with SAML single sign-on.
    #[error("the token is not authorized for the organization's single sign-on")]
    SsoRequired {
        /// The page that authorizes it.
        url: Option<String>,
    },
    /// Too many requests were sent with the token.
    #[error("GitHub's rate limit is reached")]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The token lacks a permission.
    #[error("the token may not read this")]
    Forbidden,
    /// There is no such repository, or the token may not know of it.
    #[error("GitHub knows no such repository, or the token may not read it")]
    NotFound,
    /// GitHub failed.
    #[error("GitHub failed with status {status}")]
    Unavailable {
        /// The status of its answer.
        status: u16,
    },
    /// GitHub could not be reached, or too late.
    #[error("GitHub cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is not one of GitHub's API.
    #[error("the answer is not one of GitHub's API: {0}")]
    InvalidAnswer(String),
}

impl GithubError {
    /// Returns what an answer without success means.
    ///
    /// A limit is `429`, or `403` with `Retry-After` (secondary) or `X-RateLimit-Remaining: 0` (primary).
    pub(crate) fn from_answer(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                if let Some(url) = required_sso(headers) {
                    return Self::SsoRequired { url };
                }
                match retry_after(headers) {
                    Some(retry_after) => Self::RateLimited { retry_after },
                    None if status == StatusCode::TOO_MANY_REQUESTS => {
                        Self::RateLimited { retry_after: DEFAULT_RETRY_AFTER }
                    }
                    None => Self::Forbidden,
                }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
                Self::NotFound
            }
            status if status.is_server_error() => Self::Unavailable { status: status.as_u16() },
            status => Self::InvalidAnswer(format!("status {status}")),
        }
    }

    /// Whether a list that is out of date is better than this error.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Unreachable(_))
    }
}

/// Reads `X-GitHub-SSO: required; url=…`. The address is shown to people as a link, so only https will do.
fn required_sso(headers: &HeaderMap) -> Option<Option<String>> {
    let value = headers.get("x-github-sso")?.to_str().ok()?;
    let rest = value.trim().strip_prefix("required")?;
    let url = rest.trim_start_matches([';', ' ']).strip_prefix("url=");
    Some(url.map(str::trim).filter(|url| url.starts_with("https://")).map(str::to_owned))
}

/// Whether a list leaves out repositories of organizations with single sign-on
/// (`X-GitHub-SSO: partial-results; organizations=…`).
pub(crate) fn is_partial(headers: &HeaderMap) -> bool {
    headers.get("x-github-sso").is_some_and(|value| value.as_bytes().starts_with(b"partial-results"))
}

/// Returns how long to wait, if the answer is a limit's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number(RETRY_AFTER.as_str()) {
        return Some(Duration::from_secs(seconds.max(1)).min(MAX_RETRY_AFTER));
    }
    if number("x-ratelimit-remaining") != Some(0) {
        return None;
    }
    // By GitHub's own clock, since the limit ends by it.
    let left = number("x-ratelimit-reset").zip(date(headers)).map(|(reset, now)| reset.saturating_sub(now));
    Some(left.map_or(DEFAULT_RETRY_AFTER, |left| Duration::from_secs(left.max(1)).min(MAX_RETRY_AFTER)))
}

/// Reads `Date` as seconds since 1970 (RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`).
fn date(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + i64::try_from(months.iter().position(|month| *month == name)?).ok()?;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn check(status: u16, list: &[(&'static str, &'static str)], expected: &GithubError) {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(&GithubError::from_answer(status, &headers(list)), expected);
    }

    fn limited(seconds: u64) -> GithubError {
        GithubError::RateLimited { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn refusals_mean_what_github_documents() {
        check(401, &[], &GithubError::Unauthorized);
        check(403, &[], &GithubError::Forbidden);
        check(403, &[("x-ratelimit-remaining", "17"), ("x-ratelimit-reset", "99")], &GithubError::Forbidden);
        check(404, &[], &GithubError::NotFound);
        check(503, &[], &GithubError::Unavailable { status: 503 });
        let sso = "required; url=https://github.com/orgs/acme/sso?authorization_request=x";
        let url = Some("https://github.com/orgs/acme/sso?authorization_request=x".to_owned());
        check(403, &[("x-github-sso", sso)], &GithubError::SsoRequired { url });
        let hostile = [("x-github-sso", "required; url=javascript:alert(1)")];
        check(403, &hostile, &GithubError::SsoRequired { url: None });
    }

    #[test]
    fn limits_say_how_long_to_wait() {
        check(403, &[("retry-after", "30")], &limited(30));
        check(429, &[("retry-after", "0")], &limited(1));
        check(429, &[], &limited(60));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(
            403,
            &[date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111877")],
            &limited(100),
        );
        check(403, &[date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111700")], &limited(1));
        check(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111877")], &limited(60));
        check(429, &[("retry-after", "999999")], &limited(3600));
    }

    #[test]
    fn dates_are_read_as_http_writes_them() {
        let check = |text: &'static str, expected| assert_eq!(date(&headers(&[("date", text)])), expected);
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000));
        check("Thu, 26 Nov 2026 03:00:00 GMT", Some(1_795_662_000));
        check("yesterday", None);
        check("Sun, 06 Nov 99999999999999 08:49:37 GMT", None);
    }
}
