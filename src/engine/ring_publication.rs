//! The sending side of one topic on shared memory: a ring in a file that readers map. Layer:
//! engine. Owned by its publisher alone, so that a message costs no locked instruction.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::publication::STREAMING_PAUSE;
use crate::counters::{Counter, Counters};
use crate::listener::SendError;
use crate::protocol::flow_control::SLOW_GRACE;
use crate::ring::Layout;
use crate::ring::append::{Appender, Claimed, Entry, Full};
use crate::ring::shared::SharedRing;
use crate::time::{Clock, Timestamp};
use crate::transport::udp::UdpSocket;
use crate::wire::frame::FrameHeader;
use crate::wire::packet::PacketHeader;

/// How often a publisher that is held back looks for readers whose process died.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(10);

/// A ring in shared memory, and its only writer.
pub(crate) struct RingPublication {
    ring: SharedRing,
    appender: Appender,
    /// Packet that joiners were told is open.
    edge: u64,
    /// Since when the slowest reader leaves no room.
    held_back_since: Option<Timestamp>,
    reclaimed_at: Timestamp,
    /// How long readers may hold back the publisher.
    patience: Duration,
    /// A reader that leaves less than half of the ring free holds it back, even when it reads on.
    drops_slow: bool,
    /// Sends one byte to pollers that sleep.
    wake: Arc<UdpSocket>,
    counters: Arc<Counters>,
    clock: Clock,
}

impl RingPublication {
    pub(crate) fn new(
        ring: SharedRing,
        reader_timeout: Duration,
        drops_slow: bool,
        wake: Arc<UdpSocket>,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> Self {
        let description = *ring.description();
        let header = PacketHeader {
            session: description.session,
            sequence: 0,
            stream: description.stream,
            instance: description.instance,
        };
        let appender = Appender::new(ring.slots(), &header);
        Self {
            ring,
            appender,
            edge: 0,
            held_back_since: None,
            reclaimed_at: Timestamp::default(),
            patience: if drops_slow { SLOW_GRACE.min(reader_timeout) } else { reader_timeout },
            drops_slow,
            wake,
            counters,
            clock,
        }
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.appender.layout()
    }

    /// Writes a message where readers see it. One that takes the whole ring, or more, waits for readers as
    /// it goes, until then at most.
    ///
    /// Always inlined, down to the ring: each store that a call costs waits behind those to lines
    /// that a reader has, and fewer of the lines to come are asked for ahead.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`]; nothing was written, or nothing that readers would deliver.
    #[inline(always)]
    pub(crate) fn send(&mut self, entry: &Entry<'_>, until: Timestamp) -> Result<(), SendError> {
        let bytes = entry.body_bytes();
        let fits =
            self.appender.is_prepared_for(bytes) || bytes <= self.layout().whole_body_bytes();
        if !fits || self.appender.append(entry).is_err() {
            return self.send_slowly(*entry, until);
        }
        self.after_append();
        Ok(())
    }

    /// A message that is too large for a packet, or finds the ring full. Takes the entry by value:
    /// by reference it would have to be in memory for every message.
    #[cold]
    #[inline(never)]
    fn send_slowly(&mut self, entry: Entry<'_>, until: Timestamp) -> Result<(), SendError> {
        if entry.body_bytes() > self.layout().whole_body_bytes() {
            return self.send_fragments(&entry, until);
        }
        self.make_room()?;
        self.appender.append(&entry).map_err(|Full| SendError::BackPressured)?;
        self.after_append();
        Ok(())
    }

    /// Reserves room for a message of at most one packet.
    ///
    /// # Errors
    ///
    /// [`SendError::BackPressured`].
    pub(crate) fn claim(
        &mut self,
        header: &FrameHeader,
        bytes: usize,
    ) -> Result<Claimed, SendError> {
        if let Ok(claimed) = self.appender.claim(header, bytes) {
            return Ok(claimed);
        }
        self.make_room()?;
        self.appender.claim(header, bytes).map_err(|Full| SendError::BackPressured)
    }

    pub(crate) fn commit(&mut self, claimed: Claimed, sequence: u64) {
        self.appender.commit_claim(claimed, sequence);
        self.after_append();
    }

    pub(crate) fn abandon(&mut self, claimed: Claimed) {
        self.appender.abandon_claim(claimed);
        self.after_append();
    }

    fn send_fragments(&mut self, entry: &Entry<'_>, until: Timestamp) -> Result<(), SendError> {
        let packets = self.layout().packets_for(entry.body_bytes()) as u64;
        // The open packet is never free, also while nothing stands in it.
        if packets < self.layout().slots as u64 && self.appender.free_packets() < packets {
            // An error here means only that nothing was gained; what counts is checked below.
            let _ = self.make_room();
            if self.appender.free_packets() < packets {
                self.counters.add(Counter::BackPressured, 1);
                return Err(SendError::BackPressured);
            }
        }
        let mut offset = 0;
        while offset < entry.body_bytes() {
            match self.appender.append_fragment(entry, offset) {
                Ok(part) => {
                    offset += part;
                    self.after_append();
                }
                // Held back for too long, readers are cut off, so this ends.
                Err(Full) => {
                    if self.make_room().is_err() {
                        if self.clock.now() >= until {
                            return Err(SendError::BackPressured);
                        }
                        std::thread::sleep(STREAMING_PAUSE);
                    }
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn after_append(&mut self) {
        let open = self.appender.open_packet();
        if open != self.edge {
            self.edge = open;
            self.ring.publish_edge(open);
        }
        let wake = &self.wake;
        self.ring.wake_sleepers(|port| {
            let reader = self.wake.destination(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            // A wake-up that is lost costs the reader its own time-out.
            let _ = wake.send_run(Some(&reader), &[0], 1);
        });
        self.appender.prepare_next();
    }

    /// Looks how far readers have come. Those that died make room at once, those that do not read
    /// after the configured time.
    #[cold]
    fn make_room(&mut self) -> Result<(), SendError> {
        let gained = self.gained();
        let is_behind = self.drops_slow
            && self.appender.free_packets() < self.appender.layout().slots as u64 / 2;
        if gained && !is_behind {
            self.held_back_since = None;
            return Ok(());
        }
        let now = self.clock.now();
        let since = *self.held_back_since.get_or_insert(now);
        if now.since(self.reclaimed_at) >= RECLAIM_INTERVAL {
            self.reclaimed_at = now;
            let dead = self.ring.reclaim_dead_readers();
            self.counters.add(Counter::ReadersReclaimed, dead as u64);
        }
        if now.since(since) >= self.patience {
            let evicted = self.ring.evict_up_to(self.slowest());
            self.counters.add(Counter::ReadersReclaimed, evicted as u64);
            self.held_back_since = None;
            tracing::warn!(evicted, "readers of a shared ring were cut off: they read too slowly");
        }
        if gained || self.gained() {
            return Ok(());
        }
        self.counters.add(Counter::BackPressured, 1);
        Err(SendError::BackPressured)
    }

    /// Whether there is a free slot now.
    fn gained(&mut self) -> bool {
        let free = self.appender.free_packets();
        self.appender.set_limit(self.ring.limit(self.appender.open_packet()));
        self.appender.free_packets() > free
    }

    fn slowest(&self) -> u64 {
        self.ring.positions().map(|(_, position)| position).min().unwrap_or(0)
    }
}

impl Drop for RingPublication {
    fn drop(&mut self) {
        self.ring.finish();
        self.ring.remove_file();
    }
}
