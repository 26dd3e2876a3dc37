//! What this instance says, and to whom. Layer: discovery (sans-IO). A part of [`Discovery`], which the
//! conductor owns.

use std::net::SocketAddr;
use std::time::Duration;

use super::announce::Due;
use super::daemons::Errand;
use super::{Discovery, MIN_REFRESH, Target};
use crate::time::Timestamp;
use crate::wire::advert::{self, Announce, Ask};

impl Discovery {
    /// Writes the next datagram that is due into `buffer`, replacing its content, and says where it
    /// goes. The buffer never grows beyond
    /// [`MAX_DISCOVERY_BYTES`](crate::wire::advert::MAX_DISCOVERY_BYTES).
    ///
    /// An ANNOUNCE comes before the changes it makes intelligible.
    #[must_use = "the datagram in the buffer has to be sent"]
    pub(crate) fn poll_transmit(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        let target = self.poll_packet(now, buffer)?;
        let counters = &mut self.ledger.counters;
        counters.packets_sent += 1;
        counters.bytes_sent += buffer.len() as u64;
        Some(target)
    }

    /// What is for everybody leaves once for the group and once for each daemon.
    fn poll_packet(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        loop {
            if !self.daemons.has_spread()
                && let Some(address) = self.daemons.poll_spread(buffer)
            {
                return Some(Target::Unicast(address));
            }
            match self.poll_one(now, buffer)? {
                Target::Group => {
                    if !self.daemons.is_empty() {
                        self.daemons.spread(buffer);
                    }
                    if self.has_group {
                        return Some(Target::Group);
                    }
                }
                unicast => return Some(unicast),
            }
        }
    }

    fn poll_one(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<Target> {
        if let Some(left) = &mut self.farewells {
            *left = left.checked_sub(1)?;
            advert::encode_goodbye(self.identity.instance, buffer);
            return Some(Target::Group);
        }
        let talkers = self.registry.talkers(now);
        if let Some(due) = self.announcer.poll(now, talkers, &mut self.jitter) {
            if self.announcer.is_open() {
                self.feed.open();
            }
            self.write_announce(due, buffer);
            self.ledger.counters.announces_sent += 1;
            return Some(due.target);
        }
        if let Some(address) = self.poll_daemons(now, buffer) {
            return Some(Target::Unicast(address));
        }
        if let Some(question) = self.registry.next_question(now, &mut self.jitter) {
            let ask = Ask {
                asker: self.identity.instance,
                control: self.identity.control,
                target: question.target,
                have: question.cursor.have,
                horizon: question.cursor.horizon,
            };
            ask.encode(buffer);
            self.ledger.counters.asks_sent += 1;
            return Some(Target::Unicast(question.address));
        }
        let target = self.feed.poll(now, talkers, self.identity.instance, &self.log, buffer)?;
        self.ledger.counters.changes_sent += 1;
        Some(target)
    }

    fn poll_daemons(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        let (instance, registry) = (self.identity.instance, &self.registry);
        let is_news = |instance| registry.get(instance).is_none();
        loop {
            match self.daemons.poll(now, instance, is_news, &mut self.jitter, buffer)? {
                Errand::Send(address) => return Some(address),
                Errand::Introduce(index) => {
                    let mut announce = Vec::new();
                    self.write_announce(
                        Due { target: Target::Group, direct: false },
                        &mut announce,
                    );
                    if let Some(address) = self.daemons.relay_by(index, &announce, buffer) {
                        self.ledger.counters.announces_sent += 1;
                        return Some(address);
                    }
                }
            }
        }
    }

    /// Before its log is told an instance advertises nothing: nobody shall ask for what comes anyway.
    pub(super) fn write_announce(&self, due: Due, buffer: &mut Vec<u8>) {
        let is_open = self.announcer.is_open();
        let (head, digest) =
            if is_open { (self.log.head(), self.log.digest()) } else { Default::default() };
        let announce = Announce {
            instance: self.identity.instance,
            control: self.identity.control,
            responses: self.identity.responses,
            host: self.identity.host,
            head,
            digest,
            interval_ms: milliseconds(self.settings.refresh.max(MIN_REFRESH)),
            timeout_ms: milliseconds(self.settings.timeout),
            direct: due.direct,
            name: &self.identity.name,
        };
        announce.encode(buffer);
    }
}

/// Durations travel as milliseconds; the longest is 49 days.
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
