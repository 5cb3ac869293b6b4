//! The composition root's tests: configuration, site, import table, and the whole router.

mod config;
mod config_kubernetes;
mod documentation;
mod import_table;
mod kubernetes;
mod policies;
mod real;
mod record;
mod site;
mod whole;
