//! Cloudflare's side: DNS records and the tunnel's rules of all desired hosts.
//!
//! - [`sync`]: a pass (read, compare, write, read back)
//! - [`plan`]: what a pass will do, and what it did
//! - `client`: the calls of the API, typed; `budget`: how many of them are allowed
//! - [`transport`]: how a call reaches the API
//! - [`error`], [`observer`], [`settings`]: what others see of it

mod budget;
mod client;
pub mod error;
pub mod observer;
pub mod plan;
pub mod settings;
pub mod sync;
pub mod transport;

pub use error::CloudflareError;
pub use observer::{CALLS, CallObserver, NoObserver};
pub use plan::{Plan, Report};
pub use settings::CloudflareSettings;
pub use sync::CloudflareSync;
