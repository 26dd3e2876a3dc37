//! Where shared-memory data arrives: a ring that another process, or this one, writes. Layer: engine.
//! Owned by one poller.

mod rest;

use self::rest::Rest;
use super::dispatch::{Dispatch, DispatchSink, Origin};
use super::endpoint::EndpointId;
use crate::counters::{Counter, Counters};
use crate::id::SessionId;
use crate::protocol::delivery::{Arrival, Delivery, Loss, Refusal, Sink, arrival};
use crate::ring::read::Reader;
use crate::ring::shared::ReaderEntry;
use crate::ring::trials::Trials;
use crate::time::Clock;
use crate::transport::can_demote;
use crate::wire::frame::{Frame, FrameKind, HeaderWords};

/// Frames read from one ring before others get their turn.
const RING_BURST: usize = 256;

/// A shared ring that a topic of this poller reads.
pub(crate) struct RingEndpoint {
    entry: ReaderEntry,
    reader: Reader,
    delivery: Delivery,
    /// The body of the last request.
    request: Vec<u8>,
    origin: Origin,
    /// Packet up to which the writer knows that we have read.
    published: u64,
    publish_every: u64,
    /// Packets of one lap, and the one with which the next begins.
    lap: u64,
    lap_ends: u64,
    trials: Trials,
    rest: Rest,
    /// To be dropped once it is empty.
    closing: bool,
}

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingState {
    Idle,
    Busy,
    /// Closed, and everything in it has been read.
    Drained,
    /// The writer cut this reader off, or wrote nonsense: to be attached anew.
    Lost,
}

impl RingEndpoint {
    /// `delivery` is new, or goes on where the same session was lost.
    pub(crate) fn new(entry: ReaderEntry, reader: Reader, delivery: Delivery) -> Self {
        let description = *entry.ring().description();
        let published = reader.packet();
        let lap = description.layout.slots as u64;
        Self {
            entry,
            reader,
            delivery,
            request: Vec::new(),
            origin: Origin {
                endpoint: EndpointId::SHARED_MEMORY,
                stream: description.stream,
                instance: description.instance,
                session: description.session,
                source: None,
            },
            published,
            publish_every: (lap / 8).max(1),
            lap,
            lap_ends: published + lap,
            trials: Trials::new(description.layout.bytes(), can_demote()),
            rest: Rest::default(),
            closing: false,
        }
    }

    pub(super) const fn session(&self) -> SessionId {
        self.origin.session
    }

    /// Detaches, and keeps what is known of the session. Of messages that came in part the rest is
    /// lost, and what has come may have been overwritten before it was copied.
    pub(super) fn into_delivery(mut self) -> Delivery {
        self.delivery.drop_parts();
        self.delivery
    }

    /// Nothing more will be written: it is over once everything has been read.
    pub(super) const fn close(&mut self) {
        self.closing = true;
    }

    /// The writer is not gone after all.
    pub(super) const fn reopen(&mut self) {
        self.closing = false;
    }

    pub(super) const fn entry(&self) -> &ReaderEntry {
        &self.entry
    }

    /// Whether there is something to do now: not while a stream is let go ahead.
    #[inline]
    pub(super) fn is_due(&mut self, clock: &Clock) -> bool {
        if self.rest.is_under_way(|| clock.now()) {
            return false;
        }
        self.has_something()
    }

    /// Whether there is something to do.
    #[inline]
    pub(super) fn has_something(&self) -> bool {
        !self.reader.is_at_edge()
            || self.published != self.reader.packet()
            || self.closing
            || self.entry.is_evicted()
    }

    /// Reads what there is, if anything is; `at_once` if it was there already when it was looked for.
    #[inline(never)]
    pub(super) fn read(
        &mut self,
        at_once: bool,
        dispatch: &mut Dispatch,
        counters: &Counters,
        clock: &Clock,
    ) -> RingState {
        let Self { delivery, request, entry, origin, .. } = self;
        let read = self.reader.poll(RING_BURST, |header, rest| {
            // The writer waits neither for callbacks nor for processes that stand still for ever, and
            // then this header may be another one's, or none.
            if entry.is_evicted() {
                return false;
            }
            if let Some(header) = header.whole_message()
                && delivery.take_next(&header)
            {
                dispatch.sink(origin).deliver(arrival(&header, rest));
                return true;
            }
            let sink = RingSink { dispatch: dispatch.sink(origin), entry };
            let mut others = Others { request, delivery, sink };
            let HeaderWords { commit, topic, sequence } = header;
            if let Err(counter) = others.take(commit, topic, sequence, rest) {
                // What is refused because it was overwritten is lost, and will be told as such.
                counters.add(counter, u64::from(entry.is_intact()));
            }
            true
        });
        let Ok(frames) = read else {
            counters.add(Counter::Malformed, u64::from(self.entry.is_intact()));
            return RingState::Lost;
        };
        dispatch.flush_counts();
        if self.entry.is_evicted() {
            return RingState::Lost;
        }
        let packet = self.reader.packet();
        let told = packet - self.published >= self.publish_every
            || (frames == 0 && packet != self.published);
        if told {
            self.published = packet;
            self.entry.publish(packet);
            if packet >= self.lap_ends {
                self.finish_lap(clock);
            }
        }
        if frames == 0 {
            // Who has just told the writer how far it is has not looked in vain: to yield now would be a system call
            // for each packet, in the middle of an exchange of messages.
            return match (self.closing, told) {
                (true, _) => RingState::Drained,
                (false, true) => RingState::Busy,
                (false, false) => RingState::Idle,
            };
        }
        self.rest.handle_read(frames, at_once, || clock.now());
        RingState::Busy
    }

    #[cold]
    fn finish_lap(&mut self, clock: &Clock) {
        self.lap_ends += self.lap;
        let ways = self.trials.handle_lap(clock.now());
        self.reader.set_demoting(ways.demotes);
        self.rest.allow(ways.rests);
    }
}

/// Delivers what is in a ring as long as it is in there.
struct RingSink<'a> {
    dispatch: DispatchSink<'a>,
    entry: &'a ReaderEntry,
}

impl Sink for RingSink<'_> {
    #[inline(always)]
    fn deliver(&mut self, arrival: Arrival<'_>) {
        self.dispatch.deliver(arrival);
    }

    fn lost(&mut self, loss: Loss) {
        self.dispatch.lost(loss);
    }

    #[inline]
    fn is_intact(&self) -> bool {
        self.entry.is_intact()
    }
}

/// Takes what is not the next message, whole: apart, so that the way of those is short.
struct Others<'a> {
    request: &'a mut Vec<u8>,
    delivery: &'a mut Delivery,
    sink: RingSink<'a>,
}

impl Others<'_> {
    /// Takes the words of the header one by one: together they would be in memory for every message.
    ///
    /// # Errors
    ///
    /// What to count when the frame is of no use.
    #[inline(never)]
    fn take(&mut self, commit: u64, topic: u64, sequence: u64, rest: &[u8]) -> Result<(), Counter> {
        let Self { request, delivery, sink } = self;
        let malformed = |_| Counter::Malformed;
        let header = HeaderWords { commit, topic, sequence }.decode().map_err(malformed)?;
        let frame = Frame::behind(header, rest).map_err(malformed)?;
        if frame.header.kind == FrameKind::Request {
            // It says where its answer goes: it is copied, so that nobody answers what was overwritten.
            request.clear();
            request.extend_from_slice(frame.body);
            if !sink.is_intact() {
                return Err(Counter::FramesRefused);
            }
            return delivery.handle_frame(&Frame { body: request, ..frame }, sink).map_err(refused);
        }
        delivery.handle_frame(&frame, sink).map_err(refused)
    }
}

const fn refused(_: Refusal) -> Counter {
    Counter::FramesRefused
}

#[cfg(all(test, target_os = "linux"))]
pub(super) mod tests;
