//! The IngressRoutes of sessions, as pure functions.
//!
//! - `names`: host names, patterns of host names, names of objects
//! - `manifest`: the IngressRoutes that should exist
//! - `plan`: from desired and present IngressRoutes to changes

pub mod manifest;
pub mod names;
pub mod plan;

pub use manifest::{FIELD_MANAGER, Mode, RouteSettings, desired, published_hosts, resource};
pub use names::HostNames;
pub use plan::{Apply, Deletion, RoutePlan, plan};
