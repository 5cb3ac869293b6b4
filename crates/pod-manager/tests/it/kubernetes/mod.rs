//! Tests against a real API server, of the disposable cluster that `TEST_KUBECONFIG` names.

mod admission;
mod cluster;
mod conflicts;
mod contract;
mod crash;
mod credentials;
mod faults;
mod figures;
mod git_init;
mod leader;
mod legacy;
mod link;
mod patch;
mod races;
mod reach;
mod reaper;
mod restart;
mod watches;
