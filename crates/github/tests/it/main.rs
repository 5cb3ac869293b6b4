//! The client against the stand-in, on loopback sockets.

mod author;
mod hostile;
mod lists;
mod refusals;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use github::{
    ApiUrl, Client, Settings,
    testing::{Fault, FaultKind, Repo, StandIn, User},
};

const TOKEN: &str = "ghp_octocat";

/// Waits for a future that must complete within 20 s.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("completed within 20 s")
}

/// Starts a GitHub whose only user has this many repositories.
async fn stand_in(repositories: usize) -> StandIn {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    StandIn::start(vec![octocat(repositories)], address).await.expect("a stand-in")
}

fn octocat(repositories: usize) -> User {
    User {
        token: TOKEN.to_owned(),
        id: 583_231,
        login: "octocat".to_owned(),
        name: Some("The Octocat".to_owned()),
        repositories: (0..repositories).map(repo).collect(),
        partial: false,
    }
}

fn repo(number: usize) -> Repo {
    Repo {
        full_name: format!("octocat/repo-{number}"),
        private: number % 2 == 1,
        branches: vec!["main".to_owned()],
        formerly: None,
    }
}

/// Returns a client that asks again each time.
fn client(stand_in: &StandIn) -> Client {
    client_with(stand_in, |settings| settings.fresh = Duration::ZERO)
}

fn client_with(stand_in: &StandIn, change: impl FnOnce(&mut Settings)) -> Client {
    let mut settings = Settings::default();
    change(&mut settings);
    let api = ApiUrl::parse(&stand_in.api_url()).expect("an address");
    Client::with_settings(api, settings)
}

async fn names(client: &Client) -> Vec<String> {
    let list = soon(client.repositories(TOKEN)).await.expect("repositories");
    list.iter().map(|repository| repository.full_name.clone()).collect()
}

fn fault(path: &str, kind: FaultKind) -> Vec<Fault> {
    vec![Fault { path: path.to_owned(), kind }]
}
