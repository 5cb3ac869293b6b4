//! The composition root's tests: configuration, site, import table, and the whole router.

mod config;
mod documentation;
mod import_table;
mod real;
mod record;
mod site;
mod whole;
