//! What one side of a connection does, step by step.

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// One step of a side's script. After the last one the side closes its connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends this text; `/@` becomes the path that selects the upstream's script.
    Send(String),
    /// Sends this text byte by byte, with a pause after each.
    SendSlowly(String),
    /// Sends so many bytes, or as many as the other side accepts.
    SendBytes(usize),
    /// Reads until the text was received. Fails at the connection's end.
    Until(&'static str),
    /// Reads so many bytes, with a pause after each KiB.
    ReadSlowly(usize),
    /// Reads until the other side has sent all it will send, or has reset the connection.
    Ends,
    /// As [`Step::Ends`]; fails if the text was received.
    EndsWithout(&'static str),
    /// Closes the sending direction.
    Shutdown,
    /// Resets the connection.
    Reset,
    /// The last step of an upstream that expects another request on the connection.
    Next,
}

/// Steps of which each takes longer than it has to.
const PAUSE: Duration = Duration::from_millis(1);

/// What is sent and read at once.
static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// One side of a connection.
pub(crate) struct Side {
    stream: TcpStream,
    /// What was received, and not expected yet.
    received: Vec<u8>,
}

impl Side {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Plays the steps. `path` is the one that `/@` stands for.
    ///
    /// # Errors
    /// What was received instead of the expected text.
    pub(crate) async fn play(&mut self, steps: &[Step], path: &str) -> Result<(), String> {
        for step in steps {
            match step {
                // If the other side is gone already, the next step that reads notices.
                Step::Send(text) => drop(self.stream.write_all(text.replace("/@", path).as_bytes()).await),
                Step::SendSlowly(text) => self.send_slowly(text).await,
                Step::SendBytes(count) => self.send_bytes(*count).await,
                Step::Until(text) => drop(self.until(text).await?),
                Step::ReadSlowly(count) => self.read_slowly(*count).await?,
                Step::Ends => self.end().await,
                Step::EndsWithout(text) => {
                    self.end().await;
                    if find(&self.received, text).is_some() {
                        return Err(format!("received {:?}", String::from_utf8_lossy(&self.received)));
                    }
                }
                Step::Shutdown => drop(self.stream.shutdown().await),
                Step::Reset => {
                    let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    return Ok(());
                }
                Step::Next => {}
            }
        }
        Ok(())
    }

    /// Reads until `text` was received, and returns all of it.
    pub(crate) async fn until(&mut self, text: &str) -> Result<String, String> {
        loop {
            if let Some(at) = find(&self.received, text) {
                let read: Vec<u8> = self.received.drain(..at + text.len()).collect();
                return Ok(String::from_utf8_lossy(&read).into_owned());
            }
            match self.read().await {
                Ok(1..) => {}
                end => {
                    let received = String::from_utf8_lossy(&self.received);
                    return Err(format!("{end:?} instead of {text:?} after {received:?}"));
                }
            }
        }
    }

    async fn send_slowly(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.stream.write_u8(byte).await.is_err() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn send_bytes(&mut self, mut count: usize) {
        while count > 0 {
            let length = count.min(PIECE.len());
            if self.stream.write_all(&PIECE[..length]).await.is_err() {
                return;
            }
            count -= length;
        }
    }

    async fn read_slowly(&mut self, count: usize) -> Result<(), String> {
        while self.received.len() < count {
            let mut piece = [0; 1024];
            match self.stream.read(&mut piece).await {
                Ok(read @ 1..) => self.received.extend_from_slice(&piece[..read]),
                end => return Err(format!("{end:?} after {} bytes", self.received.len())),
            }
            sleep(PAUSE).await;
        }
        self.received.clear();
        Ok(())
    }

    async fn end(&mut self) {
        while let Ok(1..) = self.read().await {
            // Enough to find a text that is split.
            let excess = self.received.len().saturating_sub(64 * 1024);
            self.received.drain(..excess);
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.received.reserve(PIECE.len());
        self.stream.read_buf(&mut self.received).await
    }
}

fn find(received: &[u8], text: &str) -> Option<usize> {
    received.windows(text.len()).position(|window| window == text.as_bytes())
}
