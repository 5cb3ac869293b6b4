//! The questions that are asked of GitHub.

use std::{hash::Hash, sync::Arc, time::Duration};

use http::header::ETAG;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout};

use crate::{
    api_url::ApiUrl,
    cache::{Cache, Cached, Listing, Page, TokenDigest},
    error::{GithubError, is_partial},
    link,
    name::RepoName,
    refusals::Refusals,
    transport::{Answer, Transport, invalid},
};

/// Entries per page, the most that GitHub gives.
const PER_PAGE: &str = "100";
/// How long starts don't ask again for an author that was not given in time.
const AFTER_NO_AUTHOR: Duration = Duration::from_secs(30);

/// How the client behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// How long a list is used without asking GitHub again.
    pub fresh: Duration,
    /// How long a list is used if GitHub can't be asked, or refuses for its limits.
    pub stale: Duration,
    /// How long all pages of a list may take.
    pub deadline: Duration,
    /// How long a session's start may wait for its author.
    pub author_timeout: Duration,
    /// The most pages of one list.
    pub max_pages: usize,
    /// The memory that lists may use, in bytes.
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(60),
            stale: Duration::from_secs(15 * 60),
            deadline: Duration::from_secs(20),
            author_timeout: Duration::from_secs(2),
            max_pages: 30,
            max_bytes: 32 * 1024 * 1024,
        }
    }
}

/// A repository that a token may read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// Its name without the owner.
    pub name: String,
    /// `owner/name`.
    pub full_name: String,
    /// The address of its page, from which it can be cloned as well.
    pub html_url: String,
    /// Whether it is private.
    #[serde(default)]
    pub private: bool,
    /// Its default branch; GitHub names one for empty repositories, too.
    #[serde(default)]
    pub default_branch: String,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Branch {
    /// Its name.
    pub name: String,
}

/// The person or program that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct User {
    id: u64,
    login: String,
    #[serde(default)]
    name: Option<String>,
}

/// Who commits are made by.
#[derive(Clone, PartialEq, Eq)]
pub struct Author {
    /// The name of the token's user, or their login.
    pub name: String,
    /// The address by which GitHub knows the user and that receives no mail.
    pub email: String,
}

impl std::fmt::Debug for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Author(…)")
    }
}

/// A client of one GitHub. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    transport: Transport,
    api: ApiUrl,
    settings: Settings,
    refusals: Refusals,
    /// Tokens whose user could not be read in time; until then, starts don't wait for them.
    slow_users: Refusals,
    users: Cache<TokenDigest, User>,
    repositories: Cache<TokenDigest, Repository>,
    branches: Cache<(TokenDigest, RepoName), Branch>,
}

impl Client {
    /// Creates a client with the default settings. It makes no connection. If this machine has no certificate
    /// authorities, GitHub is unreachable.
    #[must_use]
    pub fn new(api: ApiUrl) -> Self {
        Self::with_settings(api, Settings::default())
    }

    /// Creates a client, as [`Client::new`] does.
    #[must_use]
    pub fn with_settings(api: ApiUrl, settings: Settings) -> Self {
        let part = settings.max_bytes / 4;
        Self(Arc::new(Inner {
            transport: Transport::new(api.clone()),
            api,
            refusals: Refusals::default(),
            slow_users: Refusals::default(),
            users: Cache::new(part),
            repositories: Cache::new(part * 2),
            branches: Cache::new(part),
            settings,
        }))
    }

    /// Returns the API's address.
    #[must_use]
    pub fn api_url(&self) -> &ApiUrl {
        &self.0.api
    }

    /// Returns the repositories that the token may read, the one with the latest change first.
    ///
    /// # Errors
    /// See [`GithubError`].
    pub async fn repositories(&self, token: &str) -> Result<Listing<Repository>, GithubError> {
        let url = self.0.api.resource(&["user", "repos"], &[("per_page", PER_PAGE), ("sort", "updated")]);
        let digest = TokenDigest::of(token);
        self.0.listing(&self.0.repositories, &digest, digest, token, url, read).await
    }

    /// Returns the branches of a repository.
    ///
    /// # Errors
    /// See [`GithubError`]; [`GithubError::NotFound`] if the token may not read the repository.
    pub async fn branches(&self, token: &str, repo: &RepoName) -> Result<Listing<Branch>, GithubError> {
        let [owner, name] = repo.segments();
        let url = self.0.api.resource(&["repos", owner, name, "branches"], &[("per_page", PER_PAGE)]);
        let key = (TokenDigest::of(token), repo.clone());
        self.0.listing(&self.0.branches, &key, key.0, token, url, read).await
    }

    /// Returns who the commits of the token's user are made by. `None` if GitHub does not say so in time.
    pub async fn author(&self, token: &str) -> Option<Author> {
        let digest = TokenDigest::of(token);
        self.0.slow_users.check(&digest).ok()?;
        let error = match timeout(self.0.settings.author_timeout, self.user(token, digest)).await {
            Ok(Ok(user)) => return Some(self.0.author(&user)),
            Ok(Err(error)) => error,
            Err(_) => GithubError::Unreachable("the answer did not arrive in time".to_owned()),
        };
        tracing::debug!(%error, "the author of a session's commits is unknown");
        self.0.slow_users.remember_for(&digest, &error, AFTER_NO_AUTHOR);
        None
    }

    async fn user(&self, token: &str, digest: TokenDigest) -> Result<User, GithubError> {
        let url = self.0.api.resource(&["user"], &[]);
        let one = |body: &[u8]| read::<User>(body).map(|user| vec![user]);
        let listing = self.0.listing(&self.0.users, &digest, digest, token, url, one).await?;
        listing.iter().next().cloned().ok_or_else(|| invalid("it names no user"))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.0.api).finish()
    }
}

impl Inner {
    fn author(&self, user: &User) -> Author {
        let User { id, login, name } = user;
        let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or(login);
        Author { name: name.to_owned(), email: format!("{id}+{login}@{}", self.api.noreply_domain()) }
    }

    /// Returns a list from the cache or, if it is too old, from GitHub.
    async fn listing<K: Clone + Eq + Hash, T: TextBytes>(
        &self,
        cache: &Cache<K, T>,
        key: &K,
        digest: TokenDigest,
        token: &str,
        url: Url,
        parse: impl Fn(&[u8]) -> Result<Vec<T>, GithubError>,
    ) -> Result<Listing<T>, GithubError> {
        let slot = cache.slot(key);
        let mut cached = slot.lock().await;
        let age = cached.as_ref().map(|cached| cached.confirmed.elapsed());
        if let Some(cached) = cached.as_ref().filter(|_| age.is_some_and(|age| age < self.settings.fresh)) {
            return Ok(cached.listing.clone());
        }
        let previous = cached.as_ref().map(|cached| cached.listing.pages()).unwrap_or_default();
        let result = match self.refusals.check(&digest) {
            Ok(()) => self.fetch(previous, token, url, parse).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(listing) => {
                cache.resize(key, listing.pages().iter().map(page_bytes).sum());
                *cached = Some(Cached { listing: listing.clone(), confirmed: Instant::now() });
                Ok(listing)
            }
            Err(error) => {
                self.refusals.remember(&digest, &error);
                match cached.as_ref() {
                    Some(cached)
                        if error.is_temporary() && age.is_some_and(|age| age < self.settings.stale) =>
                    {
                        tracing::debug!(%error, "GitHub can't be asked; using the last list");
                        Ok(cached.listing.clone())
                    }
                    _ => {
                        *cached = None;
                        cache.resize(key, 0);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Reads all pages, one after the other as GitHub asks for. Pages that did not change are not sent again.
    async fn fetch<T>(
        &self,
        previous: &[Page<T>],
        token: &str,
        first: Url,
        parse: impl Fn(&[u8]) -> Result<Vec<T>, GithubError>,
    ) -> Result<Listing<T>, GithubError> {
        let deadline = Instant::now() + self.settings.deadline;
        let (mut pages, mut next): (Vec<Page<T>>, _) = (Vec::new(), Some(first));
        while let Some(url) = next.take() {
            if pages.len() >= self.settings.max_pages {
                return Ok(finish(pages, true));
            }
            let known = previous.iter().find(|page| page.url == url);
            let etag = known.and_then(|page| page.etag.as_ref());
            let page = match (self.transport.get(url.clone(), token, etag, deadline).await?, known) {
                (Answer::NotModified, Some(known)) => known.clone(),
                (Answer::NotModified, None) => return Err(invalid("nothing changed since never")),
                (Answer::Content { headers, body }, _) => Page {
                    url,
                    etag: headers.get(ETAG).cloned(),
                    next: link::next(&headers),
                    partial: is_partial(&headers),
                    items: parse(&body)?.into(),
                },
            };
            next = page.next.clone();
            if next.as_ref().is_some_and(|next| !self.api.covers(next)) {
                return Err(invalid("its next page is not one of the API"));
            }
            pages.push(page);
        }
        Ok(finish(pages, false))
    }
}

fn finish<T>(pages: Vec<Page<T>>, truncated: bool) -> Listing<T> {
    let partial = pages.iter().any(|page| page.partial);
    Listing::new(pages, truncated, partial)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, GithubError> {
    serde_json::from_slice(body).map_err(|error| GithubError::InvalidAnswer(error.to_string()))
}

/// Tells how much memory an entry's texts use.
trait TextBytes {
    /// The bytes of its texts.
    fn text_bytes(&self) -> usize;
}

impl TextBytes for Repository {
    fn text_bytes(&self) -> usize {
        self.name.len() + self.full_name.len() + self.html_url.len() + self.default_branch.len()
    }
}

impl TextBytes for Branch {
    fn text_bytes(&self) -> usize {
        self.name.len()
    }
}

impl TextBytes for User {
    fn text_bytes(&self) -> usize {
        self.login.len() + self.name.as_ref().map_or(0, String::len)
    }
}

fn page_bytes<T: TextBytes>(page: &Page<T>) -> usize {
    let addresses = page.url.as_str().len() + page.next.as_ref().map_or(0, |url| url.as_str().len());
    // Each text is an allocation of its own.
    page.items.iter().map(|item| size_of::<T>() + item.text_bytes() + 64).sum::<usize>() + addresses + 512
}
