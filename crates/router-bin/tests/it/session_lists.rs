//! Reads the event stream of a user's session lists.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

/// Waits until the stream of `/api/sessions/stream` has a list that matches.
///
/// # Errors
/// The last list, if none matched within the limit.
pub(crate) async fn wait_for_list(
    mut stream: Response,
    limit: Duration,
    matches: impl Fn(&Value) -> bool,
) -> Result<(), Value> {
    let mut last = Value::Null;
    let matched = async {
        let mut text = String::new();
        while let Some(chunk) = stream.chunk().await.expect("an open stream") {
            text.push_str(&String::from_utf8_lossy(&chunk));
            // A complete event ends with an empty line.
            let Some((complete, rest)) = text.rsplit_once("\n\n") else { continue };
            let data = complete.lines().filter_map(|line| line.strip_prefix("data:"));
            let mut lists = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
            if let Some(list) = lists.next_back() {
                last = list["sessions"].clone();
                if matches(&last) {
                    return;
                }
            }
            text = rest.to_owned();
        }
        panic!("the stream ended");
    };
    timeout(limit, matched).await.map_err(|_| last)
}

/// Whether the list has the session in that state.
pub(crate) fn has_state(list: &Value, hash: &str, state: &str) -> bool {
    let matches = |session: &Value| session["hash"] == hash && session["state"] == state;
    list.as_array().is_some_and(|sessions| sessions.iter().any(matches))
}
