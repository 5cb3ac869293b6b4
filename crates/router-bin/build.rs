//! Chooses the folder that `site.rs` embeds: the built single-page application, or a page that says how to
//! build it. So cargo alone builds the router, without npm.
//!
//! While `web/dist` is missing, this script runs at every build, to notice when it appears.

use std::{fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let manifest_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let built = manifest_dir.join("../../web/dist");
    let placeholder = manifest_dir.join("not-built");
    println!("cargo::rerun-if-changed={}", built.display());
    println!("cargo::rerun-if-changed={}", placeholder.display());
    let site = if built.join("index.html").is_file() { built } else { placeholder };
    println!("cargo::rustc-env=OPENCODE_ROUTER_SITE={}", fs::canonicalize(site)?.display());
    Ok(())
}
