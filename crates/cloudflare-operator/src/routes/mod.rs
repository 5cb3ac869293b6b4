//! The IngressRoutes of sessions, as pure functions.
