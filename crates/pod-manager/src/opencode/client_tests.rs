//! What an opencode that means harm, or is broken, can do to who asks it: nothing.

use std::net::SocketAddr;

use session_key::{Identity, SessionHash};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::model::{Password, Source};

/// Answers every request with these bytes, and tells the first request.
async fn answering(response: Vec<u8>) -> (Endpoint, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let (tell, told) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let _ = tell.try_send(String::from_utf8_lossy(&request[..read]).into_owned());
            let _ = stream.write_all(&response).await;
        }
    });
    (Endpoint { address, password: Some(Password::new("geheim")), run_id: "run".into() }, told)
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[".to_vec();
    endless.resize(MAX_BYTES * 3, b' ');
    let (at, _) = answering(endless).await;
    assert!(matches!(Opencode::new().conversations(&at, 1).await, Err(OpencodeError::TooLarge)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, mut asked) = answering(ok("{}")).await;
    let head = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/session/status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.address
    );
    let (at, _) = answering(head.into_bytes()).await;
    let answer = Opencode::new().is_busy(&at).await;
    assert!(matches!(answer, Err(OpencodeError::Refused(StatusCode::FOUND))), "{answer:?}");
    assert!(asked.try_recv().is_err(), "nobody was asked elsewhere");
}

#[tokio::test]
async fn an_id_that_is_none_goes_into_no_path() {
    for id in ["", "ses_", "ses_../../x", "ses_a/b", "ses_a?b", "msg_a", &format!("ses_{}", "a".repeat(65))] {
        let session = json!([{ "id": id, "directory": "/repo", "title": "t" }]).to_string();
        let (at, _) = answering(ok(&session)).await;
        let answer = Opencode::new().conversations(&at, 1).await;
        assert!(matches!(answer, Err(OpencodeError::Strange(_))), "{id:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_opencodes_is_said_to_be_strange() {
    let (page, _) = answering(ok("<!doctype html>")).await;
    assert!(matches!(Opencode::new().is_busy(&page).await, Err(OpencodeError::Strange(_))));
    let (list, _) = answering(ok("[]")).await;
    assert!(matches!(Opencode::new().is_busy(&list).await, Err(OpencodeError::Strange(_))));
    let (object, _) = answering(ok("{}")).await;
    assert!(matches!(Opencode::new().conversations(&object, 1).await, Err(OpencodeError::Strange(_))));
    assert!(matches!(Opencode::new().converse(&object).await, Err(OpencodeError::Strange(_))));
}

#[tokio::test]
async fn an_opencode_that_hangs_is_given_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let at = Endpoint { address: listener.local_addr().expect("it"), password: None, run_id: "run".into() };
    let answer = tokio::time::timeout(ANSWER * 2, Opencode::new().is_busy(&at)).await.expect("given up");
    assert!(matches!(answer, Err(OpencodeError::Silent(_))));
}

#[tokio::test]
async fn the_password_is_sent_and_stands_in_no_error() {
    let (at, mut asked) = answering(b"HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\n".to_vec()).await;
    let error = Opencode::new().is_busy(&at).await.expect_err("an error");
    let request = asked.recv().await.expect("a request").to_lowercase();
    // base64 of opencode:geheim
    assert!(request.contains(&"authorization: Basic b3BlbmNvZGU6Z2VoZWlt".to_lowercase()), "{request}");
    assert!(!format!("{error} {error:?}").contains("geheim"));
}

#[test]
fn a_title_is_one_short_line_and_not_the_name_that_all_have() {
    assert_eq!(title(" Fix\u{1b}[31m\nit "), Some("Fix[31mit".into()));
    assert_eq!(title("New session - 2026-11-23T16:19:39.611Z"), None);
    assert_eq!(title(" \n"), None);
    assert_eq!(title(&"ü".repeat(1000)).map(|title| title.chars().count()), Some(MAX_TITLE));
}

#[test]
fn a_session_has_the_same_message_ids_always_in_opencodes_form() {
    let session = |millis: u64, hash| Session {
        hash: SessionHash::from_bytes(hash),
        owner: Identity::parse("alice@example.com").expect("an address"),
        source: Source::Empty,
        initial_message: None,
        created_at: UNIX_EPOCH + Duration::from_millis(millis),
    };
    let ids = MessageIds::of(&session(1_795_451_689_147, [0xab; 6]));
    assert_eq!(ids, MessageIds::of(&session(1_795_451_689_147, [0xab; 6])));
    // The time as opencode 1.18 itself encoded it, and 14 characters.
    assert_eq!(ids.message, "msg_2094298bb001R0abababababab");
    assert_eq!(ids.part, "prt_2094298bb002R0abababababab");
    assert_ne!(ids, MessageIds::of(&session(1_795_451_689_148, [0xab; 6])));
    assert_ne!(ids, MessageIds::of(&session(1_795_451_689_147, [0xac; 6])));
    assert!(ids.message < MessageIds::of(&session(1_795_451_689_148, [0; 6])).message, "in order of time");
}
