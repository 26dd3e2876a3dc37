//! What starting and stopping leaves behind: nothing; and what may happen at the same time:
//! everything. Tests.

use std::sync::Arc;

use crossbeam_channel::unbounded;
use parking_lot::Mutex;
use vega::{Instance, Message};

use crate::support::{Host, Journal, Place, TRANSPORTS, WAIT, eventually, next, payload};

#[test]
fn instances_that_come_and_go_leave_nothing_behind() {
    let place = Place::new();
    let mut host = Host::start(&place, "host");
    // The first ones load what a process loads once.
    host.cycle(2);
    let (before, files) = (resources_of(host.process()), place.shared_files());
    host.cycle(20);
    eventually("threads and descriptors are back", || resources_of(host.process()) == before);
    // The counters of the host's own instance.
    assert_eq!((place.shared_files(), files.len()), (files, 1));
}

/// Threads and file descriptors.
fn resources_of(process: u32) -> (usize, usize) {
    let count = |what| std::fs::read_dir(format!("/proc/{process}/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

/// Names of this process's threads would be those of other tests, too: the port tells.
fn port_is_free(instance_at: std::net::SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    let std::net::SocketAddr::V4(address) = instance_at else { panic!("not IPv4") };
    let entry = format!("{:08X}:{:04X}", u32::from(*address.ip()).swap_bytes(), address.port());
    !table.contains(&entry)
}

/// Where it listens, which shows as long as it does.
fn address_of(instance: &Instance) -> std::net::SocketAddr {
    let address = instance.response_address();
    assert!(!port_is_free(address), "{address}");
    address
}

#[test]
fn an_instance_dropped_in_its_own_callback_ends() {
    let place = Place::new();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.last");
        let own: Arc<Mutex<Option<Instance>>> = Arc::default();
        let instance = place.start("short-lived");
        let address = address_of(&instance);
        let (dropped, told) = unbounded();
        let last = Arc::clone(&own);
        let subscription = instance
            .subscribe(&topic, move |_: &Message<'_>| {
                drop(last.lock().take());
                dropped.send(()).unwrap();
            })
            .unwrap();
        let mut publisher = instance.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        *own.lock() = Some(instance);
        publisher.send(b"the last one").unwrap();
        next(&told, &topic);
        eventually("its poller stops and closes its sockets", || port_is_free(address));
        drop((subscription, publisher));
    }
}

#[test]
fn an_instance_can_be_closed_from_several_threads() {
    let place = Place::new();
    for _ in 0..50 {
        let instance = place.start("one");
        let address = address_of(&instance);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    instance.close().unwrap();
                    // Whoever returns, returns to a closed instance. Others' children have its
                    // sockets for a moment.
                    eventually("the port is free", || port_is_free(address));
                });
            }
        });
    }
}

/// Whatever is asked of an instance while it closes gets an answer.
#[test]
fn closing_leaves_nobody_waiting() {
    let place = Place::new();
    for round in 0..100 {
        let instance = place.start("one");
        let topics: Vec<_> = (0..10).map(|index| format!("multicast.{index}")).collect();
        let subscriptions: Vec<_> = topics
            .iter()
            .map(|topic| instance.subscribe(topic, Journal::new(topic)).unwrap())
            .collect();
        let (finished, reports) = unbounded();
        let instance = Arc::new(instance);
        // Not scoped: a thread that hangs is to fail the test, not to hang it.
        let start = |what: &'static str, work: Box<dyn FnOnce(&Instance) + Send>| {
            let (instance, finished) = (Arc::clone(&instance), finished.clone());
            let thread = std::thread::Builder::new().name(what.to_owned());
            let run = move || {
                work(&instance);
                finished.send(what).unwrap();
            };
            thread.spawn(run).unwrap();
        };
        start(
            "unsubscribe",
            Box::new(move |_| {
                for subscription in subscriptions {
                    subscription.unsubscribe();
                }
            }),
        );
        start(
            "peers",
            Box::new(|instance| {
                while !instance.is_closed() {
                    let _ = instance.peers();
                }
            }),
        );
        start("publisher", Box::new(|instance| while instance.publisher("ipc.topic").is_ok() {}));
        start(
            "subscribe",
            Box::new(
                |instance| {
                    while instance.subscribe("unicast.topic", |_: &Message<'_>| ()).is_ok() {}
                },
            ),
        );
        start("close", Box::new(|instance| instance.close().unwrap()));
        for _ in 0..5 {
            next(&reports, &format!("round {round}"));
        }
    }
}

#[test]
fn handles_may_outlive_their_instance() {
    let place = Place::new();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.topic");
        let instance = place.start("gone");
        let mut publisher = instance.publisher(&topic).unwrap();
        let subscription = instance.subscribe(&topic, Journal::new(&topic)).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let request = publisher.request(b"?", WAIT, ()).unwrap();
        let address = address_of(&instance);
        drop(instance);
        assert!(publisher.send(&payload::numbered(1, 10)).is_err());
        assert!(request.is_closed());
        drop(publisher);
        subscription.unsubscribe();
        eventually("the sockets are closed", || port_is_free(address));
    }
    assert_eq!(place.shared_files().len(), 0);
}
