//! Instances that discover each other on a virtual network. Layer: sim. Owned by one run.
//!
//! Each member is the discovery of production, driven as the conductor drives it: datagrams are read
//! until none is left, then timers, then what is to be sent. What lies between them is simpler than
//! the network of sessions, because there are up to millions of deliveries per second: one delay for
//! all, and at each member a socket with the buffer that Linux grants by default, which is read at
//! the pace of a thread that does nothing else. What does not fit is dropped.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::dice::Dice;
use super::meter::Meter;
use super::queue::Queue;
use crate::discovery::event::Event;
use crate::discovery::{Advert, Carrier, Discovery, Identity, Settings, Target};
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::locator::Locator;

/// One way, on a local network.
const DELAY: Duration = Duration::from_micros(100);
/// What Linux counts for a datagram beyond its bytes: the administration of a buffer.
const DATAGRAM_OVERHEAD: u64 = 768;
/// `net.core.rmem_max` of an untouched Linux, which the kernel doubles for that administration.
const SOCKET_BUFFER: u64 = 2 * 212_992;
/// How fast a socket is emptied, administration included: a full page of adverts in 15 us, an
/// ANNOUNCE in 6 us, which is what receiving and filing them takes on the machine that the
/// performance figures are from, rounded up.
const READ_BYTES_PER_MICRO: u64 = 150;
const CONTROL_PORT: u16 = 35_010;
const RESPONSE_PORT: u16 = 35_004;

/// A datagram on its way.
struct Flight {
    from: usize,
    to: Target,
    bytes: Rc<[u8]>,
}

enum Happening {
    Arrival(Flight),
    /// Something may be due.
    Wake(usize),
}

struct Member {
    discovery: Discovery,
    adverts: usize,
    /// The earliest wake that is in the queue.
    wake: Timestamp,
    /// Instances and adverts that it knows, by its events.
    peers: usize,
    known: usize,
    /// What waits in its socket, as of when.
    waiting: u64,
    waiting_at: Timestamp,
    is_far: bool,
    meter: Meter,
}

/// All members, and the network between them.
pub(super) struct Crowd {
    members: Vec<Member>,
    queue: Queue<Happening>,
    dice: Dice,
    buffer: Vec<u8>,
    /// Adverts of all members together.
    adverts: usize,
    /// Members that do not know everything.
    behind: usize,
    is_split: bool,
    dropped: u64,
}

impl Crowd {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            members: Vec::new(),
            queue: Queue::new(),
            dice: Dice::new(seed),
            buffer: Vec::new(),
            adverts: 0,
            behind: 0,
            is_split: false,
            dropped: 0,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.queue.now()
    }

    /// One more instance starts now.
    pub(super) fn join(&mut self, settings: Settings, adverts: &[Advert]) {
        let (index, now) = (self.members.len(), self.now());
        let group = Carrier { group: true, daemons: Vec::new() };
        let mut discovery =
            Discovery::new(identity(index), settings, &group, self.dice.draw(), now);
        for advert in adverts {
            // Names are short and apart, and nothing is known yet that could collide.
            discovery.advertise(advert.clone()).expect("an advert of the simulation");
        }
        self.adverts += adverts.len();
        self.members.push(Member {
            discovery,
            adverts: adverts.len(),
            wake: now,
            peers: 0,
            known: 0,
            waiting: 0,
            waiting_at: now,
            is_far: index % 2 == 1,
            meter: Meter::default(),
        });
        self.queue.push(now, Happening::Wake(index));
        self.behind = self.members.iter().filter(|member| self.is_behind(member)).count();
    }

    fn is_behind(&self, member: &Member) -> bool {
        member.peers + 1 != self.members.len() || member.known + member.adverts != self.adverts
    }

    /// Cuts every second member off from the others, or connects them again.
    pub(super) const fn split(&mut self, is_split: bool) {
        self.is_split = is_split;
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.queue.next_at() <= end {
            self.step();
        }
        self.queue.advance(end);
    }

    /// Runs until all know all, at most so long. Returns how long it took.
    ///
    /// # Errors
    ///
    /// How many do not know everything at the end.
    pub(super) fn converge(&mut self, limit: Duration) -> Result<Duration, String> {
        let start = self.now();
        while self.behind > 0 {
            if self.now() - start > limit {
                let (behind, members) = (self.behind, self.members.len());
                return Err(format!("{behind} of {members} do not know all after {limit:?}"));
            }
            self.step();
        }
        Ok(self.now() - start)
    }

    /// Whether everybody knows of everybody exactly what that one advertises: what the counts of
    /// [`Crowd::converge`] stand for.
    ///
    /// # Errors
    ///
    /// Who does not know whom.
    pub(super) fn check(&self) -> Result<(), String> {
        for (index, one) in self.members.iter().enumerate() {
            for (other, two) in self.members.iter().enumerate() {
                if index != other && !one.discovery.knows(&two.discovery) {
                    return Err(format!("{index} does not know {other}"));
                }
            }
        }
        Ok(())
    }

    /// What arrived at each since the last call.
    pub(super) fn take_meters(&mut self) -> Vec<Meter> {
        self.members.iter_mut().map(|member| std::mem::take(&mut member.meter)).collect()
    }

    /// Datagrams for which a socket had no room since the last call.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped, 0)
    }

    /// Memory of the member that takes the most.
    pub(super) fn memory(&self) -> usize {
        self.members.iter().map(|member| member.discovery.known_bytes()).max().unwrap_or(0)
    }

    fn step(&mut self) {
        match self.queue.pop() {
            Some(Happening::Arrival(flight)) => self.arrive(&flight),
            Some(Happening::Wake(index)) => {
                let now = self.now();
                let member = &mut self.members[index];
                member.wake = Timestamp::NEVER;
                member.discovery.handle_timeout(now);
                self.drain(index);
            }
            None => {}
        }
    }

    fn arrive(&mut self, flight: &Flight) {
        match flight.to {
            Target::Group => (0..self.members.len()).for_each(|to| self.deliver(to, flight)),
            Target::Unicast(address) => {
                if let Some(to) = index(address).filter(|to| *to < self.members.len()) {
                    self.deliver(to, flight);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, flight: &Flight) {
        let now = self.now();
        let is_cut = self.is_split && self.members[flight.from].is_far != self.members[to].is_far;
        let member = &mut self.members[to];
        if is_cut {
            return;
        }
        let bytes = flight.bytes.len();
        member.meter.count(now, bytes);
        if !member.take_in(now, bytes as u64) {
            self.dropped += 1;
            return;
        }
        // Discovery counts what it refuses; nothing of this is.
        let _ = member.discovery.handle_datagram(now, control(flight.from), &flight.bytes);
        self.drain(to);
    }

    /// Takes events, sends what is due, and files when to come back.
    fn drain(&mut self, index: usize) {
        let now = self.now();
        let was_behind = self.is_behind(&self.members[index]);
        self.members[index].take_events();
        let is_behind = self.is_behind(&self.members[index]);
        self.behind = self.behind + usize::from(is_behind) - usize::from(was_behind);
        let discovery = &mut self.members[index].discovery;
        while let Some(to) = discovery.poll_transmit(now, &mut self.buffer) {
            let flight = Flight { from: index, to, bytes: self.buffer.as_slice().into() };
            self.queue.push(now + DELAY, Happening::Arrival(flight));
        }
        let deadline = discovery.next_deadline();
        if deadline < self.members[index].wake {
            self.members[index].wake = deadline;
            self.queue.push(deadline, Happening::Wake(index));
        }
    }
}

impl Member {
    /// Whether there is room for a datagram behind those that wait.
    fn take_in(&mut self, now: Timestamp, bytes: u64) -> bool {
        let read = (now.as_nanos() - self.waiting_at.as_nanos()) * READ_BYTES_PER_MICRO / 1_000;
        self.waiting = self.waiting.saturating_sub(read);
        self.waiting_at = now;
        let size = DATAGRAM_OVERHEAD + bytes;
        let has_room = self.waiting + size <= SOCKET_BUFFER;
        self.waiting += if has_room { size } else { 0 };
        has_room
    }

    fn take_events(&mut self) {
        while let Some(event) = self.discovery.poll_event() {
            match event {
                Event::InstanceUp(_) => self.peers += 1,
                Event::InstanceDown { .. } => self.peers -= 1,
                Event::Advertised { .. } => self.known += 1,
                Event::Withdrawn { .. } => self.known -= 1,
                _ => {}
            }
        }
    }
}

fn identity(index: usize) -> Identity {
    Identity {
        instance: InstanceId::from_bytes((index as u128 + 1).to_be_bytes()),
        name: format!("service-{index}").into(),
        control: Locator { address: control(index), stream: 0 },
        source: control(index),
        responses: Locator { address: (control(index).ip(), RESPONSE_PORT).into(), stream: 1 },
        host: index as u64 + 1,
    }
}

/// Each member has a host, and so an address, of its own.
fn control(index: usize) -> SocketAddr {
    let [.., high, middle, low] = (index + 1).to_be_bytes();
    ([10, high, middle, low], CONTROL_PORT).into()
}

/// The member with a control address.
fn index(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [_, rest @ ..] = ip.octets();
    let [high, middle, low] = rest.map(usize::from);
    (high << 16 | middle << 8 | low).checked_sub(1)
}
