//! Reads requests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Reads a request: its head as text, its body as JSON.
pub(super) async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let body = &bytes[end + 4..];
            if body.len() >= length.unwrap_or(0) {
                return Some((head, serde_json::from_slice(body).unwrap_or_default()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Returns the path and the headers of a request, with their names in lower case. Repeated headers are joined
/// by commas.
pub(super) fn echo(head: &str) -> Value {
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let values = headers.entry(name.to_lowercase()).or_default();
        *values =
            if values.is_empty() { value.trim().to_owned() } else { format!("{values}, {}", value.trim()) };
    }
    json!({ "path": path, "headers": headers })
}
