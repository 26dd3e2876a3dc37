//! The acceptance points of the engine, each between real processes over real sockets. Tests.
//!
//! The points one by one, with the tests to read first; the modules have more.
//!
//! 1. messages and requests on each transport, content and topic right:
//!    - `delivery::messages_and_requests_arrive_on_every_transport`
//!    - `delivery::requests_carry_content_topic_and_sender`
//!    - `delivery::a_message_tells_who_sent_it`
//! 2. several subscribers in several processes, on each transport:
//!    - `delivery::every_process_of_a_host_gets_everything`
//! 3. four responders, five responses each:
//!    - `requests::four_responders_with_five_responses_each_make_twenty_callbacks`
//! 4. a reset in each callback keeps a request open:
//!    - `requests::resetting_the_expiration_keeps_a_request_open`
//! 5. closing in the first callback ends it:
//!    - `requests::closing_in_the_first_callback_ends_everything`
//! 6. one timeout, on its thread, also after responses:
//!    - `requests::a_timeout_is_called_once_on_the_thread_of_the_request_processor`
//! 7. no timeout, no listener, closed:
//!    - `requests::what_cannot_be_asked_is_refused_without_a_callback`
//! 8. responses come through the response socket:
//!    - `requests::responses_come_through_the_response_socket_whatever_the_transport`
//! 9. one response port for two, two for two:
//!    - `sockets::a_response_port_belongs_to_one_instance`
//!    - `sockets::two_response_ports_keep_two_instances_apart`
//! 10. a responder without discovery answers:
//!     - `requests::a_responder_that_has_not_discovered_the_requester_answers`
//! 11. 1 MiB byte for byte; over the limit nothing is sent:
//!     - `delivery::large_messages_arrive_byte_for_byte`
//!     - `delivery::what_is_over_the_limit_is_not_sent_at_all`
//! 12. handles that end and begin again; second publishers and unknown topics are refused:
//!     - `topics::after_unsubscribe_returns_nothing_is_delivered`
//!     - `topics::a_subscription_that_begins_again_gets_what_is_sent_from_then_on`
//!     - `topics::a_publisher_that_is_created_again_is_heard`
//!     - `topics::one_publisher_and_one_subscription_per_topic_and_instance`
//!     - `topics::a_topic_without_a_route_is_refused`
//! 13. killed publisher, subscriber, reader of a ring:
//!     - `departures::a_killed_publisher_is_noticed_and_its_memory_reclaimed`
//!     - `departures::a_killed_subscriber_does_not_hold_back_the_publisher`
//!     - `departures::a_killed_reader_of_a_ring_gives_its_place_free`
//! 14. a goodbye is noticed at once:
//!     - `departures::a_goodbye_is_noticed_at_once`
//!     - `departures::dropping_an_instance_says_goodbye_too`
//! 15. random and truncated datagrams at every port:
//!     - `hostile::random_datagrams_are_counted_and_dropped`
//!     - `hostile::truncated_packets_are_counted_and_dropped`
//!     - `hostile::requests_are_answered_during_a_flood`
//! 16. 500 topics, ten processes, then silence:
//!     - `scale::hundreds_of_topics_match_between_ten_processes_and_then_cost_nothing`
//! 17. panics are counted and reported, later messages come:
//!     - `panics::a_panic_in_any_callback_is_counted_and_reported_and_later_calls_come`
//!     - `panics::a_panic_about_a_loss_is_counted_and_reported_and_later_messages_come`
//!     - `panics::a_panic_about_a_conflict_is_counted_and_reported_and_later_events_come`
//!     - `panics::a_listener_that_panics_gets_the_next_message`
//! 18. `close` in a callback is an error:
//!     - `callbacks::close_in_a_callback_is_an_error_and_no_deadlock`
//! 19. callbacks publish, request, reset and close:
//!     - `callbacks::callbacks_may_publish_request_reset_and_close`
//!     - `callbacks::messages_bounce_between_callbacks_of_two_processes`
//!
//! Beyond the points: `pressure` (slow receivers, claims, overflow), `strategies` (whose reports limit a
//! publisher), `lifecycle` (what starting and stopping leaves behind), `idle` (what waiting costs),
//! `coalescing` (how long a message waits for those that follow), `offload` (UDP without the help of the
//! kernel), `daemons` (discovery without multicast), `patterns` (subscriptions to all topics that look alike), `heartbeats` (which subscribers answer),
//! `ready` (what may be relied on, and from when), `starting` (what is left when it fails: nothing),
//! `stopped` (readers of shared rings whose process stands still),
//! `trouble` (what is dropped is counted and told), `predecessor` (defects of BBVA Vega) and `ipv6` (the
//! other family, and where the two cannot meet).

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

mod callbacks;
mod coalescing;
mod daemons;
mod delivery;
mod departures;
mod faults;
mod heartbeats;
mod hostile;
mod idle;
mod ipv6;
mod lifecycle;
mod offload;
mod panics;
mod patterns;
mod predecessor;
mod pressure;
mod ready;
mod requests;
mod scale;
mod sockets;
mod starting;
mod stopped;
mod strategies;
#[allow(dead_code, unused_imports, reason = "shared with `tests/network`")]
mod support;
mod topics;
mod trouble;

use std::collections::BTreeSet;

use support::role;

/// Not a test of its own: what the child processes of the others run.
#[test]
fn role() {
    if let (Ok(name), Ok(config)) = (std::env::var(role::NAME), std::env::var(role::CONFIG)) {
        role::play(&name, &config);
    }
}

/// Not a test of its own: the discovery daemons of the others.
#[test]
fn daemon() {
    support::daemon::play();
}

/// Not a test of its own: a process that lacks what an instance needs.
#[test]
fn lacking() {
    starting::play();
}

/// The list above is how a reader finds the tests: it has all points and names what exists.
#[test]
fn every_point_names_its_tests() {
    let sources = [
        ("callbacks", include_str!("callbacks.rs")),
        ("delivery", include_str!("delivery.rs")),
        ("departures", include_str!("departures.rs")),
        ("hostile", include_str!("hostile.rs")),
        ("panics", include_str!("panics.rs")),
        ("requests", include_str!("requests.rs")),
        ("scale", include_str!("scale.rs")),
        ("sockets", include_str!("sockets.rs")),
        ("topics", include_str!("topics.rs")),
    ];
    let list = include_str!("main.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let mut with_tests = BTreeSet::new();
    let mut point = 0_u32;
    for line in list {
        let item = line.trim_start();
        if let Some(number) = item.split_once(". ").and_then(|(number, _)| number.parse().ok()) {
            point = number;
        }
        let name = item.strip_prefix("- `").and_then(|item| item.strip_suffix('`'));
        let Some((module, test)) = name.and_then(|name| name.split_once("::")) else { continue };
        let (_, source) = sources.iter().find(|(name, _)| *name == module).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {test}() {{")), "{module}::{test}");
        with_tests.insert(point);
    }
    assert_eq!(with_tests, (1..=19).collect());
}
