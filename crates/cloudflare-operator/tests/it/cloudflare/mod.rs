//! Cloudflare's half, against the stand-in.

mod calls;
mod client;
mod convergence;
mod oracle;

use std::{collections::BTreeSet, sync::Arc};

use cloudflare_operator::{
    cloudflare::{CloudflareError, CloudflareSettings, CloudflareSync, NoObserver, Report},
    testing::{Seed, StandIn},
};
use session_key::HostScheme;

/// The service of our rules.
const SERVICE: &str = "http://traefik:80";

fn settings(seed: &Seed, api_url: &str) -> CloudflareSettings {
    CloudflareSettings {
        api_url: api_url.to_owned(),
        token: seed.token.clone(),
        zone_id: seed.zone_id.clone(),
        tunnel_id: seed.tunnel_id.clone(),
        service_url: SERVICE.to_owned(),
        names: HostScheme::new(&seed.zone_name, "-oc", "attach-").expect("a host scheme"),
    }
}

/// An operator that calls the stand-in without sockets.
fn in_memory(stand_in: &StandIn) -> CloudflareSync {
    let settings = settings(&stand_in.with(|model| model.seed.clone()), "http://unused");
    let transport = stand_in.transport(&settings.token);
    CloudflareSync::with_transport(settings, transport, Arc::new(NoObserver))
}

/// The hosts of these sessions.
fn hosts(sessions: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    let names = sessions.into_iter().flat_map(|session| {
        [format!("{session:012x}-oc.example.org"), format!("attach-{session:012x}-oc.example.org")]
    });
    names.collect()
}

async fn pass(sync: &mut CloudflareSync, hosts: &BTreeSet<String>) -> Result<Report, CloudflareError> {
    let plan = sync.plan(hosts).await?;
    sync.apply(plan).await
}
