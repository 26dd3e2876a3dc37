//! How commands end: signals, and readers that go away. Tests.

use std::process::Stdio;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::{DownReason, Instance, InstanceListener, Peer, SendError};

use crate::world::{PATIENCE, Process, World};

/// Tells of instances that come, and how they go.
struct Watcher {
    up: Sender<String>,
    down: Sender<(String, DownReason)>,
}

impl InstanceListener for Watcher {
    fn on_instance_up(&mut self, peer: &Peer) {
        self.up.send(peer.name().to_owned()).unwrap();
    }

    fn on_instance_down(&mut self, peer: &Peer, reason: DownReason) {
        self.down.send((peer.name().to_owned(), reason)).unwrap();
    }
}

type Watched = (Instance, Receiver<String>, Receiver<(String, DownReason)>);

fn watch(world: &World) -> Watched {
    let ((up, came), (down, gone)) = (unbounded(), unbounded());
    let instance = world.instance().listener(Watcher { up, down }).start().unwrap();
    (instance, came, gone)
}

/// Signals a process once discovery knows it, and expects a goodbye.
fn interrupt(process: Process, (_, came, gone): &Watched, signal: &str, code: i32) {
    let name = came.recv_timeout(PATIENCE).unwrap();
    assert!(name.ends_with(&format!("-{}", process.child.id())), "{name}");
    process.signal(signal);
    let process = process.finish().expect_code(code);
    assert!(!process.stderr.contains("panicked"), "{}", process.stderr);
    assert_eq!(gone.recv_timeout(PATIENCE), Ok((name, DownReason::Goodbye)));
}

#[test]
fn signals_end_commands_with_a_goodbye() {
    let world = World::new();
    let watched = watch(&world);
    let topic = world.topic("prices");
    for signal in ["INT", "TERM"] {
        interrupt(world.start(&["sub", &topic]), &watched, signal, 0);
        interrupt(world.start(&["respond", &topic, "--body", "x"]), &watched, signal, 0);
        let endless = ["pub", &topic, "--size", "10", "--rate", "100", "--wait", "1ms"];
        interrupt(world.start(&endless), &watched, signal, 0);
        let waits = ["pub", &topic, "x", "--wait-subscribers", "1", "--wait", "60s"];
        interrupt(world.start(&waits), &watched, signal, 0);
        let asks = ["request", &topic, "?", "--timeout", "60s", "--wait", "1ms"];
        interrupt(world.start(&asks), &watched, signal, 1);
    }
}

#[test]
fn a_signal_ends_waiting_for_standard_input() {
    let world = World::new();
    let watched = watch(&world);
    let mut command = world.command(&["pub", &world.topic("typed"), "--wait", "1ms"]);
    command.stdin(Stdio::piped());
    let mut publish = world.spawn(command);
    // Held open to the end.
    let _input = publish.child.stdin.take();
    interrupt(publish, &watched, "INT", 0);
}

#[test]
fn a_reader_that_goes_away_ends_a_subscriber_quietly() {
    let world = World::new();
    let watched = watch(&world);
    let topic = world.topic("prices");
    let mut publisher = watched.0.publisher(&topic).unwrap();
    for arguments in [&["sub", &topic][..], &["sub", &topic, "--json"]] {
        let mut command = world.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut sub = command.spawn().unwrap();
        drop(sub.stdout.take());
        assert!(publisher.wait_for_subscribers(1, PATIENCE));
        // One message is enough, but the goodbye tells that it has been printed.
        let name = watched.1.recv_timeout(PATIENCE).unwrap();
        match publisher.send(b"1.0842") {
            Ok(_) | Err(SendError::BackPressured) => {}
            Err(error) => panic!("{error}"),
        }
        let output = sub.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(!stderr.to_lowercase().contains("pipe"), "{stderr}");
        assert_eq!(watched.2.recv_timeout(PATIENCE), Ok((name, DownReason::Goodbye)));
        wait_until_alone(&publisher);
    }
}

fn wait_until_alone(publisher: &vega::Publisher) {
    while publisher.subscribers() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}
