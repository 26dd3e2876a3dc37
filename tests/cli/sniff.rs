//! `vega sniff`: who comes and goes, as others see it and without being seen. Tests.

use serde_json::Value;
use vega::Message;

use crate::world::{PATIENCE, Process, World};

/// Waits for the output to have so many lines of a type.
fn until_lines(process: &Process, kind: &str, count: usize) {
    let marker = format!("{{\"type\":\"{kind}\"");
    process.until(|output| output.matches(&marker).count() >= count);
}

/// The keys of an object.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The keys that docs/guide/sniffer.md names for an object.
const INSTANCE: [&str; 7] =
    ["id", "name", "control", "responses", "host", "refresh_ms", "timeout_ms"];
const ADVERT: [&str; 8] =
    ["topic", "side", "transport", "address", "stream", "ring", "instance", "name"];

#[test]
fn who_comes_late_sees_everything_and_is_seen_by_nobody() {
    let world = World::new();
    let first = world.instance().name("first").start().unwrap();
    let second = world.instance().name("second").start().unwrap();
    let topics: Vec<_> = (0..100).map(|at| world.topic(&format!("prices.{at}"))).collect();
    let publishers: Vec<_> = topics.iter().map(|it| first.publisher(it).unwrap()).collect();
    let listening = second.subscribe(&topics[7], |_: &Message<'_>| {}).unwrap();
    assert!(publishers[7].wait_for_subscribers(1, PATIENCE));

    let sniffer = world.start(&["sniff", "--json"]);
    until_lines(&sniffer, "instance_up", 2);
    until_lines(&sniffer, "advertised", 101);
    assert_eq!((first.peers().len(), second.peers().len()), (1, 1), "nobody sees the sniffer");
    // It follows what changes.
    listening.unsubscribe();
    until_lines(&sniffer, "withdrawn", 1);
    second.close().unwrap();
    until_lines(&sniffer, "instance_down", 1);
    assert!(first.peers().is_empty(), "nobody has come to see it");
    sniffer.signal("INT");
    let sniffer = sniffer.finish().expect_code(0);
    assert_eq!(sniffer.stderr, "");

    let lines = sniffer.json_lines();
    assert_eq!(keys(&lines[0]), ["type", "id", "address", "group"]);
    let up = sniffer.of_type("instance_up");
    let named = |name: &str| up.iter().find(|line| line["name"] == name).unwrap();
    assert_eq!(keys(&up[0]), [&["type", "at_ms"][..], &INSTANCE].concat());
    assert_eq!(named("first")["id"], first.id().to_string());
    assert_eq!(named("first")["responses"], first.response_address().to_string());
    assert_eq!(named("first")["refresh_ms"], 1000.0);
    let down = sniffer.of_type("instance_down").remove(0);
    assert_eq!((&down["name"], &down["reason"]), (&"second".into(), &"goodbye".into()));
    let gone = sniffer.of_type("withdrawn").remove(0);
    assert_eq!(keys(&gone), [&["type", "at_ms"][..], &ADVERT].concat());
    assert_eq!((&gone["side"], &gone["topic"]), (&"subscriber".into(), &(*topics[7]).into()));
    let advertised = sniffer.of_type("advertised");
    let published = advertised.iter().filter(|line| line["side"] == "publisher");
    assert_eq!(published.clone().count(), 100);
    let route = first.config().route(&topics[0]).unwrap();
    let one = published.clone().find(|line| line["topic"] == *topics[0]).unwrap();
    let place = format!("{}:{}", route.address().unwrap(), route.port().unwrap());
    assert_eq!((&one["address"], &one["stream"]), (&place.into(), &route.stream().into()));
    assert_eq!((&one["transport"], &one["name"]), (&"multicast".into(), &"first".into()));

    let snapshot = lines.last().unwrap();
    assert_eq!(keys(snapshot), ["type", "instances", "adverts", "daemons_up"]);
    assert_eq!(keys(&snapshot["instances"][0]), INSTANCE);
    assert_eq!(snapshot["instances"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["adverts"].as_array().unwrap().len(), 100);
}

#[test]
fn who_is_killed_is_silent() {
    let world = World::new();
    let config = std::fs::read_to_string(world.config_file()).unwrap();
    let quick = config.replace("[discovery]\n", "[discovery]\nrefresh = '100ms'\ntimeout = '1s'\n");
    std::fs::write(world.config_file(), quick).unwrap();
    let sniffer = world.start(&["sniff", "--json"]);
    sniffer.line("sniffer_up");
    let topic = world.topic("prices");
    let victim = world.start(&["sub", &topic]);
    until_lines(&sniffer, "advertised", 1);
    victim.signal("KILL");
    until_lines(&sniffer, "instance_down", 1);
    sniffer.signal("TERM");
    let sniffer = sniffer.finish().expect_code(0);
    let order: Vec<_> = sniffer.json_lines().iter().map(|line| line["type"].clone()).collect();
    let expected =
        ["sniffer_up", "instance_up", "advertised", "withdrawn", "instance_down", "snapshot"];
    assert_eq!(order, expected);
    let down = sniffer.of_type("instance_down").remove(0);
    assert_eq!(down["reason"], "silent");
    assert!(down["name"].as_str().unwrap().starts_with("vega-sub-"), "{down}");
}

#[test]
fn only_what_is_wanted_is_shown() {
    let world = World::new();
    let [wanted, other] =
        ["wanted", "other"].map(|name| world.instance().name(name).start().unwrap());
    let [prices, orders] = ["prices", "orders"].map(|name| world.topic(name));
    let _publishers =
        [&wanted, &other].map(|it| [&prices, &orders].map(|topic| it.publisher(topic)));
    let filters = ["--instance", "wan.*", "--topic", "prices\\..*"];
    let once = world.start(&[&["sniff", "--once", "--json"][..], &filters].concat());
    let snapshot = once.finish().expect_code(0).json_lines().remove(0);
    assert_eq!(snapshot["instances"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["adverts"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["adverts"][0]["topic"], *prices);

    let log = world.start(&[&["sniff", "--log"][..], &filters].concat());
    log.until_output("publisher of prices", || ());
    drop(wanted);
    drop(other);
    log.until_output(", goodbye", || ());
    log.signal("INT");
    let log = log.finish().expect_code(0);
    let lines: Vec<_> = log.text().lines().collect();
    assert!(lines[0].starts_with("listening to 239.255.0.1:"), "{lines:#?}");
    assert!(lines[1].contains("s + wanted  instance ") && lines[1].ends_with(", every 1s"));
    assert!(lines[2].contains("s + wanted  publisher of prices."), "{lines:#?}");
    assert!(lines[3].contains("s - wanted  publisher of prices."), "{lines:#?}");
    assert!(lines[4].contains("s - wanted  instance "), "{lines:#?}");
    assert_eq!((lines.len(), lines[5]), (6, "0 instances, 0 topics"));
}

#[test]
fn a_snapshot_of_nobody_is_a_no() {
    let world = World::new();
    let once = ["sniff", "--once", "--duration", "100ms"];
    let nobody = world.start(&once).finish().expect_code(1);
    assert_eq!(nobody.text(), "0 instances, 0 topics\n");
    let log = world.start(&["sniff", "--json", "--duration", "100ms"]).finish().expect_code(0);
    let kinds: Vec<_> = log.json_lines().iter().map(|line| line["type"].clone()).collect();
    assert_eq!(kinds, ["sniffer_up", "snapshot"]);
    let someone = world.instance().name("bad\u{7}name").start().unwrap();
    let seen = world.start(&["sniff", "--once"]).finish().expect_code(0);
    assert!(seen.text().starts_with("1 instance, 0 topics\n\n"), "{}", seen.text());
    assert!(seen.text().contains("bad\\u{7}name  "), "{}", seen.text());
    assert!(seen.text().contains(&someone.id().to_string()));
}

/// Whoever is on the network chooses names.
#[test]
fn names_of_strangers_do_nothing_to_a_terminal() {
    let world = World::new();
    let stranger = world.instance().name("a\u{1b}[2J\nb\u{9b}31m").start().unwrap();
    let topic = world.topic("t\u{7}\u{85}\u{7f}x");
    let _publisher = stranger.publisher(&topic).unwrap();
    let log = world.start(&["sniff", "--log"]);
    log.until_output("publisher of t", || ());
    stranger.close().unwrap();
    log.until_output(", goodbye", || ());
    log.signal("INT");
    let _other = world.instance().name("\u{1b}]0;x\u{7}").start().unwrap().publisher(&topic);
    for shown in [log, world.start(&["sniff", "--once"])].map(Process::finish) {
        let has_control = shown.text().chars().any(|it| it.is_control() && it != '\n');
        assert!(!has_control, "{:?}", shown.text());
    }
}

#[test]
fn behind_daemons_it_is_a_client() {
    let world = World::with("[[topic]]\npattern = '.*'\ntemplate = 'unicast'\n");
    let daemon = world.start(&["daemon", "--port", "0", "--json"]);
    let address = daemon.line("daemon_up")["address"].as_str().unwrap().to_owned();
    world.find_each_other_by(&address);
    let instance = world.instance().name("pricer").start().unwrap();
    let topic = world.topic("prices");
    let subscription = instance.subscribe(&topic, |_: &Message<'_>| {}).unwrap();
    let sniffer = world.start(&["sniff", "--json"]);
    assert_eq!(sniffer.line("daemon_up")["daemon"], address);
    let advert = sniffer.line("advertised");
    assert_eq!((&advert["name"], &advert["transport"]), (&"pricer".into(), &"unicast".into()));
    assert_eq!(advert["address"], subscription.address().unwrap().to_string());
    let peers = instance.peers();
    assert!(peers[0].name().starts_with("vega-sniff-"), "{peers:?}");
    daemon.signal("KILL");
    assert_eq!(sniffer.line("daemon_down")["daemon"], address);
    sniffer.signal("INT");
    let sniffer = sniffer.finish().expect_code(0);
    assert_eq!(sniffer.json_lines()[0]["group"], Value::Null);
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let world = World::new();
    let _instance = world.instance().start().unwrap();
    let process = world.spawn_without_reader(world.command(&["sniff", "--json"]));
    process.finish().expect_code(0);
}
