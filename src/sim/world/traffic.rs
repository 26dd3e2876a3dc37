//! Packets of the world on their way: from stations through the network into hosts, and feedback
//! back. Layer: sim. Owned by one run.

use std::collections::BTreeMap;

use super::{Event, Step, THINKING, World};
use crate::id::SessionId;
use crate::protocol::flow_control::Strategy;
use crate::sim::host::{Delivered, Lane};
use crate::sim::network::Packet;
use crate::sim::station::{Sent, Station};
use crate::wire::control::Feedback;
use crate::wire::packet::{PacketKind, Prefix};

impl World {
    pub(super) fn tend(&mut self, station: usize) -> Step {
        let now = self.queue.now();
        if self.stations[station].is_dead {
            return Ok(());
        }
        let next = self.stations[station].look_after(now, &mut self.dice);
        self.arm_station(station, next);
        self.route(station);
        self.stations[station].check(now).map_err(|wrong| format!("station {station}: {wrong}"))
    }

    /// Sends what a station has put out.
    pub(super) fn route(&mut self, station: usize) {
        let from = self.stations[station].parts.host;
        for outgoing in std::mem::take(&mut self.stations[station].outbox) {
            match outgoing.to {
                Some(to) => self.send(from, to, Lane::Data, &outgoing.run),
                None => {
                    for to in self.scenario.publishers..self.hosts.len() {
                        self.send(from, to, Lane::Data, &outgoing.run);
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, lane: Lane, run: &[Packet]) {
        let now = self.queue.now();
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.network.send(now, &mut self.dice, (from, to), run, &mut arrivals);
        for (at, run) in arrivals.drain(..) {
            self.queue.push(at, Event::Arrive { from, to, lane, run });
        }
        self.arrivals = arrivals;
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, lane: Lane, run: Vec<Packet>) {
        let packets = run.len() as u64;
        if !self.hosts[to].is_up {
            return;
        }
        let inbox = &mut self.hosts[to].inboxes[lane as usize];
        match inbox.put(from, run, self.buffer_bytes) {
            None => self.network.injected.overflowed += packets,
            Some(true) => self.arm_read(to, lane),
            Some(false) => {}
        }
    }

    fn arm_read(&mut self, host: usize, lane: Lane) {
        if let Some(packets) = self.hosts[host].inboxes[lane as usize].next_packets() {
            let each = match self.scenario.straggler {
                Some((straggler, cost)) if straggler == host => cost,
                _ => self.scenario.packet_cost,
            };
            let cost = each * packets;
            self.queue.push(self.queue.now() + cost, Event::Read { host, lane });
        }
    }

    pub(super) fn read(&mut self, host: usize, lane: Lane) -> Step {
        let Some((from, run)) = self.hosts[host].inboxes[lane as usize].take() else {
            return Ok(());
        };
        for packet in &run {
            match lane {
                Lane::Data => self.read_data(host, from, packet)?,
                Lane::Feedback => self.read_feedback(host, from, packet)?,
            }
        }
        self.arm_read(host, lane);
        Ok(())
    }

    fn read_data(&mut self, host: usize, from: usize, packet: &[u8]) -> Step {
        let now = self.queue.now();
        let (stations, by_session) = (&self.stations, &self.by_session);
        let books = |id| books_of(stations, by_session, id);
        let heard = self.hosts[host].handle_packet(now, from, packet, books);
        let heard = heard.map_err(|wrong| self.at_host(host, &wrong))?;
        self.after_step(host)?;
        heard.map_or(Ok(()), |session| self.check_account(host, session))
    }

    pub(super) fn time_out(&mut self, host: usize, orphan: Option<SessionId>) -> Step {
        let now = self.queue.now();
        let (stations, by_session) = (&self.stations, &self.by_session);
        let books = |id| books_of(stations, by_session, id);
        let done = self.hosts[host].handle_timeouts(now, books, orphan);
        done.map_err(|wrong| self.at_host(host, &wrong))?;
        self.after_step(host)?;
        let sessions: Vec<_> = self.hosts[host].heard.keys().copied().collect();
        sessions.into_iter().try_for_each(|session| self.check_account(host, session))
    }

    fn read_feedback(&mut self, host: usize, from: usize, packet: &[u8]) -> Step {
        let now = self.queue.now();
        let mut missing = Vec::new();
        let decoded = Prefix::decode(packet).and_then(|prefix| {
            debug_assert!(matches!(prefix.kind, PacketKind::Status | PacketKind::Nak));
            Feedback::decode(&prefix, &packet[..prefix.length], &mut missing)
        });
        let Ok(feedback) = decoded else {
            self.hosts[host].refused += 1;
            return Ok(());
        };
        let Some(station) = self.by_session.get(&feedback.status.session).copied() else {
            return Err(format!("feedback for a session that never was: {feedback:?}"));
        };
        if self.stations[station].is_dead || self.stations[station].parts.host != host {
            return Ok(());
        }
        let source = self.hosts[from].address;
        self.stations[station].handle_feedback(now, source, &feedback);
        self.tend(station)
    }

    /// Sends the feedback of a host, and has what was delivered to it answered.
    fn after_step(&mut self, host: usize) -> Step {
        for (to, packet) in std::mem::take(&mut self.hosts[host].outbox) {
            self.send(host, to, Lane::Feedback, &[packet]);
        }
        for delivered in std::mem::take(&mut self.hosts[host].delivered) {
            match delivered {
                Delivered::Request { request, requester } => {
                    if !self.hosts[host].asked.insert((requester, request)) {
                        return Err(self.at_host(host, &format!("{request} arrived twice")));
                    }
                    let responder = self.hosts[host].receiver.instance;
                    let at = self.queue.now() + self.dice.pause(THINKING);
                    self.queue.push(at, Event::Respond { host, responder, requester, request });
                }
                Delivered::Response { request, requester, responder } => {
                    if self.hosts[host].receiver.instance == requester {
                        self.hosts[host].asking.answer(request, responder)?;
                    }
                }
            }
        }
        self.arm_timer(host);
        Ok(())
    }

    fn check_account(&mut self, host: usize, session: SessionId) -> Step {
        let now = self.queue.now();
        let Some(station) = self.by_session.get(&session) else { return Ok(()) };
        let station = &self.stations[*station];
        let id = self.hosts[host].receiver;
        let known = station.receivers.iter().find(|known| known.id == id);
        let may_lack = station.is_dead
            || station.parts.flow.strategy != Strategy::Min
            || known.is_none_or(|known| known.was_dropped);
        let settings = self.hosts[host].settings;
        let Some(heard) = self.hosts[host].heard.get_mut(&session) else { return Ok(()) };
        let owed_from = known.map_or(u64::MAX, |known| known.start);
        let checked = heard.account.check(now, &heard.session, (owed_from, may_lack), &settings);
        checked.map_err(|wrong| self.at_host(host, &wrong))
    }
}

fn books_of<'a>(
    stations: &'a [Station],
    by_session: &BTreeMap<SessionId, usize>,
    id: SessionId,
) -> &'a [Vec<Sent>] {
    by_session.get(&id).map_or(&[], |station| &stations[*station].books)
}
