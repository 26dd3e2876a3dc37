//! Very many clients of one discovery daemon, each with a socket of its own. Tests.
//!
//! A client is the discovery of an instance without the rest of one ([`sim::Client`](vega::sim::Client)),
//! so that a thousand fit into a test: a few threads move what all of them send and receive. The daemon
//! is another process, as `vega daemon` is. A program of its own, because it keeps all cores busy.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

#[allow(dead_code, unused_imports, reason = "shared with `tests/acceptance`")]
#[path = "../acceptance/support/mod.rs"]
mod support;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use vega::sim::Client;
use vega::{Config, InstanceId};

use support::daemon::{DaemonReport, through_daemons};
use support::{DaemonProcess, Place, Settings, socket_at};

/// The test that plays the clients: a process of its own, because it takes so many descriptors.
const TEST: &str = "clients";
/// How many of them; present only in children.
const CLIENTS: &str = "VEGA_ACCEPTANCE_CLIENTS";
/// What the sockets of instances ask for.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Descriptors that are no sockets of clients.
const OTHER_FILES: usize = 256;
/// Clients that start at once, when those before them know all.
const BATCH: usize = 50;
/// Threads that the clients share.
const THREADS: usize = 2;
/// Clients that say goodbye, and as many that say nothing, of a hundred.
const GOING_PERCENT: usize = 2;
/// Far above what anything here takes: the clients have millions of datagrams to read, and the cores
/// are those of all other tests.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the steady state is watched.
const STEADY: Duration = Duration::from_secs(5);
/// A few megabytes for what waits, and a kilobyte for each client.
const DAEMON_KIB: u64 = 16 * 1_024;

/// All register, each learns what every other one publishes, and who goes is told to all that stay.
/// How many there are is up to `VEGA_SCALE_CLIENTS`. A pair of them takes two datagrams at least, one with
/// who is there and one with what that one publishes: two million for a thousand, each sent by the daemon or
/// by another client on these same cores.
#[test]
fn a_thousand_clients_of_one_daemon_know_each_other() {
    const DEFAULT_CLIENTS: usize = 1_000;
    let clients = std::env::var("VEGA_SCALE_CLIENTS").map(|clients| clients.parse().unwrap());
    let clients = clients.unwrap_or(DEFAULT_CLIENTS);
    let files = clients + OTHER_FILES;
    let script = format!("ulimit -n {files}; exec \"$0\" --exact {TEST} --nocapture");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CLIENTS, clients.to_string())
        .output()
        .unwrap();
    let [said, wrong] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    println!("{said}");
    assert!(output.status.success(), "{}\n{wrong}", output.status);
    assert!(said.contains("1 passed"), "{said}");
}

/// What a child does; nothing in any other process.
#[test]
fn clients() {
    let Ok(clients) = std::env::var(CLIENTS) else { return };
    let count: usize = clients.parse().unwrap();
    let place = Place::with(Settings { refresh: "4s", timeout: "40s", ..Settings::default() });
    let free = socket_at(place.address()).local_addr().unwrap();
    let mut daemon = DaemonProcess::start(free);
    let before = daemon.report();
    let config = Config::parse(&through_daemons(&place, &[daemon.address()])).unwrap();

    let started = now();
    let mut crowd = Crowd::new(count);
    while crowd.clients.len() < count {
        crowd.join(&place, &config, BATCH.min(count - crowd.clients.len()));
        crowd.wait_until_all_know(crowd.clients.len());
    }
    tell("all know all", started, before, &mut daemon);
    assert_eq!(crowd.lost(), 0, "nobody has gone");

    let (quiet, settled) = (now(), daemon.report());
    thread::sleep(STEADY);
    let steady = tell("steady state", quiet, settled, &mut daemon);
    assert_eq!(usize::try_from(steady.clients).unwrap(), count);
    assert_eq!(crowd.lost(), 0, "nobody has gone");

    let (parting, going) = (now(), (count * GOING_PERCENT / 100).max(1));
    crowd.end(going, true);
    crowd.wait_until_all_know(count - going);
    tell("goodbyes are known", parting, steady, &mut daemon);
    let (dying, left) = (now(), daemon.report());
    crowd.end(going, false);
    crowd.wait_until_all_know(count - 2 * going);
    let end = tell("silence is known", dying, left, &mut daemon);
    crowd.check();

    assert_eq!((end.malformed, end.refused, end.failed), (0, 0, 0), "{end:?}");
    let grown = end.peak_kib - before.peak_kib;
    println!("the daemon has grown by {grown} KiB");
    assert!(grown < DAEMON_KIB + count as u64, "{grown} KiB");
}

/// What an event has taken, in time and at the daemon.
fn tell(
    event: &str,
    since: Instant,
    before: DaemonReport,
    daemon: &mut DaemonProcess,
) -> DaemonReport {
    let (elapsed, after) = (since.elapsed(), daemon.report());
    println!(
        "{event}: {} ms, the daemon received {} and sent {} packets, {} kB, and dropped {}",
        elapsed.as_millis(),
        after.packets_received - before.packets_received,
        after.packets_sent - before.packets_sent,
        (after.bytes_sent - before.bytes_sent) / 1_000,
        after.dropped - before.dropped,
    );
    after
}

#[expect(clippy::disallowed_methods, reason = "real sockets have real time; it bounds waiting")]
fn now() -> Instant {
    Instant::now()
}

/// What one client knows, for the thread of the test to look at.
#[derive(Default)]
struct View {
    peers: AtomicU64,
    adverts: AtomicU64,
    lost: AtomicU64,
}

/// All clients.
struct Crowd {
    views: Arc<[View]>,
    /// Who each is, and what it publishes.
    clients: Vec<(InstanceId, String)>,
    drivers: Vec<(Sender<Order>, JoinHandle<()>)>,
    /// The first of those that have not been told to go.
    next: usize,
    origin: Instant,
}

/// What a thread is told.
enum Order {
    Join(Vec<Member>),
    /// These clients go: by a goodbye, or without a word.
    End(Vec<usize>, bool),
    /// Compares what each of its clients knows of the others with what is true.
    Check(Arc<HashMap<InstanceId, String>>, Sender<()>),
    Stop,
}

impl Crowd {
    /// Room for so many clients, and nobody there.
    fn new(count: usize) -> Self {
        let views: Arc<[View]> = (0..count).map(|_| View::default()).collect();
        let origin = now();
        let start = |_| {
            let (sender, orders) = unbounded();
            let driver = Driver::new(Arc::clone(&views), orders, origin);
            let thread = thread::Builder::new().name("clients".to_owned());
            (sender, thread.spawn(move || driver.run()).unwrap())
        };
        let drivers = (0..THREADS).map(start).collect();
        Self { views, clients: Vec::new(), drivers, next: 0, origin }
    }

    /// So many more start at once.
    fn join(&mut self, place: &Place, config: &Config, count: usize) {
        let mut shares: Vec<Vec<Member>> = (0..THREADS).map(|_| Vec::new()).collect();
        for index in self.clients.len()..self.clients.len() + count {
            let socket = socket_at(place.address());
            socket.set_nonblocking(true).unwrap();
            // As instances do; the system grants what it allows.
            socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
            let (name, topic) = (format!("client-{index}"), format!("unicast.topic-{index}"));
            let (address, wake) = (socket.local_addr().unwrap(), self.origin.elapsed());
            let mut client = Client::new(config, &name, address, wake);
            assert!(client.publish(&topic));
            self.clients.push((client.id(), topic));
            let socket = UdpSocket::from_std(socket);
            shares[index % THREADS].push(Member { index, client, socket, wake });
        }
        for ((orders, _), share) in self.drivers.iter().zip(shares) {
            orders.send(Order::Join(share)).unwrap();
        }
    }

    /// Those that are there and have not been told to go.
    fn staying(&self) -> &[View] {
        &self.views[self.next..self.clients.len()]
    }

    /// Waits until those that stay know each other and what all of them publish, and nothing else.
    fn wait_until_all_know(&self, count: usize) {
        let others = count as u64 - 1;
        let (deadline, knows) = (now() + PATIENCE, |view: &View| {
            let known = |number: &AtomicU64| number.load(Ordering::Relaxed) == others;
            known(&view.peers) && known(&view.adverts)
        });
        while let behind @ 1.. = self.staying().iter().filter(|view| !knows(view)).count() {
            assert!(now() < deadline, "{behind} clients do not know all");
            assert!(self.drivers.iter().all(|(_, thread)| !thread.is_finished()));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often clients that stay have taken others for gone.
    fn lost(&self) -> u64 {
        self.staying().iter().map(|view| view.lost.load(Ordering::Relaxed)).sum()
    }

    /// Ends some clients, with a goodbye or without.
    fn end(&mut self, count: usize, politely: bool) {
        let going: Vec<_> = (self.next..self.next + count).collect();
        self.next += count;
        for (orders, _) in &self.drivers {
            orders.send(Order::End(going.clone(), politely)).unwrap();
        }
    }

    /// Whoever stays knows exactly the others, and what they publish.
    fn check(self) {
        let topics: Arc<HashMap<_, _>> =
            Arc::new(self.clients[self.next..].iter().cloned().collect());
        for (orders, thread) in self.drivers {
            let (reply, done) = unbounded();
            orders.send(Order::Check(Arc::clone(&topics), reply)).unwrap();
            done.recv_timeout(PATIENCE).expect("all is as it should be");
            orders.send(Order::Stop).unwrap();
            thread.join().unwrap();
        }
    }
}

/// A client and its socket.
struct Member {
    index: usize,
    client: Client,
    socket: UdpSocket,
    /// Under which its next deadline is filed.
    wake: Duration,
}

/// A thread with its share of the clients.
struct Driver {
    members: Vec<Option<Member>>,
    views: Arc<[View]>,
    orders: Receiver<Order>,
    origin: Instant,
    poll: Poll,
    /// When each is to be looked at, by its place among the members.
    wakes: BTreeSet<(Duration, usize)>,
    buffer: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Driver {
    fn new(views: Arc<[View]>, orders: Receiver<Order>, origin: Instant) -> Self {
        Self {
            members: Vec::new(),
            views,
            orders,
            origin,
            poll: Poll::new().unwrap(),
            wakes: BTreeSet::new(),
            buffer: vec![0; 2_048],
            outgoing: Vec::new(),
        }
    }

    fn run(mut self) {
        /// Between two looks at what is to be done.
        const LONGEST_WAIT: Duration = Duration::from_millis(20);
        let mut events = Events::with_capacity(1_024);
        loop {
            let due = self.wakes.first().map_or(LONGEST_WAIT, |(due, _)| *due);
            let wait = due.saturating_sub(self.origin.elapsed()).min(LONGEST_WAIT);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
                _ => {}
            }
            for event in &events {
                self.serve(event.token().0);
            }
            let now = self.origin.elapsed();
            while let Some(&(due, place)) = self.wakes.first()
                && due <= now
            {
                self.wakes.pop_first();
                self.serve(place);
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Join(members) => self.join(members),
                    Order::End(going, politely) => self.end(&going, politely),
                    Order::Check(topics, reply) => {
                        self.check(&topics);
                        reply.send(()).unwrap();
                    }
                    Order::Stop => return,
                }
            }
        }
    }

    fn join(&mut self, members: Vec<Member>) {
        for mut member in members {
            let place = self.members.len();
            let registry = self.poll.registry();
            registry.register(&mut member.socket, Token(place), Interest::READABLE).unwrap();
            self.members.push(Some(member));
            self.serve(place);
        }
    }

    /// Reads what waits for a client, and sends what it has to say.
    fn serve(&mut self, place: usize) {
        let now = self.origin.elapsed();
        let Some(member) = &mut self.members[place] else { return };
        while let Some((length, source)) = received(&member.socket, &mut self.buffer) {
            member.client.handle_datagram(now, source, &self.buffer[..length]);
        }
        member.client.handle_timeout(now);
        member.send(now, &mut self.outgoing);
        self.wakes.remove(&(member.wake, place));
        member.wake = member.client.next_deadline();
        self.wakes.insert((member.wake, place));
        let view = &self.views[member.index];
        let (peers, adverts) = member.client.known();
        view.peers.store(peers as u64, Ordering::Relaxed);
        view.adverts.store(adverts as u64, Ordering::Relaxed);
        view.lost.store(member.client.lost() as u64, Ordering::Relaxed);
    }

    fn end(&mut self, going: &[usize], politely: bool) {
        let now = self.origin.elapsed();
        for place in &mut self.members {
            if place.as_ref().is_some_and(|member| going.contains(&member.index)) {
                let mut member = place.take().unwrap();
                if politely {
                    member.client.leave();
                    member.send(now, &mut self.outgoing);
                }
            }
        }
    }

    fn check(&self, topics: &HashMap<InstanceId, String>) {
        for member in self.members.iter().flatten() {
            let peers: BTreeSet<_> = member.client.peers().collect();
            let adverts: HashMap<_, _> = member.client.adverts().collect();
            let others = topics.iter().filter(|(id, _)| **id != member.client.id());
            assert!(others.clone().all(|(id, _)| peers.contains(id)), "{}", member.index);
            let expected: HashMap<_, _> = others.map(|(id, topic)| (*id, &**topic)).collect();
            assert_eq!((peers.len(), &adverts), (expected.len(), &expected), "{}", member.index);
        }
    }
}

impl Member {
    fn send(&mut self, now: Duration, outgoing: &mut Vec<u8>) {
        while let Some(to) = self.client.poll_transmit(now, outgoing) {
            // One that does not go is a loss like any other.
            let _ = self.socket.send_to(outgoing, to);
        }
    }
}

/// A datagram that waits.
fn received(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok(received) => Some(received),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Not a test of its own: the daemon.
#[test]
fn daemon() {
    support::daemon::play();
}
