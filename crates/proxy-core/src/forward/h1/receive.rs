//! Reads what has arrived, without a buffer while nothing has.

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// The most that is read onto the stack, and copied from there.
const SMALL: usize = 8 * 1024;
/// The most that is read at a time.
const LARGE: usize = 128 * 1024;

/// Reads from a stream. It adapts to how much arrives at a time.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Whether the last read filled the small buffer at least, so that there probably is more.
    is_busy: bool,
}

impl Receiver {
    /// Returns bytes that arrived; none if the other end sends no more.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut stream: Pin<&mut (impl AsyncRead + Unpin)>,
    ) -> Poll<io::Result<Bytes>> {
        if self.is_busy {
            let mut buffer = BytesMut::with_capacity(LARGE);
            let read = pin!(stream.read_buf(&mut buffer)).poll(context);
            self.is_busy = ready!(read)? > SMALL;
            // A large buffer is not kept for few bytes.
            let bytes = if self.is_busy { buffer.freeze() } else { Bytes::copy_from_slice(&buffer) };
            return Poll::Ready(Ok(bytes));
        }
        let mut array = [MaybeUninit::uninit(); SMALL];
        let mut buffer = ReadBuf::uninit(&mut array);
        ready!(stream.poll_read(context, &mut buffer))?;
        self.is_busy = buffer.remaining() == 0;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    }
}

/// Takes up to `limit` bytes off what was received, without copying them.
pub(super) fn take(input: &mut Bytes, limit: u64) -> Option<Bytes> {
    let length = usize::try_from(limit).unwrap_or(usize::MAX).min(input.len());
    match length {
        0 => None,
        _ if length == input.len() => Some(std::mem::take(input)),
        _ => Some(input.split_to(length)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    fn receive(receiver: &mut Receiver, stream: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
        let received = poll_fn(|context| receiver.poll(context, Pin::new(&mut *stream))).now_or_never();
        received.map(Result::unwrap)
    }

    #[test]
    fn what_arrives_fast_is_read_in_large_pieces() {
        let (mut stream, mut other) = duplex(1024 * 1024);
        let mut receiver = Receiver::default();
        assert_eq!(receive(&mut receiver, &mut stream), None);
        let sent: Vec<u8> = (0..400_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        other.write_all(&sent).now_or_never().unwrap().unwrap();
        let pieces: Vec<_> = std::iter::from_fn(|| receive(&mut receiver, &mut stream)).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [SMALL, LARGE, LARGE, 129_664]);
        assert_eq!(pieces.concat(), sent);
        // A sender that is slower than the reader does not make it read small pieces in between.
        other.write_all(&sent[..LARGE]).now_or_never().unwrap().unwrap();
        assert_eq!(receive(&mut receiver, &mut stream).unwrap(), sent[..LARGE]);
        drop(other);
        assert_eq!(receive(&mut receiver, &mut stream).unwrap(), "");
    }
}
