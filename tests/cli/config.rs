//! `vega config` and `vega topics`. Tests.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use vega::Config;

use crate::world::World;

#[test]
fn a_good_file_has_no_problems() {
    let world = World::new();
    let file = world.config_file();
    let name = file.to_str().unwrap();
    let check = world.start(&["config", "check", name]).finish().expect_code(0);
    assert_eq!(check.text(), format!("{name}: ok\n"));
    let check = world.start(&["config", "check", name, "--json"]).finish().expect_code(0);
    assert_eq!(check.json_lines(), [json!({ "ok": true, "file": name, "problems": [] })]);
}

#[test]
fn all_problems_are_printed_with_file_and_line() {
    let world = World::new();
    let file = world.config_file();
    let name = file.to_str().unwrap();
    fs::write(&file, "[discovery]\nttl = 300\ntimout = '5s'\n").unwrap();
    let check = world.start(&["config", "check", name]).finish().expect_code(1);
    let lines: Vec<_> = check.text().lines().collect();
    assert_eq!(lines.len(), 2);
    let first = format!("{name}:2: discovery.ttl = 300: is out of range (allowed: 0 to 255)");
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with(&format!("{name}:3: discovery.timout")), "{}", lines[1]);

    let check = world.start(&["config", "check", name, "--json"]).finish().expect_code(1);
    let report = check.json_lines().remove(0);
    assert_eq!(report["ok"], false);
    let first = json!({
        "line": 2, "key": "discovery.ttl", "value": "300", "message": "is out of range",
        "allowed": "0 to 255",
    });
    assert_eq!(report["problems"][0], first);
    assert_eq!(report["problems"][1]["line"], 3);
}

#[test]
fn a_file_that_is_not_there_cannot_be_checked() {
    let world = World::new();
    let check = world.start(&["config", "check", "/nowhere/vega.toml", "--json"]).finish();
    let check = check.expect_code(2);
    assert!(check.stderr.contains("/nowhere/vega.toml: "), "{}", check.stderr);
    assert_eq!(check.text(), "");
}

#[test]
fn the_default_is_a_file_to_start_from() {
    let world = World::new();
    let printed = world.start(&["config", "default"]).finish().expect_code(0);
    assert_eq!(printed.text(), Config::default_toml());
    let printed = world.start(&["config", "default", "--json"]).finish().expect_code(0);
    assert_eq!(printed.json_lines(), [json!({ "toml": Config::default_toml() })]);
}

#[test]
fn topics_are_shown_as_the_library_routes_them() {
    let world = World::new();
    let topics = ["prices.EURUSD", "unicast.orders", "ipc.books"];
    let arguments = [&["topics", "--json"], &topics[..]].concat();
    let shown = world.start(&arguments).finish().expect_code(0).json_lines().remove(0);
    let config = Config::from_file(world.config_file()).unwrap();
    for (shown, topic) in shown.as_array().unwrap().iter().zip(topics) {
        let route = config.route(topic).unwrap();
        let expected = json!({
            "topic": topic,
            "template": route.template(),
            "transport": route.transport().to_string(),
            "family": route.port().map(|_| "ipv4"),
            "address": route.address().map(|address| address.to_string()),
            "port": route.port(),
            "stream": route.stream(),
            "hash": format!("{:016x}", route.hash()),
            "same_place": [],
            "same_socket": [],
            "foreign": 0.0,
            "foreign_share": 0.0,
        });
        assert_eq!(*shown, expected);
    }

    let table = world.start(&[&["topics"], &topics[..]].concat()).finish().expect_code(0);
    let rows: Vec<_> = table.text().lines().collect();
    assert_eq!(rows.len(), 5);
    assert!(rows[0].starts_with("topic"), "{}", rows[0]);
    assert!(rows[4].starts_with("ipc.books"), "{}", rows[4]);
    assert!(rows.iter().all(|row| !row.ends_with(' ')));
}

#[test]
fn a_topic_without_a_pattern_does_not_hide_the_others() {
    let world = World::with(
        "[[template]]\nname = \"only\"\ntransport = \"multicast\"\n\
         [[topic]]\npattern = 'prices\\..*'\ntemplate = \"only\"",
    );
    let arguments = ["topics", "orders", "prices.EURUSD"];
    let table = world.start(&arguments).finish().expect_code(1);
    assert!(table.text().contains("\nprices.EURUSD"), "{}", table.text());
    assert!(table.stderr.contains("topic \"orders\""), "{}", table.stderr);

    let mut command = world.command(&arguments);
    command.arg("--json").stdin(Stdio::null());
    let shown = world.spawn(command).finish().expect_code(1).json_lines().remove(0);
    assert_eq!(shown[0]["topic"], "orders");
    assert!(shown[0]["error"].as_str().unwrap().contains("no [[topic]] pattern"));
    assert_eq!(shown[0]["port"], Value::Null);
    assert_eq!(shown[1]["template"], "only");
}
