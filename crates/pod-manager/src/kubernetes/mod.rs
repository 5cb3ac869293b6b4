//! Sessions as Pods and PersistentVolumeClaims of a Kubernetes cluster.

pub mod manifest;
mod settings;

pub use settings::{ContainerResources, KubernetesSettings};
