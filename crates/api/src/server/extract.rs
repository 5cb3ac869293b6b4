//! What handlers take from a request, each with its refusal.

use std::{convert::Infallible, fmt, marker::PhantomData};

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

use super::{BODY_DEADLINE, MAX_BODY_BYTES, error::Refusal};

/// Who asks.
pub(super) struct Caller(pub(super) Identity);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let who = parts.extensions.get::<Identity>().cloned();
        who.map(Self).ok_or_else(|| {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "You are not signed in. Sign in and try again.",
            )
        })
    }
}

/// What the sign-in gave with the request for the caller's sessions to use; often nothing.
pub(super) struct Given(pub(super) Credentials);

impl<S: Sync> FromRequestParts<S> for Given {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().cloned().unwrap_or_default()))
    }
}

/// The session that the path names. What is no hash is no session.
pub(super) struct Named(pub(super) SessionHash);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(hash) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| Refusal::no_such_session())?;
        SessionHash::parse(&hash).map(Self).map_err(|_| Refusal::no_such_session())
    }
}

/// The query, where a parameter that is not of its kind is a 400.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(why) => Err(Refusal::invalid("invalid_query", format!("{}.", why.body_text()))),
        }
    }
}

/// A body that is ignored. If there is one, it must be JSON as every other: a page of another origin can't send that
/// without asking first (CORS).
pub(super) struct IgnoredBody;

impl<S: Sync> FromRequest<S> for IgnoredBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        if !request.body().is_end_stream() {
            require_json(request.headers())?;
        }
        Ok(Self)
    }
}

/// Refuses what does not say that it is JSON.
fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let essence = only.and_then(|value| value.to_str().ok()?.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The request's body must be JSON. Send it with the header content-type: application/json.",
    ))
}

/// A JSON body: an object; an empty body is the empty one.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        require_json(request.headers())?;
        let reading = timeout(BODY_DEADLINE, Bytes::from_request(request, state)).await;
        let bytes = reading.map_err(|_| Refusal::body_timeout())?.map_err(|why| match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("The request's body is longer than {} KiB.", MAX_BODY_BYTES / 1024),
            ),
            _ => Refusal::invalid("invalid_body", "The request's body could not be read to its end."),
        })?;
        let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // serde_json's sentences end in "at line 1 column 17".
        serde_json::from_slice(json).map(|Object(value)| Self(value)).map_err(|why| {
            Refusal::invalid("invalid_json", format!("The request's body is not as it should be: {why}."))
        })
    }
}

/// A value that is written as a JSON object; derived implementations of `Deserialize` take arrays as well.
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
