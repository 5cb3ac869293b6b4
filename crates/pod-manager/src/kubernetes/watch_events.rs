//! Opens a watch, and reads its events as protobuf or as JSON.

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use http_body_util::BodyExt as _;
use kube::{
    Api, Resource,
    api::{WatchEvent, WatchParams},
    client::Body,
    core::{Request, Status},
};
use reqwest::{
    StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;

use super::protobuf::{self, ProtobufError};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The length of the number in front of each event.
const PREFIX_BYTES: usize = size_of::<u32>();
/// The largest event that is read: several times what etcd stores of an object.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Reads an event from protobuf.
pub(super) type Decode<K> = fn(Bytes) -> Result<WatchEvent<K>, ProtobufError>;

/// The events of a watch.
pub(super) type WatchEvents<K> = BoxStream<'static, Result<WatchEvent<K>, EventError>>;

/// Why there is no event.
pub(super) enum EventError {
    /// The event can't be read; others may follow.
    Unreadable(String),
    Failed(kube::Error),
}

/// Opens a watch whose events are JSON.
pub(super) async fn json<K>(api: &Api<K>, params: &WatchParams, version: &str) -> kube::Result<WatchEvents<K>>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let events = api.watch(params, version).await?.map_err(|error| match error {
        kube::Error::SerdeError(error) => EventError::Unreadable(error.to_string()),
        error => EventError::Failed(error),
    });
    Ok(events.boxed())
}

/// Opens a watch whose events are protobuf. The error has status 406 if the answer is something else.
pub(super) async fn protobuf<K: Resource + Clone + 'static>(
    api: &Api<K>,
    params: &WatchParams,
    version: &str,
    decode: Decode<K>,
) -> kube::Result<WatchEvents<K>> {
    let request = Request::new(api.resource_url()).watch(params, version);
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(PROTOBUF));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = api.clone().into_client().send(request.map(Body::from)).await?;
    let code = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_protobuf = content_type.is_some_and(|value| value.starts_with(PROTOBUF));
    let body = response.into_body();
    if !code.is_success() {
        let answer = body.collect_bytes().await?;
        return Err(kube::Error::Api(error_of(&answer, code).boxed()));
    }
    if !is_protobuf {
        let status = Status::failure("the answer is not protobuf", "NotAcceptable");
        return Err(kube::Error::Api(status.with_code(StatusCode::NOT_ACCEPTABLE.as_u16()).boxed()));
    }
    let frames = stream::try_unfold((body, BytesMut::new()), |(mut body, mut buffer)| async move {
        let event = next_event(&mut body, &mut buffer).await?;
        Ok(event.map(|event| (event, (body, buffer))))
    });
    let events = frames.map(move |event| {
        decode(event.map_err(EventError::Failed)?).map_err(|error| EventError::Unreadable(error.to_string()))
    });
    Ok(events.boxed())
}

/// Returns what an answer with this status says.
fn error_of(answer: &Bytes, code: StatusCode) -> Status {
    let status = protobuf::status(answer.clone()).ok().or_else(|| serde_json::from_slice(answer).ok());
    let status = status.unwrap_or_else(|| Status::failure(&String::from_utf8_lossy(answer), ""));
    status.with_code(code.as_u16())
}

/// Returns the bytes of the next event; `None` if the watch has ended.
async fn next_event(body: &mut Body, buffer: &mut BytesMut) -> kube::Result<Option<Bytes>> {
    loop {
        if let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > MAX_EVENT_BYTES {
                return Err(kube::Error::Service(format!("an event has {length} bytes").into()));
            }
            if buffer.len() >= PREFIX_BYTES + length {
                buffer.advance(PREFIX_BYTES);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
            buffer.reserve(PREFIX_BYTES + length - buffer.len());
        }
        match body.frame().await.transpose()? {
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    buffer.extend_from_slice(&data);
                }
            }
            None => return Ok(None),
        }
    }
}
