//! Hosts with more than one interface. Tests.

use vega::Counter;

use crate::lab::{Lab, SECOND_SUBNET};
use crate::support::{Behaviour, Report, Settings};

/// Topics have an interface of their own; that of responses and discovery is another network. What
/// subscribers say about a topic leaves through the interface of the topic, with its address.
#[test]
fn feedback_leaves_through_the_interface_of_the_topic() {
    /// Several windows: without feedback, not all of them are accepted.
    const MESSAGES: u64 = 10_000;
    let settings = Settings { topic_interface: Some(SECOND_SUBNET), ..Settings::default() };
    for transport in ["unicast", "multicast"] {
        let Some(lab) = Lab::new(3, settings) else { return };
        lab.add_network();
        lab.drop_misdirected(1);
        let topic = format!("{transport}.stream");
        let mut sender = lab.start(1, "sender");
        let mut receivers = [lab.start(2, "second"), lab.start(3, "third")];
        for receiver in &mut receivers {
            receiver.subscribe(&topic, Behaviour::Collect);
        }
        sender.publish(&topic);
        sender.wait_for_subscribers(&topic, receivers.len());
        sender.send_mixed(&topic, MESSAGES);
        for receiver in &mut receivers {
            assert_eq!(receiver.expect(&topic, MESSAGES), Report::complete(MESSAGES), "{topic}");
        }
        assert!(sender.counter(Counter::StatusesReceived) > 0, "{topic}");
        assert_eq!(lab.dropped(1), 0, "{topic}: feedback with an address of the other network");
    }
}
