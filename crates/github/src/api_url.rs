//! The API's address, and the addresses that follow from it.

use std::net::IpAddr;

use reqwest::Url;

/// The address of a GitHub's REST API: `https://api.github.com`, or `https://<host>/api/v3` of a GitHub
/// Enterprise Server, or `https://api.<name>.ghe.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(Url);

/// Why a text is not the address of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiUrl {
    /// It is not an absolute URL of a host.
    #[error("is not a URL")]
    NotAUrl,
    /// A token would travel in clear text.
    #[error("must begin with https:// (http:// is accepted for this machine only)")]
    Insecure,
    /// It has a user name, a password, a query or a fragment.
    #[error("must be a host name with a path at most")]
    Ornate,
}

impl ApiUrl {
    /// Parses the address of an API.
    ///
    /// # Errors
    /// See [`InvalidApiUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidApiUrl> {
        let mut url = Url::parse(text.trim()).map_err(|_| InvalidApiUrl::NotAUrl)?;
        if !url.has_host() {
            return Err(InvalidApiUrl::NotAUrl);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(InvalidApiUrl::Insecure),
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidApiUrl::Ornate);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Returns the address of the pages for people, without a slash at its end: `https://github.com`.
    #[must_use]
    pub fn web_url(&self) -> String {
        let mut url = self.0.clone();
        url.set_path("");
        let host = url.host_str().unwrap_or_default();
        if let Some(host) = host.strip_prefix("api.").map(str::to_owned)
            && self.0.path() == "/"
        {
            // The host was part of a valid address, and still is without its first label.
            let _ = url.set_host(Some(&host));
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Returns the domain of users' addresses that receive no mail: `users.noreply.github.com`.
    pub(crate) fn noreply_domain(&self) -> String {
        let web = Url::parse(&self.web_url());
        let host = web.ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        format!("users.noreply.{host}")
    }

    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Returns the host name of the pages for people: `github.com`.
    #[must_use]
    pub fn web_host(&self) -> String {
        self.noreply_domain().trim_start_matches("users.noreply.").to_owned()
    }

    /// Returns the address of a resource. `segments` become path segments, whatever they contain.
    pub(crate) fn resource(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Whether an address in an answer is one of this API: same scheme, host and port, and below its path.
    pub(crate) fn covers(&self, url: &Url) -> bool {
        let base = self.0.path().trim_end_matches('/');
        let is_below = url.path().strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
        let has_user = !url.username().is_empty() || url.password().is_some();
        url.origin() == self.0.origin() && is_below && !has_user
    }
}

impl Default for ApiUrl {
    /// Returns the address of github.com's API.
    fn default() -> Self {
        Self::parse("https://api.github.com").unwrap_or_else(|_| unreachable!("a valid address"))
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(text: &str) -> ApiUrl {
        ApiUrl::parse(text).expect("an address")
    }

    #[test]
    fn each_kind_of_github_has_its_pages_and_its_noreply_addresses() {
        let check = |text: &str, web: &str, noreply: &str| {
            let api = api(text);
            assert_eq!((api.web_url().as_str(), api.noreply_domain().as_str()), (web, noreply), "{text}");
        };
        check("https://api.github.com", "https://github.com", "users.noreply.github.com");
        check("https://api.github.com/", "https://github.com", "users.noreply.github.com");
        check(
            "https://git.acme.example/api/v3/",
            "https://git.acme.example",
            "users.noreply.git.acme.example",
        );
        check("https://api.acme.ghe.com", "https://acme.ghe.com", "users.noreply.acme.ghe.com");
        check(
            "https://api.acme.example/api/v3",
            "https://api.acme.example",
            "users.noreply.api.acme.example",
        );
        check("http://127.0.0.1:8000/api/v3", "http://127.0.0.1:8000", "users.noreply.127.0.0.1");
    }

    #[test]
    fn a_token_never_travels_in_clear_text_to_another_machine() {
        let check = |text: &str, error| assert_eq!(ApiUrl::parse(text), Err(error), "{text}");
        check("http://git.acme.example/api/v3", InvalidApiUrl::Insecure);
        check("ftp://git.acme.example", InvalidApiUrl::Insecure);
        check("git.acme.example", InvalidApiUrl::NotAUrl);
        check("https://me:secret@git.acme.example", InvalidApiUrl::Ornate);
        check("https://git.acme.example/?x=1", InvalidApiUrl::Ornate);
        assert!(ApiUrl::parse("http://localhost:1234").is_ok());
    }

    #[test]
    fn a_resource_is_below_the_api_whatever_its_segments_are() {
        let resource =
            api("https://h.example/api/v3").resource(&["repos", "a/../b?", ".."], &[("page", "1")]);
        assert!(resource.as_str().starts_with("https://h.example/api/v3/repos/a%2F..%2Fb%3F"), "{resource}");
        assert_eq!(
            api("https://api.github.com").resource(&["user"], &[]).as_str(),
            "https://api.github.com/user"
        );
    }

    #[test]
    fn only_addresses_of_the_same_api_are_covered() {
        let api = api("https://h.example/api/v3");
        let check = |text: &str, expected| {
            assert_eq!(api.covers(&Url::parse(text).expect("a URL")), expected, "{text}");
        };
        check("https://h.example/api/v3/user/repos?page=2", true);
        check("https://h.example/api/v3", false);
        check("https://h.example/api/v33/user", false);
        check("https://h.example/login", false);
        check("http://h.example/api/v3/user", false);
        check("https://h.example:8443/api/v3/user", false);
        check("https://me@h.example/api/v3/user", false);
        check("https://h.example/api/v3/../../login", false);
        check("https://evil.example/api/v3/user", false);
    }
}
