//! The whole program against a real API server, of the disposable cluster that `TEST_KUBECONFIG` names, and
//! against the stand-in for Cloudflare's API.

mod cloudflare;
mod cluster;
mod figures;
mod once;
mod process;
mod replicas;
mod role;
mod routes;
