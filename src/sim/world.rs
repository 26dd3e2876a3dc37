//! Hosts, stations and the network between them, and the loop of events that moves them. Layer: sim.
//! Owned by one run.

mod processes;
mod publishing;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;
use super::host::{Host, Lane};
use super::network::{Arrival, Network, Packet};
use super::queue::Queue;
use super::scenario::{Fault, Scenario, TAG};
use super::station::Station;
use crate::id::{InstanceId, ReceiverId, RequestId, SessionId};
use crate::protocol::receiver::ReceiveSettings;
use crate::ring::Layout;
use crate::time::Timestamp;

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
                    let place = (host, self.hosts[host].address);
                    self.stations[station].add_receiver(now, id, place, &mut self.dice);
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

    /// Keeps the counts of a host that is about to go.
    fn count(&mut self, host: usize) {
        let host = &self.hosts[host];
        self.asked += host.asking.count();
        self.naks += host.heard.values().map(|it| it.session.counters().naks).sum::<u64>();
    }

    /// Adds up what all hosts have counted.
    pub(super) fn count_all(&mut self) {
        (0..self.hosts.len()).for_each(|host| self.count(host));
    }
}
