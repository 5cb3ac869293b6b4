//! A client of GitHub's REST API for one user's token at a time: who the token belongs to, the repositories
//! that it may read, and their branches.
//!
//! - `api_url`, `name`: what addresses are made of, checked
//! - `transport`: one call, with limits on time and bytes; follows redirects on the API's own origin only
//! - `error`, `link`: what an answer that is no list means, and where its next page is
//! - `cache`, `refusals`: what is remembered of each token, by its digest
//! - `client`: puts these together
//! - `testing` (feature `test-util`): a stand-in for GitHub's API
//!
//! A token is an argument of each call. It is kept nowhere: what is remembered for it has its digest as key.
//!
//! ```no_run
//! # async fn example() -> Result<(), github::GithubError> {
//! let github = github::Client::new(github::ApiUrl::default());
//! let repositories = github.repositories("ghp_…").await?;
//! for repository in repositories.iter() {
//!     println!("{}", repository.full_name);
//! }
//! # Ok(()) }
//! ```

mod api_url;
mod cache;
mod client;
mod error;
mod link;
mod name;
mod refusals;
#[cfg(feature = "test-util")]
pub mod testing;
mod transport;

pub use api_url::{ApiUrl, InvalidApiUrl};
pub use cache::Listing;
pub use client::{Author, Branch, Client, Repository, Settings};
pub use error::GithubError;
pub use name::RepoName;
