//! The log on standard error. No line contains a token.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Config, LogFormat};

/// Starts logging as configured. May be called once per process.
///
/// # Errors
/// The process has a subscriber already.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let mut directives = config.log_level.clone();
    // kube logs every failed request; the code that handles the failure logs it with its meaning.
    for target in ["kube_client::client::builder", "kube_runtime::watcher"] {
        if !directives.contains(target) {
            directives.push_str(&format!(",{target}=off"));
        }
    }
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(directives)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init(),
        LogFormat::Text if io::stderr().is_terminal() => registry.with(layer.compact()).try_init(),
        LogFormat::Text => registry.with(layer.compact().with_ansi(false)).try_init(),
    }?;
    Ok(())
}
