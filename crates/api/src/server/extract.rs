//! Extractors: what handlers read from a request, each with its error.

use std::{convert::Infallible, fmt, marker::PhantomData, time::Duration};

use axum::{
    body::{Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use pod_manager::Credentials;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use session_key::{Identity, SessionHash};
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{error::ErrorResponse, state::ApiState};

/// Longest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long a request body may take to arrive by default.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The user who sent the request.
pub(super) struct Caller(pub(super) Identity);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let caller = parts.extensions.get::<Identity>().cloned();
        caller.map(Self).ok_or_else(|| {
            ErrorResponse::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "You are not signed in. Sign in and try again.",
            )
        })
    }
}

/// The credentials that the sign-in passed on for the caller's sessions; often none.
pub(super) struct UserCredentials(pub(super) Credentials);

impl<S: Sync> FromRequestParts<S> for UserCredentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().cloned().unwrap_or_default()))
    }
}

/// The session that the path names. A text that is not a hash is answered as a session that does not exist.
#[derive(IntoParams)]
#[into_params(names("hash"), parameter_in = Path)]
pub(super) struct SessionPath(
    /// The session's key
    #[param(value_type = String)]
    pub(super) SessionHash,
);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        // By name: some routes have further parameters.
        #[derive(Deserialize)]
        struct Texts {
            hash: String,
        }
        let path = Path::<Texts>::from_request_parts(parts, state).await.ok();
        let hash = path.and_then(|Path(texts)| SessionHash::parse(&texts.hash).ok());
        hash.map(Self).ok_or_else(ErrorResponse::no_such_session)
    }
}

/// The query. An invalid parameter is answered with 400.
pub(super) struct ValidQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ErrorResponse::bad_request("invalid_query", format!("{}.", error.body_text()))),
        }
    }
}

/// A body that is not read. A page of another origin can't send one that says it is JSON, see
/// [`crate::server`].
pub(super) struct IgnoredBody;

impl<S: Sync> FromRequest<S> for IgnoredBody {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        if !request.body().is_end_stream() {
            require_json(request.headers())?;
        }
        Ok(Self)
    }
}

/// A body that is a JSON object. An empty body is read as `{}`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ErrorResponse> {
        Self::read(request, state.settings.body_deadline).await
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    /// Reads the body of a request, which may take this long to arrive.
    pub(super) async fn read(request: Request, deadline: Duration) -> Result<Self, ErrorResponse> {
        require_json(request.headers())?;
        let body = timeout(deadline, Bytes::from_request(request, &())).await.map_err(|_| {
            let seconds = deadline.as_secs();
            let message = format!(
                "The request's body did not arrive within {seconds} seconds. Send the request again."
            );
            ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })?;
        let bytes = body.map_err(|rejection| match rejection.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => {
                let kib = MAX_BODY_BYTES / 1024;
                let message = format!("The request's body is longer than {kib} KiB. Send a shorter one.");
                ErrorResponse::new(status, "body_too_large", message)
            }
            _ => ErrorResponse::bad_request(
                "invalid_body",
                "The request's body could not be read. Send the request again.",
            ),
        })?;
        let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // serde_json's errors end in "at line 1 column 17".
        serde_json::from_slice(json).map(|Object(value)| Self(value)).map_err(|error| {
            ErrorResponse::bad_request("invalid_json", format!("The request's body is invalid: {error}."))
        })
    }
}

/// Refuses a request that does not say that its body is JSON.
fn require_json(headers: &HeaderMap) -> Result<(), ErrorResponse> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let essence = only.and_then(|value| value.to_str().ok()?.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(ErrorResponse::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The request's body must be JSON. Send it with the header content-type: application/json.",
    ))
}

/// A value that is written as a JSON object; derived implementations of `Deserialize` accept arrays as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
