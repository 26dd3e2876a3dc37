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
    /// Its lengths contradict each other.
    Malformed,
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
        let publisher = self.publisher(header.publisher);
        if header.sequence < publisher.expected {
            publisher.step_back(header, true)?;
        }
        publisher.advance(header, sink)?;
        sink.deliver(arrival(header, body));
        Ok(())
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
fn arrival<'a>(header: &FrameHeader, body: &'a [u8]) -> Arrival<'a> {
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
mod tests {
    use super::*;
    use crate::wire::frame::{FLAG_BEGIN, FLAG_END, FLAG_WHOLE};

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Sink for Log {
        fn deliver(&mut self, arrival: Arrival<'_>) {
            let body = String::from_utf8_lossy(arrival.body);
            self.0.push(format!("{}.{}:{body}", arrival.publisher, arrival.sequence));
        }

        fn lost(&mut self, loss: Loss) {
            self.0.push(format!("{} lost {}", loss.publisher, loss.messages));
        }
    }

    fn frame(publisher: u32, sequence: u64, fragment: Option<Fragment>, body: &[u8]) -> Frame<'_> {
        let mut flags = FLAG_WHOLE;
        if let Some(Fragment { total, offset }) = fragment {
            flags = 0;
            flags |= if offset == 0 { FLAG_BEGIN } else { 0 };
            flags |= if offset as usize + body.len() == total as usize { FLAG_END } else { 0 };
        }
        let header = FrameHeader {
            kind: FrameKind::Message,
            flags,
            publisher,
            topic: TopicHash(9),
            sequence,
        };
        Frame { header, fragment, body }
    }

    fn part(total: u32, offset: u32) -> Option<Fragment> {
        Some(Fragment { total, offset })
    }

    #[test]
    fn losses_are_exact_per_publisher_and_come_first() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        for (publisher, sequence) in [(0, 5), (1, 1), (0, 6), (0, 10), (1, 2), (1, 4)] {
            delivery.handle_frame(&frame(publisher, sequence, None, b"m"), &mut log).unwrap();
        }
        let expected =
            ["0.5:m", "1.1:m", "0.6:m", "0 lost 3", "0.10:m", "1.2:m", "1 lost 1", "1.4:m"];
        assert_eq!(log.0, expected);
    }

    #[test]
    fn duplicates_are_refused_and_do_not_move_the_count() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        for sequence in [3, 4] {
            delivery.handle_frame(&frame(0, sequence, None, b""), &mut log).unwrap();
        }
        assert_eq!(
            delivery.handle_frame(&frame(0, 3, None, b""), &mut log),
            Err(Refusal::Duplicate)
        );
        delivery.handle_frame(&frame(0, 5, None, b""), &mut log).unwrap();
        assert_eq!(log.0, ["0.3:", "0.4:", "0.5:"]);
    }

    #[test]
    fn a_message_with_a_missing_part_is_one_loss() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        delivery.handle_frame(&frame(0, 1, None, b"a"), &mut log).unwrap();
        delivery.handle_frame(&frame(0, 2, part(6, 0), b"12"), &mut log).unwrap();
        let missing_middle = frame(0, 2, part(6, 4), b"56");
        assert_eq!(delivery.handle_frame(&missing_middle, &mut log), Err(Refusal::Orphan));
        delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
        assert_eq!(log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
    }

    #[test]
    fn parts_of_two_publishers_may_alternate() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        delivery.handle_frame(&frame(0, 1, part(4, 0), b"ab"), &mut log).unwrap();
        delivery.handle_frame(&frame(1, 1, part(4, 0), b"AB"), &mut log).unwrap();
        delivery.handle_frame(&frame(0, 1, part(4, 2), b"cd"), &mut log).unwrap();
        delivery.handle_frame(&frame(1, 1, part(4, 2), b"CD"), &mut log).unwrap();
        assert_eq!(log.0, ["0.1:abcd", "1.1:ABCD"]);
    }

    #[test]
    fn a_late_joiner_in_the_middle_of_a_message_reports_nothing() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        let tail = frame(0, 7, part(4, 2), b"cd");
        assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Orphan));
        delivery.handle_frame(&frame(0, 8, None, b"x"), &mut log).unwrap();
        assert_eq!(log.0, ["0.8:x"]);
    }

    #[test]
    fn who_is_owed_everything_is_told_what_is_missing_before_the_first_message() {
        let (mut delivery, mut log) = (Delivery::new(100), Log::default());
        delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
        let tail = frame(3, 1, part(4, 2), b"cd");
        assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Orphan));
        delivery.expect_all();
        for (publisher, sequence) in [(0, 4), (1, 1), (2, 4), (3, 2)] {
            delivery.handle_frame(&frame(publisher, sequence, None, b"m"), &mut log).unwrap();
        }
        let expected = ["0.3:c", "0.4:m", "1.1:m", "2 lost 3", "2.4:m", "3 lost 1", "3.2:m"];
        assert_eq!(log.0, expected);
    }

    #[test]
    fn who_joined_in_the_middle_is_owed_what_follows_and_what_is_begun_again() {
        for is_begun_again in [false, true] {
            let (mut delivery, mut log) = (Delivery::new(100), Log::default());
            delivery.expect_from(8);
            let tail = frame(0, 7, part(4, 2), b"cd");
            assert_eq!(delivery.handle_frame(&tail, &mut log), Err(Refusal::Duplicate));
            if is_begun_again {
                delivery.handle_frame(&frame(0, 7, part(4, 0), b"ab"), &mut log).unwrap();
                delivery.handle_frame(&tail, &mut log).unwrap();
                assert_eq!(log.0, ["0.7:abcd"]);
                log.0.clear();
            }
            delivery.handle_frame(&frame(0, 9, None, b"x"), &mut log).unwrap();
            let again = delivery.handle_frame(&frame(0, 7, None, b"abcd"), &mut log);
            assert_eq!(again, Err(Refusal::Duplicate));
            assert_eq!(log.0, ["0 lost 1", "0.9:x"]);
        }
    }

    /// What it is read from lasts until so many losses have been told; then it is overwritten.
    struct Overwritten {
        log: Log,
        after_losses: usize,
    }

    impl Sink for Overwritten {
        fn deliver(&mut self, arrival: Arrival<'_>) {
            self.log.deliver(arrival);
        }

        fn lost(&mut self, loss: Loss) {
            self.log.lost(loss);
        }

        fn is_intact(&self) -> bool {
            self.log.0.iter().filter(|entry| entry.contains("lost")).count() < self.after_losses
        }
    }

    #[test]
    fn what_is_overwritten_while_a_loss_is_told_is_lost_too() {
        let mut delivery = Delivery::new(100);
        let mut sink = Overwritten { log: Log::default(), after_losses: 1 };
        delivery.handle_frame(&frame(0, 1, None, b"a"), &mut sink).unwrap();
        let next = delivery.handle_frame(&frame(0, 4, None, b"?"), &mut sink);
        assert_eq!(next, Err(Refusal::Overwritten));
        sink.after_losses = usize::MAX;
        delivery.handle_frame(&frame(0, 6, None, b"f"), &mut sink).unwrap();
        assert_eq!(sink.log.0, ["0.1:a", "0 lost 2", "0 lost 2", "0.6:f"]);
    }

    #[test]
    fn a_message_that_was_overwritten_before_its_last_part_is_lost() {
        let mut delivery = Delivery::new(100);
        let mut sink = Overwritten { log: Log::default(), after_losses: usize::MAX };
        delivery.handle_frame(&frame(0, 1, None, b"a"), &mut sink).unwrap();
        delivery.handle_frame(&frame(0, 2, part(4, 0), b"ab"), &mut sink).unwrap();
        sink.after_losses = 0;
        let last = delivery.handle_frame(&frame(0, 2, part(4, 2), b"??"), &mut sink);
        assert_eq!(last, Err(Refusal::Overwritten));
        sink.after_losses = usize::MAX;
        delivery.drop_parts();
        delivery.handle_frame(&frame(0, 3, None, b"c"), &mut sink).unwrap();
        assert_eq!(sink.log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
    }

    #[test]
    fn what_is_too_large_becomes_a_loss() {
        let (mut delivery, mut log) = (Delivery::new(3), Log::default());
        delivery.handle_frame(&frame(0, 1, None, b"a"), &mut log).unwrap();
        let large = frame(0, 2, part(4, 0), b"ab");
        assert_eq!(delivery.handle_frame(&large, &mut log), Err(Refusal::TooLarge));
        delivery.handle_frame(&frame(0, 3, None, b"c"), &mut log).unwrap();
        assert_eq!(log.0, ["0.1:a", "0 lost 1", "0.3:c"]);
    }
}
