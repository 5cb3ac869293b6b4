//! A hostile or broken opencode does no harm to the router that sends it requests.

use session_key::{Identity, SessionHash};

use super::{
    super::test_server::{Response, TestServer},
    *,
};
use crate::model::Source;

fn ok(body: &str) -> Response {
    Response::ok("application/json", body)
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let response = Response::endless("content-type: application/json\r\n", vec![b' '; 64 * 1024]);
    let server = TestServer::start(response).await;
    let answer = OpencodeClient::new().conversations(&server.endpoint(), 1).await;
    assert!(matches!(answer, Err(OpencodeError::TooLarge(MAX_BYTES))), "{answer:?}");
    assert!(server.most_sent() < 3 * MAX_BYTES, "{} bytes were read", server.most_sent());
}

#[tokio::test]
async fn an_answer_in_slow_drips_is_given_up() {
    let response = Response::endless("content-type: application/json\r\n", b" ");
    let server = TestServer::start(Response { pause: Duration::from_millis(10), ..response }).await;
    let (client, at) = (OpencodeClient::new(), server.endpoint());
    let answer =
        tokio::time::timeout(LIMITS.time * 2, client.busy_conversations(&at, None)).await.expect("given up");
    assert!(matches!(answer, Err(OpencodeError::Timeout)), "{answer:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut elsewhere = TestServer::start(ok("{}")).await;
    let head = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/session/status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.address
    );
    let server = TestServer::start(Response { head: head.into(), ..Response::default() }).await;
    let answer = OpencodeClient::new().busy_conversations(&server.endpoint(), None).await;
    assert!(matches!(answer, Err(OpencodeError::Status(StatusCode::FOUND))), "{answer:?}");
    assert!(elsewhere.requests.try_recv().is_err(), "a request was sent to the other address");
}

#[tokio::test]
async fn an_invalid_id_never_reaches_a_path() {
    for id in ["", "ses_", "ses_../../x", "ses_a/b", "ses_a?b", "msg_a", &format!("ses_{}", "a".repeat(65))] {
        let session = json!([{ "id": id, "directory": "/repo", "title": "t" }]).to_string();
        let server = TestServer::start(ok(&session)).await;
        let answer = OpencodeClient::new().conversations(&server.endpoint(), 1).await;
        assert!(matches!(answer, Err(OpencodeError::Unexpected(_))), "{id:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error() {
    let page = TestServer::start(Response::ok("text/html", "<!doctype html>")).await;
    assert!(matches!(
        OpencodeClient::new().busy_conversations(&page.endpoint(), None).await,
        Err(OpencodeError::Unexpected(_))
    ));
    let text = TestServer::start(Response::ok("text/html", "{}")).await;
    assert!(matches!(
        OpencodeClient::new().busy_conversations(&text.endpoint(), None).await,
        Err(OpencodeError::Unexpected(_))
    ));
    let list = TestServer::start(ok("[]")).await;
    assert!(matches!(
        OpencodeClient::new().busy_conversations(&list.endpoint(), None).await,
        Err(OpencodeError::Unexpected(_))
    ));
    let object = TestServer::start(ok("{}")).await;
    let (client, at) = (OpencodeClient::new(), object.endpoint());
    assert!(matches!(client.conversations(&at, 1).await, Err(OpencodeError::Unexpected(_))));
    assert!(matches!(client.create_conversation(&at).await, Err(OpencodeError::Unexpected(_))));
}

#[tokio::test]
async fn an_opencode_that_hangs_is_given_up() {
    let server = TestServer::start(Response { hang: true, ..Response::default() }).await;
    let (client, at) = (OpencodeClient::new(), server.endpoint());
    let answer =
        tokio::time::timeout(LIMITS.time * 2, client.busy_conversations(&at, None)).await.expect("given up");
    assert!(matches!(answer, Err(OpencodeError::Timeout)), "{answer:?}");
}

#[tokio::test]
async fn the_password_is_sent_and_no_error_contains_it() {
    let head = b"HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\n".to_vec();
    let mut server = TestServer::start(Response { head, ..Response::default() }).await;
    let error =
        OpencodeClient::new().busy_conversations(&server.endpoint(), None).await.expect_err("an error");
    let request = server.requests.recv().await.expect("a request").to_lowercase();
    // base64 of opencode:geheim
    assert!(request.contains(&"authorization: Basic b3BlbmNvZGU6Z2VoZWlt".to_lowercase()), "{request}");
    assert!(!format!("{error} {error:?}").contains("geheim"));
}

#[test]
fn message_ids_depend_on_the_session_alone_and_have_opencodes_form() {
    let session = |millis: u64, hash| Session {
        hash: SessionHash::from_bytes(hash),
        owner: Identity::parse("alice@example.com").expect("an address"),
        source: Source::Empty,
        initial_message: None,
        created_at: UNIX_EPOCH + Duration::from_millis(millis),
    };
    let ids = MessageIds::of(&session(1_795_451_689_147, [0xab; 6]));
    assert_eq!(ids, MessageIds::of(&session(1_795_451_689_147, [0xab; 6])));
    // The time as opencode 1.18 encodes it, and 14 characters.
    assert_eq!(ids.message, "msg_2094298bb001R0abababababab");
    assert_eq!(ids.part, "prt_2094298bb002R0abababababab");
    assert_ne!(ids, MessageIds::of(&session(1_795_451_689_148, [0xab; 6])));
    assert_ne!(ids, MessageIds::of(&session(1_795_451_689_147, [0xac; 6])));
    assert!(ids.message < MessageIds::of(&session(1_795_451_689_148, [0; 6])).message, "in order of time");
}
