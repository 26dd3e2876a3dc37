//! Hosts, stations and the network between them, and the loop of events that moves them. Layer: sim.
//! Owned by one run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::host::{Delivered, Host, Lane};
use super::network::{Arrival, Network, Packet};
use super::queue::Queue;
use super::scenario::{Fault, Scenario, TAG};
use super::station::{Sent, Station, StationParts};
use crate::id::{InstanceId, ReceiverId, RequestId, SessionId};
use crate::protocol::flow_control::{FlowSettings, Strategy};
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::time::Timestamp;
use crate::wire::control::Feedback;
use crate::wire::frame::{FrameKind, RequestPrefix, ResponsePrefix};
use crate::wire::locator::Locator;
use crate::wire::packet::{PacketHeader, PacketKind, Prefix};

/// How soon a back-pressured caller tries again.
const AGAIN: Duration = Duration::from_micros(300);
/// Longest time that a responder thinks.
const THINKING: Duration = Duration::from_millis(1);
/// Discovery needs so long at most to notice that a process is gone.
const NOTICING: Duration = Duration::from_millis(500);
/// Beyond the timeouts of a scenario, all work and all feedback are over after this.
const GRACE: Duration = Duration::from_secs(5);
/// A socket's buffer once the network is well.
const LARGE_BUFFER: usize = 64 << 20;
/// More events than any scenario needs: who reaches it runs in circles.
const MAX_EVENTS: u64 = 20_000_000;

/// What happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Arrive {
        from: usize,
        to: usize,
        lane: Lane,
        run: Vec<Packet>,
    },
    Read {
        host: usize,
        lane: Lane,
    },
    Timer {
        host: usize,
    },
    Tend {
        station: usize,
    },
    Publish {
        station: usize,
    },
    Start {
        host: usize,
    },
    /// Discovery tells a station's host of a receiver, or that it is gone.
    Discover {
        station: usize,
        host: usize,
        id: ReceiverId,
    },
    Forget {
        station: usize,
        id: ReceiverId,
    },
    /// Discovery tells a host that the sender of a session is gone.
    Orphan {
        host: usize,
        session: SessionId,
    },
    Respond {
        host: usize,
        responder: InstanceId,
        requester: InstanceId,
        request: RequestId,
    },
    Expire {
        host: usize,
    },
    Fault(Fault),
    Heal,
}

/// Everything that is simulated.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) queue: Queue<Event>,
    dice: Dice,
    pub(super) network: Network,
    pub(super) hosts: Vec<Host>,
    pub(super) stations: Vec<Station>,
    by_session: BTreeMap<SessionId, usize>,
    /// Publications for responses, by who answers and who asked.
    answering: BTreeMap<(InstanceId, InstanceId), usize>,
    buffer_bytes: usize,
    pub(super) events: u64,
    pub(super) heals_at: Timestamp,
    pub(super) asked: u64,
    pub(super) naks: u64,
    arrivals: Vec<Arrival>,
}

type Step = Result<(), String>;

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut dice = Dice::new(!seed);
        let queue = Queue::new();
        let now = queue.now();
        let hosts = scenario.publishers + scenario.receivers;
        let mut world = Self {
            network: Network::new(hosts, || scenario.conditions),
            hosts: Vec::new(),
            stations: Vec::new(),
            by_session: BTreeMap::new(),
            answering: BTreeMap::new(),
            buffer_bytes: scenario.buffer_bytes,
            events: 0,
            heals_at: now + scenario.heals_at,
            asked: 0,
            naks: 0,
            arrivals: Vec::new(),
            scenario,
            queue,
            dice: Dice::new(seed ^ 0x5eed),
        };
        for place in 0..hosts {
            let settings = world.receive_settings(place);
            world.hosts.push(Host::new(now, place, &mut dice, settings));
            world.hosts[place].is_up = false;
            let is_publisher = place < world.scenario.publishers;
            let late = if is_publisher { Duration::ZERO } else { world.scenario.lateness };
            let at = now + dice.pause(late);
            world.queue.push(at, Event::Start { host: place });
        }
        for (at, fault) in world.scenario.faults.clone() {
            world.queue.push(now + at, Event::Fault(fault));
        }
        world.queue.push(world.heals_at, Event::Heal);
        world
    }

    fn receive_settings(&self, place: usize) -> ReceiveSettings {
        let Scenario { is_group, repair_timeout, .. } = self.scenario;
        ReceiveSettings {
            window_packets: self.layout().window_packets(self.scenario.window_bytes),
            max_message_bytes: 1 << 20,
            repair_timeout,
            is_group,
            // Half of the receivers set the pace where not all do.
            tag: if place.is_multiple_of(2) { TAG } else { 0 },
        }
    }

    fn layout(&self) -> Layout {
        Layout::for_window(self.scenario.packet_bytes, self.scenario.window_bytes)
    }

    /// Runs until nothing happens any more.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub(super) fn run_until_silent(&mut self) -> Step {
        while let Some(event) = self.queue.pop() {
            self.events += 1;
            if self.events > MAX_EVENTS {
                return Err(format!("{MAX_EVENTS} events, the last one {event:?}"));
            }
            if let Some(event) = self.postpone(event) {
                self.handle(event)?;
            }
            self.check_progress()?;
        }
        Ok(())
    }

    /// A stopped process does nothing: what it would do, it does when it goes on.
    fn postpone(&mut self, event: Event) -> Option<Event> {
        let host = match &event {
            Event::Read { host, .. }
            | Event::Timer { host }
            | Event::Orphan { host, .. }
            | Event::Respond { host, .. }
            | Event::Expire { host } => *host,
            Event::Tend { station }
            | Event::Publish { station }
            | Event::Discover { station, .. }
            | Event::Forget { station, .. } => self.stations[*station].parts.host,
            _ => return Some(event),
        };
        let until = self.hosts[host].paused_until;
        let now = self.queue.now();
        if until <= now {
            return Some(event);
        }
        match &event {
            Event::Timer { host } if self.hosts[*host].timer_at == now => {
                self.hosts[*host].timer_at = until;
            }
            Event::Tend { station } if self.stations[*station].tend_at == now => {
                self.stations[*station].tend_at = until;
            }
            Event::Expire { host } if self.hosts[*host].asking.expire_at == now => {
                self.hosts[*host].asking.expire_at = until;
            }
            _ => {}
        }
        self.queue.push(until, event);
        None
    }

    fn handle(&mut self, event: Event) -> Step {
        let now = self.queue.now();
        match event {
            Event::Arrive { from, to, lane, run } => self.arrive(from, to, lane, run),
            Event::Read { host, lane } => return self.read(host, lane),
            Event::Timer { host } => {
                if self.hosts[host].timer_at == now {
                    self.hosts[host].timer_at = Timestamp::NEVER;
                    return self.time_out(host, None);
                }
            }
            Event::Tend { station } => {
                if self.stations[station].tend_at == now {
                    self.stations[station].tend_at = Timestamp::NEVER;
                    return self.tend(station);
                }
            }
            Event::Publish { station } => return self.publish_next(station),
            Event::Start { host } => self.start(host),
            Event::Discover { station, host, id } => {
                let is_there = self.hosts[host].is_up && self.hosts[host].receiver == id;
                if is_there && !self.stations[station].is_dead {
                    self.stations[station].add_receiver(now, id, host);
                    return self.tend(station);
                }
            }
            Event::Forget { station, id } => {
                if !self.stations[station].is_dead {
                    self.stations[station].remove_receiver(id, &mut self.dice);
                    return self.tend(station);
                }
            }
            Event::Orphan { host, session } => return self.time_out(host, Some(session)),
            Event::Respond { host, responder, requester, request } => {
                return self.respond(host, responder, requester, request);
            }
            Event::Expire { host } => {
                if self.hosts[host].asking.expire_at == now {
                    self.hosts[host].asking.expire_at = Timestamp::NEVER;
                    self.hosts[host].asking.expire(now)?;
                    self.arm_expiry(host);
                }
            }
            Event::Fault(fault) => return self.strike(fault),
            Event::Heal => {
                self.network.heal();
                self.buffer_bytes = LARGE_BUFFER;
                for station in &mut self.stations {
                    station.parts.refuses = 0;
                }
            }
        }
        Ok(())
    }

    // Processes come and go.

    fn start(&mut self, host: usize) {
        self.hosts[host].is_up = true;
        if host < self.scenario.publishers {
            self.open_topic(host);
            return;
        }
        let topics: Vec<usize> = self.live_topics().collect();
        for station in topics {
            self.introduce(station, host);
        }
    }

    /// Stations of topics, those for responses not counted.
    fn live_topics(&self) -> impl Iterator<Item = usize> + '_ {
        let publishers = self.scenario.publishers;
        let stations = self.stations.iter().enumerate();
        stations.filter(move |(_, it)| !it.is_dead && it.parts.host < publishers).map(|(at, _)| at)
    }

    fn introduce(&mut self, station: usize, host: usize) {
        let at = self.queue.now() + self.dice.pause(self.scenario.discovery);
        let id = self.hosts[host].receiver;
        self.queue.push(at, Event::Discover { station, host, id });
    }

    /// A publication with its publishers, which begin to publish.
    fn open_topic(&mut self, host: usize) {
        let (is_group, indices) = (self.scenario.is_group, self.scenario.indices);
        let station = self.open_station(host, is_group, indices);
        self.stations[station].messages_left = self.scenario.messages;
        for receiver in self.scenario.publishers..self.hosts.len() {
            if self.hosts[receiver].is_up {
                self.introduce(station, receiver);
            }
        }
        let at = self.queue.now() + self.dice.pause(Duration::from_millis(2));
        self.queue.push(at, Event::Publish { station });
    }

    fn open_station(&mut self, host: usize, is_group: bool, publishers: usize) -> usize {
        let scenario = &self.scenario;
        let layout = self.layout();
        let session = SessionId(self.dice.draw());
        let header = PacketHeader {
            session,
            sequence: 0,
            stream: 1,
            instance: self.hosts[host].receiver.instance,
        };
        let parts = StationParts {
            header,
            host,
            layout,
            flow: FlowSettings {
                strategy: scenario.strategy,
                drops_slow: scenario.drops_slow,
                window_packets: layout.window_packets(scenario.window_bytes),
                timeout: scenario.receiver_timeout,
            },
            is_group,
            batch: scenario.batch,
            eager: scenario.eager,
            refuses: scenario.refuses,
            poll_interval: scenario.poll_interval,
        };
        self.stations.push(Station::new(self.queue.now(), parts, publishers));
        self.by_session.insert(session, self.stations.len() - 1);
        self.stations.len() - 1
    }

    fn strike(&mut self, fault: Fault) -> Step {
        let now = self.queue.now();
        match fault {
            Fault::Cut { from, to, is_cut } => self.network.cut(from, to, is_cut),
            Fault::Pause { host, lasts } => {
                let host = &mut self.hosts[host];
                host.paused_until = host.paused_until.max(now + lasts);
            }
            Fault::RestartPublisher { host } => {
                self.kill(host)?;
                self.queue.push(now + self.scenario.discovery, Event::Start { host });
            }
            Fault::RestartReceiver { host } => {
                if self.hosts[host].is_up {
                    self.kill(host)?;
                    self.queue.push(now + self.scenario.discovery, Event::Start { host });
                }
            }
        }
        Ok(())
    }

    /// A process dies: nothing is said to anybody, discovery notices after a while.
    fn kill(&mut self, host: usize) -> Step {
        let now = self.queue.now();
        self.hosts[host].asking.close()?;
        self.count(host);
        let old = self.hosts[host].receiver;
        let mut dead = Vec::new();
        for (at, station) in self.stations.iter_mut().enumerate() {
            if station.parts.host == host && !station.is_dead {
                station.is_dead = true;
                station.messages_left = 0;
                dead.push(station.parts.header.session);
            } else if !station.is_dead && station.receivers.iter().any(|known| known.id == old) {
                let at_time = now + self.dice.pause(NOTICING);
                self.queue.push(at_time, Event::Forget { station: at, id: old });
            }
        }
        for session in dead {
            for other in 0..self.hosts.len() {
                let at = now + NOTICING + self.dice.pause(NOTICING);
                self.queue.push(at, Event::Orphan { host: other, session });
            }
        }
        let settings = self.receive_settings(host);
        let paused_until = self.hosts[host].paused_until;
        let mut fresh = Host::new(now, host, &mut self.dice, settings);
        fresh.paused_until = paused_until;
        fresh.is_up = false;
        self.hosts[host] = fresh;
        Ok(())
    }

    /// Keeps the counts of a host that is about to go.
    fn count(&mut self, host: usize) {
        let host = &self.hosts[host];
        self.asked += host.asking.count();
        self.naks += host.heard.values().map(|it| it.session.counters().naks).sum::<u64>();
    }

    // Publishing.

    fn publish_next(&mut self, station: usize) -> Step {
        if self.stations[station].messages_left == 0 {
            return Ok(());
        }
        let asks = self.dice.chance(self.scenario.requests);
        let bytes = self.draw_size();
        let wait = if self.publish(station, bytes, asks)? {
            self.stations[station].messages_left -= 1;
            self.dice.pause(self.scenario.gap)
        } else {
            AGAIN
        };
        self.queue.push(self.queue.now() + wait, Event::Publish { station });
        Ok(())
    }

    fn draw_size(&mut self) -> usize {
        let (usual, large) = self.scenario.sizes;
        let limit = if self.dice.chance(50_000) { large } else { usual };
        self.dice.index(limit + 1)
    }

    /// Publishes one message. False when it was back-pressured.
    fn publish(&mut self, station: usize, bytes: usize, asks: bool) -> Result<bool, String> {
        let publisher = self.dice.index(self.stations[station].books.len());
        self.publish_as(station, publisher, bytes, asks)
    }

    /// Publishes one message as one of the publishers of a station.
    fn publish_as(
        &mut self,
        station: usize,
        publisher: usize,
        bytes: usize,
        asks: bool,
    ) -> Result<bool, String> {
        let now = self.queue.now();
        let mut payload: Vec<u8> = Vec::with_capacity(bytes + 8);
        while payload.len() < bytes {
            payload.extend_from_slice(&self.dice.draw().to_le_bytes());
        }
        payload.truncate(bytes);
        let host = self.stations[station].parts.host;
        let timeout = self.scenario.request_timeout;
        let expected = self.stations[station].receivers.len();
        let request = if asks && expected > 0 {
            self.hosts[host].asking.open(now, timeout, expected)
        } else {
            None
        };
        let (kind, prefix) = match request {
            None => (FrameKind::Message, Vec::new()),
            Some(request) => {
                let reply_to = Locator { address: self.hosts[host].address, stream: 1 };
                let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                let prefix = RequestPrefix { request, timeout_ns, reply_to };
                (FrameKind::Request, prefix.encode().to_vec())
            }
        };
        let parts = (prefix.as_slice(), payload.as_slice());
        let sent = self.stations[station].publish(now, &mut self.dice, publisher, kind, parts);
        if let Some(request) = request {
            if !sent {
                self.hosts[host].asking.withdraw(request);
            }
            self.arm_expiry(host);
        }
        self.arm_station(station, now + self.scenario.poll_interval);
        self.route(station);
        Ok(sent)
    }

    /// One more message of every publisher that is left, before which losses are reported.
    pub(super) fn publish_epilogue(&mut self) -> Step {
        for station in 0..self.stations.len() {
            if self.stations[station].is_dead {
                continue;
            }
            for publisher in 0..self.stations[station].books.len() {
                if !self.publish_as(station, publisher, 8, false)? {
                    return Err(format!("station {station} is settled and back-pressured"));
                }
            }
        }
        Ok(())
    }

    fn respond(
        &mut self,
        host: usize,
        responder: InstanceId,
        requester: InstanceId,
        request: RequestId,
    ) -> Step {
        let asks = |it: &Host| it.is_up && it.receiver.instance == requester;
        let Some(to) = self.hosts.iter().position(asks) else { return Ok(()) };
        if self.hosts[host].receiver.instance != responder {
            return Ok(());
        }
        let now = self.queue.now();
        let station = match self.answering.get(&(responder, requester)) {
            Some(station) => *station,
            None => {
                let station = self.open_station(host, false, 1);
                self.answering.insert((responder, requester), station);
                let id = self.hosts[to].receiver;
                self.stations[station].add_receiver(now, id, to);
                station
            }
        };
        let prefix = ResponsePrefix { request, requester }.encode();
        let payload = vec![7; self.draw_size()];
        let parts = (prefix.as_slice(), payload.as_slice());
        let sent =
            self.stations[station].publish(now, &mut self.dice, 0, FrameKind::Response, parts);
        if !sent {
            self.queue.push(now + AGAIN, Event::Respond { host, responder, requester, request });
        }
        self.arm_station(station, now + self.scenario.poll_interval);
        self.route(station);
        Ok(())
    }

    // Sending and receiving.

    fn tend(&mut self, station: usize) -> Step {
        let now = self.queue.now();
        if self.stations[station].is_dead {
            return Ok(());
        }
        let next = self.stations[station].look_after(now, &mut self.dice);
        self.arm_station(station, next);
        self.route(station);
        self.stations[station].check(now).map_err(|wrong| format!("station {station}: {wrong}"))
    }

    fn arm_station(&mut self, station: usize, at: Timestamp) {
        if at < self.stations[station].tend_at {
            self.stations[station].tend_at = at.max(self.queue.now());
            self.queue.push(self.stations[station].tend_at, Event::Tend { station });
        }
    }

    fn arm_timer(&mut self, host: usize) {
        let soon = self.queue.now() + Duration::from_micros(1);
        let at = self.hosts[host].next_deadline();
        if at < self.hosts[host].timer_at {
            self.hosts[host].timer_at = at.max(soon);
            self.queue.push(self.hosts[host].timer_at, Event::Timer { host });
        }
    }

    fn arm_expiry(&mut self, host: usize) {
        let at = self.hosts[host].asking.next_deadline();
        if at < self.hosts[host].asking.expire_at {
            self.hosts[host].asking.expire_at = at.max(self.queue.now());
            self.queue.push(self.hosts[host].asking.expire_at, Event::Expire { host });
        }
    }

    /// Sends what a station has put out.
    fn route(&mut self, station: usize) {
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

    fn arrive(&mut self, from: usize, to: usize, lane: Lane, run: Vec<Packet>) {
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
            let cost = self.scenario.packet_cost * packets;
            self.queue.push(self.queue.now() + cost, Event::Read { host, lane });
        }
    }

    fn read(&mut self, host: usize, lane: Lane) -> Step {
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

    fn time_out(&mut self, host: usize, orphan: Option<SessionId>) -> Step {
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
        let decoded = Prefix::decode(packet).and_then(|prefix| {
            debug_assert!(matches!(prefix.kind, PacketKind::Status | PacketKind::Nak));
            Feedback::decode(&prefix, &packet[..prefix.length])
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

    pub(super) fn at_host(&self, host: usize, wrong: &str) -> String {
        let since = self.queue.now().since(self.heals_at);
        let time = self.queue.now().as_nanos() as f64 / 1e9 - 1.0;
        format!("host {host}, {time:.6} s after the start, {since:?} after the heal: {wrong}")
    }

    /// Once nothing is in the way any more, work goes on, and comes to an end.
    fn check_progress(&self) -> Step {
        let now = self.queue.now();
        if now <= self.heals_at {
            return Ok(());
        }
        let Scenario { repair_timeout, receiver_timeout, request_timeout, .. } = self.scenario;
        let mut last = self.heals_at;
        for (at, station) in self.stations.iter().enumerate().filter(|(_, it)| !it.is_dead) {
            let since = station.accepted_at.max(self.heals_at);
            last = last.max(since);
            if station.messages_left > 0 && now.since(since) > receiver_timeout + GRACE {
                return Err(format!("station {at} has accepted nothing since {since:?}"));
            }
        }
        let limit = repair_timeout * 2 + receiver_timeout + request_timeout + GRACE;
        if now.since(last) > limit {
            return Err(format!("not silent {limit:?} after the last message and the last fault"));
        }
        Ok(())
    }

    /// Adds up what all hosts have counted.
    pub(super) fn count_all(&mut self) {
        (0..self.hosts.len()).for_each(|host| self.count(host));
    }
}

fn books_of<'a>(
    stations: &'a [Station],
    by_session: &BTreeMap<SessionId, usize>,
    id: SessionId,
) -> &'a [Vec<Sent>] {
    by_session.get(&id).map_or(&[], |station| &stations[*station].books)
}
