//! The names of an opencode-router session: its owner ([`Identity`]), repository ([`RepoUrl`]) and branch
//! ([`GitRef`]), the [`SessionHash`] of the three, and its host names ([`HostScheme`]).
//!
//! Everything here is pure: each type is parsed from text, and a value that exists is valid, so no other code
//! validates it again. Different (owner, repository, branch) triples never give the same hash input, see
//! [`SessionHash::of`].
//!
//! ```
//! use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, Route, SessionHash};
//!
//! let owner = Identity::parse("Alice@Example.com")?;
//! let repo = RepoUrl::parse("https://github.com/acme/widgets.git", RepoPolicy::default())?;
//! let hash = SessionHash::of(&owner, &repo, &GitRef::parse("main")?);
//! assert_eq!(hash.to_string(), "a48da0606867");
//!
//! let scheme = HostScheme::new("example.org", "-oc", "attach-")?;
//! let Route::Session(route) = scheme.parse("a48da0606867-oc.example.org") else { unreachable!() };
//! assert_eq!(route.hash, hash);
//! # Ok::<(), session_key::InvalidName>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod git_ref;
mod hash;
mod host;
mod identity;
mod repo;
#[cfg(feature = "serde")]
mod serialize;
mod text;

pub use error::InvalidName;
pub use git_ref::GitRef;
pub use hash::SessionHash;
pub use host::{HostScheme, Route, SessionRoute, Target};
pub use identity::Identity;
pub use repo::{RepoPolicy, RepoUrl};
