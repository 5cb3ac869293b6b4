//! What every connection has in common, to clients and to sessions: its socket's options, and how it writes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWrite;

/// How many bytes are rather copied than written from where they are.
const SMALL: usize = 1024;

/// Writes slices, small ones as one: `send` costs the kernel less than `writev`, and the copy less than that
/// difference.
pub(crate) fn poll_write_slices(
    io: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [slice] = slices {
        return io.poll_write(context, slice);
    }
    let mut buffer = [0; SMALL];
    let mut length = 0;
    for slice in slices {
        let Some(target) = buffer.get_mut(length..length + slice.len()) else {
            return io.poll_write_vectored(context, slices);
        };
        target.copy_from_slice(slice);
        length += slice.len();
    }
    io.poll_write(context, &buffer[..length])
}

/// Sends small writes at once, and detects within minutes that the other end has vanished (a closed laptop, a
/// lost node) even if there is nothing to send.
pub(crate) fn configure<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    let configured = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = configured {
        tracing::debug!(%error, "setting socket options failed");
    }
}

#[cfg(test)]
mod tests {
    use std::{io::IoSlice, pin::Pin, task::Context};

    use futures_util::{FutureExt as _, future::poll_fn};
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::{SMALL, poll_write_slices};

    /// Writes `parts` at once, and returns what arrives.
    fn written(parts: &[&[u8]]) -> Vec<u8> {
        let (mut io, mut other) = duplex(4 * SMALL);
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let write =
            poll_fn(|context: &mut Context<'_>| poll_write_slices(Pin::new(&mut io), context, &slices));
        let count = write.now_or_never().unwrap().unwrap();
        drop(io);
        let mut read = Vec::new();
        other.read_to_end(&mut read).now_or_never().unwrap().unwrap();
        assert_eq!(read.len(), count);
        read
    }

    #[test]
    fn slices_arrive_in_order_whatever_their_size() {
        let large = vec![b'l'; SMALL];
        for parts in [
            &[&b"head"[..]] as &[&[u8]],
            &[b"head", b"", b"body"],
            &[b"head", &large],
            &[&large, b"end"],
            &[],
        ] {
            assert_eq!(written(parts), parts.concat());
        }
    }
}
