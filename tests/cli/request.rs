//! `vega request` and `vega respond`. Tests.

use std::collections::BTreeMap;

use serde_json::json;

use crate::world::{Finished, PATIENCE_ARGUMENT, Process, World};

const WAIT: [&str; 2] = ["--wait", PATIENCE_ARGUMENT];

fn request(world: &World, topic: &str, arguments: &[&str]) -> Finished {
    world.start(&[&["request", topic, "EURUSD", "--json"], arguments, &WAIT].concat()).finish()
}

fn respond(world: &World, topic: &str, arguments: &[&str]) -> Process {
    world.start(&[&["respond", topic, "--json"], arguments].concat())
}

#[test]
fn all_responses_of_all_responders_arrive() {
    let world = World::new();
    for prefix in ["", "unicast.", "ipc."] {
        let topic = world.topic(&format!("{prefix}quotes"));
        let body = ["--body", "{payload}-{n}", "--responses", "4", "--count", "1"];
        let responders = [(); 3].map(|()| respond(&world, &topic, &body));
        let arguments = ["--wait-subscribers", "3", "--expect", "12", "--timeout", "60s"];
        let asked = request(&world, &topic, &arguments).expect_code(0);

        let mut by_responder = BTreeMap::<_, Vec<_>>::new();
        for (response, number) in asked.of_type("response").into_iter().zip(1..) {
            assert_eq!(response["number"], number);
            let responder = response["responder"].as_str().unwrap().to_owned();
            by_responder.entry(responder).or_default().push(response["payload"].clone());
        }
        assert_eq!(by_responder.len(), 3);
        for payloads in by_responder.values() {
            assert_eq!(payloads[..], ["EURUSD-1", "EURUSD-2", "EURUSD-3", "EURUSD-4"]);
        }
        let end = asked.json_lines().pop();
        assert_eq!(end, Some(json!({ "type": "end", "outcome": "complete", "responses": 12 })));

        for responder in responders {
            let responder = responder.finish().expect_code(0);
            let heard = &responder.of_type("request")[0];
            assert_eq!((&heard["topic"], &heard["payload"]), (&json!(topic), &json!("EURUSD")));
            let end = json!({ "type": "end", "requests": 1, "responses": 4, "skipped": 0 });
            assert_eq!(responder.json_lines().pop(), Some(end));
        }
    }
}

/// The last response comes long after the timeout of the request.
#[test]
fn every_response_extends_the_request() {
    let world = World::new();
    let topic = world.topic("stream");
    let arguments = ["--body", "{n}", "--responses", "15", "--interval", "200ms"];
    let _responder = respond(&world, &topic, &arguments);
    let times = ["--timeout", "2s", "--extend", "2s", "--expect", "15"];
    let responses = request(&world, &topic, &times).expect_code(0).of_type("response");
    assert_eq!(responses.len(), 15);
    assert!(responses[14]["elapsed_ms"].as_f64() >= Some(2800.0), "{}", responses[14]);
}

#[test]
fn a_timeout_without_responses_is_a_failure() {
    let world = World::new();
    let topic = world.topic("silence");
    let arguments = ["request", &topic, "?", "--timeout", "20ms", "--wait", "0s", "--json"];
    let asked = world.start(&arguments).finish().expect_code(1);
    let end = json!({ "type": "end", "outcome": "expired", "responses": 0 });
    assert_eq!(asked.json_lines(), [end]);
    assert!(asked.stderr.contains("no subscriber"), "{}", asked.stderr);
    assert!(asked.stderr.contains("timeout after 0 responses"), "{}", asked.stderr);
}

#[test]
fn fewer_responses_than_expected_are_a_failure() {
    let world = World::new();
    let topic = world.topic("quotes");
    let _responder = respond(&world, &topic, &["--body", "one", "--responses", "2"]);
    // Time enough for two responses on a busy machine; the third never comes.
    let missing = request(&world, &topic, &["--expect", "3", "--timeout", "3s"]).expect_code(1);
    assert_eq!(missing.of_type("response").len(), 2);
    assert_eq!(missing.of_type("end")[0]["outcome"], "expired");
    // Without a number, a timeout after responses is what is wanted.
    let all = request(&world, &topic, &["--timeout", "3s"]).expect_code(0);
    assert_eq!(all.of_type("response").len(), 2);
    assert_eq!(all.of_type("end")[0]["outcome"], "expired");
}

#[test]
fn too_few_subscribers_are_not_asked() {
    let world = World::new();
    let topic = world.topic("quotes");
    let insists = ["request", &topic, "?", "--wait-subscribers", "1", "--wait", "1ms", "--json"];
    let insists = world.start(&insists).finish().expect_code(1);
    let end = json!({ "type": "end", "outcome": "not_sent", "responses": 0 });
    assert_eq!(insists.json_lines(), [end]);
}

#[test]
fn a_timeout_of_zero_is_refused() {
    let world = World::new();
    let topic = world.topic("quotes");
    let refused = world.start(&["request", &topic, "?", "--timeout", "0s", "--wait", "0s"]);
    assert!(refused.finish().expect_code(2).stderr.contains("more than 0 ns"));
}

#[test]
fn people_read_number_name_time_and_payload() {
    let world = World::new();
    let topic = world.topic("quotes");
    let arguments = ["respond", &topic, "--body", "bid {n}", "--count", "1", "--name", "north"];
    let responder = world.start(&arguments);
    let asked = world.start(&[&["request", &topic, "EURUSD", "--expect", "1"], &WAIT[..]].concat());
    let asked = asked.finish().expect_code(0);
    let line: Vec<_> = asked.text().split_whitespace().collect();
    assert_eq!([line[0], line[1], line[3], line[4]], ["#1", "north", "bid", "1"]);
    let responder = responder.finish().expect_code(0);
    assert_eq!(responder.text(), format!("{topic} EURUSD\n"));
    assert!(responder.stderr.ends_with("1 request, 1 response\n"), "{}", responder.stderr);
}
