//! The command line with IPv6: daemon, messages, routes, and what people see where the families cannot meet.
//! Tests. They say SKIPPED where this machine has no IPv6.

use std::io::Write as _;
use std::process::Command;

use crate::world::{PATIENCE_ARGUMENT, Process, World};

/// Has all topics travel by unicast.
const UNICAST: &str = "[[topic]]\npattern = '.*'\ntemplate = 'unicast'\n";
/// The same, by IPv6.
const UNICAST_V6: &str = "[[template]]\nname = 'unicast'\ntransport = 'unicast'\ninterface = '::1'\n\
     ports = '20000-29999'\n[[topic]]\npattern = '.*'\ntemplate = 'unicast'\n";

#[expect(clippy::disallowed_methods, reason = "asks the system, and receives nothing")]
fn has_ipv6() -> bool {
    let Err(reason) = std::net::UdpSocket::bind(("::1", 0)) else { return true };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not by a macro: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: no IPv6 here: {reason}");
    false
}

/// A daemon on `::1`, and its address.
fn daemon(world: &World) -> (Process, String) {
    let daemon = world.start(&["daemon", "--interface", "::1", "--port", "0"]);
    daemon.until_output("discovery daemon ", || ());
    let address = daemon.output().split_whitespace().last().unwrap().to_owned();
    (daemon, address)
}

#[test]
fn messages_and_requests_pass_between_commands_on_the_ipv6_loopback() {
    if !has_ipv6() {
        return;
    }
    let world = World::with(UNICAST);
    world.move_to("::1");
    let (_daemon, address) = daemon(&world);
    assert!(address.starts_with("[::1]:"), "{address}");
    world.find_each_other_by(&address);
    let (prices, quotes) = (world.topic("prices"), world.topic("quotes"));
    let subscriber =
        world.start(&["sub", &prices, "--count", "1", "--duration", PATIENCE_ARGUMENT]);
    let publish =
        ["pub", &prices, "1.0842", "--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    world.start(&publish).finish().expect_code(0);
    let subscriber = subscriber.finish().expect_code(0);
    assert!(subscriber.text().contains("1.0842"), "{}", subscriber.text());
    assert!(subscriber.stderr.contains(" at [::1]:"), "{}", subscriber.stderr);

    let responder = world.start(&["respond", &quotes, "--body", "42"]);
    let ask =
        ["request", &quotes, "how much?", "--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    let answer = world.start(&ask).finish().expect_code(0);
    assert!(answer.text().contains("42"), "{}", answer.text());
    drop(responder);
}

#[test]
fn routes_tell_the_family() {
    let world = World::with(UNICAST_V6);
    let shown =
        world.start(&["topics", "--json", "a"]).finish().expect_code(0).json_lines().remove(0);
    assert_eq!((&shown[0]["family"], &shown[0]["transport"]), (&"ipv6".into(), &"unicast".into()));
    let world = World::new();
    world.move_to("::1");
    let shown = world.start(&["topics", "a", "ipc.a"]).finish().expect_code(0);
    assert!(shown.text().contains("ipv6     ff15::7665:6761:12"), "{}", shown.text());
}

/// Discovery is of one family, the topic of two: both commands say so.
#[test]
fn who_cannot_meet_is_told_on_both_sides() {
    if !has_ipv6() {
        return;
    }
    let world = World::with(UNICAST);
    let topic = world.topic("prices");
    let other = world.file_with(&world.config_text().replace(UNICAST, UNICAST_V6));
    let mut command = Command::new(env!("CARGO_BIN_EXE_vega"));
    command.args(["sub", &topic, "--duration", PATIENCE_ARGUMENT, "-c"]).arg(other);
    let subscriber = world.spawn(command);
    let publish = ["pub", &topic, "x", "--wait-subscribers", "1", "--wait", "3s"];
    let publisher = world.start(&publish).finish().expect_code(1);
    let there = "another address family: IPv6 there, IPv4 here";
    assert!(publisher.stderr.contains(there), "{}", publisher.stderr);
    subscriber.until_error("another address family: IPv4 there, IPv6 here");
}

/// Nobody at all is heard: then the group and its family are named.
#[test]
fn who_finds_nobody_is_told_where_it_looked() {
    let world = World::new();
    let alone = world.start(&["pub", &world.topic("x"), "y", "--wait", "100ms"]).finish();
    let alone = alone.expect_code(0);
    let told = "which is of IPv4: those whose discovery is of IPv6 are not heard here";
    assert!(alone.stderr.contains(told), "{}", alone.stderr);
    assert!(alone.stderr.contains("239.255.0.1:"), "{}", alone.stderr);
}
