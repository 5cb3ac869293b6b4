//! A stand-in for GitHub's REST API on a loopback socket: it pages, limits, refuses and sends ETags as GitHub
//! documents below <https://docs.github.com/en/rest>: `using-the-rest-api/using-pagination-in-the-rest-api`,
//! `…/rate-limits-for-the-rest-api`, `…/best-practices-for-using-the-rest-api` (conditional requests,
//! redirects) and `authentication/authenticating-to-the-rest-api` (single sign-on).
//!
//! Tests read and change its [`Model`]. Those of other processes do so over HTTP, without a token:
//!
//! | request | |
//! |---|---|
//! | `GET /stand-in` | the calls since the start, and those that counted against a limit |
//! | `PUT /stand-in/faults` | replaces the [`Fault`]s: `[{"path":"/user/repos","kind":"rate_limit"}]` |
//! | `PUT /stand-in/users` | replaces the [`User`]s |

mod model;
mod server;

pub use model::{Fault, FaultKind, Model, Repo, User};
pub use server::StandIn;
