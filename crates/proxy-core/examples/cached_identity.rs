//! An identity that must be looked up elsewhere, and is cached:
//! `cargo run -p proxy-core --example cached_identity -- 127.0.0.1:8000`.
//!
//! [`IdentityExtractor`] is synchronous, so that a request never waits inside of `Identify`. Whatever waits
//! is a layer in front of it: here `Lookup` reads the session cookie and asks a slow directory once in
//! [`TTL`] for each cookie, no matter how many requests arrive meanwhile. It leaves the answer in the
//! request's extensions, and the extractor takes it from there.
//!
//! ```text
//! curl -b session=alice http://127.0.0.1:8000/   # alice@example.com, after one lookup
//! curl http://127.0.0.1:8000/                    # 401
//! ```
#![expect(clippy::print_stdout, reason = "the example prints where it listens, and its lookups")]

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response, header, request::Parts};
use parking_lot::Mutex;
use proxy_core::*;
use session_key::Identity;
use tokio::{net::TcpListener, sync::OnceCell};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

/// How long an answer counts, whether it names a user or not. A user who is locked out is let in for as long.
const TTL: Duration = Duration::from_secs(30);
/// How many answers are kept. Anybody can send cookies, so there must be a limit.
const MAX_ENTRIES: usize = 10_000;
/// The longest cookie that is looked up, in bytes.
const MAX_COOKIE: usize = 512;

/// The answers of the directory.
#[derive(Default)]
struct Lookup {
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    since: Instant,
    /// Requests with the same cookie wait for one lookup. If its request is cancelled, the next one begins.
    user: Arc<OnceCell<Option<Identity>>>,
}

/// The answer for a request, in its extensions.
#[derive(Clone)]
struct LookedUp(Identity);

impl Lookup {
    async fn user(&self, cookie: &str) -> Option<Identity> {
        let user = self.entry(cookie);
        user.get_or_init(|| ask_directory(cookie)).await.clone()
    }

    fn entry(&self, cookie: &str) -> Arc<OnceCell<Option<Identity>>> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(cookie).filter(|entry| entry.since.elapsed() < TTL) {
            return entry.user.clone();
        }
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| entry.since.elapsed() < TTL);
        }
        if entries.len() >= MAX_ENTRIES {
            // Somebody sends many different cookies. Users are asked for again, which is slow but correct.
            entries.clear();
        }
        let user = Arc::default();
        entries.insert(cookie.to_owned(), Entry { since: Instant::now(), user: Arc::clone(&user) });
        user
    }

    async fn add_to(&self, mut request: Request<Body>) -> Request<Body> {
        // Nothing in front of this layer may have set it.
        request.extensions_mut().remove::<LookedUp>();
        let cookie = session_cookie(request.headers()).filter(|cookie| cookie.len() <= MAX_COOKIE);
        if let Some(cookie) = cookie.map(str::to_owned)
            && let Some(user) = self.user(&cookie).await
        {
            request.extensions_mut().insert(LookedUp(user));
        }
        request
    }
}

/// Stands for a request to a directory. It fails closed: who can't be looked up is nobody.
async fn ask_directory(cookie: &str) -> Option<Identity> {
    println!("looking up {cookie}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    Identity::parse(&format!("{cookie}@example.com")).ok()
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?.split("; ");
    cookies.filter_map(|cookie| cookie.strip_prefix("session=")).next()
}

/// Takes the user that [`Lookup`] left in the request's extensions.
struct FromLookup;

impl IdentityExtractor for FromLookup {
    fn identify(&self, parts: &mut Parts) -> Result<Identity, IdentifyError> {
        parts.extensions.remove().map(|LookedUp(user)| user).ok_or(IdentifyError::Missing)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: cached_identity LISTEN"))?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);

    // In a real proxy these are `SameOrigin`, `Resolve`, `TrackActivity` and `Forward`.
    let greet = service_fn(|request: Request<Body>| async move {
        let user = request.extensions().get().map_or("nobody", Identity::email);
        Ok::<_, Infallible>(Response::new(Body::from(user.to_owned())))
    });
    let identified = ServiceBuilder::new().layer(IdentifyLayer::new(Arc::new(FromLookup))).service(greet);
    let lookup = Arc::new(Lookup::default());
    let stack = service_fn(move |request: Request<Body>| {
        let (lookup, identified) = (lookup.clone(), identified.clone());
        async move { identified.oneshot(lookup.add_to(request).await).await }
    });
    serve(listener, stack, ServeSettings::default(), async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
