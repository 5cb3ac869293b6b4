use proptest::prelude::*;

use super::*;

/// What a body decodes to: its data, its trailers, and what follows it if it has ended.
type Decoded = (Vec<u8>, Option<HeaderMap>, Option<Vec<u8>>);

/// Decodes pieces as if each was received at a time.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, ParseError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut data, mut trailers, mut rest) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut input)? {
            match frame.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert!(input.is_empty() || decoder.has_ended());
        rest.extend_from_slice(&input);
    }
    Ok((data, trailers, decoder.has_ended().then_some(rest)))
}

#[track_caller]
fn check(text: &str, data: &str, trailer: Option<&str>, rest: Option<&str>) {
    let (received, trailers, after) = decode([text.as_bytes()]).unwrap();
    let trailer_value = trailers.map(|fields| fields["x"].clone());
    assert_eq!(received, data.as_bytes(), "{text:?}");
    assert_eq!(trailer_value.as_ref().map(HeaderValue::as_bytes), trailer.map(str::as_bytes), "{text:?}");
    assert_eq!(after.as_deref(), rest.map(str::as_bytes), "{text:?}");
}

#[test]
fn chunks_are_joined() {
    check("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", None, Some(""));
    check("0A\r\n0123456789\r\n000\r\n\r\nHTTP", "0123456789", None, Some("HTTP"));
    check("3;name=\"value\"\r\nabc\r\n0;last\r\n\r\n", "abc", None, Some(""));
    check("3 \t;a\r\nabc\r\n0 \r\n\r\n", "abc", None, Some(""));
    check("3\r\nabc\r\n0\r\nx: 1\r\ny: 2\r\n\r\nHTTP", "abc", Some("1"), Some("HTTP"));
    check("3\r\nabc\r\n0\r\nx: 1\r\n", "abc", None, None);
    check("3\r\nab", "ab", None, None);
}

#[test]
fn malformed_chunks_are_errors() {
    for text in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        " 1\r\n",
        "1 1\r\n",
        "1\n",
        "1;a\n",
        "1\r\r",
        "1\r\nab",
        "1\r\na\n",
        "0\r\n\ra",
        "0\r\nx: 1\r\r",
        "0\r\nx: 1\ny: 2\r\n\r\n",
        "0\r\nx: 1\n\r\n\r\n",
        "0\r\nx: 1\r\n\n",
        "0\r\n\n",
        "+1\r\n",
        "0x1\r\n",
        "00000000000000001\r\n",
        "1,\r\n",
    ] {
        assert_eq!(decode([text.as_bytes()]), Err(ParseError::Chunk), "{text:?}");
    }
    for text in ["0\r\nx\r\n\r\n", "0\r\n x: 1\r\n\r\n", "0\r\nx : 1\r\n\r\n"] {
        assert!(matches!(decode([text.as_bytes()]), Err(ParseError::Trailers(_))), "{text:?}");
    }
}

#[test]
fn a_size_uses_all_of_its_bits() {
    let mut decoder = ChunkedDecoder::default();
    let mut input = Bytes::from_static(b"ffffFFFFffffFFFF\r\n");
    assert!(decoder.decode(&mut input).unwrap().is_none());
    assert_eq!(decoder.missing, u64::MAX);
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let extension = |length| format!("1;{}\r\na\r\n", "e".repeat(length));
    check(&extension(usize::from(MAX_EXTENSIONS)).repeat(20), &"a".repeat(20), None, None);
    let text = extension(usize::from(MAX_EXTENSIONS) + 1);
    assert_eq!(decode([text.as_bytes()]), Err(ParseError::ChunkExtensions));
    let text = format!("0\r\nx: {}", "t".repeat(MAX_TRAILERS));
    assert_eq!(decode([text.as_bytes()]), Err(ParseError::TrailersTooLarge));
    let text = format!("0\r\n{}\r\n", "x: 1\r\n".repeat(MAX_HEADERS + 1));
    assert!(matches!(decode([text.as_bytes()]), Err(ParseError::Trailers(_))));
}

#[test]
fn the_end_is_known_with_the_last_data() {
    let mut decoder = ChunkedDecoder::default();
    let mut input = Bytes::from_static(b"1\r\na\r\n0\r\n\r\n");
    assert!(decoder.decode(&mut input).unwrap().is_some());
    assert!(decoder.has_ended());
}

#[test]
fn input_that_was_used_up_is_released() {
    for text in ["1\r\na\r\n", "1\r\na\r\n0\r\n\r\n", "0\r\nx: 1\r\n\r\n", "1;a"] {
        let owner = std::sync::Arc::<[u8]>::from(text.as_bytes());
        let mut input = Bytes::from_owner(owner.clone());
        let mut decoder = ChunkedDecoder::default();
        while decoder.decode(&mut input).unwrap().is_some() {}
        assert_eq!(std::sync::Arc::strong_count(&owner), 1, "{text:?}");
    }
}

#[test]
fn data_before_an_error_is_returned() {
    let mut decoder = ChunkedDecoder::default();
    let mut input = Bytes::from_static(b"1\r\naXX");
    assert_eq!(decoder.decode(&mut input).unwrap().unwrap().into_data().unwrap(), "a");
    assert_eq!(decoder.decode(&mut input).unwrap_err(), ParseError::Chunk);
}

/// Bytes of which a part is well-formed.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = proptest::collection::vec(any::<u8>(), 1..40).prop_map(|data| {
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(&data);
        chunk.extend_from_slice(b"\r\n");
        chunk
    });
    let piece = prop_oneof![
        8 => chunk,
        1 => Just(b"0\r\n\r\n".to_vec()),
        1 => Just(b"0\r\nx: 1\r\n\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..5),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_body_has_one_meaning_however_it_arrives(body in body(), cuts: Vec<prop::sample::Index>) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]);
        prop_assert_eq!(decode(pieces), decode([&*body]));
    }

    #[test]
    fn a_decoder_never_panics(bytes: Vec<u8>) {
        let _decoded = decode([&*bytes]);
    }
}
