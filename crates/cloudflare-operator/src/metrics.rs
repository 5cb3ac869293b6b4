//! The metrics, as OpenMetrics text.
