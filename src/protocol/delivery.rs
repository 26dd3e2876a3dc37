//! Frames in order become messages and exact losses. Layer: protocol. One per session, owned by
//! the poller that receives it.
//!
//! Every publisher numbers its messages. A jump in the numbers is the exact count of messages that
//! were lost, reported before the next message is delivered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::assemble::{Assembler, Progress};
use crate::id::TopicHash;
use crate::wire::frame::{Fragment, Frame, FrameHeader, FrameKind};

/// Publishers of one session that are followed at a time: publishers come and go, and forged indices
/// must not take memory without bound.
const MAX_PUBLISHERS: usize = 65_536;

/// Takes what a session delivers.
pub(crate) trait Sink {
    /// A whole message, request or response, in order.
    fn deliver(&mut self, arrival: Arrival<'_>);
    /// Messages that will never come.
    fn lost(&mut self, loss: Loss);
    /// Whether frames still are what they were when they were read. Memory that others write may have
    /// been used again meanwhile.
    #[inline]
    fn is_intact(&self) -> bool {
        true
    }
}

/// Something that a publisher sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) kind: FrameKind,
    /// Index of the publisher within its session.
    pub(crate) publisher: u32,
    pub(crate) topic: TopicHash,
    pub(crate) sequence: u64,
    pub(crate) body: &'a [u8],
}

/// How many messages of a publisher are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) publisher: u32,
    pub(crate) topic: TopicHash,
    pub(crate) messages: u64,
}

/// What [`Delivery::handle_frame`] could not use; counted by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Seen before.
    Duplicate,
    /// Part of a message whose other parts are missing.
    Orphan,
    /// Larger than this receiver accepts.
    TooLarge,
    /// Not what was sent any more: [`Sink::is_intact`] says so. Nothing that follows is.
    Overwritten,
}

/// Follows the publishers of one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    publishers: Vec<Publisher>,
    by_index: HashMap<u32, u32, BuildHasherDefault<IndexHasher>>,
    /// The publisher of the frame before: mostly the one of the next frame, too.
    last: usize,
    /// Number of the first message of a publisher that was not heard before; zero when that is not
    /// known.
    first: u64,
    max_message_bytes: usize,
}

#[derive(Debug)]
struct Publisher {
    index: u32,
    /// Number of the next message; zero when any may come.
    expected: u64,
    /// What that was when nothing had been heard.
    joined: u64,
    assembler: Assembler,
}

impl Delivery {
    /// Messages above `max_message_bytes` are refused.
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self {
            publishers: Vec::new(),
            by_index: HashMap::default(),
            last: 0,
            first: 0,
            max_message_bytes,
        }
    }

    /// Everything from the session's first packet on is meant for this receiver: publishers that it
    /// has not heard yet begin with their message 1, and what is missing before is lost.
    pub(crate) fn expect_all(&mut self) {
        self.expect_from(1);
    }

    /// The same from another message on, in a session that has one publisher. Zero when it is not known
    /// which.
    pub(crate) fn expect_from(&mut self, first: u64) {
        self.first = first;
        // Only parts of messages have come from those.
        for publisher in self.publishers.iter_mut().filter(|publisher| publisher.expected == 0) {
            publisher.expected = first;
            publisher.joined = first;
        }
    }

    /// Lets go of messages of which only a part has come.
    pub(crate) fn drop_parts(&mut self) {
        for publisher in &mut self.publishers {
            publisher.assembler = Assembler::default();
        }
    }

    /// Delivers the message that this frame completes, if it does, after reporting what is missing
    /// before it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the frame is of no use.
    #[inline]
    pub(crate) fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let header = &frame.header;
        if header.kind == FrameKind::Padding || header.kind == FrameKind::End {
            return Ok(());
        }
        let Some(fragment) = frame.fragment else {
            return self.handle_whole(header, frame.body, sink);
        };
        let limit = self.max_message_bytes;
        let publisher = self.publisher(header.publisher);
        if header.sequence < publisher.expected {
            publisher.step_back(header, fragment.offset == 0)?;
        }
        publisher.handle_fragment(header, fragment, frame.body, limit, sink)
    }

    /// The same of a frame that carries a whole message, request or response.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the frame is of no use.
    #[inline(always)]
    pub(crate) fn handle_whole(
        &mut self,
        header: &FrameHeader,
        body: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        if !self.take_next(header) {
            self.publisher(header.publisher).jump(header, sink)?;
        }
        sink.deliver(arrival(header, body));
        Ok(())
    }

    /// Takes a whole message that is the next one of the publisher of the frame before, and is to be delivered
    /// then. False of any other.
    #[inline(always)]
    pub(crate) fn take_next(&mut self, header: &FrameHeader) -> bool {
        match self.publishers.get_mut(self.last) {
            Some(last) if (last.index, last.expected) == (header.publisher, header.sequence) => {
                last.expected += 1;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn publisher(&mut self, index: u32) -> &mut Publisher {
        let hit = self.publishers.get(self.last).is_some_and(|last| last.index == index);
        if !hit {
            self.last = self.find(index);
        }
        &mut self.publishers[self.last]
    }

    #[cold]
    fn find(&mut self, index: u32) -> usize {
        if let Some(at) = self.by_index.get(&index) {
            return *at as usize;
        }
        if self.publishers.len() >= MAX_PUBLISHERS {
            // Whoever is still there is met like a late joiner meets it: nothing false is reported.
            self.publishers.clear();
            self.by_index.clear();
            self.first = 0;
        }
        let at = self.publishers.len();
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PUBLISHERS")]
        self.by_index.insert(index, at as u32);
        let (expected, joined) = (self.first, self.first);
        self.publishers.push(Publisher {
            index,
            expected,
            joined,
            assembler: Assembler::default(),
        });
        at
    }
}

impl Publisher {
    /// Who joins in the middle of a message does without it, unless its sender gives up in the middle
    /// and sends it again under the same number.
    #[cold]
    fn step_back(&mut self, header: &FrameHeader, begins: bool) -> Result<(), Refusal> {
        let sequence = header.sequence;
        if !begins || self.expected != self.joined || sequence + 1 != self.joined {
            return Err(Refusal::Duplicate);
        }
        self.expected = sequence;
        Ok(())
    }

    /// Takes a whole message that need not be the next one.
    #[inline(never)]
    fn jump(&mut self, header: &FrameHeader, sink: &mut impl Sink) -> Result<(), Refusal> {
        if header.sequence < self.expected {
            self.step_back(header, true)?;
        }
        self.advance(header, sink)
    }

    /// Apart, so that the way of whole messages is short.
    #[inline(never)]
    fn handle_fragment(
        &mut self,
        header: &FrameHeader,
        fragment: Fragment,
        part: &[u8],
        limit: usize,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        match self.assembler.push(header.sequence, fragment, part, limit) {
            Progress::Partial => Ok(()),
            Progress::OutOfPlace => Err(Refusal::Orphan),
            Progress::TooLarge => Err(Refusal::TooLarge),
            // Of what was copied since it was looked at last.
            Progress::Complete if !sink.is_intact() => Err(Refusal::Overwritten),
            Progress::Complete => {
                self.advance(header, sink)?;
                sink.deliver(arrival(header, self.assembler.message()));
                self.assembler.recycle();
                Ok(())
            }
        }
    }

    /// Reports what lies between the last message and this one. To a late joiner the first message
    /// of a publisher only sets the count: nobody knows what came before the start.
    #[inline]
    fn advance(&mut self, header: &FrameHeader, sink: &mut impl Sink) -> Result<(), Refusal> {
        let sequence = header.sequence;
        if self.expected != 0 && sequence > self.expected {
            sink.lost(Loss {
                publisher: self.index,
                topic: header.topic,
                messages: sequence - self.expected,
            });
            self.expected = sequence;
            // Who was told may have taken longer than the memory waits.
            if !sink.is_intact() {
                return Err(Refusal::Overwritten);
            }
        }
        self.expected = sequence.saturating_add(1);
        Ok(())
    }
}

#[inline]
pub(crate) fn arrival<'a>(header: &FrameHeader, body: &'a [u8]) -> Arrival<'a> {
    Arrival {
        kind: header.kind,
        publisher: header.publisher,
        topic: header.topic,
        sequence: header.sequence,
        body,
    }
}

/// Publisher indices are small consecutive numbers: they are their own hash.
#[derive(Debug, Default)]
pub(crate) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests;
