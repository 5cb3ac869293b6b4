//! A session's ports on Kubernetes: the agent in the session image reports them, and relays connections to
//! them. The ports of a session whose image has no agent are those that the session reported to a router,
//! which are on its claim.
//!
//! The agent runs beside code that may be hostile, so everything it sends is read with a bound.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use opencode_session_agent::{AGENT_PORT, is_dev_port};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    context::Context,
    session::{PORTS_KEY, reported_ports},
};
use crate::{
    backend::BackendError,
    model::{Endpoint, Password},
    ports::{ListeningPort, MAX_PORTS, MAX_PROCESS_CHARS, Relay, SessionPorts},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The agent sends something every 10 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest line that is read: 64 ports with their names fit.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// How much of an agent's answer is read at once. Each running session has such a buffer.
const BUFFER_BYTES: usize = 1024;
/// How often the reported ports are looked at while no agent answers.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause before a missing agent is looked for again.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// The shortest time from one write of a session's reported ports to the next.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Returns the session's ports, now and after each change.
pub(super) fn watch_ports(
    ctx: Arc<Context>,
    hash: SessionHash,
    endpoint: Endpoint,
) -> BoxStream<'static, SessionPorts> {
    let (sender, receiver) = mpsc::channel(1);
    let follower = AbortOnDropHandle::new(tokio::spawn(async move {
        follow(&ctx, hash, &endpoint, &sender).await;
    }));
    stream::unfold((receiver, follower), |(mut receiver, follower)| async move {
        Some((receiver.recv().await?, (receiver, follower)))
    })
    .boxed()
}

/// Sends the ports until nobody receives them.
async fn follow(ctx: &Context, hash: SessionHash, endpoint: &Endpoint, sender: &mpsc::Sender<SessionPorts>) {
    let address = SocketAddr::new(endpoint.address.ip(), AGENT_PORT);
    let mut known = None;
    let mut retry = POLL_INTERVAL;
    let mut next_try = Instant::now();
    while !sender.is_closed() {
        if let Some(password) = &endpoint.password
            && Instant::now() >= next_try
        {
            // Whoever answered once does so again soon. On the heap, since most sessions may have no agent.
            let answered = Box::pin(follow_agent(address, password, &mut known, sender)).await;
            retry = if answered { POLL_INTERVAL } else { (retry * 2).min(MAX_RETRY) };
            next_try = Instant::now() + retry;
        }
        let reported = ctx.store.reported_ports(hash, &endpoint.run_id);
        let ports = reported.into_iter().map(|port| ListeningPort { port, process: None }).collect();
        if send(SessionPorts::new(ports), &mut known, sender).await.is_none() {
            return;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Sends the ports that the agent at this address reports, until its connection ends. Returns whether it
/// answered.
async fn follow_agent(
    address: SocketAddr,
    password: &Password,
    known: &mut Option<SessionPorts>,
    sender: &mpsc::Sender<SessionPorts>,
) -> bool {
    let token = password.agent_token();
    let Some(mut lines) = request_ports(address, &token).await else { return false };
    let Ok(authorization) = HeaderValue::try_from(format!("Bearer {token}")) else { return false };
    let relay = Relay { address, authorization };
    loop {
        let read = timeout(SILENCE_TIMEOUT, read_line(&mut lines));
        let line = tokio::select! {
            line = read => line,
            () = sender.closed() => return true,
        };
        let Ok(Some(line)) = line else { return true };
        if line.trim().is_empty() {
            continue;
        }
        let Some(listening) = parse(&line) else { return true };
        let ports = SessionPorts { relay: Some(relay.clone()), ..SessionPorts::new(listening) };
        if send(ports, known, sender).await.is_none() {
            return true;
        }
    }
}

/// Sends the ports if they have changed; returns `None` if nobody receives them.
async fn send(
    ports: SessionPorts,
    known: &mut Option<SessionPorts>,
    sender: &mpsc::Sender<SessionPorts>,
) -> Option<()> {
    if known.as_ref() != Some(&ports) {
        *known = Some(ports.clone());
        sender.send(ports).await.ok()?;
    }
    Some(())
}

/// Asks an agent for its ports. Returns the body, if the agent answers with one.
async fn request_ports(address: SocketAddr, token: &str) -> Option<BufReader<TcpStream>> {
    let request = format!("GET /ports HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let opening = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
        if !read_line(&mut reader).await?.starts_with("HTTP/1.1 200 ") {
            return None;
        }
        // Heads of the agent are short.
        for _ in 0..16 {
            if read_line(&mut reader).await?.trim().is_empty() {
                return Some(reader);
            }
        }
        None
    };
    timeout(CONNECT_TIMEOUT, opening).await.ok()?
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await.ok()?;
    if line.last() != Some(&b'\n') {
        return None;
    }
    String::from_utf8(line).ok()
}

/// Parses `[{"port":5173,"process":"vite"}]`. Ports that can't be dev servers are left out.
fn parse(line: &str) -> Option<Vec<ListeningPort>> {
    let list: Value = serde_json::from_str(line).ok()?;
    let listening = list.as_array()?.iter().take(MAX_PORTS).filter_map(|entry| {
        let port = u16::try_from(entry.get("port")?.as_u64()?).ok().filter(|&port| is_dev_port(port))?;
        let process = entry.get("process").and_then(Value::as_str).map(|name| {
            name.chars().filter(|char| !char.is_control()).take(MAX_PROCESS_CHARS).collect::<String>()
        });
        Some(ListeningPort { port, process: process.filter(|name| !name.is_empty()) })
    });
    Some(listening.collect())
}

/// Writes the ports that a session has reported on its claim, for every router.
pub(super) async fn report_ports(
    ctx: &Context,
    hash: SessionHash,
    ports: &[u16],
) -> Result<(), BackendError> {
    let _guard = ctx.port_reports.lock(hash).await;
    let Some(run_id) = ctx.store.run_id(hash) else { return Ok(()) };
    let ports: Vec<u16> = ports.iter().copied().filter(|&port| is_dev_port(port)).take(MAX_PORTS).collect();
    let Some(pvc) = ctx.store.pvc(hash) else { return Ok(()) };
    if reported_ports(&pvc, &run_id) == ports {
        return Ok(());
    }
    let text = json!({ "run": run_id, "ports": ports }).to_string();
    let pvc = ctx.api.annotate(hash, None, &[(PORTS_KEY, text)]).await?;
    ctx.store.apply_pvc(pvc);
    // A session that reports without end keeps the API server busy no more often than this.
    sleep(REPORT_INTERVAL).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[test]
    fn what_an_agent_sends_is_bounded() {
        let one = |port, process: Option<&str>| ListeningPort { port, process: process.map(str::to_owned) };
        assert_eq!(
            parse(r#"[{"port":5173,"process":"vite"},{"port":8080}]"#),
            Some(vec![one(5173, Some("vite")), one(8080, None)])
        );
        // opencode, the agent, DevTools, a system port, no ports at all.
        let others =
            r#"[{"port":4096},{"port":4094},{"port":9222},{"port":80},{"port":70000},{"port":"x"},3]"#;
        assert_eq!(parse(others), Some(vec![]));
        let name = format!("a\u{1b}{}", "b".repeat(100));
        let line = json!([{ "port": 5173, "process": name }]).to_string();
        let process = parse(&line).unwrap().remove(0).process.unwrap();
        assert_eq!(process, format!("a{}", "b".repeat(MAX_PROCESS_CHARS - 1)));
        let many: Vec<_> = (2000..3000).map(|port| json!({ "port": port })).collect();
        assert_eq!(parse(&Value::from(many).to_string()).unwrap().len(), MAX_PORTS);
        assert_eq!((parse("{}"), parse("")), (None, None));
    }

    #[tokio::test]
    async fn an_agents_ports_are_followed_until_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let password = Password::new("p4ss");
        let token = password.agent_token();
        let agent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8(head[..length].to_vec()).unwrap();
            assert!(head.contains(&format!("\r\nAuthorization: Bearer {token}\r\n")), "{head}");
            assert!(!head.contains("p4ss"));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[]\n\n[{\"port\":5173}]\n")
                .await
                .unwrap();
        });
        let (sender, mut received) = mpsc::channel(4);
        let mut known = None;
        assert!(follow_agent(address, &password, &mut known, &sender).await);
        agent.await.unwrap();
        let first = received.recv().await.unwrap();
        assert_eq!((first.listening.len(), first.relay.map(|relay| relay.address)), (0, Some(address)));
        assert_eq!(received.recv().await.unwrap().listening[0].port, 5173);
        assert!(!follow_agent(address, &password, &mut known, &sender).await, "nobody listens any more");
    }

    #[tokio::test]
    async fn an_endless_line_is_cut_off() {
        let endless = vec![b'x'; usize::try_from(MAX_LINE_BYTES).unwrap() * 2];
        assert_eq!(read_line(&mut &endless[..]).await, None);
    }
}
