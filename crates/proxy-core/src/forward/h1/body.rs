//! Takes the body of a response out of the bytes that were received.

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{chunked::ChunkedDecoder, error::ParseError, head::Framing, receive::take};

/// Decodes one body. It keeps no data, only where it is.
#[derive(Debug)]
pub(super) struct BodyDecoder(Kind);

#[derive(Debug)]
enum Kind {
    /// This many bytes are missing.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    Ended,
}

impl BodyDecoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) | Framing::Interim | Framing::Upgrade => Kind::Ended,
            Framing::Length(length) => Kind::Length(length),
            Framing::Chunked => Kind::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => Kind::UntilClose,
        })
    }

    /// Takes the next frame off `input`; `None` if the body has ended or needs more input, of which none is
    /// left then. What follows the body is left in `input`.
    pub(super) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, ParseError> {
        let frame = match &mut self.0 {
            Kind::Ended => return Ok(None),
            Kind::Chunked(decoder) => decoder.decode(input)?,
            Kind::UntilClose => take(input, u64::MAX).map(Frame::data),
            Kind::Length(missing) => {
                let data = take(input, *missing);
                *missing -= data.as_ref().map_or(0, |data| data.len() as u64);
                data.map(Frame::data)
            }
        };
        if matches!(&self.0, Kind::Length(0)) || matches!(&self.0, Kind::Chunked(body) if body.has_ended()) {
            self.0 = Kind::Ended;
        }
        Ok(frame)
    }

    /// Records that the connection was closed. Returns whether the body was received to its end.
    pub(super) fn close(&mut self) -> bool {
        let is_complete = matches!(self.0, Kind::UntilClose | Kind::Ended);
        self.0 = Kind::Ended;
        is_complete
    }

    /// Whether all of the body was returned.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.0, Kind::Ended)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.0 {
            Kind::Length(missing) => SizeHint::with_exact(missing),
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Chunked(_) | Kind::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_known_length_ends_with_its_last_byte() {
        let mut body = BodyDecoder::new(Framing::Length(5));
        let mut input = Bytes::from_static(b"abc");
        assert_eq!(body.decode(&mut input).unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(body.decode(&mut input).unwrap().is_none() && !body.has_ended());
        assert_eq!(body.size_hint().exact(), Some(2));
        input = Bytes::from_static(b"deHTTP");
        assert_eq!(body.decode(&mut input).unwrap().unwrap().into_data().unwrap(), "de");
        assert!(body.has_ended() && body.decode(&mut input).unwrap().is_none());
        assert_eq!(input, "HTTP");
    }

    #[test]
    fn only_a_body_without_length_ends_with_the_connection() {
        for (framing, is_complete) in [
            (Framing::Length(5), false),
            (Framing::Chunked, false),
            (Framing::UntilClose, true),
            (Framing::Length(0), true),
        ] {
            let mut body = BodyDecoder::new(framing);
            assert_eq!(body.close(), is_complete, "{framing:?}");
            assert!(body.has_ended());
        }
    }
}
