//! What the stand-in starts with.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the stand-in starts with. Everything has a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// The token that is accepted.
    pub token: String,
    /// The zone's id, 32 hexadecimal digits.
    pub zone_id: String,
    /// The zone's name.
    pub zone_name: String,
    /// The account's id.
    pub account_id: String,
    /// The tunnel's id.
    pub tunnel_id: String,
    /// `cloudflare` or `local`.
    pub config_src: String,
    /// Whether the tunnel was deleted.
    pub tunnel_deleted: bool,
    /// The tunnel's document; null if it was never configured.
    pub config: Value,
    /// Records, as they would be posted.
    pub records: Vec<Value>,
    /// How many changes a batch may have.
    pub batch_limit: usize,
    /// Whether the zone has batches.
    pub has_batch: bool,
    /// How many records the zone may have.
    pub record_limit: Option<usize>,
    /// How many calls are allowed in 5 minutes.
    pub rate_limit: usize,
    /// The largest page that is given, whatever is asked for.
    pub max_per_page: usize,
    /// How long each answer takes, in milliseconds; only over HTTP.
    pub latency_ms: u64,
}

impl Default for Seed {
    fn default() -> Self {
        Self {
            token: "stand-in-token".to_owned(),
            zone_id: "023e105f4ecef8ad9ca31a8372d0c353".to_owned(),
            zone_name: "example.org".to_owned(),
            account_id: "699d98642c564d2e855e9661899b7252".to_owned(),
            tunnel_id: "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415".to_owned(),
            config_src: "cloudflare".to_owned(),
            tunnel_deleted: false,
            config: Value::Null,
            records: Vec::new(),
            batch_limit: 200,
            has_batch: true,
            record_limit: None,
            rate_limit: 1200,
            max_per_page: 5_000_000,
            latency_ms: 0,
        }
    }
}
