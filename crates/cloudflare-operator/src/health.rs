//! The health listener: liveness, readiness with conditions, and metrics.
