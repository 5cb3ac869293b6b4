//! Sessions as Pods and PersistentVolumeClaims of a Kubernetes cluster.

pub mod connect;
pub mod credentials;
pub mod lease;
pub mod manifest;
pub mod patch;
mod settings;
pub mod sight;
mod stages;

pub use settings::{ContainerResources, KubernetesSettings};
