//! The calls of Cloudflare's API, with typed answers and errors.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    budget::Budget,
    error::CloudflareError,
    observer::CallObserver,
    settings::CloudflareSettings,
    transport::{Request, Response, Transport, TransportError},
};
use crate::reconcile::{Action, COMMENT, dns::Record};

/// After a 429 without `Retry-After`: Cloudflare blocks all calls for the next five minutes.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(300);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Records per page. The API takes up to 5,000,000.
const PER_PAGE: usize = 5000;
/// A zone has at most some 100,000 records.
const MAX_PAGES: usize = 200;
/// The longest part of an answer that an error repeats, in characters.
const MAX_MESSAGE: usize = 300;

/// A zone.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) account: Account,
}

/// The owner of a zone and its tunnels.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Account {
    pub(super) id: String,
}

/// A tunnel.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tunnel {
    #[serde(default)]
    config_src: Option<String>,
    /// The older name of the same.
    #[serde(default)]
    remote_config: Option<bool>,
    #[serde(default)]
    pub(super) deleted_at: Option<String>,
}

impl Tunnel {
    /// Whether cloudflared takes its rules from a file.
    pub(super) fn is_local(&self) -> bool {
        match self.config_src.as_deref() {
            Some(source) => source == "local",
            None => self.remote_config == Some(false),
        }
    }
}

/// The tunnel's document.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TunnelConfig {
    #[serde(default)]
    pub(super) version: u64,
    /// Null if the tunnel was never configured.
    #[serde(default)]
    pub(super) config: Value,
}

pub(super) struct Client {
    transport: Box<dyn Transport>,
    observer: Arc<dyn CallObserver>,
    budget: Budget,
    /// Until when Cloudflare refuses all calls.
    blocked_until: Option<Instant>,
    zone_id: String,
    tunnel_id: String,
    target: String,
}

impl Client {
    pub(super) fn new(
        settings: CloudflareSettings,
        target: &str,
        transport: Box<dyn Transport>,
        observer: Arc<dyn CallObserver>,
    ) -> Self {
        Self {
            transport,
            observer,
            budget: Budget::new(),
            blocked_until: None,
            zone_id: settings.zone_id,
            tunnel_id: settings.tunnel_id,
            target: target.to_owned(),
        }
    }

    pub(super) fn tunnel_id(&self) -> &str {
        &self.tunnel_id
    }

    pub(super) async fn zone(&mut self) -> Result<Zone, CloudflareError> {
        let path = format!("/zones/{}", self.zone_id);
        self.result("read_zone", Method::GET, path, None).await
    }

    pub(super) async fn tunnel(&mut self, account: &str) -> Result<Tunnel, CloudflareError> {
        let path = format!("/accounts/{account}/cfd_tunnel/{}", self.tunnel_id);
        self.result("read_tunnel", Method::GET, path, None).await
    }

    pub(super) async fn tunnel_config(&mut self, account: &str) -> Result<TunnelConfig, CloudflareError> {
        let path = self.config_path(account);
        self.result("read_tunnel_config", Method::GET, path, None).await
    }

    pub(super) async fn put_tunnel_config(
        &mut self,
        account: &str,
        document: &Value,
    ) -> Result<TunnelConfig, CloudflareError> {
        let path = self.config_path(account);
        let body = json!({ "config": document });
        self.result("write_tunnel_config", Method::PUT, path, Some(body)).await
    }

    /// Lists all records of a domain, page by page.
    pub(super) async fn records(&mut self, domain: &str) -> Result<Vec<Record>, CloudflareError> {
        let mut records: Vec<Record> = Vec::new();
        for page in 1..=MAX_PAGES {
            let query = vec![
                ("name.endswith", format!(".{domain}")),
                ("order", "name".to_owned()),
                ("per_page", PER_PAGE.to_string()),
                ("page", page.to_string()),
            ];
            let call = "list_records";
            let path = format!("/zones/{}/dns_records", self.zone_id);
            let request = Request { call, method: Method::GET, path, query, body: None };
            let answer: Answer<Vec<Record>> = self.call(request).await?;
            let invalid = |reason: &str| CloudflareError::InvalidAnswer { call, reason: reason.to_owned() };
            let result = answer.result.ok_or_else(|| invalid("`result` is missing"))?;
            // Without the number of pages, a list could be taken for complete, and its rest for deleted.
            let pages = answer.result_info.ok_or_else(|| invalid("`result_info` is missing"))?.total_pages;
            let is_last = page >= pages || result.is_empty();
            records.extend(result);
            if is_last {
                records.sort_by(|a, b| a.id.cmp(&b.id));
                records.dedup_by(|a, b| a.id == b.id);
                return Ok(records);
            }
        }
        Err(CloudflareError::InvalidAnswer {
            call: "list_records",
            reason: format!("the list has more than {MAX_PAGES} pages"),
        })
    }

    /// Changes records in one transaction: all of them, or none.
    pub(super) async fn batch(&mut self, actions: &[Action]) -> Result<(), CloudflareError> {
        let (mut deletes, mut patches, mut posts) = (Vec::new(), Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::CreateRecord { name } => posts.push(self.new_record(name)),
                Action::RepairRecord { id, .. } => {
                    patches.push(json!({ "id": id, "proxied": true, "ttl": 1 }));
                }
                Action::DeleteRecord { id, .. } => deletes.push(json!({ "id": id })),
                Action::AddRule { .. }
                | Action::MoveRule { .. }
                | Action::RemoveRule { .. }
                | Action::AddCatchAll => {}
            }
        }
        let lists = [("deletes", deletes), ("patches", patches), ("posts", posts)];
        let body = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let body = body.map(|(name, list)| (name.to_owned(), Value::Array(list))).collect();
        let path = format!("/zones/{}/dns_records/batch", self.zone_id);
        self.done("batch_records", Method::POST, path, Some(Value::Object(body))).await
    }

    /// Changes one record.
    pub(super) async fn single(&mut self, action: &Action) -> Result<(), CloudflareError> {
        let path = format!("/zones/{}/dns_records", self.zone_id);
        match action {
            Action::CreateRecord { name } => {
                self.done("create_record", Method::POST, path, Some(self.new_record(name))).await
            }
            Action::RepairRecord { id, .. } => {
                let body = json!({ "proxied": true, "ttl": 1 });
                self.done("update_record", Method::PATCH, format!("{path}/{id}"), Some(body)).await
            }
            Action::DeleteRecord { id, .. } => {
                self.done("delete_record", Method::DELETE, format!("{path}/{id}"), None).await
            }
            Action::AddRule { .. }
            | Action::MoveRule { .. }
            | Action::RemoveRule { .. }
            | Action::AddCatchAll => Ok(()),
        }
    }

    fn new_record(&self, name: &str) -> Value {
        json!({
            "type": "CNAME",
            "name": name,
            "content": self.target,
            "proxied": true,
            "ttl": 1,
            "comment": COMMENT,
        })
    }

    fn config_path(&self, account: &str) -> String {
        format!("/accounts/{account}/cfd_tunnel/{}/configurations", self.tunnel_id)
    }

    async fn done(
        &mut self,
        call: &'static str,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<(), CloudflareError> {
        let request = Request { call, method, path, query: Vec::new(), body };
        self.call::<Value>(request).await.map(drop)
    }

    async fn result<T: DeserializeOwned>(
        &mut self,
        call: &'static str,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<T, CloudflareError> {
        let request = Request { call, method, path, query: Vec::new(), body };
        let answer = self.call(request).await?;
        answer
            .result
            .ok_or_else(|| CloudflareError::InvalidAnswer { call, reason: "`result` is missing".to_owned() })
    }

    async fn call<T: DeserializeOwned>(&mut self, request: Request) -> Result<Answer<T>, CloudflareError> {
        let call = request.call;
        if let Some(left) = self.blocked_until.map(|until| until.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            return Err(CloudflareError::RateLimited(left));
        }
        self.budget.take().await;
        let response = self.transport.send(request).await;
        let result = match response {
            Ok(response) => {
                let result = self.answer(call, &response);
                match &result {
                    Err(CloudflareError::InvalidAnswer { .. }) => {
                        self.observer.record(call, "invalid_answer");
                    }
                    _ => self.observer.record(call, &response.status.to_string()),
                }
                result
            }
            Err(error) => {
                let error = match error {
                    TransportError::Timeout(timeout) => CloudflareError::Timeout(timeout),
                    TransportError::Unreachable(reason) => CloudflareError::Unreachable(reason),
                    TransportError::TooLong => CloudflareError::InvalidAnswer {
                        call,
                        reason: "it is longer than any that the API gives".to_owned(),
                    },
                };
                self.observer.record(call, error.reason());
                Err(error)
            }
        };
        if let Err(CloudflareError::RateLimited(delay)) = &result {
            self.blocked_until = Some(Instant::now() + *delay);
        }
        tracing::debug!(call, error = result.as_ref().err().map(tracing::field::display), "Cloudflare call");
        result
    }

    fn answer<T: DeserializeOwned>(
        &self,
        call: &'static str,
        response: &Response,
    ) -> Result<Answer<T>, CloudflareError> {
        let status = response.status;
        let retry_after = response.retry_after.map(|delay| delay.min(MAX_RETRY_AFTER));
        match status {
            429 => return Err(CloudflareError::RateLimited(retry_after.unwrap_or(DEFAULT_RETRY_AFTER))),
            408 | 500.. => return Err(CloudflareError::Unavailable { status, retry_after }),
            _ => {}
        }
        let invalid = |reason: String| CloudflareError::InvalidAnswer { call, reason };
        if (200..300).contains(&status) {
            let answer: Answer<T> =
                serde_json::from_slice(&response.body).map_err(|error| invalid(error.to_string()))?;
            if answer.success {
                return Ok(answer);
            }
            return Err(self.refusal(call, status, &answer.errors.unwrap_or_default()));
        }
        if (300..400).contains(&status) {
            return Err(invalid(format!("HTTP {status}: the API does not redirect. Check CF_API_URL")));
        }
        let answer = serde_json::from_slice::<Answer<Value>>(&response.body).ok();
        let errors = answer.and_then(|answer| answer.errors).unwrap_or_default();
        Err(self.refusal(call, status, &errors))
    }

    fn refusal(&self, call: &'static str, status: u16, errors: &[ApiError]) -> CloudflareError {
        let code = errors.first().map_or(0, |error| error.code);
        let texts: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        let message: String =
            texts.join("; ").chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
        let has = |codes: &[u64]| errors.iter().any(|error| codes.contains(&error.code));
        let is_tunnel = call.contains("tunnel");
        match status {
            // 6003, 6103, 6111, 9106: the Authorization header has a wrong form, or did not arrive.
            _ if status == 401 || has(&[6003, 6103, 6111, 9106]) => {
                CloudflareError::Unauthorized { code, message }
            }
            403 if has(&[9109]) && message.contains("access token") => {
                CloudflareError::Unauthorized { code, message }
            }
            403 => {
                let needs = match call {
                    "read_zone" => "Zone:Read on the zone",
                    _ if is_tunnel => "Cloudflare Tunnel:Edit on the account",
                    _ => "DNS:Edit on the zone",
                };
                CloudflareError::Forbidden { call, needs, code, message }
            }
            _ if has(&[81045]) => CloudflareError::RecordQuota(message),
            _ if call == "read_zone" && (status == 404 || has(&[7003, 1001])) => {
                CloudflareError::ZoneNotFound(self.zone_id.clone())
            }
            _ if is_tunnel && (status == 404 || has(&[7003, 1055])) => {
                CloudflareError::TunnelNotFound(self.tunnel_id.clone())
            }
            _ => CloudflareError::Refused { call, status, code, message },
        }
    }
}

/// The envelope of every answer.
#[derive(Deserialize)]
struct Answer<T> {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Option<Vec<ApiError>>,
    #[serde(default = "Option::default")]
    result: Option<T>,
    #[serde(default)]
    result_info: Option<ResultInfo>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct ResultInfo {
    total_pages: usize,
}
