//! Against the API server of a cluster to throw away, which `TEST_KUBECONFIG` names.

mod admission;
mod cluster;
mod conflicts;
mod contract;
mod crash;
mod credentials;
mod figures;
mod git_init;
mod leader;
mod legacy;
mod link;
mod meddle;
mod patch;
mod races;
mod reach;
mod reaper;
mod restart;
mod watches;
