//! `vega tune`, and what `vega topics` says of several topics. Tests.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use vega::{Config, Message, Transport};

use crate::world::{PATIENCE, World};

/// One socket with two streams: of three topics, two collide at least.
const NARROW: &str = "\n# Mine.\n[[template]]\nname = \"only\"\ntransport = \"multicast\"\n\
     addresses = \"239.255.7.1\"\nports = \"35006\"\nstreams = \"1-2\"  # few\n\
     [[topic]]\npattern = '.*'\ntemplate = \"only\"\n";

fn topics(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("topics.txt");
    fs::write(&file, text).unwrap();
    (directory, file)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn topics_of_a_file_are_judged_and_wider_ranges_proposed() {
    let world = World::with(NARROW);
    let (_directory, file) = topics("a 100 x,y\nb 10 x\nc 1\n");
    let file = file.to_str().unwrap();
    let arguments = ["tune", "--topics", file, "--target", "1%", "--json"];
    let found = world.start(&arguments).finish().expect_code(1).json_lines().remove(0);
    assert_eq!((&found["topics"], found["rates"].as_str()), (&3.into(), Some("given")));
    let template = &found["templates"][0];
    assert_eq!((template["places"].as_u64(), template["topics"].as_u64()), (Some(2), Some(3)));
    let used = template["used"].as_u64().unwrap();
    assert_eq!(template["unused"].as_u64(), Some(2 - used));
    assert!(number(&template["collision_rate"]) > 0.5);
    for subscriber in found["subscribers"].as_array().unwrap() {
        let heard = ["wanted", "same_place", "same_socket"].map(|key| number(&subscriber[key]));
        assert_eq!(heard.iter().sum::<f64>(), 111.0, "one socket for all: {subscriber}");
        let wanted = if subscriber["subscriber"] == "x" { 110.0 } else { 100.0 };
        assert_eq!(heard[0], wanted, "{subscriber}");
    }

    // The proposal is a configuration that reaches the target, and has the comments of the old one.
    let whole = world.start(&[&arguments[..5], &["--apply"]].concat()).finish().expect_code(0);
    let (text, old) = (whole.text(), fs::read_to_string(world.config_file()).unwrap());
    assert!(text.contains("\n# Mine.\n") && text.contains("  # few\n"), "{text}");
    assert_eq!(text.lines().count(), old.trim_end().lines().count());
    let wider = Config::parse(text).unwrap();
    let places = |topic| {
        let route = wider.route(topic).unwrap();
        (route.address(), route.port(), route.stream())
    };
    assert!(places("a") != places("b") && places("b") != places("c") && places("a") != places("c"));
    let fragment = found["toml"].as_str().unwrap();
    let ranges = |config: &Config| {
        let all = config.templates().map(|it| (it.addresses(), it.ports(), it.streams()));
        all.collect::<Vec<_>>()
    };
    let topic = "[[topic]]\npattern = '.*'\ntemplate = 'only'\n";
    assert_eq!(ranges(&Config::parse(&format!("{fragment}\n{topic}")).unwrap()), ranges(&wider));

    // With it, there is nothing left to do.
    fs::write(world.config_file(), text).unwrap();
    let after = world.start(&arguments).finish().expect_code(0).json_lines().remove(0);
    assert_eq!((&after["toml"], &after["changes"]), (&Value::Null, &Value::Array(Vec::new())));
}

#[test]
fn people_get_tables_and_a_page() {
    let world = World::with(NARROW);
    let (directory, file) = topics("a 100\nb 10\nc\n<d> 5\n");
    let page = directory.path().join("page.html");
    let arguments = [
        "tune",
        "--topics",
        file.to_str().unwrap(),
        "--instances-per-host",
        "3",
        "--report",
        page.to_str().unwrap(),
    ];
    let shown = world.start(&arguments).finish().expect_code(1);
    for title in
        ["Templates", "Crowded places", "What subscribers hear", "Ports of a host", "[[template]]"]
    {
        assert!(shown.text().contains(title), "{title} in {}", shown.text());
    }
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("&lt;d&gt;") && !page.contains("<d>"));
    assert_eq!(page.matches("<svg").count(), 2);
    for outside in ["http", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let world = World::new();
    let (_directory, file) = topics("a\nb fast\n");
    let failed = world.start(&["tune", "--topics", file.to_str().unwrap()]).finish().expect_code(2);
    assert!(failed.stderr.contains("topics.txt:2: rate \"fast\""), "{}", failed.stderr);
    let failed = world.start(&["tune", "--topics", "/nowhere/topics"]).finish().expect_code(2);
    assert!(failed.stderr.contains("/nowhere/topics"), "{}", failed.stderr);
    let failed = world.start(&["tune"]).finish().expect_code(2);
    assert!(failed.stderr.contains("--topics"), "{}", failed.stderr);
}

#[test]
fn running_instances_are_seen_and_measured() {
    let world = World::with(NARROW);
    let publishing = world.instance().name("source").start().unwrap();
    let listening = world.instance().name("sink").start().unwrap();
    let [busy, quiet] = ["busy", "quiet"].map(|name| world.topic(name));
    let mut publisher = publishing.publisher(&busy).unwrap();
    let _other = publishing.publisher(&quiet).unwrap();
    let subscription = listening.subscribe(&busy, |_: &Message<'_>| {}).unwrap();
    assert!(subscription.wait_for_publishers(1, PATIENCE));
    let adverts = listening.adverts();
    assert_eq!(adverts.len(), 2);
    assert!(adverts.iter().all(|it| it.transport() == Transport::Multicast));

    let arguments = ["tune", "--sniff", "--for", "2s", "--measure", "1s", "--json"];
    let process = world.start(&arguments);
    process.until_output("\n", || {
        publisher.send(b"x").unwrap();
    });
    let finished = process.finish();
    assert!(finished.stderr.is_empty(), "{}", finished.stderr);
    let found = finished.json_lines().remove(0);
    assert_eq!((&found["topics"], found["rates"].as_str()), (&2.into(), Some("measured")));
    let subscribers = found["subscribers"].as_array().unwrap();
    let [sink] = subscribers.as_slice() else { panic!("one subscriber: {found}") };
    assert!(sink["subscriber"].as_str().unwrap().starts_with("sink "), "{sink}");
    assert!(number(&sink["wanted"]) > 10.0, "a message every five milliseconds: {sink}");
    assert_eq!(found["hosts"][0]["instances"], 2);
}

#[test]
fn nobody_to_hear_is_said() {
    let world = World::new();
    let failed = world.start(&["tune", "--sniff", "--for", "200ms"]).finish().expect_code(2);
    assert!(failed.stderr.contains("no topics were heard of within 200ms"), "{}", failed.stderr);
}

#[test]
fn topics_show_whom_they_share_with() {
    let world = World::with(NARROW);
    let (_directory, file) = topics("a 100\nb 10\nc 1\n");
    let arguments = ["topics", "--topics", file.to_str().unwrap(), "--json"];
    let shown = world.start(&arguments).finish().expect_code(0).json_lines().remove(0);
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), 3);
    for (entry, foreign) in shown.iter().zip([11.0, 101.0, 110.0]) {
        let count = |key: &str| entry[key].as_array().unwrap().len();
        assert_eq!(count("same_place") + count("same_socket"), 2, "{entry}");
        assert_eq!(number(&entry["foreign"]), foreign, "{entry}");
    }
    let table = world.start(&["topics", "a", "b"]).finish().expect_code(0);
    let header = table.text().lines().next().unwrap();
    assert!(header.contains("place") && header.contains("foreign"), "{header}");
    let alone = world.start(&["topics", "a"]).finish().expect_code(0);
    assert!(!alone.text().contains("foreign"), "{}", alone.text());
}
