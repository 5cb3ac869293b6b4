//! The contract, kept by processes of this machine.

pod_manager::backend_contract!(super::harness::Local::new());
