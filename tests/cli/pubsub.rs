//! `vega pub` and `vega sub`. Tests.

use std::time::Duration;

use serde_json::json;
use vega::{Publisher, SendError};

use crate::world::{PATIENCE, PATIENCE_ARGUMENT, World};

#[test]
fn messages_arrive_on_every_transport() {
    let world = World::new();
    for (prefix, transport) in [("", "multicast"), ("unicast.", "unicast"), ("ipc.", "ipc")] {
        let topic = world.topic(&format!("{prefix}prices"));
        let sub = world.start(&["sub", &topic, "--count", "3", "--json"]);
        let publish = world.start(&[
            "pub",
            &topic,
            "1.0842",
            "two\nlines",
            "€",
            "--wait-subscribers",
            "1",
            "--wait",
            PATIENCE_ARGUMENT,
            "--json",
        ]);
        let summary = publish.finish().expect_code(0).json_lines().remove(0);
        assert_eq!(summary["transport"], transport);
        assert_eq!(summary["sent"], 3);
        assert_eq!(summary["bytes"], 18);
        let messages = sub.finish().expect_code(0).of_type("message");
        let payloads: Vec<_> = messages.iter().map(|message| &message["payload"]).collect();
        assert_eq!(payloads, ["1.0842", "two\nlines", "€"]);
        for (message, sequence) in messages.iter().zip(1..) {
            assert_eq!(message["topic"], *topic);
            assert_eq!(message["sequence"], sequence);
            assert_eq!(message["sender"], messages[0]["sender"]);
            assert_eq!(message["publisher"], messages[0]["publisher"]);
        }
    }
}

#[test]
fn lines_of_standard_input_reach_all_subscribers() {
    let world = World::new();
    let topic = world.topic("log");
    let sub = |format: &[&str]| world.start(&[&["sub", &topic, "--count", "4"], format].concat());
    let subs = [sub(&["--format", "raw"]), sub(&[]), sub(&["--format", "hex"]), sub(&["--json"])];
    let input = b"plain\n\n\x1b[31mred\n\xff\xfe";
    let arguments = ["pub", &topic, "--wait-subscribers", "4", "--wait", PATIENCE_ARGUMENT];
    world.start_with_input(&arguments, input).finish().expect_code(0);
    let [raw, text, hex, json] = subs.map(|sub| sub.finish().expect_code(0));
    assert_eq!(raw.stdout, [&input[..], b"\n"].concat());
    let lines = ["#1 plain", "#2 ", r"#3 \u{1b}[31mred", r"#4 \xff\xfe"];
    assert!(text.text().lines().eq(lines.map(|line| format!("{topic} {line}"))));
    assert!(hex.text().ends_with(&format!("{topic} #4 fffe\n")));
    let last = json.json_lines().pop().unwrap();
    assert_eq!((&last["payload"], &last["payload_hex"]), (&json!(null), &json!("fffe")));
}

#[test]
fn several_topics_and_requests_are_told_apart() {
    let world = World::new();
    let (orders, fills) = (world.topic("orders"), world.topic("ipc.fills"));
    let sub = world.start(&["sub", &orders, &fills, "--count", "2", "--json"]);
    let wait = ["--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    world.start(&[&["pub", &fills, "filled"][..], &wait].concat()).finish().expect_code(0);
    let request = [&["request", &orders, "buy", "--timeout", "250ms"][..], &wait].concat();
    world.start(&request).finish().expect_code(1);
    let sub = sub.finish().expect_code(0);
    let message = &sub.of_type("message")[0];
    assert_eq!((&message["topic"], &message["payload"]), (&json!(fills), &json!("filled")));
    let request = &sub.of_type("request")[0];
    assert_eq!((&request["topic"], &request["payload"]), (&json!(orders), &json!("buy")));
    assert_eq!(request["timeout_ms"], 250.0);
}

/// Topics that appear later are heard, and overlapping arguments print a message once.
#[test]
fn patterns_find_topics_as_they_appear() {
    let world = World::new();
    let [eu, us, other] = ["orders.eu", "orders.us", "prices.eu"].map(|name| world.topic(name));
    let arguments = ["sub", "--filter", "orders.>", "--regex", r"orders\.eu\.\d+", &eu];
    let sub = world.start(&[&arguments[..], &["--count", "3", "--json"]].concat());
    let wait = ["--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    world.start(&["pub", &other, "unheard", "--wait", "1ms"]).finish().expect_code(0);
    world.start(&[&["pub", &eu, "1", "2"][..], &wait].concat()).finish().expect_code(0);
    world.start(&[&["pub", &us, "3"][..], &wait].concat()).finish().expect_code(0);
    let sub = sub.finish().expect_code(0);
    let heard: Vec<_> = sub
        .of_type("message")
        .iter()
        .map(|message| (message["topic"].clone(), message["payload"].clone()))
        .collect();
    let expected = [(&eu, "1"), (&eu, "2"), (&us, "3")];
    assert_eq!(heard, expected.map(|(topic, payload)| (json!(topic), json!(payload))));
    assert!(
        sub.stderr.contains(&format!("listening to {us}, which matches orders.>")),
        "{}",
        sub.stderr
    );
}

#[test]
fn what_is_no_pattern_is_refused_at_once() {
    let world = World::new();
    for (option, pattern, reason) in [
        ("--regex", "(a", "is no regular expression: unclosed group"),
        ("--filter", "a.>.b", "has a '>' that is not its last token"),
    ] {
        let refused = world.start(&["sub", option, pattern]).finish().expect_code(2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    world.start(&["sub"]).finish().expect_code(2);
}

#[test]
fn generated_payloads_have_size_number_and_rate() {
    let world = World::new();
    let topic = world.topic("load");
    let sub = world.start(&["sub", &topic, "--count", "500", "--format", "raw"]);
    let publish = world.start(&[
        "pub",
        &topic,
        "--size",
        "40",
        "--count",
        "500",
        "--rate",
        "1000",
        "--json",
        "--wait-subscribers",
        "1",
        "--wait",
        PATIENCE_ARGUMENT,
    ]);
    let summary = publish.finish().expect_code(0).json_lines().remove(0);
    assert_eq!((&summary["sent"], &summary["bytes"]), (&json!(500), &json!(20_000)));
    // The first goes out at once, the last 499 ms later.
    assert!(summary["seconds"].as_f64().unwrap() >= 0.499, "{summary}");
    let sub = sub.finish().expect_code(0);
    for (line, number) in sub.text().lines().zip(1..) {
        assert_eq!(line.len(), 40);
        assert_eq!(line[..12].parse(), Ok(number));
    }
}

#[test]
fn arguments_are_repeated_up_to_the_count() {
    let world = World::new();
    let topic = world.topic("letters");
    let sub = world.start(&["sub", &topic, "--count", "5", "--format", "raw"]);
    let wait = ["--wait-subscribers", "1", "--wait", PATIENCE_ARGUMENT];
    let publish = [&["pub", &topic, "a", "-2", "--count", "5"][..], &wait].concat();
    let publish = world.start(&publish).finish().expect_code(0);
    assert!(publish.text().starts_with("5 messages (7 B) sent on letters."), "{}", publish.text());
    assert_eq!(sub.finish().expect_code(0).text(), "a\n-2\na\n-2\na\n");
}

#[test]
fn nobody_listens() {
    let world = World::new();
    let topic = world.topic("lonely");
    let anyway = world.start(&["pub", &topic, "x", "--wait", "1ms"]).finish().expect_code(0);
    assert!(anyway.stderr.contains("no subscriber"), "{}", anyway.stderr);
    let insists = ["pub", &topic, "x", "--wait-subscribers", "2", "--wait", "1ms", "--json"];
    let insists = world.start(&insists).finish().expect_code(1);
    assert_eq!(insists.json_lines()[0]["sent"], 0);
    assert!(insists.stderr.contains("0 of 2 subscribers"), "{}", insists.stderr);
}

#[test]
fn a_count_that_is_not_reached_in_time_is_a_failure() {
    let world = World::new();
    let topic = world.topic("silence");
    let arguments = ["sub", &topic, "--duration", "1ms"];
    world.start(&arguments).finish().expect_code(0);
    world.start(&[&arguments[..], &["--count", "1"]].concat()).finish().expect_code(1);
}

#[test]
fn a_message_above_the_limit_is_refused() {
    let world = World::with("[limits]\nmax_message_bytes = 1024");
    let topic = world.topic("large");
    let wait = ["--wait", "1ms"];
    let sized = world.start(&[&["pub", &topic, "--size", "1025"][..], &wait].concat());
    assert!(sized.finish().expect_code(2).stderr.contains("allowed: 0..=1024"));
    let line = [&b"short\n"[..], &[b'x'; 1025]].concat();
    let lines = world.start_with_input(&[&["pub", &topic, "--json"][..], &wait].concat(), &line);
    let lines = lines.finish().expect_code(2);
    assert_eq!(lines.json_lines()[0]["sent"], 1);
    assert!(lines.stderr.contains("1024 bytes"), "{}", lines.stderr);
}

/// A subscriber that stands still holds the publisher back for as long as the template says; then
/// it misses messages, and is told how many.
#[test]
fn losses_are_counted_exactly() {
    let world = World::with(
        "[[template]]\nname = \"unicast\"\ntransport = \"unicast\"\nports = \"20000-29999\"\n\
         receiver_timeout = \"200ms\"\n[[topic]]\npattern = '.*'\ntemplate = \"unicast\"",
    );
    let topic = world.topic("flood");
    let sub = world.start(&["sub", &topic, "--json"]);
    let instance = world.instance().start().unwrap();
    let mut publisher = instance.publisher(&topic).unwrap();
    assert!(publisher.wait_for_subscribers(1, PATIENCE));
    sub.signal("STOP");
    // More than window and socket buffer hold.
    for _ in 0..20_000 {
        send(&mut publisher, &[b'x'; 1000]);
    }
    sub.signal("CONT");
    // A lost message shows when a later one arrives, and the first of these may be lost as well.
    sub.until_output("the end", || send(&mut publisher, b"the end"));
    sub.signal("TERM");
    let sub = sub.finish().expect_code(0);
    let lost = sub.of_type("lost");
    assert!(!lost.is_empty());
    assert_eq!(lost[0]["topic"], *topic);
    let lost: u64 = lost.iter().map(|line| line["messages"].as_u64().unwrap()).sum();
    assert_eq!(sub.of_type("skipped"), [json!(null); 0]);
    let messages = sub.of_type("message");
    let last = messages.last().and_then(|message| message["sequence"].as_u64());
    assert_eq!(last, Some(messages.len() as u64 + lost));
}

fn send(publisher: &mut Publisher, payload: &[u8]) {
    /// Until somebody has made room.
    const RETRY_PAUSE: Duration = Duration::from_micros(100);
    while let Err(error) = publisher.send(payload) {
        assert_eq!(error, SendError::BackPressured);
        std::thread::sleep(RETRY_PAUSE);
    }
}
