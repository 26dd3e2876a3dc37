//! `vega daemon`: clients that come and go, for people and for machines. Tests.

use std::fs;

use crate::world::{PATIENCE, World};

#[test]
fn clients_come_and_go_in_json() {
    let world = World::with("[[topic]]\npattern = '.*'\ntemplate = 'unicast'\n");
    let daemon = world.start(&["daemon", "--port", "0", "--client-timeout", "5s", "--json"]);
    let address = daemon.line("daemon_up")["address"].as_str().unwrap().to_owned();
    world.find_each_other_by(&address);
    let (arrived, arrivals) = crossbeam_channel::unbounded();
    let instance = world.instance().name("pricer").start().unwrap();
    let topic = world.topic("prices");
    let _subscription = instance
        .subscribe(&topic, move |message: &vega::Message<'_>| {
            arrived.send(message.payload().to_vec()).unwrap();
        })
        .unwrap();
    let publish = world.start(&["pub", &topic, "1.0842", "--wait-subscribers", "1"]);
    assert_eq!(arrivals.recv_timeout(PATIENCE).unwrap(), b"1.0842");
    publish.finish().expect_code(0);
    instance.close().unwrap();
    daemon.until_output("\"clients\":0", || ());
    daemon.signal("INT");
    let daemon = daemon.finish().expect_code(0);
    let up = daemon.of_type("client_up");
    assert_eq!(up.len(), 2);
    assert_eq!((&up[0]["name"], &up[0]["clients"]), (&"pricer".into(), &1.into()));
    assert_eq!(up[0]["id"], instance.id().to_string());
    let down = daemon.of_type("client_down");
    assert!(down.iter().all(|line| line["reason"] == "goodbye"), "{down:?}");
    assert_eq!(down.len(), 2);
    let end = daemon.of_type("daemon_down");
    assert!(end[0]["packets_sent"].as_u64() > Some(0));
    assert_eq!(end[0]["malformed"], 0);
}

/// Junk is told while the daemon runs, and not packet by packet.
#[test]
#[expect(clippy::disallowed_methods, reason = "a stranger, who knows no `transport`")]
fn what_a_daemon_refuses_is_told() {
    const JUNK: u64 = 100;
    let world = World::new();
    let daemon = world.start(&["daemon", "--port", "0", "--json"]);
    let address = daemon.line("daemon_up")["address"].as_str().unwrap().to_owned();
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..JUNK {
        stranger.send_to(b"no packet", &address).unwrap();
    }
    daemon.until_output("\"type\":\"trouble\"", || ());
    daemon.signal("INT");
    let daemon = daemon.finish().expect_code(0);
    let told = daemon.of_type("trouble");
    let malformed = told.iter().map(|line| line["malformed"].as_u64().unwrap()).sum::<u64>();
    assert!((1..=JUNK).contains(&malformed), "{malformed}");
    assert!(told.len() < 50, "{told:?}");
    // What came last may not have been told any more; it has been counted.
    assert_eq!(daemon.of_type("daemon_down")[0]["malformed"], JUNK);
}

#[test]
fn clients_come_and_go_as_text() {
    let world = World::new();
    let daemon = world.start(&["daemon", "--port", "0"]);
    daemon.until_output("discovery daemon ", || ());
    let address = daemon.output().split_whitespace().last().unwrap().to_owned();
    world.find_each_other_by(&address);
    let instance = world.instance().name("bad\u{7}name").start().unwrap();
    daemon.until_output("1 client", || ());
    instance.close().unwrap();
    daemon.until_output("goodbye", || ());
    daemon.signal("TERM");
    let daemon = daemon.finish().expect_code(0);
    let lines: Vec<_> = daemon.text().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(
        lines[1].starts_with("+ 127.0.0.1:") && lines[1].contains("bad\\u{7}name"),
        "{lines:#?}"
    );
    assert!(lines[2].starts_with("- ") && lines[2].ends_with("0 clients        goodbye"));
    assert!(lines[3].starts_with("ended: "), "{lines:#?}");
}

/// For people: what there was of each kind, and nothing of the kinds that there was nothing of.
#[test]
#[expect(clippy::disallowed_methods, reason = "a stranger, who knows no `transport`")]
fn trouble_of_a_daemon_is_said_in_words() {
    let world = World::new();
    let daemon = world.start(&["daemon", "--port", "0"]);
    daemon.until_output("discovery daemon ", || ());
    let address = daemon.output().split_whitespace().last().unwrap().to_owned();
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"no packet", &address).unwrap();
    daemon.until_output("! ", || ());
    daemon.signal("INT");
    let daemon = daemon.finish().expect_code(0);
    assert_eq!(daemon.text().lines().nth(1), Some("! 1 packet malformed"));
}

/// Without a daemon everybody is alone, and looks for the reason elsewhere unless it is said.
#[test]
#[expect(clippy::disallowed_methods, reason = "reserves a port, answers nothing")]
fn daemons_that_do_not_answer_are_said_to() {
    let world = World::new();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    world.find_each_other_by(&nobody.local_addr().unwrap().to_string());
    let topic = world.topic("prices");
    let publish = world.start(&["pub", &topic, "1.0842"]).finish().expect_code(0);
    assert!(publish.stderr.contains("no discovery daemon of the conf"), "{}", publish.stderr);
    let subscribe = world.start(&["sub", &topic]);
    subscribe.until_error("no discovery daemon answers");
    subscribe.signal("INT");
    subscribe.finish().expect_code(0);

    // Those at the group are found, and it is not they that are missing.
    let both = world.config_text().replace("kind = 'daemon'", "kind = 'both'");
    fs::write(world.config_file(), both).unwrap();
    let _peer = world.instance().start().unwrap();
    let publish = world.start(&["pub", &topic, "1.0842"]).finish().expect_code(0);
    let said = "until one does, only who is at the discovery group 239.255.0.1:";
    assert!(publish.stderr.contains(said), "{}", publish.stderr);
}

#[test]
fn what_a_daemon_cannot_use_is_refused() {
    let world = World::new();
    for (arguments, said) in [
        (&["--interface", "10.1.2.300"][..], "is not an interface (allowed: "),
        (&["--interface", "0.0.0.0"], "is not an address of one interface"),
        (&["--interface", "no-such-device"], "no local interface"),
        (&["--max-clients", "0"], "daemon.max_clients = 0: is out of range"),
        (&["--client-timeout", "1ms"], "(allowed: 100ms to 1h)"),
    ] {
        let process = world.start(&[&["daemon"], arguments].concat()).finish().expect_code(2);
        assert!(process.stderr.contains(said), "{arguments:?}: {}", process.stderr);
    }
    let first = world.start(&["daemon", "--port", "0", "--json"]);
    let address = first.line("daemon_up")["address"].as_str().unwrap().to_owned();
    let port = address.rsplit(':').next().unwrap();
    let second = world.start(&["daemon", "--port", port]).finish().expect_code(2);
    assert!(second.stderr.contains("taken"), "{}", second.stderr);
}
