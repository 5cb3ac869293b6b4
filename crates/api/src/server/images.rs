//! Pulls an image before a session needs it: for pipelines, with a secret instead of a sign-in.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderMap, StatusCode, header::ACCEPT},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use pod_manager::{PullError, PullImage};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::{
    admin_secret::AdminSecret,
    audit::{AuditAction, AuditRecord},
    error::{self, ErrorResponse},
    extract::JsonBody,
};
use crate::wire::{ErrorBody, ImagePull, ImagePullProgress, PullOutcome, PullStatus};

/// The path of the route.
pub const PULL_IMAGE_PATH: &str = "/api/admin/pull-image";
/// How many images are pulled at once.
const MAX_PULLS: usize = 2;
/// The longest name of an image, in bytes.
const MAX_IMAGE_BYTES: usize = 512;
const MAX_BODY_BYTES: usize = 8 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) struct Pulls {
    secret: Arc<AdminSecret>,
    /// `None` if the backend has no images.
    puller: Option<Arc<dyn PullImage>>,
    body_deadline: Duration,
    permits: Arc<Semaphore>,
}

impl Pulls {
    pub(super) fn new(
        secret: Arc<AdminSecret>,
        puller: Option<Arc<dyn PullImage>>,
        body_deadline: Duration,
    ) -> Self {
        Self { secret, puller, body_deadline, permits: Arc::new(Semaphore::new(MAX_PULLS)) }
    }
}

/// Returns the route.
pub(super) fn routes(pulls: Pulls) -> Router {
    Router::new()
        .route(PULL_IMAGE_PATH, post(pull_image))
        .layer(middleware::from_fn(attach_record))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(error::finish))
        .with_state(Arc::new(pulls))
}

async fn attach_record(request: Request, next: middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let accepted = response.status().is_success() || response.status() == StatusCode::INTERNAL_SERVER_ERROR;
    let action = if accepted { AuditAction::ImagePulled } else { AuditAction::Refused };
    response.extensions_mut().insert(AuditRecord { action, hash: None });
    response
}

#[derive(Debug, Deserialize)]
pub(super) struct PullQuery {
    stream: Option<String>,
}

/// Pull an image before a session needs it
///
/// For pipelines: the secret takes the place of a sign-in. A Pod pulls the image on a node that sessions may
/// use, and runs nothing of it; it may take up to five minutes. With `Accept: text/event-stream` or
/// `?stream`, the answer is a stream of `progress` events and a last one, `complete` or `error`; otherwise
/// the request stays open. The pull goes on if the client goes away.
#[utoipa::path(post, path = "/api/admin/pull-image", operation_id = "pullImage", tag = "admin",
    params(
        ("x-admin-secret" = String, Header, description = "The router's ADMIN_SECRET"),
        ("stream" = Option<String>, Query, description = "Answer with events")),
    request_body = ImagePull,
    responses(
        (status = 200, description = "The image is on a node; or the events", body = PullOutcome),
        (status = 400, description = "No image, or `updateConfig`, which this router refuses", body = ErrorBody),
        (status = 403, description = "The secret is wrong", body = ErrorBody),
        (status = 429, description = "Too many requests or pulls", body = ErrorBody),
        (status = 500, description = "The image was not pulled", body = PullOutcome),
        (status = 501, description = "ADMIN_SECRET is not set, or sessions are not Pods", body = ErrorBody)))]
pub(super) async fn pull_image(
    State(pulls): State<Arc<Pulls>>,
    Query(query): Query<PullQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ErrorResponse> {
    pulls.secret.admit(&headers)?;
    let puller = pulls.puller.clone().ok_or_else(|| {
        let text = "There is no image to pull: sessions are processes of this machine (BACKEND=local).";
        ErrorResponse::new(StatusCode::NOT_IMPLEMENTED, "not_supported", text)
    })?;
    let JsonBody(ImagePull { image, update_config }) = JsonBody::read(request, pulls.body_deadline).await?;
    let image = checked(&image)?;
    if update_config == Some(true) {
        let text = "This router takes its image from OPENCODE_IMAGE alone, so that all replicas agree. Change \
                    it there (with the chart: session.image), and send this request without updateConfig.";
        return Err(ErrorResponse::bad_request("update_config_unsupported", text));
    }
    let permit = pulls.permits.clone().try_acquire_owned().map_err(|_| {
        let text = format!("{MAX_PULLS} images are being pulled already. Try again in a moment.");
        ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, "limit_reached", text).with_retry_after(10)
    })?;
    let mut progress = start(puller, image, permit);
    let accepts_events = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if accepts_events || query.stream.is_some() {
        return Ok(events(progress));
    }
    let outcome = loop {
        if let Some(outcome) = progress.borrow_and_update().outcome.clone() {
            break outcome;
        }
        if progress.changed().await.is_err() {
            break failed("The pull was interrupted.");
        }
    };
    let status = match outcome.status {
        PullStatus::Success => StatusCode::OK,
        PullStatus::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = (status, Json(outcome)).into_response();
    // An outcome is no error that lacks its reason.
    response.extensions_mut().insert(error::HasBody);
    Ok(response)
}

/// Returns the image's name, if it can be one.
fn checked(image: &str) -> Result<String, ErrorResponse> {
    let image = image.trim();
    if image.is_empty() {
        return Err(ErrorResponse::bad_request("invalid_request", "image is required"));
    }
    if image.len() > MAX_IMAGE_BYTES || !image.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "This is not an image's name. A name looks like registry.example.org/opencode:1.0.";
        return Err(ErrorResponse::bad_request("invalid_request", text));
    }
    Ok(image.to_owned())
}

/// How far a pull is.
#[derive(Debug, Clone, Default)]
struct Progress {
    message: String,
    outcome: Option<PullOutcome>,
}

/// Starts the pull in a task of its own.
fn start(
    puller: Arc<dyn PullImage>,
    image: String,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> watch::Receiver<Progress> {
    let (sender, receiver) = watch::channel(Progress::default());
    tokio::spawn(async move {
        let _permit = permit;
        tracing::info!(image, "pulling an image");
        let report = |message: String| {
            sender.send_modify(|state| state.message = message);
        };
        let outcome = match puller.pull(&image, &report).await {
            Ok(pulled) => PullOutcome {
                status: PullStatus::Success,
                message: format!(
                    "The node {} has the image {image}; it took {} s.",
                    pulled.node,
                    pulled.duration.as_secs()
                ),
            },
            Err(PullError::Failed(reason) | PullError::Unavailable(reason)) => failed(&reason),
        };
        tracing::info!(image, status = ?outcome.status, message = outcome.message, "image pull ended");
        sender.send_modify(|state| state.outcome = Some(outcome));
    });
    receiver
}

fn failed(reason: &str) -> PullOutcome {
    PullOutcome { status: PullStatus::Failed, message: reason.to_owned() }
}

fn events(progress: watch::Receiver<Progress>) -> Response {
    let events = stream::unfold(Some((progress, true)), |state| async move {
        let (mut progress, mut is_first) = state?;
        loop {
            if !is_first && progress.changed().await.is_err() {
                return Some((event("error", &failed("The pull was interrupted.")), None));
            }
            is_first = false;
            let Progress { message, outcome } = progress.borrow_and_update().clone();
            if let Some(outcome) = outcome {
                let name = if outcome.status == PullStatus::Success { "complete" } else { "error" };
                return Some((event(name, &outcome), None));
            }
            if !message.is_empty() {
                return Some((event("progress", &ImagePullProgress { message }), Some((progress, false))));
            }
        }
    });
    let body = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Without this header, nginx and compatible proxies buffer the answer.
    ([("x-accel-buffering", "no")], body).into_response()
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Wire types are made of strings: they always have a JSON form.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}
