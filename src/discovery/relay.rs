//! A discovery daemon: tells each of its clients what the others have for everybody. Layer: discovery
//! (sans-IO). Owned by the daemon's thread; no instance has one.
//!
//! # Contract
//!
//! 1. Hand every datagram to [`Relay::handle_datagram`].
//! 2. After any `handle_*`, call [`Relay::poll_event`] and [`Relay::poll_transmit`] until they return
//!    nothing, and send what they give **from the socket that receives**. A datagram that cannot be
//!    sent may be dropped.
//! 3. Call [`Relay::handle_timeout`], then `poll_*`, when [`Relay::next_deadline`] has come.
//!
//! # How it works
//!
//! It knows nothing that matters: an ANNOUNCE of each client, so that it can introduce those that are there
//! to those that come. A daemon that starts anew, with a new identity and new tickets, knows all of
//! them again within an interval.
//!
//! **Tickets.** Who wants something has to show that it receives what is sent to its address: a ticket is
//! a keyed hash of the address and the minute, and nothing is stored before it comes back. Until then
//! the answer to a datagram is one that is not longer ([`tickets`]).
//!
//! **Cost.** That instances go on to live is the bulk of the traffic, so it is not passed on packet by
//! packet: those that were heard within [`MAX_HEARD_DELAY`] are listed together, up to 43 in a packet of
//! 1400 bytes, and a client asks about those that it does not know. With `n` clients, each sends one
//! packet per interval and receives `n / 43` full ones, or at most ten sparse ones per second.
//!
//! **Bounds.** Clients, jobs and events have limits with names; so has what one client may have passed
//! on ([`ALLOWANCE`]), how fast datagrams leave ([`BURST`]), and how many strangers are answered.
//! What is dropped heals: heads and digests are in every HEARD, and who misses something asks its owner.

mod allowance;
mod clients;
mod jobs;
mod tickets;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::allowance::Allowance;
use self::clients::{Client, Clients};
use self::jobs::{Job, Jobs};
use self::tickets::{Reception, Tickets};
use super::event::DownReason;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::WireError;
use crate::wire::advert::daemon::{
    self, DaemonView, Heard, MAX_HEARD, Ticket, WhoView, encode_heard, encode_ticket,
};
use crate::wire::advert::{self, Announce, DiscoveryView};

/// How long a sign of life may wait for others to be listed with it; an instance that announces
/// itself more often than ten times a second waits a quarter of its interval at most.
const MAX_HEARD_DELAY: Duration = Duration::from_millis(100);

/// Packets that one client may have passed on at once, and questions that it may ask, beside one about
/// each client that is there when it comes: 5,000 topics that are subscribed in one go are 300 pages.
const ALLOWANCE: u32 = 512;
/// How many of them come back per second.
const ALLOWANCE_PER_SECOND: u32 = 256;

/// Datagrams that may leave at once...
const BURST: u32 = 128;
/// ... within this time: well within what sockets of clients hold, and up to 128,000 in a second.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// Datagrams are dropped while more events than this wait to be polled.
const MAX_WAITING_EVENTS: usize = 65_536;

/// How many clients, and how long they may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelaySettings {
    /// A client that announces itself more rarely than three times within it is given three intervals.
    pub(crate) client_timeout: Duration,
    pub(crate) max_clients: usize,
}

/// A client, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientInfo {
    pub(crate) instance: InstanceId,
    pub(crate) name: Arc<str>,
    /// Where it sends from; behind NAT that is where the NAT sends from.
    pub(crate) address: SocketAddr,
}

/// Something changed among the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelayEvent {
    ClientUp(ClientInfo),
    ClientDown(ClientInfo, DownReason),
    /// As many clients as there may be. Told once until there is room again.
    Full {
        limit: usize,
    },
}

/// What has happened so far; all but `clients` only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelayCounters {
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    /// Datagrams that are no packets for a daemon.
    pub(crate) malformed: u64,
    /// Those of a version that this build does not speak.
    pub(crate) other_versions: u64,
    /// Packets with a ticket that is not ours, is too old, or was given to another address.
    pub(crate) tickets_refused: u64,
    /// Packets in the name of an instance that is not the client's.
    pub(crate) foreign: u64,
    /// Packets beyond what one client may have passed on.
    pub(crate) over_allowance: u64,
    /// Packets dropped because too much waits to be sent.
    pub(crate) overruns: u64,
    pub(crate) clients_refused: u64,
    pub(crate) clients_expired: u64,
    /// Clients now.
    pub(crate) clients: u64,
}

/// A discovery daemon. See the [module](self) for how to drive it.
#[derive(Debug)]
pub(crate) struct Relay {
    id: InstanceId,
    settings: RelaySettings,
    tickets: Tickets,
    clients: Clients,
    jobs: Jobs,
    /// Instances heard since the last HEARD.
    heard: Vec<Heard>,
    heard_due: Timestamp,
    burst_end: Timestamp,
    burst_left: u32,
    events: VecDeque<RelayEvent>,
    /// The limit of clients was reached and told.
    full: bool,
    counters: RelayCounters,
}

impl Relay {
    pub(crate) fn new(id: InstanceId, settings: RelaySettings, now: Timestamp) -> Self {
        Self {
            id,
            settings,
            tickets: Tickets::new(now),
            clients: Clients::default(),
            jobs: Jobs::default(),
            heard: Vec::with_capacity(MAX_HEARD),
            heard_due: Timestamp::NEVER,
            burst_end: now,
            burst_left: BURST,
            events: VecDeque::new(),
            full: false,
            counters: RelayCounters::default(),
        }
    }

    /// Takes one datagram. Its work is bounded by its length and, in the logarithm, by the clients.
    ///
    /// # Errors
    ///
    /// When it is no packet for a daemon; it is counted and has no effect.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        self.counters.packets_received += 1;
        if self.events.len() >= MAX_WAITING_EVENTS {
            self.counters.overruns += 1;
            return Ok(());
        }
        let handled = self.handle(now, source, bytes);
        match handled {
            Err(WireError::Version { .. }) => self.counters.other_versions += 1,
            Err(_) => self.counters.malformed += 1,
            Ok(()) => {}
        }
        handled
    }

    fn handle(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        match daemon::parse(bytes)? {
            DaemonView::Register { .. } => self.give_ticket(now, source),
            DaemonView::Relay { ticket, packet } => {
                // Before anything else: who is no client gets no more than a look at the prefix.
                if self.admits(now, source, ticket) {
                    return self.handle_relay(now, source, packet);
                }
            }
            DaemonView::Who(who) => {
                if self.admits(now, source, who.ticket) {
                    self.handle_who(now, source, &who);
                }
            }
            DaemonView::Ticket { .. } | DaemonView::Heard(_) => {
                return Err(WireError::Malformed { what: "kind of a packet for a daemon" });
            }
        }
        Ok(())
    }

    /// Whether a ticket is good for its sender, who gets a fresh one if it is not, or not for long.
    fn admits(&mut self, now: Timestamp, source: SocketAddr, ticket: Ticket) -> bool {
        let reception = self.tickets.judge(now, source, ticket);
        if reception != Reception::Good {
            self.give_ticket(now, source);
        }
        self.counters.tickets_refused += u64::from(reception == Reception::Refused);
        reception != Reception::Refused
    }

    fn give_ticket(&mut self, now: Timestamp, to: SocketAddr) {
        if !self.tickets.give(now, to) {
            self.counters.overruns += 1;
        }
    }

    fn handle_relay(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<(), WireError> {
        match advert::parse(packet)? {
            DiscoveryView::Announce(announce) => self.handle_announce(now, source, &announce),
            DiscoveryView::Changes(page) => {
                if self.may_spread(now, source, page.instance) {
                    self.spread(source, packet);
                }
            }
            DiscoveryView::Goodbye(instance) => {
                // Said twice, and both times passed on.
                if self.may_spread(now, source, instance) {
                    self.spread(source, packet);
                    if let Some(info) = self.clients.leave(source) {
                        self.events.push_back(RelayEvent::ClientDown(info, DownReason::Goodbye));
                    }
                }
            }
            // Questions go to who is asked.
            DiscoveryView::Ask(_) => {
                return Err(WireError::Malformed { what: "kind of a relayed packet" });
            }
        }
        Ok(())
    }

    /// Whether a client may have a packet passed on to all others, in the name of this instance.
    fn may_spread(&mut self, now: Timestamp, source: SocketAddr, instance: InstanceId) -> bool {
        match self.clients.get_mut(source) {
            Some(client) if client.info.instance == instance => self.charge(now, source, 1),
            _ => {
                self.counters.foreign += 1;
                false
            }
        }
    }

    fn charge(&mut self, now: Timestamp, source: SocketAddr, cost: u32) -> bool {
        let most = self.allowance();
        let Some(client) = self.clients.get_mut(source) else { return false };
        let allowed = client.allowance.take(now, cost, ALLOWANCE_PER_SECOND, most);
        self.counters.over_allowance += u64::from(!allowed);
        allowed
    }

    /// The most that is left to a client.
    fn allowance(&self) -> u32 {
        ALLOWANCE + u32::try_from(self.clients.len()).unwrap_or(u32::MAX - ALLOWANCE)
    }

    fn spread(&mut self, except: SocketAddr, packet: &[u8]) {
        let job = Job::Spread { packet: packet.into(), except: Some(except), after: None };
        if !self.jobs.add(job) {
            self.counters.overruns += 1;
        }
    }

    fn handle_announce(&mut self, now: Timestamp, source: SocketAddr, announce: &Announce<'_>) {
        let known = match self.clients.get_mut(source) {
            Some(client) if client.info.instance == announce.instance => {
                if client.left {
                    // On its way since before the GOODBYE: an instance does not come back.
                    return;
                }
                true
            }
            Some(_) => {
                // A new process has the port of an old one.
                if let Some(info) = self.clients.leave(source) {
                    self.events.push_back(RelayEvent::ClientDown(info, DownReason::Expired));
                }
                false
            }
            None => false,
        };
        if !known && !self.admit(now, source, announce) {
            return;
        }
        if !self.charge(now, source, 1) {
            return;
        }
        // Nobody need greet whom the daemon introduces.
        let mut packet = Vec::new();
        Announce { direct: true, ..*announce }.encode(&mut packet);
        let packet: Arc<[u8]> = packet.into();
        let timeout = self.timeout_of(announce);
        let Some(is_news) = self.clients.announced(now, source, announce, &packet, timeout) else {
            return;
        };
        if is_news {
            self.spread(source, &packet);
        }
        self.note_heard(now, announce);
    }

    fn timeout_of(&self, announce: &Announce<'_>) -> Duration {
        /// As long as an interval may be by configuration.
        const MAX_INTERVAL: Duration = Duration::from_mins(1);
        let interval = Duration::from_millis(announce.interval_ms.into()).min(MAX_INTERVAL);
        self.settings.client_timeout.max(interval * 3)
    }

    /// Makes a client of who has shown a ticket, if there is room.
    fn admit(&mut self, now: Timestamp, source: SocketAddr, announce: &Announce<'_>) -> bool {
        let limit = self.settings.max_clients;
        if !self.clients.has(source) && self.clients.len() >= limit {
            self.counters.clients_refused += 1;
            if !self.full {
                self.full = true;
                self.events.push_back(RelayEvent::Full { limit });
            }
            return false;
        }
        let info =
            ClientInfo { instance: announce.instance, name: announce.name.into(), address: source };
        let allowance = Allowance::new(self.allowance(), now);
        let timeout = self.timeout_of(announce);
        self.clients.insert(Client::new(info.clone(), allowance, timeout, now));
        self.events.push_back(RelayEvent::ClientUp(info));
        if !self.jobs.add(Job::Introduce { to: source, after: None }) {
            // It hears of all the others within an interval.
            self.counters.overruns += 1;
        }
        true
    }

    /// Lists an instance in the next HEARD.
    fn note_heard(&mut self, now: Timestamp, announce: &Announce<'_>) {
        let Announce { instance, head, digest, .. } = *announce;
        let heard = Heard { instance, head, digest };
        match self.heard.iter_mut().find(|other| other.instance == instance) {
            Some(listed) => *listed = heard,
            None => self.heard.push(heard),
        }
        let patience = Duration::from_millis(announce.interval_ms.into()) / 4;
        self.heard_due = self.heard_due.min(now + patience.min(MAX_HEARD_DELAY));
        if self.heard.len() == MAX_HEARD {
            self.list_heard();
        }
    }

    fn list_heard(&mut self) {
        self.heard_due = Timestamp::NEVER;
        let mut packet = Vec::new();
        encode_heard(self.id, self.heard.drain(..), &mut packet);
        let job = Job::Spread { packet: packet.into(), except: None, after: None };
        if !self.jobs.add_first(job) {
            self.counters.overruns += 1;
        }
    }

    fn handle_who(&mut self, now: Timestamp, source: SocketAddr, who: &WhoView<'_>) {
        let wanted: Vec<_> = who.instances().collect();
        let cost = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        if self.clients.get_mut(source).is_none_or(|client| client.left) {
            self.counters.foreign += 1;
        } else if self.charge(now, source, cost)
            && !self.jobs.add(Job::Describe { to: source, wanted })
        {
            self.counters.overruns += 1;
        }
    }

    /// Drops the clients whose time is up, and lists who was heard.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self.heard_due <= now {
            self.list_heard();
        }
        while let Some((info, left)) = self.clients.expire(now) {
            self.full = false;
            if !left {
                self.counters.clients_expired += 1;
                self.events.push_back(RelayEvent::ClientDown(info, DownReason::Expired));
            }
        }
    }

    /// Writes the next datagram that is due into `buffer`, replacing its content, and says where it goes.
    #[must_use = "the datagram in the buffer has to be sent"]
    pub(crate) fn poll_transmit(
        &mut self,
        now: Timestamp,
        buffer: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        if self.tickets.is_empty() && self.jobs.is_empty() || !self.take_token(now) {
            return None;
        }
        let to = self.poll_packet(now, buffer)?;
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += buffer.len() as u64;
        Some(to)
    }

    fn poll_packet(&mut self, now: Timestamp, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some((to, ticket)) = self.tickets.poll(now) {
            encode_ticket(self.id, ticket, buffer);
            return Some(to);
        }
        self.jobs.poll(self.id, &self.clients, buffer)
    }

    fn take_token(&mut self, now: Timestamp) -> bool {
        if now >= self.burst_end {
            self.burst_end = now + BURST_INTERVAL;
            self.burst_left = BURST;
        }
        let allowed = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        allowed
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next, if nothing happens
    /// before; in the past when something can leave at once.
    pub(crate) fn next_deadline(&self) -> Timestamp {
        let transmit = if self.tickets.is_empty() && self.jobs.is_empty() {
            Timestamp::NEVER
        } else if self.burst_left > 0 {
            Timestamp::default()
        } else {
            self.burst_end
        };
        transmit.min(self.heard_due).min(self.clients.next_expiry())
    }

    /// The next thing that happened, in order.
    pub(crate) fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    /// The clients now, ordered by address.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &ClientInfo> {
        self.clients.present().map(|client| &client.info)
    }

    /// About what it holds on the heap.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.clients.memory_bytes() + self.jobs.memory_bytes()
    }

    pub(crate) fn counters(&self) -> RelayCounters {
        RelayCounters { clients: self.clients.present().count() as u64, ..self.counters }
    }
}
