//! Requests and responses on a network that loses some of both. Tests.

use vega::Counter;

use crate::lab::Lab;
use crate::support::{Behaviour, Report, Settings, Tally, eventually};

const TRANSPORTS: [&str; 2] = ["unicast", "multicast"];

/// All answer at once, to one socket.
fn everybody_answers(per_mille: u32) {
    const ANSWER_BYTES: usize = 1024;
    /// One host each: an instance takes three ports of a range of ninety.
    const HOSTS: usize = 4;
    const INSTANCES: usize = 16;
    const REQUESTS: u64 = 20;
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(HOSTS + 1, Settings::default()) else { return };
        lab.lose_everywhere(per_mille);
        let topic = format!("{transport}.quotes");
        let mut asker = lab.start(1, "asker");
        let mut crowds: Vec<_> =
            (2..HOSTS + 2).map(|host| lab.start(host, &format!("crowd{host}"))).collect();
        for crowd in &mut crowds {
            crowd.crowd(&topic, INSTANCES, ANSWER_BYTES);
        }
        asker.publish(&topic);
        asker.wait_for_subscribers(&topic, HOSTS * INSTANCES);
        let tally = asker.ask_all(&topic, REQUESTS, HOSTS * INSTANCES);
        assert_eq!(tally, Tally::complete(REQUESTS), "{topic}, {per_mille} of 1000 lost");
        let all = REQUESTS * (HOSTS * INSTANCES) as u64;
        eventually("all are counted", || asker.counter(Counter::ResponsesReceived) == all);
        assert_eq!(asker.counter(Counter::ResponsesUnmatched), 0, "{topic}");
    }
}

#[test]
fn everybody_answers_at_once() {
    everybody_answers(0);
}

#[test]
fn everybody_answers_at_once_at_five_percent() {
    everybody_answers(50);
}

#[test]
fn every_request_is_answered_and_none_handled_twice() {
    const REQUESTS: u64 = 10_000;
    const RESPONDERS: usize = 2;
    for transport in TRANSPORTS {
        let Some(lab) = Lab::new(RESPONDERS + 1, Settings::default()) else { return };
        lab.lose_everywhere(50);
        let topic = format!("{transport}.quotes");
        let mut asker = lab.start(1, "asker");
        let mut responders: Vec<_> =
            (2..RESPONDERS + 2).map(|host| lab.start(host, &format!("responder{host}"))).collect();
        for responder in &mut responders {
            responder.subscribe(&topic, Behaviour::RespondLarge(200));
        }
        asker.publish(&topic);
        asker.wait_for_subscribers(&topic, RESPONDERS);
        let tally = asker.ask_all(&topic, REQUESTS, RESPONDERS);
        assert_eq!(tally, Tally::complete(REQUESTS), "{topic}");
        let mut dropped = lab.dropped(1);
        for (host, responder) in (2..).zip(&mut responders) {
            assert_eq!(responder.report(&topic), Report::complete(REQUESTS), "{topic}");
            eventually("all are counted", || responder.counter(Counter::ResponsesSent) == REQUESTS);
            dropped += lab.dropped(host);
        }
        assert_eq!(asker.counter(Counter::ResponsesUnmatched), 0, "{topic}");
        assert_eq!(asker.counter(Counter::RequestTimeouts), 0, "{topic}");
        assert!(dropped > 0 && asker.counter(Counter::NaksSent) > 0, "{topic}: {dropped}");
    }
}
