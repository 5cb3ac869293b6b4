use proptest::prelude::*;

use super::*;

fn parse(bytes: &Bytes, method: &Method) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    super::parse(bytes, method, &mut HeaderMap::new())
}

fn parse_get(text: &str) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), &Method::GET)
}

#[track_caller]
fn check(method: &Method, head: &str, framing: Framing, keep_alive: bool) {
    let text = format!("HTTP/{head}\r\n\r\nbody");
    let (parsed, length) = parse(&Bytes::from(text.clone()), method).unwrap().unwrap();
    assert_eq!(length, text.len() - 4);
    assert_eq!((parsed.framing, parsed.keep_alive), (framing, keep_alive), "{head}");
}

#[test]
fn a_body_is_framed_as_the_head_says() {
    use Framing::{Chunked, Interim, Length, UntilClose, Upgrade};
    for (head, framing, keep_alive) in [
        ("1.1 200 OK\r\ncontent-length: 5", Length(5), true),
        ("1.1 200 OK\r\nContent-Length: 0", Length(0), true),
        ("1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5", Length(5), true),
        ("1.1 200 OK\r\ncontent-length: 18446744073709551615", Length(u64::MAX), true),
        ("1.1 200 OK\r\ntransfer-encoding: Chunked", Chunked, true),
        ("1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5", Chunked, false),
        ("1.1 200 OK", UntilClose, false),
        ("1.1 200", UntilClose, false),
        ("1.0 200 OK\r\ncontent-length: 5", Length(5), false),
        ("1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive", Length(5), true),
        ("1.0 200 OK\r\nconnection: keep-alive", UntilClose, false),
        ("1.1 200 OK\r\ncontent-length: 5\r\nconnection: close", Length(5), false),
        (
            "1.1 200 OK\r\ncontent-length: 5\r\nconnection: x, Close\r\nconnection: keep-alive",
            Length(5),
            false,
        ),
        ("1.1 204 No Content\r\ncontent-length: 0", Length(0), true),
        ("1.1 204 No Content\r\ncontent-length: 5", Length(0), false),
        ("1.1 204 No Content\r\ntransfer-encoding: chunked", Length(0), false),
        ("1.1 304 Not Modified\r\ntransfer-encoding: chunked", Length(0), true),
        ("1.1 100 Continue", Interim, true),
        ("1.1 103 Early Hints\r\nlink: </a>", Interim, true),
        ("1.1 101 Switching Protocols\r\nupgrade: websocket", Upgrade, false),
    ] {
        check(&Method::GET, head, framing, keep_alive);
    }
    check(&Method::HEAD, "1.1 200 OK\r\ncontent-length: 5", Length(0), true);
    check(&Method::HEAD, "1.1 200 OK\r\ntransfer-encoding: chunked", Length(0), true);
    check(&Method::HEAD, "1.1 200 OK", Length(0), true);
}

#[test]
fn contradictory_framing_is_an_error() {
    for (head, error) in [
        ("1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length: 5,", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length: +5", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length: -5", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length: 0x5", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length:", ParseError::ContentLength),
        ("1.1 200 OK\r\ncontent-length: 18446744073709551616", ParseError::ContentLength),
        ("1.0 200 OK\r\ntransfer-encoding: chunked", ParseError::TransferEncoding),
        ("1.1 200 OK\r\ntransfer-encoding: gzip, chunked", ParseError::TransferEncoding),
        (
            "1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            ParseError::TransferEncoding,
        ),
        ("1.1 200 OK\r\ntransfer-encoding: xchunked", ParseError::TransferEncoding),
        ("1.1 200 OK\r\ntransfer-encoding:", ParseError::TransferEncoding),
        ("1.1 099 OK", ParseError::Header),
    ] {
        assert_eq!(parse_get(&format!("HTTP/{head}\r\n\r\n")), Err(error), "{head}");
    }
}

#[test]
fn what_is_not_http_is_an_error() {
    for head in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
    ] {
        assert!(matches!(parse_get(head), Err(ParseError::Head(_))), "{head:?}: {:?}", parse_get(head));
    }
}

#[test]
fn a_head_is_bounded() {
    let fill = "a".repeat(MAX_LENGTH);
    let text = format!("HTTP/1.1 200 OK\r\nx: {fill}");
    assert_eq!(parse_get(&text[..MAX_LENGTH - 1]), Ok(None));
    assert_eq!(parse_get(&text[..MAX_LENGTH]), Err(ParseError::HeadTooLarge));
    assert_eq!(parse_get(&format!("{text}\r\n\r\n")), Err(ParseError::HeadTooLarge));
    let lines = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(parse_get(&lines(MAX_HEADERS)).unwrap().unwrap().0.headers.len(), MAX_HEADERS);
    assert_eq!(parse_get(&lines(MAX_HEADERS + 1)), Err(ParseError::Head(httparse::Error::TooManyHeaders)));
}

#[test]
fn a_rejected_length_does_not_travel_on() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n";
    assert!(!parse_get(text).unwrap().unwrap().0.headers.contains_key("content-length"));
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5, 05\r\n\r\n";
    let (head, _) = parse_get(text).unwrap().unwrap();
    assert_eq!(head.headers.get_all("content-length").iter().collect::<Vec<_>>(), ["5"]);
}

proptest! {
    #[test]
    fn a_parser_never_panics(start in "(HTTP/1\\.[01] [1-5][0-9]{2} ?)?", rest: Vec<u8>) {
        let bytes = [start.as_bytes(), &rest].concat().into();
        let _parsed = parse(&bytes, &Method::GET);
    }

    #[test]
    fn header_lines_in_any_order_never_panic(
        lines in proptest::collection::vec(
            "(content-length|transfer-encoding|connection|x): ?\
             (chunked|close|[0-9]{0,21}|[ -~]{0,9})(,5)?\r?\n",
            0..6,
        ),
    ) {
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines.concat());
        if let Ok(Some((head, length))) = parse_get(&text) {
            prop_assert_eq!(length, text.len());
            let lengths = head.headers.get_all("content-length").iter().count();
            prop_assert!(lengths <= 1 && (lengths == 0 || head.framing != Framing::Chunked));
        }
    }

    #[test]
    fn a_head_has_one_meaning_wherever_it_is_cut(values in proptest::collection::vec("[!-~]{0,30}", 0..9)) {
        let lines: String = values.iter().map(|value| format!("x-a: {value}\r\n")).collect();
        let text = format!("HTTP/1.1 200 OK\r\n{lines}content-length: 3\r\n\r\n");
        let (head, length) = parse_get(&format!("{text}abc")).unwrap().unwrap();
        prop_assert_eq!(length, text.len());
        prop_assert!(head.headers.get_all("x-a").iter().eq(&values));
        for end in 0..text.len() {
            prop_assert_eq!(parse_get(&text[..end]), Ok(None));
        }
    }
}
