//! pod-manager
