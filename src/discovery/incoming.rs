//! What others say. Layer: discovery (sans-IO). A part of [`Discovery`], which the conductor owns.

use std::net::SocketAddr;

use super::Discovery;
use super::event::Event;
use super::feed::{MAX_ANSWER_PAGES, Reception, STRANGER_PAGES};
use super::log::Cursor;
use super::registry::Sighting;
use crate::time::Timestamp;
use crate::wire::WireError;
use crate::wire::advert::daemon::{DaemonView, HeardView};
use crate::wire::advert::{self, Announce, Ask, ChangesView, DiscoveryView};
use crate::wire::packet::{PacketKind, Prefix};

/// Datagrams are dropped while more events than this wait to be polled: an owner that does not poll
/// loses packets, which heal, and not memory.
pub(super) const MAX_WAITING_EVENTS: usize = 65_536;

impl Discovery {
    /// Takes one datagram. Work and events are bounded by its length and by the adverts held of
    /// its sender.
    ///
    /// # Errors
    ///
    /// When it is not a discovery packet; it is counted and has no effect.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let counters = &mut self.ledger.counters;
        counters.packets_received += 1;
        counters.bytes_received += bytes.len() as u64;
        if self.ledger.events.len() >= MAX_WAITING_EVENTS {
            counters.overruns += 1;
            return Ok(());
        }
        let handled = match Prefix::decode(bytes).map(|prefix| prefix.kind) {
            Ok(PacketKind::Ticket | PacketKind::Heard) => self.handle_daemon(now, source, bytes),
            _ => self.handle_instance(now, source, bytes),
        };
        let counters = &mut self.ledger.counters;
        match handled {
            Err(WireError::Version { .. }) => counters.other_versions += 1,
            Err(_) => counters.malformed += 1,
            Ok(()) => {}
        }
        handled
    }

    fn handle_instance(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let view = advert::parse(bytes)?;
        let sender = match &view {
            DiscoveryView::Announce(announce) => announce.instance,
            DiscoveryView::Changes(page) => page.instance,
            DiscoveryView::Ask(ask) => ask.asker,
            DiscoveryView::Goodbye(instance) => *instance,
        };
        if sender == self.identity.instance {
            self.handle_own(source);
            return Ok(());
        }
        match view {
            DiscoveryView::Announce(announce) => self.handle_announce(now, &announce),
            DiscoveryView::Changes(page) => self.handle_changes(now, &page),
            DiscoveryView::Ask(ask) => self.handle_ask(now, source, &ask),
            DiscoveryView::Goodbye(instance) => {
                self.ledger.counters.goodbyes_received += 1;
                self.registry.goodbye(now, instance, &mut self.ledger);
            }
        }
        Ok(())
    }

    fn handle_daemon(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let view = advert::daemon::parse(bytes)?;
        let Some(index) = self.daemons.position(source) else {
            self.ledger.counters.not_from_daemons += 1;
            return Ok(());
        };
        match view {
            DaemonView::Ticket { daemon, ticket } => {
                self.daemons.ticket((index, now), daemon, ticket, &mut self.ledger);
            }
            DaemonView::Heard(heard) => self.handle_heard(now, index, &heard),
            _ => return Err(WireError::Malformed { what: "kind of a discovery packet" }),
        }
        Ok(())
    }

    fn handle_heard(&mut self, now: Timestamp, index: usize, view: &HeardView<'_>) {
        for heard in view.entries() {
            if heard.instance == self.identity.instance {
                self.daemons.confirmed(index, view.daemon, now, &mut self.ledger);
            } else if !self.registry.heard_of(now, &heard, &mut self.ledger, &mut self.jitter)
                && self.registry.has_room_for(heard.instance)
            {
                self.daemons.want(index, heard.instance);
            }
        }
    }

    fn handle_own(&mut self, source: SocketAddr) {
        let is_echo = source == self.identity.source || self.daemons.position(source).is_some();
        let counters = &mut self.ledger.counters;
        if is_echo {
            counters.echoes += 1;
            return;
        }
        counters.duplicate_identities += 1;
        if counters.duplicate_identities == 1 {
            self.ledger.events.push(Event::DuplicateIdentity { source });
        }
    }

    fn handle_announce(&mut self, now: Timestamp, announce: &Announce<'_>) {
        self.ledger.counters.announces_received += 1;
        let sighting = self.registry.announced(now, announce, &mut self.ledger, &mut self.jitter);
        // A daemon introduces its clients to each other.
        if sighting == Sighting::New && !announce.direct && self.has_group {
            let (newcomer, peers) = (announce.control.address, self.registry.len());
            self.announcer.greet(now, newcomer, peers, &mut self.jitter);
        }
    }

    fn handle_changes(&mut self, now: Timestamp, page: &ChangesView<'_>) {
        self.ledger.counters.changes_received += 1;
        self.registry.changed(now, page, &mut self.ledger, &mut self.jitter);
    }

    fn handle_ask(&mut self, now: Timestamp, source: SocketAddr, ask: &Ask) {
        let counters = &mut self.ledger.counters;
        counters.asks_received += 1;
        if ask.target != self.identity.instance {
            counters.asks_misdirected += 1;
            return;
        }
        if ask.control.address != source {
            counters.asks_readdressed += 1;
        }
        self.registry.heard(now, ask.asker);
        let is_at_home =
            self.registry.get(ask.asker).is_some_and(|peer| peer.info.control.address == source);
        let pages = if is_at_home { MAX_ANSWER_PAGES } else { STRANGER_PAGES };
        let cursor = Cursor { have: ask.have, horizon: ask.horizon };
        if self.feed.ask(now, source, cursor, pages, &self.log) == Reception::Deferred {
            counters.asks_deferred += 1;
        }
    }
}
