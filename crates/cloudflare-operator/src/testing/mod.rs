//! A stand-in for Cloudflare's API, for tests.
