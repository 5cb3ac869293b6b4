//! From start to end: what the router leaves behind, and what it finds.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use serde_json::json;

use super::{
    House, eventually,
    house::{children, is_alive},
};

#[tokio::test]
async fn asked_to_end_it_ends_its_sessions_and_says_so_by_its_exit_code() {
    let house = House::new();
    for signal in ["TERM", "INT"] {
        let mut router = house.start(&[]).await;
        let hash = router.new_session().await;
        let processes = children(router.pid()).await;
        assert!(!processes.is_empty(), "opencode is the router's child");
        router.signal(signal).await;
        assert_eq!(router.ended().await.code(), Some(0), "{:#?}", router.log());
        for process in processes {
            assert!(!is_alive(process).await, "{process} outlived the router");
        }
        let router = house.start(&[]).await;
        let session = router.until(&hash, "stopped").await;
        assert_eq!(session["reason"]["code"], "router_stopped", "{session:#}");
    }
}

#[tokio::test]
async fn killed_it_ends_what_it_left_at_its_next_start() {
    let house = House::new();
    let mut router = house.start(&[]).await;
    let hash = router.new_session().await;
    let left = children(router.pid()).await;
    router.signal("KILL").await;
    router.ended().await;

    let router = house.start(&[]).await;
    let session = router.until(&hash, "stopped").await;
    assert_eq!(session["reason"]["code"], "router_crashed", "{session:#}");
    for process in left {
        eventually("what was left has ended", async || (!is_alive(process).await).then_some(())).await;
    }
    let (status, _) =
        router.change(reqwest::Method::POST, &format!("/api/sessions/{hash}/resume"), json!({})).await;
    assert_eq!(status, 200);
    router.until(&hash, "running").await;
}

#[tokio::test]
async fn what_nobody_uses_is_stopped_and_told_why() {
    let house = House::new();
    let router = house.start(&[("IDLE_TIMEOUT_MINUTES", "0.05")]).await;
    let hash = router.new_session().await;
    let session = router.until(&hash, "stopped").await;
    assert_eq!(session["reason"]["code"], "idle", "{session:#}");
    assert!(children(router.pid()).await.is_empty());
}

#[tokio::test]
async fn health_and_metrics_have_a_listener_of_their_own() {
    let house = House::new();
    let router = house.start(&[]).await;
    let hash = router.new_session().await;
    let ask = async |path: &str| {
        let answer = router.http.get(format!("{}{path}", router.health)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(ask("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(ask("/readyz").await, (200, "ok\n".to_owned()));
    let (status, text) = ask("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "opencode_router_sessions{status=\"running\"} 1",
        "opencode_router_session_starts_total{outcome=\"running\"} 1",
        "opencode_router_requests_total{route=\"api\",status=\"2xx\"}",
        "opencode_router_start_stage_seconds_count{stage=\"starting\"} 1",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(&hash), "metrics name no session");
    // Not on the public listener: there these are pages of the site.
    let public =
        router.get("localhost", "/metrics").send().await.expect("an answer").text().await.expect("text");
    assert!(!public.contains("opencode_router_"), "{public}");
}

#[tokio::test]
async fn a_person_is_told_where_to_go_and_how_to_stop() {
    let house = House::new();
    let mut child = house.command(&[("LOG_FORMAT", "text")]).spawn().expect("it starts");
    let mut out = tokio::io::BufReader::new(child.stdout.take().expect("standard output"));
    let said = tokio::sync::Mutex::new(String::new());
    let read = async {
        use tokio::io::AsyncBufReadExt as _;
        while !said.lock().await.contains("Ctrl-C") {
            let mut line = String::new();
            assert!(out.read_line(&mut line).await.expect("text") > 0, "it ended");
            said.lock().await.push_str(&line);
        }
    };
    tokio::time::timeout(super::house::PATIENCE, read).await.expect("it says so");
    let said = said.into_inner();
    assert!(said.contains("http://localhost:"), "{said}");
    assert!(said.contains(house.state_dir().to_str().expect("text")), "{said}");
}
