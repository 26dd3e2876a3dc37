//! From one packet ring to all who receive it: one lane for a group, or one lane for each receiver.
//! Layer: protocol, above `ring`. Owned by one publication.
//!
//! All lanes send the same packets of the same session. Each goes as far as its own receiver takes
//! them; together they say, by the strategy of flow control, which packets the ring must keep. So a
//! slow receiver holds back its own lane with a full window, and the others only with a full ring.

use std::net::SocketAddr;
use std::time::Duration;

use super::flow_control::{FlowSettings, Strategy};
use super::lane::{Lane, Outlet, Progress};
use super::sender::{SendCounters, SendSession};
use crate::id::ReceiverId;
use crate::ring::append::Appender;
use crate::time::Timestamp;
use crate::wire::control::Feedback;
use crate::wire::packet::PacketHeader;

/// All lanes of one ring. `D` says where a lane leads.
#[derive(Debug)]
pub(crate) struct FanOut<D> {
    /// What packets of the session carry that are not data.
    header: PacketHeader,
    settings: FlowSettings,
    /// Packets in one run.
    most: u64,
    lanes: Vec<Lane<D>>,
    is_group: bool,
    /// How far those lanes have come that have a say in what the ring keeps.
    front: u64,
    /// How far any lane has ever come, or could have.
    sent: u64,
    /// What has been counted apart from the lanes there are: by those that are gone, and feedback
    /// that is for none.
    counted: SendCounters,
}

impl<D> FanOut<D> {
    /// One lane for all, present and to come.
    pub(crate) fn to_group(
        header: PacketHeader,
        settings: FlowSettings,
        most: u64,
        group: D,
    ) -> Self {
        let session = SendSession::new(header.session, settings, 0);
        let lanes = vec![Lane::new(session, group, None)];
        Self { lanes, is_group: true, ..Self::to_each(header, settings, most) }
    }

    /// A lane for each receiver that is added.
    pub(crate) fn to_each(header: PacketHeader, settings: FlowSettings, most: u64) -> Self {
        Self {
            header,
            settings,
            most,
            lanes: Vec::new(),
            is_group: false,
            front: 0,
            sent: 0,
            counted: SendCounters::default(),
        }
    }

    /// How far those lanes have come that have a say in what the ring keeps; all that could be sent
    /// when there are none.
    #[inline]
    pub(crate) const fn front(&self) -> u64 {
        self.front
    }

    /// Sums of all lanes that there are or were.
    pub(crate) fn counters(&self) -> SendCounters {
        let mut sum = self.counted;
        self.lanes.iter().for_each(|lane| sum.add(lane.session.counters()));
        sum
    }

    /// The longest round trip to a receiver; zero until one has been measured.
    pub(crate) fn round_trip(&self) -> Duration {
        self.lanes.iter().map(|lane| lane.session.round_trip()).max().unwrap_or_default()
    }

    /// A receiver is there: packets from the open one on are meant for it, too, and it is told with
    /// the next [`FanOut::tell`]. `to` is where its lane leads, if it gets one, `source` where its
    /// feedback comes from, if that is known.
    pub(crate) fn add_receiver(
        &mut self,
        id: ReceiverId,
        (to, source): (impl FnOnce() -> D, Option<SocketAddr>),
        ring: &Appender,
        now: Timestamp,
    ) {
        if !self.is_group && !self.lanes.iter().any(|lane| lane.receiver() == Some(id)) {
            // Its only receiver always decides how far a lane goes; who decides what the ring keeps
            // is settled among the lanes.
            let settings = FlowSettings { strategy: Strategy::Min, ..self.settings };
            let session = SendSession::new(self.header.session, settings, edge(ring));
            self.lanes.push(Lane::new(session, to(), Some(id)));
        }
        if let Some(lane) = self.lane_of(id) {
            lane.session.add_receiver(id, source, now);
        }
    }

    /// Nothing more is sent to a receiver on its own account.
    pub(crate) fn remove_receiver(&mut self, id: ReceiverId) {
        if let Some(lane) = self.lane_of(id) {
            lane.session.remove_receiver(id);
        }
        for lane in self.lanes.extract_if(.., |lane| lane.receiver() == Some(id)) {
            self.counted.add(lane.session.counters());
        }
    }

    /// Whether everything before `until` has reached a receiver, or will not.
    pub(crate) fn has_consumed(&self, id: ReceiverId, until: u64) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.find(|lane| leads_to(lane, id)).is_none_or(|it| it.session.has_consumed(id, until))
    }

    /// Feedback of a receiver, which came from `source`: its lane takes it. What is for none, or not
    /// believable, is counted and changes nothing.
    pub(crate) fn handle_feedback(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        feedback: &Feedback<'_>,
    ) {
        let (front, settings) = (self.front, self.settings);
        match self.lane_of(feedback.status.receiver) {
            Some(lane) => {
                lane.session.handle_feedback(now, source, feedback);
                lane.settle_place(front, &settings);
            }
            None => self.counted.statuses_refused += 1,
        }
    }

    /// Whether it is worth a system call to learn how far receivers have come. A lane that is blocked
    /// behind others is not: their feedback comes on the same socket, and they ask often enough.
    #[inline]
    pub(crate) fn is_near_limit(&self) -> bool {
        self.lanes.iter().any(|lane| {
            let (next, limit) = (lane.next(), lane.limit());
            limit < next.saturating_add(2 * self.most)
                && (next < limit || next >= self.front && lane.is_open())
        })
    }

    /// Sends closed packets, and the open one, as far as receivers and the outlet take them.
    #[inline]
    pub(crate) fn transmit(
        &mut self,
        ring: &mut Appender,
        outlet: &mut impl Outlet<D>,
    ) -> Progress {
        if self.takes_open_packet(ring) {
            ring.close();
        }
        self.transmit_closed(ring, outlet)
    }

    /// Sends closed packets as far as receivers and the outlet take them.
    #[inline]
    pub(crate) fn transmit_closed(
        &mut self,
        ring: &mut Appender,
        outlet: &mut impl Outlet<D>,
    ) -> Progress {
        let end = edge(ring);
        let (mut refused, mut progress) = (None, Progress::default());
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let done = lane.transmit(ring, (end, self.most), outlet, (self.sent, &mut progress));
            self.sent = self.sent.max(lane.next());
            if !done {
                refused = Some(at);
                break;
            }
        }
        if let Some(at) = refused {
            // The next time it begins with who got nothing now.
            self.lanes.rotate_left(at);
        }
        let strategy = self.settings.strategy;
        let abreast = self.lanes.iter().filter(|lane| lane.is_abreast(strategy));
        self.front = abreast.map(Lane::next).max().unwrap_or(end);
        if !self.lanes.iter().any(Lane::is_open) {
            self.pass_by(ring, end, &mut progress);
        }
        self.keep_what_is_needed(ring);
        progress
    }

    /// Whether the open packet is to be closed: somebody takes it at once, or nobody is there for
    /// whom it could grow meanwhile.
    fn takes_open_packet(&self, ring: &Appender) -> bool {
        let open = ring.open_packet();
        ring.has_open_frames()
            && ring.first_claimed().is_none_or(|claimed| open < claimed)
            && (self.lanes.iter().any(|lane| open < lane.limit())
                || !self.lanes.iter().any(|lane| lane.is_abreast(self.settings.strategy)))
    }

    /// With nobody to send to, everything counts as sent, but for what has been overwritten.
    #[cold]
    fn pass_by(&mut self, ring: &Appender, end: u64, progress: &mut Progress) {
        let mut next = self.sent.max(ring.oldest_packet());
        while next < end {
            let (run, count) = ring.closed_run(next, (end - next).min(self.most));
            progress.packets += count;
            progress.bytes += run.len() as u64;
            next += count;
        }
        self.sent = self.sent.max(end);
    }

    /// Sends what lanes have to say beside data, and leaves out receivers that have been silent or
    /// slow for too long.
    pub(crate) fn tell(
        &mut self,
        now: Timestamp,
        ring: &mut Appender,
        outlet: &mut impl Outlet<D>,
    ) {
        for lane in &mut self.lanes {
            if lane.is_holding(ring, self.settings.strategy) {
                lane.session.handle_blocked(now);
            }
            lane.tell(now, ring, (self.header, self.most), outlet);
            lane.settle_place(self.front, &self.settings);
        }
        self.keep_what_is_needed(ring);
    }

    /// Slots may be used again once nobody who counts can ask for their packets any more.
    pub(crate) fn keep_what_is_needed(&self, ring: &mut Appender) {
        let end = edge(ring);
        let confirmed = self.lanes.iter().filter_map(|lane| lane.decided(self.settings.strategy));
        let confirmed = match self.settings.strategy {
            Strategy::Max => confirmed.max(),
            _ => confirmed.min(),
        };
        // When nobody decides, what the outlet has not taken yet is kept all the same.
        let unsent = || {
            let ready = self.lanes.iter().filter(|lane| lane.next() < lane.limit());
            ready.map(Lane::next).min().unwrap_or(end)
        };
        // No claim is ever overwritten, whatever receivers say.
        let needed = confirmed.unwrap_or_else(unsent).min(end);
        ring.set_limit(needed + ring.layout().slots as u64);
    }

    /// Whether a receiver takes again what it did not take before.
    pub(crate) fn is_released(&self) -> bool {
        self.lanes.iter().any(Lane::is_released)
    }

    /// Whether something is left to send to somebody.
    #[inline]
    pub(crate) fn has_waiting(&self, ring: &Appender) -> bool {
        ring.has_open_frames() || self.lanes.iter().any(|lane| lane.is_waiting(ring.open_packet()))
    }

    /// Every receiver has all that was sent.
    pub(crate) fn is_complete(&self) -> bool {
        self.lanes.iter().all(|lane| lane.session.is_complete())
    }

    /// Nothing is left to tell: everything sent has been confirmed, or told often enough.
    pub(crate) fn is_settled(&self) -> bool {
        self.lanes.iter().all(|lane| lane.session.is_settled())
    }

    /// When [`FanOut::tell`] has something, should nothing else happen.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        let deadlines = self.lanes.iter().map(|lane| lane.session.next_deadline());
        deadlines.min().unwrap_or(Timestamp::NEVER)
    }

    fn lane_of(&mut self, id: ReceiverId) -> Option<&mut Lane<D>> {
        self.lanes.iter_mut().find(|lane| leads_to(lane, id))
    }
}

/// A group is for everybody.
fn leads_to<D>(lane: &Lane<D>, id: ReceiverId) -> bool {
    lane.receiver().is_none_or(|receiver| receiver == id)
}

/// First packet that cannot be sent yet: it is open, or has a claim.
#[inline]
fn edge(ring: &Appender) -> u64 {
    ring.open_packet().min(ring.first_claimed().unwrap_or(u64::MAX))
}

#[cfg(feature = "sim")]
mod inspect;

#[cfg(test)]
#[path = "fan_out/tests.rs"]
mod tests;
