//! Tells `site.rs` which folder to embed: the built SPA, or, where it was not built, a page that says
//! how to build it. So cargo alone builds the router, without npm.
//!
//! As long as there is no `web/dist` this runs at every build, so that a new one is noticed.

use std::{fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let built = here.join("../../web/dist");
    let stand_in = here.join("not-built");
    println!("cargo::rerun-if-changed={}", built.display());
    println!("cargo::rerun-if-changed={}", stand_in.display());
    let site = if built.join("index.html").is_file() { built } else { stand_in };
    println!("cargo::rustc-env=OPENCODE_ROUTER_SITE={}", fs::canonicalize(site)?.display());
    Ok(())
}
