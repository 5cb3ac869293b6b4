//! One call of the API.

use std::{error::Error, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Url, redirect};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{api_url::ApiUrl, error::GithubError};

/// The longest answer that is read, in bytes. A page of 100 repositories has about 700 KB.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A renamed repository redirects once.
const MAX_REDIRECTS: usize = 3;
/// Calls in flight, of all users together.
const MAX_CALLS: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The version of the API whose answers are read here.
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");

/// An answer with success.
pub(crate) enum Answer {
    /// What the caller knows by its ETag is up to date.
    NotModified,
    /// The content.
    Content { headers: HeaderMap, body: Vec<u8> },
}

pub(crate) struct Transport {
    /// An error if this machine has no certificate authorities.
    http: Result<reqwest::Client, GithubError>,
    api: ApiUrl,
    permits: Semaphore,
}

impl Transport {
    pub(crate) fn new(api: ApiUrl) -> Self {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("opencode-router/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed below, with a check of where they lead.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if api.is_loopback() {
            // A proxy from the environment could not reach this machine.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| GithubError::Unreachable(with_sources(&error)));
        Self { http, api, permits: Semaphore::new(MAX_CALLS) }
    }

    /// Gets a resource, unless it still has this ETag.
    pub(crate) async fn get(
        &self,
        url: Url,
        token: &str,
        etag: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, GithubError> {
        timeout_at(deadline, self.follow(url, token, etag))
            .await
            .unwrap_or_else(|_| Err(GithubError::Unreachable("the answer did not arrive in time".to_owned())))
    }

    async fn follow(
        &self,
        mut url: Url,
        token: &str,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, GithubError> {
        let _permit = self.permits.acquire().await;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(url.clone(), token, etag).await?;
            let (status, headers) = (response.status(), response.headers());
            match status {
                StatusCode::OK => return content(response).await,
                StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::NotModified),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
                    url = location
                        .and_then(|location| url.join(location).ok())
                        .filter(|next| self.api.covers(next))
                        .ok_or_else(|| invalid("a redirect leads away from the API"))?;
                }
                _ => return Err(GithubError::from_answer(status, headers)),
            }
        }
        Err(invalid("too many redirects"))
    }

    async fn send(
        &self,
        url: Url,
        token: &str,
        etag: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, GithubError> {
        let http = self.http.as_ref().map_err(Clone::clone)?;
        let mut call = http
            .get(url)
            .bearer_auth(token)
            .header(header::ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION);
        if let Some(etag) = etag {
            call = call.header(header::IF_NONE_MATCH, etag);
        }
        call.send().await.map_err(|error| GithubError::Unreachable(with_sources(&error)))
    }
}

async fn content(mut response: reqwest::Response) -> Result<Answer, GithubError> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| GithubError::Unreachable(with_sources(&error)))?
    {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(invalid("it is longer than any that the API gives"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer::Content { headers: std::mem::take(response.headers_mut()), body })
}

pub(crate) fn invalid(reason: &str) -> GithubError {
    GithubError::InvalidAnswer(reason.to_owned())
}

/// Joins an error with its sources. The address of the call is left out: it says nothing new.
fn with_sources(error: &dyn Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ")
}
