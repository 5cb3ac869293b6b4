//! Tests against a real API server, of the disposable cluster that `TEST_KUBECONFIG` names.

mod admission;
mod api_calls;
mod attach;
mod awaited_token;
mod cluster;
mod conflicts;
mod contract;
mod crash;
mod credentials;
mod faults;
mod figures;
mod git_identity;
mod git_init;
mod idle_sessions;
mod image_puller;
mod leader;
mod legacy;
mod link;
mod patch;
mod races;
mod reported_ports;
mod restart;
mod serve;
mod user_secrets;
mod watches;
