//! The program `opencode-cloudflare-operator`.

fn main() {}
