//! The message that the router is ready.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use session_key::HostScheme;

use crate::{
    backend::BackendInfo,
    config::{Config, LogFormat},
};

/// Reports that the router is ready: in the log, and with `LOG_FORMAT=text` also as a banner on standard
/// output.
pub(crate) fn announce(
    config: &Config,
    scheme: &HostScheme,
    [public, health]: [SocketAddr; 2],
    attach: Option<SocketAddr>,
    backend: &BackendInfo,
) {
    let url = config.names.site_origin(scheme);
    let version = env!("CARGO_PKG_VERSION");
    let BackendInfo { runtime, location, at_shutdown } = backend;
    let listening = format!("http://{public}");
    let attach = attach.map(tracing::field::display);
    tracing::info!(listening, url, %health, attach, sessions = location, runtime, version, "router ready");
    if config.log_format == LogFormat::Text {
        // Behind a proxy, the router's own address is not the public one.
        let is_proxied = scheme.domain() != format!("localhost:{}", public.port());
        let listens = if is_proxied { format!("    Listens    {listening}\n") } else { String::new() };
        let banner = format!(
            "\n  opencode-router {version} is ready, with {runtime}\n\n{listens}\
             \x20   Open it    {url}\n\
             \x20   Sessions   {location}\n\
             \x20   Health     http://{health}/readyz\n\
             \x20   Stop it    Ctrl-C  ({at_shutdown})\n\n",
        );
        // A closed standard output is no reason to end.
        let mut out = io::stdout();
        let _best_effort = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
    }
}
