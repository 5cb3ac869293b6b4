//! When opencode is ready.
//!
//! An open port is no sign: a request that comes between opening and readiness is never answered. So one
//! try follows the other, each on a connection of its own, without waiting for the earlier ones to give up.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{Client, StatusCode, redirect::Policy};
use tokio::time::{MissedTickBehavior, interval};

use crate::model::Password;

/// The user name that opencode expects.
const USER: &str = "opencode";
/// How long one try may take.
const TRY: Duration = Duration::from_secs(2);
/// The next try begins so much later.
const EVERY: Duration = Duration::from_millis(40);
/// Tries that are under way at most.
const AT_ONCE: usize = 12;

/// A client that keeps no connection, follows nothing, and knows no proxy.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(TRY).redirect(Policy::none()).build()
}

/// Returns once opencode answers at that address, and only to who knows the password (where it has one).
pub(crate) async fn answers(http: &Client, address: SocketAddr, password: Option<&Password>) {
    let mut next = interval(EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tries = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(healthy) = tries.next(), if !tries.is_empty() => {
                if healthy && (password.is_none() || refuses_strangers(http, address).await) {
                    return;
                }
            }
            _ = next.tick(), if tries.len() < AT_ONCE => tries.push(is_healthy(http, address, password)),
        }
    }
}

async fn is_healthy(http: &Client, address: SocketAddr, password: Option<&Password>) -> bool {
    let mut request = http.get(health(address));
    if let Some(password) = password {
        request = request.basic_auth(USER, Some(password.expose()));
    }
    let Ok(response) = request.send().await else { return false };
    // Its page answers every unknown path with 200 as well: the body tells.
    response.status() == StatusCode::OK
        && response.json::<serde_json::Value>().await.is_ok_and(|body| body["healthy"] == true)
}

/// What answers everybody is not the opencode that was given the password.
async fn refuses_strangers(http: &Client, address: SocketAddr) -> bool {
    let response = http.get(health(address)).send().await;
    response.is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
}

fn health(address: SocketAddr) -> String {
    format!("http://{address}/global/health")
}
