//! The body of a response that is still being received.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{h1::Error, pool::PooledConnection};
use crate::{body::Body, trailers};

/// Returns the body of a response, which returns the connection to the pool when it has ended.
pub(super) fn receive(mut pooled: PooledConnection) -> Body {
    if !pooled.connection.has_sent() {
        // The upload continues even while nobody reads the response, so it can't depend on that.
        let (sender, frames) = mpsc::channel(1);
        tokio::spawn(relay(pooled, sender));
        return Body::new(RelayedBody(frames));
    }
    let has_length = pooled.connection.size_hint().exact().is_some();
    let mut first = None;
    if !pooled.connection.has_received() {
        first = poll_fn(|context| pooled.connection.poll_frame(context)).now_or_never().flatten();
    }
    if !pooled.connection.has_received() {
        return Body::new(ResponseBody { first, source: Source::Connection(pooled) });
    }
    // All of the response was received with its head.
    match first {
        None => {
            pooled.check_in();
            Body::empty()
        }
        Some(Ok(frame)) if has_length => {
            pooled.check_in();
            frame.into_data().unwrap_or_default().into()
        }
        // A body without length stays one, so that the client sees the session's framing.
        first => Body::new(ResponseBody { first, source: Source::Connection(pooled) }),
    }
}

/// Drives the connection while the body is read.
struct ResponseBody {
    /// A frame that was received with the head.
    first: Option<Result<Frame<Bytes>, Error>>,
    source: Source,
}

enum Source {
    Connection(PooledConnection),
    /// The connection failed, which is still to be reported.
    Failed(Error),
    Ended,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { first, source } = &mut *self;
        let Source::Connection(pooled) = source else {
            return match std::mem::replace(source, Source::Ended) {
                Source::Failed(error) => Poll::Ready(Some(Err(error))),
                _ => Poll::Ready(None),
            };
        };
        let mut frame = match first.take() {
            Some(frame) => Some(frame),
            None => ready!(pooled.connection.poll_frame(context)),
        };
        trailers::scrub(&mut frame);
        let has_ended = pooled.connection.has_received();
        if has_ended && let Source::Connection(pooled) = std::mem::replace(source, Source::Ended) {
            if let Some(Err(error)) = frame {
                // The server aborts the response at once, so it gets a chance to send what was received.
                *source = Source::Failed(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            pooled.check_in();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Connection(pooled) if self.first.is_none() => pooled.connection.size_hint(),
            Source::Connection(_) | Source::Failed(_) => SizeHint::default(),
            Source::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Sends the rest of the request, while the response's body is received frame by frame. Ends when nobody
/// reads the body any more.
async fn relay(mut pooled: PooledConnection, sender: mpsc::Sender<Result<Frame<Bytes>, Error>>) {
    let connection = &mut pooled.connection;
    loop {
        let frame = {
            let mut closed = pin!(sender.closed());
            poll_fn(|context| match closed.as_mut().poll(context) {
                Poll::Ready(()) if !connection.has_received() => Poll::Ready(Err(())),
                _ => connection.poll_frame(context).map(Ok),
            })
            .await
        };
        let Ok(frame) = frame else { return };
        let Some(frame) = frame else { break };
        let has_failed = frame.is_err();
        let mut upload_error = None;
        let sent = {
            let mut sending = pin!(sender.send(frame));
            poll_fn(|context| {
                if let Poll::Ready(Err(error)) = connection.poll_upload(context) {
                    upload_error = Some(error);
                }
                sending.as_mut().poll(context)
            })
            .await
        };
        if has_failed || sent.is_err() {
            return;
        }
        if connection.has_received() {
            break;
        }
        if let Some(error) = upload_error {
            // The session may wait indefinitely for the rest of the upload.
            let _sent = sender.send(Err(error)).await;
            return;
        }
    }
    drop(sender);
    if pooled.connection.idle().await {
        pooled.check_in();
    }
}

/// A body that [`relay`] receives.
struct RelayedBody(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

impl HttpBody for RelayedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut frame = ready!(self.0.poll_recv(context));
        trailers::scrub(&mut frame);
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex, time::Duration};

    use futures_util::stream;
    use http::Request;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;
    use crate::{
        Connector, UpstreamStream,
        forward::{
            pool::{Pool, PoolKey},
            settings::ForwardSettings,
        },
    };

    struct Once(Mutex<Option<DuplexStream>>);

    impl Connector for Once {
        fn connect(&self) -> crate::Connecting {
            let stream = self.0.lock().unwrap().take().unwrap();
            Box::pin(async { Ok(UpstreamStream::new(stream)) })
        }
    }

    async fn connect() -> (PooledConnection, DuplexStream) {
        let (stream, session) = duplex(64 * 1024);
        let key = PoolKey { address: ([127, 0, 0, 1], 1).into(), pool: 0, has_connector: true };
        let upstream = Pool::new(&ForwardSettings::default()).upstream(key);
        (upstream.connect(Some(&Once(Mutex::new(Some(stream))))).await.unwrap(), session)
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_fails_fails_the_response_though_nobody_reads_it() {
        let (mut pooled, mut session) = connect().await;
        let (fail, failed) = tokio::sync::oneshot::channel::<()>();
        let upload = stream::once(async { failed.await.map(|()| Frame::data(Bytes::new())) });
        let request = Request::post("/").body(Body::new(StreamBody::new(upload))).unwrap();
        let respond = async {
            session.read_exact(&mut [0; 10]).await.unwrap();
            session.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na").await.unwrap();
        };
        let (response, ()) = tokio::join!(pooled.connection.send(request, None), respond);
        response.unwrap();
        let mut body = receive(pooled);
        // The clock is paused: a sleep ends once every other task waits, however long that takes.
        for data in [b"b", b"c"] {
            tokio::time::sleep(Duration::from_millis(1)).await;
            session.write_all(data).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        // By now, one frame waits for the other to be read.
        drop(fail);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let received = async {
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    end => return end.map(|frame| frame.map(drop).map_err(|_| io::ErrorKind::Other)),
                }
            }
        };
        let end = timeout(Duration::from_secs(1), received).await.unwrap();
        assert_eq!(end, Some(Err(io::ErrorKind::Other)));
    }
}
