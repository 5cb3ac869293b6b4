//! Publishes the hosts of opencode sessions: Cloudflare DNS records, rules of a Cloudflare Tunnel, and
//! Traefik IngressRoutes.
//!
//! - what is asked for: [`claims`] (the sessions' volume claims are the desired state)
//! - in the cluster: [`routes`] (the IngressRoutes of a session, as pure functions)
//! - at Cloudflare: [`cloudflare`] (the API, and one pass over records and tunnel) with [`reconcile`]
//!   (desired and current state give actions; pure)
//! - what is there: [`watched`] (claims and IngressRoutes, kept up to date)
//! - who acts when: [`controller`] (a loop for each half, which every change wakes), [`status`]
//! - the process: [`config`], [`cli`], [`health`], [`metrics`], [`logging`], [`run`], [`once`]
//! - [`testing`] (feature `test-util`): a stand-in for Cloudflare's API
//!
//! A session's hosts exist from the creation of its claim to its deletion: a stopped session must be
//! reachable, because a request to its host starts it. Only the leader writes. What others made is never
//! changed.

pub mod claims;
pub mod cli;
pub mod cloudflare;
pub mod config;
pub mod controller;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod once;
pub mod reconcile;
pub mod routes;
pub mod run;
pub mod status;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod watched;
