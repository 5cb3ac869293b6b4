//! Decodes a chunked body (RFC 9112 §7.1).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::{error::ParseError, head::MAX_HEADERS, receive::take};

/// The most bytes that one chunk's extensions, or all trailers, may have.
const MAX_EXTENSIONS: u16 = 4 * 1024;
const MAX_TRAILERS: usize = 16 * 1024;
/// The most digits of a chunk's size; zeros that lead count.
const MAX_DIGITS: u8 = 16;

#[derive(Debug, Default)]
pub(super) struct ChunkedDecoder {
    state: State,
    /// How much of the chunk is missing.
    missing: u64,
    /// The trailers received so far.
    trailers: Vec<u8>,
    /// What is malformed after the data that was returned last.
    error: Option<ParseError>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After this many digits.
    Size(u8),
    Space,
    /// After this many bytes of extensions.
    Extension(u16),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of trailers, or of the empty one that ends them.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    /// The trailers are still to be returned.
    Trailers,
    Ended,
}

impl ChunkedDecoder {
    /// Takes the next frame off `input`; `None` if the body has ended or needs more input.
    pub(super) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, ParseError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.skip(input)?;
        if self.state == State::Trailers {
            self.state = State::Ended;
            return parse_trailers(&self.trailers).map(|fields| Some(Frame::trailers(fields)));
        }
        if self.state != State::Data {
            return Ok(None);
        }
        let Some(data) = take(input, self.missing) else { return Ok(None) };
        self.missing -= data.len() as u64;
        if self.missing == 0 {
            self.state = State::DataCr;
            // So that the end of the body is known with its last data.
            self.error = self.skip(input).err();
        }
        Ok(Some(Frame::data(data)))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Consumes everything but data.
    fn skip(&mut self, input: &mut Bytes) -> Result<(), ParseError> {
        let mut length = 0_u64;
        for &byte in &**input {
            if matches!(self.state, State::Data | State::Trailers | State::Ended) {
                break;
            }
            self.state = self.step(byte)?;
            length += 1;
        }
        // Not `advance`, which would keep the buffer of an input that is used up.
        let _skipped = take(input, length);
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<State, ParseError> {
        use State::{
            Data, DataCr, DataLf, EndLf, Ended, Extension, Size, SizeLf, Space, Start, Trailer, TrailerLf,
            TrailerStart, Trailers,
        };
        Ok(match (self.state, byte) {
            (Start, _) => {
                self.missing = digit(byte).ok_or(ParseError::Chunk)?;
                Size(1)
            }
            (Size(_) | Space, b'\r') | (Extension(_), b'\r') => SizeLf,
            (Size(_) | Space, b' ' | b'\t') => Space,
            (Size(_) | Space, b';') => Extension(0),
            (Size(count), _) if count < MAX_DIGITS => {
                self.missing = self.missing << 4 | digit(byte).ok_or(ParseError::Chunk)?;
                Size(count + 1)
            }
            // Some programs take it for the end of the line.
            (Extension(_), b'\n') => return Err(ParseError::Chunk),
            (Extension(count), _) if count < MAX_EXTENSIONS => Extension(count + 1),
            (Extension(_), _) => return Err(ParseError::ChunkExtensions),
            (SizeLf, b'\n') if self.missing > 0 => Data,
            (SizeLf, b'\n') => TrailerStart,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Start,
            (TrailerStart, b'\r') => {
                self.push(byte)?;
                EndLf
            }
            (EndLf, b'\n') if self.trailers.len() == 1 => Ended,
            (EndLf, b'\n') => {
                self.push(byte)?;
                Trailers
            }
            (TrailerLf, b'\n') => {
                self.push(byte)?;
                TrailerStart
            }
            // The parser would take it for the end of the line.
            (TrailerStart | Trailer, b'\n') => return Err(ParseError::Chunk),
            (TrailerStart | Trailer, _) => {
                self.push(byte)?;
                if byte == b'\r' { TrailerLf } else { Trailer }
            }
            _ => return Err(ParseError::Chunk),
        })
    }

    fn push(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.trailers.len() >= MAX_TRAILERS {
            return Err(ParseError::TrailersTooLarge);
        }
        self.trailers.push(byte);
        Ok(())
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, ParseError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parsed = match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((length, parsed))) if length == bytes.len() => parsed,
        Ok(_) => return Err(ParseError::Trailers(httparse::Error::NewLine)),
        Err(error) => return Err(ParseError::Trailers(error)),
    };
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for line in parsed {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| ParseError::Header)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| ParseError::Header)?;
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
