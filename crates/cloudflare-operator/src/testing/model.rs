//! The zone and the tunnel, in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use super::{records::Records, refusal::Refusal, seed::Seed};
use crate::cloudflare::transport::{Request, Response};

/// A zone, a tunnel, and the count of the calls that were made.
#[derive(Debug, Clone)]
pub struct Model {
    /// Ids, the token and limits. They may be changed at any time.
    pub seed: Seed,
    records: Records,
    config: Value,
    version: u64,
    calls: BTreeMap<String, u64>,
    /// When the latest calls were made, for the rate limit.
    recent: VecDeque<Duration>,
    most_in_window: usize,
}

/// The window of the rate limit.
const WINDOW: Duration = Duration::from_secs(300);

/// What a call gives: its result, and for lists the paging.
type Outcome = Result<(Value, Option<Value>), Refusal>;

impl Model {
    /// Creates the zone and the tunnel.
    ///
    /// # Panics
    /// The seed has a record that the API would refuse.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let mut records = Records::default();
        for record in &seed.records {
            let created = records.create(&seed.zone_name, None, record);
            created.unwrap_or_else(|refusal| panic!("the seed's record {record}: {}", refusal.message));
        }
        let (config, version) = (seed.config.clone(), u64::from(!seed.config.is_null()));
        Self {
            seed,
            records,
            config,
            version,
            calls: BTreeMap::new(),
            recent: VecDeque::new(),
            most_in_window: 0,
        }
    }

    /// Returns all records, ordered by id.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        self.records.by_id.values().cloned().collect()
    }

    /// Creates a record as somebody else would.
    ///
    /// # Errors
    /// The API would refuse it; the text is the API's.
    pub fn add_record(&mut self, fields: &Value) -> Result<Value, String> {
        self.records.create(&self.seed.zone_name, None, fields).map_err(|refusal| refusal.message)
    }

    /// Changes a record as somebody else would.
    ///
    /// # Errors
    /// The API would refuse it; the text is the API's.
    pub fn change_record(&mut self, id: &str, fields: &Value) -> Result<Value, String> {
        self.records.update(&self.seed.zone_name, id, fields, false).map_err(|refusal| refusal.message)
    }

    /// Deletes a record as somebody else would.
    pub fn remove_record(&mut self, id: &str) {
        let _absent_already = self.records.delete(id);
    }

    /// Returns the tunnel's document.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Returns the version of the tunnel's document.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Writes the tunnel's document as somebody else would.
    ///
    /// # Errors
    /// The API would refuse it; the text is the API's.
    pub fn set_config(&mut self, config: Value) -> Result<(), String> {
        let body = Value::from_iter([("config", config)]);
        self.put_config(&body).map(drop).map_err(|refusal| refusal.message)
    }

    /// Returns how many calls of each kind were made.
    #[must_use]
    pub fn calls(&self) -> &BTreeMap<String, u64> {
        &self.calls
    }

    /// Returns the highest number of calls in any 5 minutes.
    #[must_use]
    pub fn most_calls_in_five_minutes(&self) -> usize {
        self.most_in_window
    }

    /// Sets all counts to zero.
    pub fn reset_calls(&mut self) {
        self.calls.clear();
        self.recent.clear();
        self.most_in_window = 0;
    }

    /// Counts a call, at this time since the stand-in's start.
    pub fn count(&mut self, now: Duration, call: &str) {
        *self.calls.entry(call.to_owned()).or_default() += 1;
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.saturating_sub(*first) > WINDOW) {
            self.recent.pop_front();
        }
        self.most_in_window = self.most_in_window.max(self.recent.len());
    }

    /// Answers a request that was counted.
    pub fn answer(&mut self, now: Duration, token: Option<&str>, request: &Request) -> Response {
        if self.recent.len() > self.seed.rate_limit {
            let first = self.recent.front().copied().unwrap_or_default();
            let left = WINDOW.saturating_sub(now.saturating_sub(first)).as_secs() + 1;
            let message = "Please wait and consider throttling your request speed";
            let mut response = refused(&Refusal::new(429, 971, message));
            response.retry_after = Some(Duration::from_secs(left));
            return response;
        }
        let outcome = self.authorize(token).and_then(|()| self.route(request));
        match outcome {
            Ok((result, info)) => {
                let mut body = json!({ "success": true, "errors": [], "messages": [], "result": result });
                if let Some(info) = info {
                    body["result_info"] = info;
                }
                Response { status: 200, retry_after: None, body: body.to_string().into_bytes() }
            }
            Err(refusal) => refused(&refusal),
        }
    }

    fn authorize(&self, token: Option<&str>) -> Result<(), Refusal> {
        match token {
            Some(token) if token == self.seed.token => Ok(()),
            Some(_) => Err(Refusal::new(403, 9109, "Invalid access token")),
            None => Err(Refusal::new(400, 9106, "Authentication failed (status: 400)")),
        }
    }

    fn route(&mut self, request: &Request) -> Outcome {
        let segments: Vec<_> = request.path.trim_matches('/').split('/').collect();
        let body = request.body.as_ref().unwrap_or(&Value::Null);
        let plain = |value| Ok((value, None));
        match (&request.method, &segments[..]) {
            (_, ["zones", zone, ..]) if *zone != self.seed.zone_id => Err(unknown_zone(zone, &request.path)),
            (&Method::GET, ["zones", _]) => plain(self.zone()),
            (&Method::GET, ["zones", _, "dns_records"]) => self.list(&request.query),
            (&Method::POST, ["zones", _, "dns_records", "batch"]) if self.seed.has_batch => {
                plain(self.batch(body)?)
            }
            (&Method::POST, ["zones", _, "dns_records"]) => {
                plain(self.records.create(&self.seed.zone_name, self.seed.record_limit, body)?)
            }
            (&Method::PATCH, ["zones", _, "dns_records", id]) => {
                plain(self.records.update(&self.seed.zone_name, id, body, false)?)
            }
            (&Method::DELETE, ["zones", _, "dns_records", id]) => plain(self.records.delete(id)?),
            (_, ["accounts", account, ..]) if *account != self.seed.account_id => {
                Err(Refusal::new(403, 10000, "Authentication error"))
            }
            (&Method::GET, ["accounts", _, "cfd_tunnel", id]) if *id == self.seed.tunnel_id => {
                plain(self.tunnel())
            }
            (method, ["accounts", _, "cfd_tunnel", id, "configurations"]) if *id == self.seed.tunnel_id => {
                match *method {
                    _ if self.seed.tunnel_deleted => Err(no_tunnel()),
                    Method::GET => plain(self.tunnel_config()),
                    Method::PUT => plain(self.put_config(body)?),
                    _ => Err(no_route(&request.path)),
                }
            }
            (_, ["accounts", _, "cfd_tunnel", ..]) => Err(no_tunnel()),
            _ => Err(no_route(&request.path)),
        }
    }

    fn zone(&self) -> Value {
        json!({
            "id": self.seed.zone_id,
            "name": self.seed.zone_name,
            "status": "active",
            "paused": false,
            "type": "full",
            "account": { "id": self.seed.account_id, "name": "stand-in" },
            "plan": { "legacy_id": "free" },
        })
    }

    fn list(&self, query: &[(&'static str, String)]) -> Outcome {
        let query: BTreeMap<_, _> =
            query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let number = |name: &str, default: usize| match query.get(name).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) if number > 0 => Ok(number),
            Some(_) => Err(Refusal::new(400, 1004, "DNS Validation Error")),
        };
        let (page, per_page) = (number("page", 1)?, number("per_page", 100)?.min(self.seed.max_per_page));
        let selected = self.records.select(&query)?;
        let total = selected.len();
        let listed: Vec<_> = selected.into_iter().skip((page - 1) * per_page).take(per_page).collect();
        let info = json!({
            "page": page,
            "per_page": per_page,
            "count": listed.len(),
            "total_count": total,
            "total_pages": total.div_ceil(per_page),
        });
        Ok((json!(listed), Some(info)))
    }

    /// All or nothing: deletes, patches, puts, posts, in this order.
    fn batch(&mut self, body: &Value) -> Result<Value, Refusal> {
        let list = |name: &str| body.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let lists = ["deletes", "patches", "puts", "posts"].map(list);
        let count: usize = lists.iter().map(Vec::len).sum();
        if count == 0 || count > self.seed.batch_limit {
            return Err(Refusal::new(
                400,
                1004,
                "DNS Validation Error: the batch has too many changes, or none",
            ));
        }
        let (zone, limit) = (self.seed.zone_name.clone(), self.seed.record_limit);
        let id = |change: &Value| change.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut next = self.records.clone();
        let [deletes, patches, puts, posts] = lists;
        let deletes = deletes.iter().map(|one| next.delete(&id(one))).collect::<Result<Vec<_>, _>>()?;
        let patches = patches.iter().map(|one| next.update(&zone, &id(one), one, false));
        let patches = patches.collect::<Result<Vec<_>, _>>()?;
        let puts = puts.iter().map(|one| next.update(&zone, &id(one), one, true));
        let puts = puts.collect::<Result<Vec<_>, _>>()?;
        let posts = posts.iter().map(|one| next.create(&zone, limit, one)).collect::<Result<Vec<_>, _>>()?;
        self.records = next;
        Ok(json!({ "deletes": deletes, "patches": patches, "puts": puts, "posts": posts }))
    }

    fn tunnel(&self) -> Value {
        json!({
            "id": self.seed.tunnel_id,
            "account_tag": self.seed.account_id,
            "name": "stand-in",
            "created_at": "2026-01-01T00:00:00Z",
            "deleted_at": self.seed.tunnel_deleted.then_some("2026-01-02T00:00:00Z"),
            "connections": [],
            "status": "inactive",
            "tun_type": "cfd_tunnel",
            "config_src": self.seed.config_src,
            "remote_config": self.seed.config_src == "cloudflare",
        })
    }

    fn tunnel_config(&self) -> Value {
        json!({
            "tunnel_id": self.seed.tunnel_id,
            "version": self.version,
            "config": self.config,
            "source": self.seed.config_src,
            "created_at": "2026-01-01T00:00:00Z",
        })
    }

    fn put_config(&mut self, body: &Value) -> Result<Value, Refusal> {
        let invalid = |message: &str| Refusal::new(400, 1056, &format!("Bad Configuration: {message}"));
        let config = body.get("config").and_then(Value::as_object).ok_or_else(|| invalid("no config"))?;
        let rules = config.get("ingress").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let last = rules.last().ok_or_else(|| invalid("the config doesn't contain any ingress rules"))?;
        let is_set =
            |field: &str| last.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if is_set("path") || (is_set("hostname") && last["hostname"] != "*") {
            return Err(invalid("the last ingress rule must match all URLs"));
        }
        if let Some(index) = rules.iter().position(|rule| rule.get("service").is_none()) {
            return Err(invalid(&format!("rule #{} has no service", index + 1)));
        }
        let mut config = config.clone();
        config.entry("warp-routing").or_insert_with(|| json!({ "enabled": false }));
        self.config = Value::Object(config);
        self.version += 1;
        Ok(self.tunnel_config())
    }
}

/// Returns the kind of a call, or `other`.
#[must_use]
pub fn call_kind(method: &Method, path: &str) -> &'static str {
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    match (method, &segments[..]) {
        (&Method::GET, ["zones", _]) => "read_zone",
        (&Method::GET, ["zones", _, "dns_records"]) => "list_records",
        (&Method::POST, ["zones", _, "dns_records", "batch"]) => "batch_records",
        (&Method::POST, ["zones", _, "dns_records"]) => "create_record",
        (&Method::PATCH, ["zones", _, "dns_records", _]) => "update_record",
        (&Method::DELETE, ["zones", _, "dns_records", _]) => "delete_record",
        (&Method::GET, ["accounts", _, "cfd_tunnel", _]) => "read_tunnel",
        (&Method::GET, ["accounts", _, "cfd_tunnel", _, "configurations"]) => "read_tunnel_config",
        (&Method::PUT, ["accounts", _, "cfd_tunnel", _, "configurations"]) => "write_tunnel_config",
        _ => "other",
    }
}

fn refused(refusal: &Refusal) -> Response {
    let errors = json!([{ "code": refusal.code, "message": refusal.message }]);
    let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
    Response { status: refusal.status, retry_after: None, body: body.to_string().into_bytes() }
}

fn unknown_zone(zone: &str, path: &str) -> Refusal {
    if zone.len() == 32 && zone.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Refusal::new(404, 1001, "Invalid zone identifier")
    } else {
        no_route(path)
    }
}

fn no_route(path: &str) -> Refusal {
    let message = format!("Could not route to {path}, perhaps your object identifier is invalid?");
    Refusal::new(404, 7003, &message)
}

fn no_tunnel() -> Refusal {
    Refusal::new(404, 1055, "Tunnel not found")
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
