//! `vega tune`, and what `vega topics` says of several topics. Tests.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use vega::{Config, Counter, Message, Transport};

use crate::counters::wait_for;
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

/// What is said of two templates on the same groups and ports is what their sockets get.
#[test]
fn templates_with_groups_in_common_hear_each_other_and_that_is_said() {
    let template = |name| {
        format!(
            "[[template]]\nname = '{name}'\ntransport = 'multicast'\naddresses = '239.255.7.9'\n\
             ports = '35026'\nstreams = '1'\n[[topic]]\npattern = '{name}.*'\ntemplate = '{name}'\n"
        )
    };
    let world = World::with(&(template("s") + &template("t")));
    let [wanted, other] = ["s", "t"].map(|name| world.topic(name));
    let (_directory, file) = topics(&format!("{wanted} 1\n{other} 10\n"));
    let arguments = ["tune", "--topics", file.to_str().unwrap(), "--target", "1%"];
    let found = world.start(&[&arguments[..], &["--json"]].concat()).finish().expect_code(0);
    let found = found.json_lines().remove(0);
    assert_eq!(found["overlaps"][0]["templates"], serde_json::json!(["s", "t"]), "{found}");
    let hears = |topic: &str| {
        let all = found["subscribers"].as_array().unwrap().iter();
        all.filter(|it| it["subscriber"] == topic).map(|it| number(&it["same_socket"])).sum::<f64>()
    };
    assert_eq!((hears(&wanted), hears(&other)), (10.0, 1.0), "{found}");
    let said = world.start(&arguments).finish().expect_code(0);
    assert!(said.text().contains("\"s\" and \"t\" have groups and ports in common"));
    let table = world.start(&["topics", &wanted, &other, "--json"]).finish().expect_code(0);
    assert_eq!(table.json_lines().remove(0)[0]["same_socket"][0], other.as_str());

    let (listening, publishing) =
        (world.instance().start().unwrap(), world.instance().start().unwrap());
    let subscription = listening.subscribe(&wanted, |_: &Message<'_>| {}).unwrap();
    let mut publisher = publishing.publisher(&other).unwrap();
    let mut own = publishing.publisher(&wanted).unwrap();
    assert!(own.wait_for_subscribers(1, PATIENCE) && subscription.wait_for_publishers(1, PATIENCE));
    own.send(b"x").unwrap();
    wait_for("what is foreign", || {
        publisher.send(b"x").unwrap();
        (listening.counters().get(Counter::Foreign) > 0).then_some(())
    });
}

/// Nothing is wrapped on a terminal of 80 columns, with IPv4 and names of a usual length.
#[test]
fn tables_fit_a_narrow_terminal() {
    let world = World::new();
    let names: String = (0..500).map(|number| format!("prices.EUR{number} 9\n")).collect();
    let (_directory, file) = topics(&names);
    let shown = world.start(&["tune", "--topics", file.to_str().unwrap()]).finish().expect_code(1);
    let rows = shown.text().lines().filter(|line| line.contains("   "));
    let widest = rows.max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 80, "{widest}");
    assert!(shown.text().contains("\nand 488 more\n"), "twelve are shown: {}", shown.text());
    assert!(!shown.text().contains("-0"), "{}", shown.text());
}

#[test]
fn unusual_files_and_names_do_no_harm() {
    let world = World::with(
        "[[template]]\nname = 'six'\ntransport = 'multicast'\ninterface = '::1'\n\
         addresses = 'ff15::7'\nports = '35006'\nstreams = '1'\n\
         [[topic]]\npattern = '.*'\ntemplate = 'six'\n",
    );
    // As some editors begin a file.
    let (_directory, file) = topics("\u{feff}a 1\r\nb 2\r\nb 3\r\n");
    let file = file.to_str().unwrap();
    let shown = world.start(&["topics", "--topics", file]).finish().expect_code(0);
    assert!(shown.text().lines().any(|line| line.starts_with("a  ")), "{}", shown.text());
    let tuned = world.start(&["tune", "--topics", file]).finish().expect_code(1);
    assert!(tuned.text().contains("[ff15::7]:35006"), "{}", tuned.text());
    let b = tuned.text().lines().find(|line| line.starts_with("b ")).unwrap();
    assert_eq!(b.split_whitespace().nth(2), Some("5"), "rates of one topic are added: {b}");
    let colour = world.start(&["topics", "a\u{1b}[31m"]).finish().expect_code(0);
    assert!(!colour.text().contains('\u{1b}'), "{}", colour.text());
    let (_directory, nothing) = topics("# nothing\n\n");
    for command in ["tune", "topics"] {
        let failed = world.start(&[command, "--topics", nothing.to_str().unwrap()]).finish();
        let failed = failed.expect_code(2);
        assert!(failed.stderr.contains("names no topic"), "{}", failed.stderr);
    }
}
