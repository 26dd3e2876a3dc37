//! How commands end: signals, and readers that go away. Tests.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::{DownReason, Instance, InstanceListener, Peer};

use crate::counters::wait_for;
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

/// A pipe without room: whoever writes to it waits for ever.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let error = loop {
        if let Err(error) = writer.write(&[0; 4_096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// Whether a process catches SIGINT and SIGTERM.
fn catches_signals(process: u32) -> bool {
    const INT_AND_TERM: u64 = 1 << 1 | 1 << 14;
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & INT_AND_TERM == INT_AND_TERM
}

/// A clean end that never comes is not waited for by who asks twice.
#[test]
fn a_second_signal_ends_a_command_at_once() {
    let world = World::new();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (reader, writer) = full_pipe();
        // It waits for its reader with its first result.
        let mut command = world.command(&["sniff", "--once", "--duration", "1ms"]);
        command.stdout(writer);
        let mut process = world.spawn_unheard(command);
        wait_for("handlers", || catches_signals(process.child.id()).then_some(()));
        process.signal(signal);
        wait_for("the end by another signal", || {
            process.signal(signal);
            process.child.try_wait().unwrap()
        });
        process.finish().expect_code(code);
        drop(reader);
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_subscriber_quietly() {
    let world = World::new();
    let watched = watch(&world);
    let topic = world.topic("prices");
    let mut publisher = watched.0.publisher(&topic).unwrap();
    for arguments in [&["sub", &topic][..], &["sub", &topic, "--json"]] {
        let sub = world.spawn_without_reader(world.command(arguments));
        assert!(publisher.wait_for_subscribers(1, PATIENCE));
        let name = watched.1.recv_timeout(PATIENCE).unwrap();
        publisher.send(b"1.0842").unwrap();
        let sub = sub.finish().expect_code(0);
        let complains = sub.stderr.lines().any(|line| !line.starts_with("vega: listening to"));
        assert!(!complains, "{}", sub.stderr);
        assert_eq!(watched.2.recv_timeout(PATIENCE), Ok((name, DownReason::Goodbye)));
        assert_eq!(publisher.subscribers(), 0);
    }
}
