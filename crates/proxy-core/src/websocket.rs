//! WebSocket framing (RFC 6455 §5.2), as far as it takes to distinguish data frames from control frames.

/// Reads frame headers from a stream of bytes that arrives in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// Bytes of the payload that have not arrived yet.
    payload: u64,
    /// The header that is being read, of which `header_read` bytes have arrived.
    header: [u8; 14],
    header_read: usize,
}

impl FrameReader {
    /// Reads the next bytes. Returns whether any of them belong to a data frame (opcode below 8).
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut data = false;
        loop {
            if self.payload > 0 {
                data |= self.is_data();
                let skip = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skip..];
                self.payload -= skip as u64;
                if self.payload > 0 || bytes.is_empty() {
                    if self.payload == 0 {
                        self.header_read = 0;
                    }
                    return data;
                }
                self.header_read = 0;
            }
            let Some((&first, rest)) = bytes.split_first() else { return data };
            self.header[self.header_read] = first;
            self.header_read += 1;
            bytes = rest;
            if self.header_read == self.header_len() {
                data |= self.is_data();
                self.payload = self.payload_len();
                if self.payload == 0 {
                    self.header_read = 0;
                }
            }
        }
    }

    /// Whether no frame is under way.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.payload == 0 && self.header_read == 0
    }

    fn is_data(&self) -> bool {
        self.header[0] & 0x0f < 8
    }

    fn header_len(&self) -> usize {
        if self.header_read < 2 {
            return self.header.len();
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn payload_len(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FrameReader;

    const OPCODES: [u8; 6] = [0, 1, 2, 8, 9, 10];

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            middle @ 126..65536 => {
                frame.push(0x80 | 126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_control_frame_is_not_data() {
        let mut reader = FrameReader::default();
        assert!(!reader.read(&frame(0xa, b"beat")));
        assert!(reader.read(&frame(0x1, b"ls\n")));
        assert!(!reader.read(&frame(0x9, b"")));
        assert!(reader.read(&frame(0x2, b"")));
    }

    proptest! {
        #[test]
        fn data_frames_are_recognised_however_the_bytes_are_split(
            frames in prop::collection::vec((prop::sample::select(&OPCODES), 0usize..70_000), 1..6),
            piece_size in 1usize..5_000,
        ) {
            let mut reader = FrameReader::default();
            for (opcode, length) in frames {
                let bytes = frame(opcode, &vec![7; length]);
                let data = bytes.chunks(piece_size).fold(false, |data, piece| reader.read(piece) | data);
                prop_assert_eq!(data, opcode < 8);
                prop_assert!(reader.is_between_frames());
                reader.read(&bytes[..bytes.len() - 1]);
                prop_assert!(!reader.is_between_frames());
                reader.read(&bytes[bytes.len() - 1..]);
            }
        }
    }
}
