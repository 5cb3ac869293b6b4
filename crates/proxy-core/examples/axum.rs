//! The layers in an axum application, with a route and a user of its own types:
//! `cargo run -p proxy-core --example axum -- 127.0.0.1:8000 127.0.0.1:8081`.
//!
//! Every user has one notebook server, here all at the second address. The path says whose:
//!
//! ```text
//! curl -H 'Authorization: Bearer 7' http://127.0.0.1:8000/me             # axum's handler
//! curl -H 'Authorization: Bearer 7' http://127.0.0.1:8000/notebooks/7/x  # forwarded
//! curl -H 'Authorization: Bearer 8' http://127.0.0.1:8000/notebooks/7/x  # 404
//! ```
#![expect(clippy::print_stdout, reason = "the example prints where it listens")]

use std::{net::SocketAddr, sync::Arc};

use axum::{Extension, Router, response::Response, routing::get};
use http::{HeaderValue, Request, header, request::Parts};
use proxy_core::*;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User(u64);

/// The notebook server of a user.
#[derive(Debug, Clone, Copy)]
struct Notebook {
    owner: User,
}

impl RouteKey for Notebook {
    fn pool(&self) -> u64 {
        self.owner.0
    }
}

/// The bearer token is the user's number. A real one would be verified.
struct Tokens;

impl IdentityExtractor<User> for Tokens {
    fn identify(&self, parts: &mut Parts) -> Result<User, IdentifyError> {
        let value = parts.headers.remove(header::AUTHORIZATION).ok_or(IdentifyError::Missing)?;
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let number = token.and_then(|token| token.parse().ok());
        number.map(User).ok_or(IdentifyError::Missing)
    }
}

struct Notebooks(SocketAddr);

impl Resolver<Notebook, User> for Notebooks {
    fn resolve(&self, notebook: &Notebook, user: &User) -> Result<Upstream, ResolveError> {
        if notebook.owner == *user { Ok(Upstream::new(self.0)) } else { Err(ResolveError::NotFound) }
    }
}

impl RecordActivity<Notebook> for Notebooks {
    fn touch(&self, notebook: &Notebook, activity: Activity) {
        println!("{:?}: {activity:?}", notebook.owner);
    }
}

/// Adds the route that the path names; `Resolve` answers a request without one with 404.
fn insert_route<B>(mut request: Request<B>) -> Request<B> {
    let number = request.uri().path().split('/').nth(2).and_then(|number| number.parse().ok());
    if let Some(number) = number {
        request.extensions_mut().insert(Notebook { owner: User(number) });
    }
    request
}

async fn me(Extension(user): Extension<User>) -> String {
    format!("{user:?}")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = |n| std::env::args().nth(n).ok_or_else(|| anyhow::anyhow!("usage: axum LISTEN UPSTREAM"));
    let listener = TcpListener::bind(address(1)?).await?;
    println!("listening on {}", listener.local_addr()?);

    let notebooks = Arc::new(Notebooks(address(2)?.parse()?));
    let forward = ServiceBuilder::new()
        .map_request(insert_route)
        .layer(ResolveLayer::new(notebooks.clone()))
        .layer(TrackActivityLayer::new(notebooks))
        .service(Forward::default());
    let nosniff = HeaderValue::from_static("nosniff");
    let app = Router::new()
        .route("/me", get(me))
        .route_service("/notebooks/{*path}", forward)
        .layer(IdentifyLayer::new(Arc::new(Tokens)))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, nosniff));

    // `axum::serve` works as well; this `serve` has limits, drains, and adds the client's address.
    let app = ServiceBuilder::new().map_response(|response: Response| response.map(Body::new)).service(app);
    serve(listener, app, ServeSettings::default(), async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
