//! The app router in the test's process, with sessions in memory and an upstream on loopback.

mod administrators;
mod attach;
mod audit;
mod dev_servers;
mod isolation;
mod limits;
mod not_running;
mod pull_image;
mod replay;
mod site;
mod test_app;
mod traces;
mod wake;

pub(crate) use test_app::TestApp;
