//! Starts and ends of the router: what it leaves behind, and what it finds.

use serde_json::json;

use super::{
    TestHome, eventually,
    test_router::{TIMEOUT, children, is_alive},
};

#[tokio::test]
async fn a_signal_ends_the_router_and_its_sessions_with_exit_code_0() {
    let home = TestHome::new();
    for signal in ["TERM", "INT"] {
        let mut router = home.start(&[]).await;
        let hash = router.new_session().await;
        let processes = children(router.pid()).await;
        assert!(!processes.is_empty(), "opencode is the router's child");
        router.signal(signal).await;
        assert_eq!(router.wait_for_exit().await.code(), Some(0), "{:#?}", router.log());
        for process in processes {
            assert!(!is_alive(process).await, "{process} outlived the router");
        }
        let router = home.start(&[]).await;
        let session = router.wait_for_state(&hash, "stopped").await;
        assert_eq!(session["reason"]["code"], "router_stopped", "{session:#}");
    }
}

#[tokio::test]
async fn the_next_start_ends_the_processes_of_a_killed_router() {
    let home = TestHome::new();
    let mut router = home.start(&[]).await;
    let hash = router.new_session().await;
    let leftovers = children(router.pid()).await;
    router.signal("KILL").await;
    router.wait_for_exit().await;

    let router = home.start(&[]).await;
    let session = router.wait_for_state(&hash, "stopped").await;
    assert_eq!(session["reason"]["code"], "router_crashed", "{session:#}");
    for process in leftovers {
        eventually("the leftover process has ended", async || (!is_alive(process).await).then_some(())).await;
    }
    let (status, _) =
        router.send(reqwest::Method::POST, &format!("/api/sessions/{hash}/resume"), json!({})).await;
    assert_eq!(status, 200);
    router.wait_for_state(&hash, "running").await;
}

#[tokio::test]
async fn a_router_without_certificate_authorities_or_github_runs() {
    let home = TestHome::new();
    let nowhere =
        [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent"), ("GH_TOKEN", "ghp_1")];
    let router = home.start(&nowhere).await;
    let (status, answer) = router.send(reqwest::Method::GET, "/api/user/repos", json!({})).await;
    assert_eq!((status, &answer["code"]), (503, &json!("github_unavailable")), "{answer:#}");
    router.new_session().await;
}

#[tokio::test]
async fn an_idle_session_is_stopped_with_the_reason_idle() {
    let home = TestHome::new();
    let router = home.start(&[("IDLE_TIMEOUT_MINUTES", "0.05")]).await;
    let hash = router.new_session().await;
    let session = router.wait_for_state(&hash, "stopped").await;
    assert_eq!(session["reason"]["code"], "idle", "{session:#}");
    assert!(children(router.pid()).await.is_empty());
}

#[tokio::test]
async fn health_and_metrics_have_a_listener_of_their_own() {
    let home = TestHome::new();
    let router = home.start(&[]).await;
    let hash = router.new_session().await;
    let get = async |path: &str| {
        let response = router.http.get(format!("{}{path}", router.health)).send().await.expect("a response");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    let (status, text) = get("/metrics").await;
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
    assert!(!text.contains(&hash), "metrics contain no session's hash");
    // On the public listener, the path is a page of the site.
    let public =
        router.get("localhost", "/metrics").send().await.expect("a response").text().await.expect("text");
    assert!(!public.contains("opencode_router_"), "{public}");
}

#[tokio::test]
async fn the_banner_shows_the_address_and_how_to_stop() {
    let home = TestHome::new();
    let mut child = home.command(&[("LOG_FORMAT", "text")]).spawn().expect("a process");
    let mut out = tokio::io::BufReader::new(child.stdout.take().expect("standard output"));
    let text = tokio::sync::Mutex::new(String::new());
    let read = async {
        use tokio::io::AsyncBufReadExt as _;
        while !text.lock().await.contains("Ctrl-C") {
            let mut line = String::new();
            assert!(out.read_line(&mut line).await.expect("text") > 0, "the router ended");
            text.lock().await.push_str(&line);
        }
    };
    tokio::time::timeout(TIMEOUT, read).await.expect("a banner");
    let text = text.into_inner();
    assert!(text.contains("http://localhost:"), "{text}");
    assert!(text.contains(home.state_dir().to_str().expect("text")), "{text}");
}
