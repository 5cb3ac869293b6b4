//! Runs the stand-in for GitHub's API as a process, for tests of whole systems.
//!
//! Prints one line of JSON with its addresses, then serves until it is killed.
//!
//! ```text
//! github-stand-in --listen 127.0.0.1:0 --users '[{"token":"t","id":1,"login":"octocat"}]'
//! ```
//!
//! `github::testing` lists the routes that steer it.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use github::testing::{StandIn, User};
use serde_json::json;

#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The users, as JSON.
    #[arg(long, default_value = "[]")]
    users: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let users: Vec<User> = serde_json::from_str(&arguments.users).context("--users")?;
    let stand_in = StandIn::start(users, arguments.listen).await.context("--listen")?;
    let line = json!({ "api_url": stand_in.api_url(), "control_url": stand_in.control_url() });
    #[expect(clippy::print_stdout, reason = "whoever started it reads the addresses there")]
    {
        println!("{line}");
    }
    std::future::pending().await
}
