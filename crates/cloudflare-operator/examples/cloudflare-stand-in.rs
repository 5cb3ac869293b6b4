//! Runs the stand-in for Cloudflare's API as a process, for tests of whole systems.
//!
//! Prints one line of JSON with its address and ids, then serves until it is killed.
//!
//! ```text
//! cloudflare-stand-in --listen 127.0.0.1:0 --seed '{"zone_name":"example.org"}' --fault '{"kind":"drop"}'
//! ```
//!
//! `--seed` has the fields of `Seed`, `--fault` (any number of them) those of `Fault`; both may be `@<file>`.
//! `cloudflare_operator::testing::server` lists the routes that steer it.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use cloudflare_operator::testing::{Fault, Seed, Server, StandIn};
use serde::de::DeserializeOwned;
use serde_json::json;

#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What to start with, as JSON or `@<file>`.
    #[arg(long, default_value = "{}")]
    seed: String,
    /// A fault, as JSON or `@<file>`.
    #[arg(long)]
    fault: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let seed: Seed = read(&arguments.seed).context("--seed")?;
    let stand_in = StandIn::new(seed);
    for fault in &arguments.fault {
        stand_in.add_fault(read::<Fault>(fault).context("--fault")?);
    }
    let seed = stand_in.with(|model| model.seed.clone());
    let server = Server::start(stand_in, arguments.listen).await.context("--listen")?;
    let line = json!({
        "api_url": server.api_url(),
        "control_url": format!("http://{}/stand-in", server.address()),
        "token": seed.token,
        "zone_id": seed.zone_id,
        "zone_name": seed.zone_name,
        "account_id": seed.account_id,
        "tunnel_id": seed.tunnel_id,
    });
    #[expect(clippy::print_stdout, reason = "whoever started it reads the address there")]
    {
        println!("{line}");
    }
    std::future::pending().await
}

fn read<T: DeserializeOwned>(argument: &str) -> anyhow::Result<T> {
    let text = match argument.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| file.to_owned())?,
        None => argument.to_owned(),
    };
    Ok(serde_json::from_str(&text)?)
}
