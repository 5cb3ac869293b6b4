//! Writes the description of the routes to `crates/api/openapi.json`: `cargo run -p api --example openapi`.

fn main() -> anyhow::Result<()> {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"), api::server::openapi_json()?)?;
    Ok(())
}
