//! The limits of the API.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{TestApp, test_app::ALICE};

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_with_408_and_the_connection_closes() {
    let app =
        TestApp::build(&[("DEV_EMAIL", ALICE)], |app| app.body_deadline = Duration::from_millis(50)).await;
    let mut socket = TcpStream::connect(("127.0.0.1", app.port)).await.expect("a connection");
    let head = format!(
        "POST /api/sessions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{",
        app.public_name("localhost"),
    );
    socket.write_all(head.as_bytes()).await.expect("a sent head");
    let mut response = String::new();
    let end = timeout(Duration::from_secs(20), socket.read_to_string(&mut response)).await;
    end.expect("a closed connection").expect("text");
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("\"code\":\"body_timeout\""), "{response}");
}
