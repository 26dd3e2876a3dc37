//! The frame: one message, or one fragment of a message, inside a packet. Layer: wire.
//!
//! Frames start at eight-byte boundaries. The first eight bytes of a frame are its commit word:
//! in a shared ring the writer stores them last, so a reader that sees a non-zero word sees the
//! whole frame.

use super::WireError;
use super::packet::{MAX_SEQUENCE, u16_at, u32_at, u64_at};
use crate::id::{InstanceId, RequestId, TopicHash};
use crate::wire::locator::{LOCATOR_LENGTH, Locator};

/// Bytes of a frame before its body, or before its fragment extension.
pub(crate) const FRAME_HEADER_LENGTH: usize = 24;
/// Additional bytes of a frame that carries only a part of its message.
pub(crate) const FRAGMENT_LENGTH: usize = 8;
/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGNMENT: usize = 8;

/// First fragment of a message.
pub(crate) const FLAG_BEGIN: u8 = 1;
/// Last fragment of a message.
pub(crate) const FLAG_END: u8 = 2;
/// A frame that carries a whole message.
pub(crate) const FLAG_WHOLE: u8 = FLAG_BEGIN | FLAG_END;

/// In the header.
pub(crate) const TOPIC_AT: usize = 8;
pub(crate) const SEQUENCE_AT: usize = 16;
/// In the fragment extension.
const TOTAL_AT: usize = 0;
const OFFSET_AT: usize = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum FrameKind {
    /// A message.
    Message = 1,
    /// A request.
    Request = 2,
    /// A response.
    Response = 3,
    /// A claim that was given up: skipped by readers.
    Padding = 254,
    /// Nothing follows in this packet. Occurs in shared rings only, where no length is sent.
    End = 255,
}

impl FrameKind {
    /// As `docs/wire-protocol.md` and Wireshark call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Request => "request",
            Self::Response => "response",
            Self::Padding => "padding",
            Self::End => "end",
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Message,
            2 => Self::Request,
            3 => Self::Response,
            254 => Self::Padding,
            255 => Self::End,
            _ => return None,
        })
    }
}

/// The fields of a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    /// Index of the publisher within its session.
    pub(crate) publisher: u32,
    pub(crate) topic: TopicHash,
    /// Number of the message among those of its publisher, from 1.
    pub(crate) sequence: u64,
}

impl FrameHeader {
    /// Whether the frame carries a whole message.
    #[inline]
    pub(crate) const fn is_whole(&self) -> bool {
        self.flags & FLAG_WHOLE == FLAG_WHOLE
    }

    /// Reads the header of a frame, of which `bytes` need not have more.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Malformed`.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() < FRAME_HEADER_LENGTH {
            return Err(WireError::Truncated { what: "frame header" });
        }
        let kind =
            FrameKind::from_byte(bytes[2]).ok_or(WireError::Malformed { what: "frame kind" })?;
        let header = Self {
            kind,
            flags: bytes[3],
            publisher: u32_at(bytes, 4),
            topic: TopicHash(u64_at(bytes, TOPIC_AT)),
            sequence: u64_at(bytes, SEQUENCE_AT),
        };
        if header.sequence > MAX_SEQUENCE {
            return Err(WireError::Malformed { what: "message sequence" });
        }
        Ok(header)
    }
}

/// The header of a frame in the words that it is made of, as they are copied from memory that others write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderWords {
    pub(crate) commit: u64,
    pub(crate) topic: u64,
    pub(crate) sequence: u64,
}

impl HeaderWords {
    /// The header, if the frame carries a whole message, as most do. None of any other: that takes longer to
    /// tell.
    #[inline]
    pub(crate) fn whole_message(self) -> Option<FrameHeader> {
        const WHOLE_MESSAGE: u64 = commit_word(0, FrameKind::Message, FLAG_WHOLE, 0) >> 16;
        let is_such = (self.commit >> 16) & 0xffff == WHOLE_MESSAGE;
        let header = FrameHeader {
            kind: FrameKind::Message,
            flags: FLAG_WHOLE,
            publisher: (self.commit >> 32) as u32,
            topic: TopicHash(self.topic),
            sequence: self.sequence,
        };
        (is_such && header.sequence <= MAX_SEQUENCE).then_some(header)
    }

    /// Reads the header of any frame.
    ///
    /// # Errors
    ///
    /// `Malformed`.
    pub(crate) fn decode(self) -> Result<FrameHeader, WireError> {
        let mut bytes = [0; FRAME_HEADER_LENGTH];
        bytes[..TOPIC_AT].copy_from_slice(&self.commit.to_le_bytes());
        bytes[TOPIC_AT..SEQUENCE_AT].copy_from_slice(&self.topic.to_le_bytes());
        bytes[SEQUENCE_AT..].copy_from_slice(&self.sequence.to_le_bytes());
        FrameHeader::decode(&bytes)
    }
}

/// The frame's first eight bytes: length, kind, flags, publisher.
#[inline]
pub(crate) const fn commit_word(length: u16, kind: FrameKind, flags: u8, publisher: u32) -> u64 {
    length as u64 | (kind as u64) << 16 | (flags as u64) << 24 | (publisher as u64) << 32
}

/// Length of a frame as its commit word tells it, header included, without padding to alignment.
#[inline]
pub(crate) const fn committed_length(word: u64) -> usize {
    (word & 0xffff) as usize
}

/// Whether a commit word says that the rest of the packet is unused.
#[inline]
pub(crate) const fn is_end(word: u64) -> bool {
    (word >> 16) & 0xff == FrameKind::End as u64
}

/// Rounds up to the next frame boundary.
#[inline]
pub(crate) const fn align(length: usize) -> usize {
    (length + FRAME_ALIGNMENT - 1) & !(FRAME_ALIGNMENT - 1)
}

/// One frame of a packet, checked: its lengths are consistent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    /// Where this part belongs in its message; `None` when it is the whole message.
    pub(crate) fragment: Option<Fragment>,
    pub(crate) body: &'a [u8],
}

/// Position of a fragment in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fragment {
    /// Bytes of the whole body.
    pub total: u32,
    /// Where this part belongs in it.
    pub offset: u32,
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` holds exactly: header, extension and body, no padding.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Malformed`; the rest of the packet cannot be read then.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let header = FrameHeader::decode(bytes)?;
        Self::behind(header, &bytes[FRAME_HEADER_LENGTH..])
    }

    /// The frame whose header has been read, and is followed by `rest`.
    ///
    /// # Errors
    ///
    /// As [`Frame::decode`].
    #[inline]
    pub(crate) fn behind(header: FrameHeader, rest: &'a [u8]) -> Result<Self, WireError> {
        let flags = header.flags;
        if header.is_whole() {
            return Ok(Self { header, fragment: None, body: rest });
        }
        if rest.len() < FRAGMENT_LENGTH {
            return Err(WireError::Truncated { what: "fragment" });
        }
        let fragment = Fragment { total: u32_at(rest, TOTAL_AT), offset: u32_at(rest, OFFSET_AT) };
        let body = &rest[FRAGMENT_LENGTH..];
        let end = u64::from(fragment.offset) + body.len() as u64;
        if end > u64::from(fragment.total)
            || (flags & FLAG_END != 0) != (end == u64::from(fragment.total))
            || (flags & FLAG_BEGIN != 0) != (fragment.offset == 0)
        {
            return Err(WireError::Malformed { what: "fragment position" });
        }
        Ok(Self { header, fragment: Some(fragment), body })
    }
}

/// The frames of a received packet, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// `bytes` are what follows the packet header.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        if rest.len() < FRAME_HEADER_LENGTH {
            return Some(Err(WireError::Truncated { what: "frame header" }));
        }
        let length = usize::from(u16_at(rest, 0));
        if length < FRAME_HEADER_LENGTH || length > rest.len() {
            return Some(Err(WireError::Malformed { what: "frame length" }));
        }
        let frame = Frame::decode(&rest[..length]);
        if frame.is_ok() {
            self.rest = rest.get(align(length)..).unwrap_or_default();
        }
        Some(frame)
    }
}

/// Bytes before the user's payload in the body of a request.
pub(crate) const REQUEST_PREFIX_LENGTH: usize = 16 + LOCATOR_LENGTH;
/// Bytes before the user's payload in the body of a response.
pub(crate) const RESPONSE_PREFIX_LENGTH: usize = 24;

/// What stands before the payload of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestPrefix {
    pub(crate) request: RequestId,
    /// Time the requester waits, from when it sent the request; a duration, never an instant.
    pub(crate) timeout_ns: u64,
    /// Where the responses go, so that a responder that has not discovered the requester answers.
    pub(crate) reply_to: Locator,
}

impl RequestPrefix {
    pub(crate) fn encode(&self) -> [u8; REQUEST_PREFIX_LENGTH] {
        let mut bytes = [0; REQUEST_PREFIX_LENGTH];
        bytes[..8].copy_from_slice(&self.request.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.timeout_ns.to_le_bytes());
        bytes[16..].copy_from_slice(&self.reply_to.encode());
        bytes
    }

    /// Splits the body of a request frame into prefix and payload.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Malformed`.
    pub(crate) fn decode(body: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let Some((head, payload)) = body.split_first_chunk::<REQUEST_PREFIX_LENGTH>() else {
            return Err(WireError::Truncated { what: "request" });
        };
        let prefix = Self {
            request: RequestId(u64_at(head, 0)),
            timeout_ns: u64_at(head, 8),
            reply_to: Locator::decode(&head[16..])?,
        };
        Ok((prefix, payload))
    }
}

/// What stands before the payload of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponsePrefix {
    pub(crate) request: RequestId,
    /// Who asked: a response that reaches another instance's socket is dropped there.
    pub(crate) requester: InstanceId,
}

impl ResponsePrefix {
    pub(crate) fn encode(&self) -> [u8; RESPONSE_PREFIX_LENGTH] {
        let mut bytes = [0; RESPONSE_PREFIX_LENGTH];
        bytes[..8].copy_from_slice(&self.request.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.requester.to_bytes());
        bytes
    }

    /// Splits the body of a response frame into prefix and payload.
    ///
    /// # Errors
    ///
    /// `Truncated`.
    pub(crate) fn decode(body: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let Some((head, payload)) = body.split_first_chunk::<RESPONSE_PREFIX_LENGTH>() else {
            return Err(WireError::Truncated { what: "response" });
        };
        let mut requester = [0; 16];
        requester.copy_from_slice(&head[8..]);
        let prefix = Self {
            request: RequestId(u64_at(head, 0)),
            requester: InstanceId::from_bytes(requester),
        };
        Ok((prefix, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(header: FrameHeader, fragment: Option<Fragment>, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER_LENGTH];
        bytes[8..16].copy_from_slice(&header.topic.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.sequence.to_le_bytes());
        if let Some(fragment) = fragment {
            bytes.extend_from_slice(&fragment.total.to_le_bytes());
            bytes.extend_from_slice(&fragment.offset.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        let length = u16::try_from(bytes.len()).unwrap();
        let word = commit_word(length, header.kind, header.flags, header.publisher);
        bytes[..8].copy_from_slice(&word.to_le_bytes());
        bytes
    }

    const HEADER: FrameHeader = FrameHeader {
        kind: FrameKind::Message,
        flags: FLAG_WHOLE,
        publisher: 0x0a0b_0c0d,
        topic: TopicHash(0x1112_1314_1516_1718),
        sequence: 3,
    };

    /// `docs/wire-protocol.md`, "Frame".
    #[test]
    fn golden_bytes_of_a_frame() {
        let bytes = frame(HEADER, None, b"hi");
        let expected = [
            26, 0, 1, 3, 0x0d, 0x0c, 0x0b, 0x0a, // length, kind, flags, publisher
            0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, // topic
            3, 0, 0, 0, 0, 0, 0, 0, // sequence
            b'h', b'i',
        ];
        assert_eq!(bytes, expected);
        let read = Frame::decode(&bytes).unwrap();
        assert_eq!((read.header, read.body, read.fragment), (HEADER, &b"hi"[..], None));
    }

    /// `docs/wire-protocol.md`, "Request" and "Response".
    #[test]
    fn golden_bytes_of_request_and_response() {
        let request = RequestPrefix {
            request: RequestId(0x0102),
            timeout_ns: 500,
            reply_to: Locator { address: "127.0.0.1:1".parse().unwrap(), stream: 3 },
        };
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0, 0, 0xf4, 1, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[4, 0, 1, 0, 3, 0, 0, 0, 127, 0, 0, 1]);
        expected.extend_from_slice(&[0; 12]);
        assert_eq!(request.encode().to_vec(), expected);
        expected.extend_from_slice(b"body");
        assert_eq!(RequestPrefix::decode(&expected), Ok((request, &b"body"[..])));

        let response = ResponsePrefix {
            request: RequestId(5),
            requester: InstanceId::from_bytes(*b"0123456789abcdef"),
        };
        let mut expected = vec![5, 0, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(b"0123456789abcdef");
        assert_eq!(response.encode().to_vec(), expected);
        assert_eq!(ResponsePrefix::decode(&expected), Ok((response, &b""[..])));
    }

    #[test]
    fn frames_follow_each_other_at_eight_byte_boundaries() {
        let mut packet = frame(HEADER, None, b"hi");
        packet.resize(align(packet.len()), 0);
        let part = FrameHeader { flags: FLAG_BEGIN, ..HEADER };
        packet.extend(frame(part, Some(Fragment { total: 9, offset: 0 }), b"12345678"));
        let read: Vec<_> = Frames::new(&packet).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].fragment, Some(Fragment { total: 9, offset: 0 }));
        assert_eq!(read[1].body, b"12345678");
    }

    /// Beyond the last number a receiver could not tell a message from its copy.
    #[test]
    fn numbers_that_no_publisher_reaches_are_refused() {
        let last = FrameHeader { sequence: MAX_SEQUENCE, ..HEADER };
        assert!(Frame::decode(&frame(last, None, b"")).is_ok());
        let beyond = FrameHeader { sequence: MAX_SEQUENCE + 1, ..HEADER };
        let refusal = WireError::Malformed { what: "message sequence" };
        assert_eq!(Frame::decode(&frame(beyond, None, b"")).err(), Some(refusal));
    }

    #[test]
    fn contradictory_fragments_are_refused() {
        for (flags, total, offset) in
            [(FLAG_BEGIN, 2, 0), (FLAG_END, 9, 0), (0, 9, 0), (FLAG_END, 9, u32::MAX), (0, 3, 1)]
        {
            let header = FrameHeader { flags, ..HEADER };
            let bytes = frame(header, Some(Fragment { total, offset }), b"123");
            assert!(Frame::decode(&bytes).is_err(), "{flags} {total} {offset}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_always_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Frames::new(&bytes).count() <= bytes.len() / FRAME_HEADER_LENGTH + 1);
            let _ = RequestPrefix::decode(&bytes);
            let _ = ResponsePrefix::decode(&bytes);
        }
    }
}
