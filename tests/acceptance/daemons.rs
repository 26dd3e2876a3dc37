//! Discovery without multicast: instances meet through daemons, in processes that come and are killed.
//! Tests.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use vega::{
    Counter, DaemonEvent, DiscoveryDaemon, Instance, InstanceListener, Sniffer, SnifferEvent,
};

use crate::support::daemon::through_daemons;
use crate::support::{
    Behaviour, DaemonProcess, Host, Journal, Place, Report, Settings, Tally, WAIT, eventually,
    next, payload, socket_at,
};

/// Instances of a place that have nothing but daemons to find each other.
struct Network {
    place: Place,
    daemons: Vec<Option<DaemonProcess>>,
    addresses: Vec<SocketAddr>,
}

impl Network {
    fn with(place: Place, daemons: usize) -> Self {
        // Ports that are free, and stay those of a daemon when it starts again.
        let reserved: Vec<_> = (0..daemons).map(|_| socket_at(place.address())).collect();
        let addresses: Vec<_> =
            reserved.iter().map(|socket| socket.local_addr().unwrap()).collect();
        drop(reserved);
        let daemons = addresses.iter().map(|at| Some(DaemonProcess::start(*at))).collect();
        Self { place, daemons, addresses }
    }

    fn config_text(&self) -> String {
        through_daemons(&self.place, &self.addresses)
    }

    fn host(&self, name: &str) -> Host {
        let command = Command::new(std::env::current_exe().unwrap());
        Host::try_start_by(command, name, &self.config_text()).unwrap()
    }

    fn kill(&mut self, daemon: usize) {
        self.daemons[daemon].take().unwrap().kill();
    }

    fn restart(&mut self, daemon: usize) {
        self.daemons[daemon] = Some(DaemonProcess::start(self.addresses[daemon]));
    }
}

#[test]
fn instances_meet_through_a_daemon_and_exchange_messages_and_requests() {
    let network = Network::with(Place::new(), 1);
    let (mut sender, mut receiver) = (network.host("sender"), network.host("receiver"));
    // One who listens for multicast hears nothing.
    let bystander = network.place.start("bystander");
    for topic in ["unicast.stream", "ipc.stream"] {
        receiver.subscribe(topic, Behaviour::Collect);
    }
    receiver.subscribe("unicast.quotes", Behaviour::RespondLarge(2_000));
    sender.publish("unicast.quotes");
    sender.wait_for_subscribers("unicast.quotes", 1);
    assert_eq!(sender.ask_all("unicast.quotes", 1_000, 1), Tally::complete(1_000));
    sender.publish("unicast.stream");
    sender.wait_for_subscribers("unicast.stream", 1);
    receiver.wait_for_publishers("unicast.stream", 1);
    sender.send_mixed("unicast.stream", 2_000);
    assert_eq!(receiver.expect("unicast.stream", 2_000), Report::complete(2_000));
    // That shared memory is there is discovered the same way.
    let mut neighbour = network.host("neighbour");
    neighbour.publish("ipc.stream");
    neighbour.wait_for_subscribers("ipc.stream", 1);
    neighbour.send("ipc.stream", 1_000, 100);
    assert_eq!(receiver.expect("ipc.stream", 1_000), Report::complete(1_000));
    assert!(bystander.peers().is_empty());
    eventually("all know all", || sender.peers() == 2 && receiver.peers() == 2);
    neighbour.leave();
    eventually("a goodbye goes through the daemon", || receiver.peers() == 1);
}

/// A number below `limit`, by seed.
fn draw(seed: u64, limit: u64) -> usize {
    usize::try_from(payload::mixed(seed) % limit).unwrap()
}

/// Three daemons, all but one killed at random and started again, five rounds: who is there stays
/// there, who comes is found, and every message arrives.
#[test]
fn every_message_arrives_while_one_of_three_daemons_is_up() {
    const MESSAGES: u64 = 2_000;
    const STREAM: &str = "unicast.stream";
    for seed in [1, 2] {
        let place = Place::with(Settings { timeout: "20s", ..Settings::default() });
        let mut network = Network::with(place, 3);
        let mut sender = network.host("sender");
        let mut receivers = [network.host("one"), network.host("two")];
        for receiver in &mut receivers {
            receiver.subscribe(STREAM, Behaviour::Collect);
        }
        sender.publish(STREAM);
        sender.wait_for_subscribers(STREAM, 2);
        for round in 1..=5 {
            let context = format!("seed {seed}, round {round}");
            let survivor = draw(seed * 100 + round, 3);
            sender.begin_sending(STREAM, MESSAGES);
            for daemon in (0..3).filter(|daemon| *daemon != survivor) {
                network.kill(daemon);
            }
            sender.finish_sending();
            // Topics and instances that are new go through the one that is left.
            let topic = format!("unicast.round-{round}");
            let mut late = network.host("late");
            late.subscribe(STREAM, Behaviour::Collect);
            sender.wait_for_subscribers(STREAM, 3);
            for receiver in &mut receivers {
                receiver.subscribe(&topic, Behaviour::Collect);
            }
            late.publish(&topic);
            late.wait_for_subscribers(&topic, 2);
            late.send_mixed(&topic, MESSAGES);
            sender.begin_sending(STREAM, MESSAGES);
            for daemon in (0..3).filter(|daemon| *daemon != survivor) {
                network.restart(daemon);
            }
            sender.finish_sending();
            assert_eq!(late.expect(STREAM, MESSAGES), Report::complete(MESSAGES), "{context}");
            for receiver in &mut receivers {
                let report = receiver.expect(&topic, MESSAGES);
                assert_eq!(report, Report::complete(MESSAGES), "{context}");
                let all = 2 * MESSAGES * round;
                assert_eq!(receiver.expect(STREAM, all), Report::complete(all), "{context}");
            }
            late.leave();
            eventually("it is gone", || sender.subscribers(STREAM) == 2);
        }
    }
}

/// Hears of daemons.
struct Listens(crossbeam_channel::Sender<(bool, String)>);

impl InstanceListener for Listens {
    fn on_daemon_up(&mut self, daemon: &str) {
        let _ = self.0.send((true, daemon.to_owned()));
    }

    fn on_daemon_down(&mut self, daemon: &str) {
        let _ = self.0.send((false, daemon.to_owned()));
    }
}

#[test]
fn a_daemon_that_starts_again_is_another_one_and_loses_nobody() {
    let place = Place::with(Settings { timeout: "20s", ..Settings::default() });
    let mut network = Network::with(place, 1);
    let (sender, events) = crossbeam_channel::unbounded();
    let config = vega::Config::parse(&network.config_text()).unwrap();
    let watcher = Instance::builder().config(config).listener(Listens(sender)).start().unwrap();
    let name = network.addresses[0].to_string();
    assert_eq!(next(&events, "up"), (true, name.clone()));
    assert_eq!(watcher.daemons_up(), std::slice::from_ref(&name));
    let mut host = network.host("host");
    host.subscribe("unicast.stream", Behaviour::Collect);
    let mut publisher = watcher.publisher("unicast.stream").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    network.kill(0);
    assert_eq!(next(&events, "down"), (false, name.clone()));
    assert!(watcher.daemons_up().is_empty());
    assert_eq!(watcher.counters().get(Counter::DaemonsLost), 1);
    publisher.send(&payload::numbered(1, 100)).unwrap();
    assert_eq!(host.expect("unicast.stream", 1), Report::complete(1), "matches stay");
    network.restart(0);
    assert_eq!(next(&events, "up again"), (true, name));
    let mut late = network.host("late");
    late.subscribe("unicast.stream", Behaviour::Collect);
    assert!(publisher.wait_for_subscribers(2, WAIT));
    assert_eq!(watcher.peers().len(), 2);
}

/// Daemons by name: `localhost` is one that every machine knows.
#[test]
fn a_daemon_is_found_by_its_name() {
    let daemon = DiscoveryDaemon::builder().port(0).start().unwrap();
    let place = Place::new();
    let text = place.config_text().replace(
        "[discovery]\n",
        &format!(
            "[discovery]\nkind = 'daemon'\ndaemons = ['localhost:{}']\n",
            daemon.address().port()
        ),
    );
    let config = vega::Config::parse(&text).unwrap();
    let start = |name: &str| Instance::builder().name(name).config(config.clone()).start().unwrap();
    let (one, two) = (start("one"), start("two"));
    eventually("they meet", || one.peers().len() == 1 && two.peers().len() == 1);
    let mut names: Vec<_> = daemon.clients().iter().map(|it| it.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    one.close().unwrap();
    eventually("it said goodbye", || daemon.clients().len() == 1);
    assert_eq!(daemon.counters().expired, 0);
}

/// Every datagram that waits in a socket, as lengths.
fn waiting(socket: &UdpSocket) -> Vec<usize> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2_048];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).collect()
}

#[test]
fn junk_and_registrations_in_the_name_of_others_cost_nobody_anything() {
    let place = Place::new();
    let daemon =
        DiscoveryDaemon::builder().interface(place.address().to_string()).port(0).start().unwrap();
    let config = vega::Config::parse(&through_daemons(&place, &[daemon.address()])).unwrap();
    let start = |name: &str| Instance::builder().name(name).config(config.clone()).start().unwrap();
    let (one, two) = (start("one"), start("two"));
    eventually("they meet", || one.peers().len() == 1 && two.peers().len() == 1);

    // What is said to come from the victim comes from there, as far as the daemon can tell; but the
    // victim returns no ticket. See `docs/wire-protocol.md`.
    let victim = socket_at(place.address());
    let mut register = b"VG\x01\x14\x20\0\0\0".to_vec();
    register.extend_from_slice(&[7; 16]);
    register.extend_from_slice(&[0; 8]);
    let mut relay = b"VG\x01\x16\0\0\0\0".to_vec();
    relay.extend_from_slice(&[9; 8]);
    relay.extend_from_slice(&[0; 106]);
    relay[4] = u8::try_from(relay.len()).unwrap();
    let mut who = b"VG\x01\x18\x20\0\0\0".to_vec();
    who.extend_from_slice(&[9; 8]);
    who.extend_from_slice(&one.id().to_bytes());
    let (mut sent, mut got) = (0, 0);
    for _ in 0..100 {
        for packet in [&register, &relay, &who] {
            sent += victim.send_to(packet, daemon.address()).unwrap();
        }
    }
    let junk = socket_at(place.address());
    for length in 0..1_000_usize {
        let bytes = payload::numbered(length as u64, length);
        junk.send_to(&bytes, daemon.address()).unwrap();
    }
    // Empty datagrams are none.
    eventually("all has been looked at", || daemon.counters().malformed >= 999);
    assert_eq!(daemon.clients().len(), 2);
    let journal = Journal::new("unicast.stream");
    let _subscription = two.subscribe("unicast.stream", journal.clone()).unwrap();
    let mut publisher = one.publisher("unicast.stream").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    publisher.send(&payload::numbered(1, 100)).unwrap();
    assert_eq!(journal.expect(1), Report::complete(1));
    got += waiting(&victim).iter().sum::<usize>();
    assert!(0 < got && got <= sent, "{got} bytes for {sent}");
    assert!(waiting(&junk).is_empty());
    assert!(daemon.counters().refused >= 200);
    // Nothing comes later, either: the announcements of a few intervals go to the clients only.
    let received = || daemon.counters().packets_received;
    let (before, intervals) = (received(), 5);
    eventually("intervals pass", || received() >= before + 2 * intervals);
    assert!(waiting(&victim).is_empty());
}

/// Who asks the thread that he is on gets an answer, and does not wait for himself.
#[test]
fn listeners_of_daemons_and_sniffers_may_ask_them() {
    let place = Place::new();
    let (told, tells) = crossbeam_channel::unbounded();
    let asked = Arc::new(OnceLock::<DiscoveryDaemon>::new());
    let its = Arc::clone(&asked);
    let builder = DiscoveryDaemon::builder().interface(place.address().to_string()).port(0);
    let daemon = builder
        .on_event(move |event| {
            if let DaemonEvent::ClientUp(_) = event {
                let daemon = its.wait();
                told.send((daemon.clients().len(), daemon.counters().malformed)).unwrap();
            }
        })
        .start()
        .unwrap();
    let config = vega::Config::parse(&through_daemons(&place, &[daemon.address()])).unwrap();
    asked.set(daemon).unwrap();
    let one = Instance::builder().name("one").config(config.clone()).start().unwrap();
    assert_eq!(next(&tells, "one"), (1, 0));

    let (seen, sees) = crossbeam_channel::unbounded();
    let observed = Arc::new(OnceLock::<Sniffer>::new());
    let its = Arc::clone(&observed);
    let builder = Sniffer::builder().config(config).on_event(move |event| {
        if let SnifferEvent::InstanceUp(_) = event {
            let snapshot = its.wait().snapshot();
            let daemons = snapshot.daemons_up().count();
            seen.send((snapshot.instances().to_vec(), daemons)).unwrap();
        }
    });
    observed.set(builder.start().unwrap()).unwrap();
    let (instances, daemons) = next(&sees, "one");
    assert_eq!((instances[0].id(), daemons), (one.id(), 1));
    assert_eq!(next(&tells, "the sniffer"), (2, 0));
    // Each is part of what its listener holds: that ends here, and not with the last handle.
    observed.get().unwrap().close();
    assert!(observed.get().unwrap().snapshot().instances().is_empty());
    asked.get().unwrap().close();
    assert!(asked.get().unwrap().clients().is_empty());
}

#[test]
fn a_panic_of_its_listener_does_not_end_a_daemon() {
    let place = Place::new();
    let (told, tells) = crossbeam_channel::unbounded();
    let builder = DiscoveryDaemon::builder().interface(place.address().to_string()).port(0);
    let daemon = builder
        .on_event(move |event| {
            told.send(event.clone()).unwrap();
            panic!("a listener may");
        })
        .start()
        .unwrap();
    let config = vega::Config::parse(&through_daemons(&place, &[daemon.address()])).unwrap();
    let start = |name: &str| Instance::builder().name(name).config(config.clone()).start().unwrap();
    let _one = start("one");
    next(&tells, "one");
    let _two = start("two");
    next(&tells, "two, after a panic");
    // Panics are trouble, of which its listener hears like of everything else.
    let mut panics = 0;
    while panics < 2 {
        if let DaemonEvent::Trouble(trouble) = next(&tells, "trouble") {
            panics += trouble.callback_panics;
        }
    }
    assert!(daemon.counters().callback_panics >= 2);
    daemon.close();
    daemon.close();
    assert!(daemon.clients().is_empty());
}
