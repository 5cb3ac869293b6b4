//! The typed client of the routes.
//!
//! ```no_run
//! # async fn example() -> Result<(), api::client::ClientError> {
//! use api::{client::Client, wire::CreateSession};
//! let client = Client::new("http://localhost:3000")?;
//! let created = client.create(&CreateSession::default()).await?;
//! println!("{} is {:?}", created.session.hash, created.session.state);
//! # Ok(()) }
//! ```

mod error;
mod http;
mod routes;
mod sse;
mod watch;

pub use error::ClientError;
pub use http::{Client, parse_header};
pub use routes::Created;
