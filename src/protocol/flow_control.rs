//! How far a sender may go. Layer: protocol. Owned by one send session.
//!
//! Receivers report what they have consumed and how much more they take. A receiver counts from
//! when discovery names it, so that a burst right after cannot overrun it before its first status.
//! One that holds the others back for too long is left out until it has caught up: at once after
//! [`SLOW_GRACE`] when slow consumers are to be dropped, and when it has been silent for the
//! configured time in any case.

use std::net::SocketAddr;
use std::time::Duration;

use super::timing::Rtt;
use crate::id::ReceiverId;
use crate::time::Timestamp;
use crate::wire::control::Status;

/// How long a slow consumer that is to be dropped may keep the window full: longer than a thread
/// waits for its turn on a busy machine.
pub(crate) const SLOW_GRACE: Duration = Duration::from_millis(100);

/// Whose reports set the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// The slowest receiver.
    Min,
    /// The fastest: who is slower loses what it cannot take.
    Max,
    /// The slowest of those that carry the tag; the others do not count.
    Tagged(u32),
}

/// Limits of a send session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowSettings {
    pub(crate) strategy: Strategy,
    /// Leave out a receiver that keeps the window full.
    pub(crate) drops_slow: bool,
    /// Packets that may be on the way; no receiver raises it.
    pub(crate) window_packets: u32,
    /// Silence after which a receiver that owes a status is left out.
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug)]
struct Receiver {
    id: ReceiverId,
    /// Where its feedback comes from: from elsewhere it is somebody else's.
    source: Option<SocketAddr>,
    /// Everything before this packet is consumed, or was sent before it joined.
    consumed: u64,
    /// What it has said itself. A receiver that heard the session before we knew it may want what
    /// was not meant for it.
    reported: u64,
    window_packets: u32,
    /// What it says it is. Until it does, it counts like the others.
    tag: Option<u32>,
    /// It knows where the session begins for it.
    joined: bool,
    rtt: Rtt,
    /// Last time that this receiver was heard, or had nothing to say.
    heard: Timestamp,
    /// Since when it keeps the window full.
    holding_since: Option<Timestamp>,
    dropped: bool,
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody we know, from elsewhere than before, or impossible.
    Refused,
    Accepted,
    /// It asks where the session begins for it.
    Asks {
        start: u64,
    },
}

/// The receivers of a session.
#[derive(Debug)]
pub(crate) struct FlowControl {
    settings: FlowSettings,
    receivers: Vec<Receiver>,
}

impl FlowControl {
    pub(crate) const fn new(settings: FlowSettings) -> Self {
        Self { settings, receivers: Vec::new() }
    }

    pub(super) const fn settings(&self) -> &FlowSettings {
        &self.settings
    }

    /// Discovery has found a receiver; packets from `next` on are meant for it. False when it was
    /// known.
    ///
    /// `source` is where its feedback comes from, if that is known; else the first decides.
    pub(crate) fn add(
        &mut self,
        id: ReceiverId,
        source: Option<SocketAddr>,
        next: u64,
        now: Timestamp,
    ) -> bool {
        if self.find(id).is_some() {
            return false;
        }
        self.receivers.push(Receiver {
            id,
            source,
            consumed: next,
            reported: 0,
            window_packets: self.settings.window_packets,
            tag: None,
            joined: false,
            rtt: Rtt::default(),
            heard: now,
            holding_since: None,
            dropped: false,
        });
        true
    }

    pub(crate) fn remove(&mut self, id: ReceiverId) {
        self.receivers.retain(|receiver| receiver.id != id);
    }

    /// A status. `sent` bounds what can have been consumed.
    pub(super) fn handle_status(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        status: &Status,
        sent: u64,
    ) -> Verdict {
        let window_packets = self.settings.window_packets;
        let Some(receiver) = self.find(status.receiver) else { return Verdict::Refused };
        if status.consumed > sent || receiver.source.is_some_and(|known| known != source) {
            return Verdict::Refused;
        }
        receiver.source = Some(source);
        receiver.tag = Some(status.tag);
        receiver.heard = now;
        if status.is_joining {
            // Who had joined before begins anew, with what it has heard now.
            let heard = if receiver.joined { status.consumed } else { 0 };
            return Verdict::Asks { start: receiver.consumed.max(heard) };
        }
        receiver.joined = true;
        receiver.window_packets = status.window_packets.clamp(1, window_packets);
        receiver.consumed = receiver.consumed.max(status.consumed);
        receiver.reported = receiver.reported.max(status.consumed);
        // Who is further behind than the window would stop the others at once.
        if receiver.dropped && receiver.consumed + u64::from(receiver.window_packets) > sent {
            receiver.dropped = false;
            receiver.holding_since = None;
        }
        if sent - receiver.consumed <= u64::from(receiver.window_packets / 2) {
            receiver.holding_since = None;
        }
        Verdict::Accepted
    }

    /// A receiver has answered a probe.
    pub(super) fn sample_rtt(&mut self, id: ReceiverId, sample: Duration) {
        if let Some(receiver) = self.find(id) {
            receiver.rtt.sample(sample);
        }
    }

    /// The longest round trip to a receiver.
    pub(super) fn rtt(&self) -> Rtt {
        let known = self.active().map(|receiver| receiver.rtt);
        known.max_by_key(Rtt::smoothed).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Receivers that are not left out.
    pub(super) fn count(&self) -> usize {
        self.active().count()
    }

    /// First packet that may not be sent yet; `u64::MAX` when nobody sets a limit.
    pub(crate) fn limit(&self) -> u64 {
        let strategy = self.settings.strategy;
        let limits = self.deciding(strategy).map(Receiver::limit);
        match strategy {
            Strategy::Max => limits.max(),
            _ => limits.min(),
        }
        .unwrap_or(u64::MAX)
    }

    /// Packets before this one need not be kept; `sent` when nobody decides.
    pub(crate) fn confirmed(&self, sent: u64) -> u64 {
        self.decided(self.settings.strategy).unwrap_or(sent)
    }

    /// What is confirmed by those that decide; `None` when nobody does.
    pub(super) fn decided(&self, strategy: Strategy) -> Option<u64> {
        let consumed = self.deciding(strategy).map(|receiver| receiver.consumed);
        match strategy {
            Strategy::Max => consumed.max(),
            _ => consumed.min(),
        }
    }

    /// Everybody has joined, and has everything before `sent`.
    pub(super) fn is_complete(&self, sent: u64) -> bool {
        self.active().all(|receiver| receiver.joined && receiver.consumed >= sent)
    }

    /// The same, of those that are left out, too.
    pub(super) fn have_all_caught_up(&self, sent: u64) -> bool {
        self.receivers.iter().all(|receiver| receiver.joined && receiver.consumed >= sent)
    }

    /// Whether everything before `until` has reached a receiver, or will not.
    pub(super) fn has_consumed(&self, id: ReceiverId, until: u64) -> bool {
        let receiver = self.receivers.iter().find(|receiver| receiver.id == id);
        receiver.is_none_or(|receiver| receiver.dropped || receiver.consumed >= until)
    }

    /// Whether a receiver has said that it wants nothing before `until` any more.
    pub(super) fn is_past(&self, id: ReceiverId, until: u64) -> bool {
        let mut receivers = self.receivers.iter();
        receivers.any(|receiver| receiver.id == id && receiver.reported >= until)
    }

    /// The sender has more to send than the limit allows.
    pub(super) fn handle_blocked(&mut self, now: Timestamp) {
        let limit = self.limit();
        for receiver in &mut self.receivers {
            if !receiver.dropped && receiver.limit() <= limit {
                receiver.holding_since.get_or_insert(now);
            }
        }
    }

    /// Leaves out receivers that hold the others back for too long, and says how many.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, sent: u64) -> usize {
        let FlowSettings { timeout, drops_slow, .. } = self.settings;
        let mut dropped = 0;
        for receiver in &mut self.receivers {
            if receiver.joined && receiver.consumed >= sent {
                receiver.heard = now;
                receiver.holding_since = None;
            } else if !receiver.dropped {
                let is_silent = now.since(receiver.heard) >= timeout;
                let is_slow = drops_slow
                    && receiver.holding_since.is_some_and(|since| now.since(since) >= SLOW_GRACE);
                receiver.dropped = is_silent || is_slow;
                dropped += usize::from(receiver.dropped);
            }
        }
        dropped
    }

    fn active(&self) -> impl Iterator<Item = &Receiver> {
        self.receivers.iter().filter(|receiver| !receiver.dropped)
    }

    fn deciding(&self, strategy: Strategy) -> impl Iterator<Item = &Receiver> {
        self.active().filter(move |receiver| match strategy {
            Strategy::Tagged(tag) => receiver.tag.is_none_or(|own| own == tag),
            _ => true,
        })
    }

    fn find(&mut self, id: ReceiverId) -> Option<&mut Receiver> {
        self.receivers.iter_mut().find(|receiver| receiver.id == id)
    }
}

impl Receiver {
    fn limit(&self) -> u64 {
        self.consumed + u64::from(self.window_packets)
    }
}

#[cfg(test)]
#[path = "flow_control/tests.rs"]
mod tests;
