//! Messages that wait for those that follow, to share a packet with them, do not wait for long when none
//! follows. Tests.

use std::time::{Duration, Instant};

use vega::{Counter, Message, SendError};

use crate::support::{Place, next};

/// Sent as fast as possible: enough to be taken for a stream.
const STREAM: usize = 20_000;
const ROUNDS: usize = 40;
/// Marks the last message of each stream.
const TAIL: &[u8] = b"tail";
/// The conductor looks every millisecond while frames wait. A busy machine makes it late, but not in
/// three of four rounds by twenty times as much.
const BOUND: Duration = Duration::from_millis(20);

#[test]
#[expect(clippy::disallowed_methods, reason = "what is measured is a wait")]
fn the_tail_of_a_stream_waits_for_one_look_of_the_conductor() {
    for transport in ["multicast", "unicast"] {
        let place = Place::new();
        let (sender, receiver) = (place.start("sender"), place.start("receiver"));
        let topic = format!("{transport}.stream");
        let (arrived, arrivals) = crossbeam_channel::unbounded();
        let listener = move |message: &Message<'_>| {
            if message.payload() == TAIL {
                let _ = arrived.send(Instant::now());
            }
        };
        let _subscription = receiver.subscribe(&topic, listener).unwrap();
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, crate::support::WAIT));
        let mut send = |payload: &[u8]| {
            while publisher.send(payload) == Err(SendError::BackPressured) {
                std::hint::spin_loop();
            }
        };
        let mut waits: Vec<_> = (0..ROUNDS)
            .map(|_| {
                (0..STREAM).for_each(|_| send(&[0; 32]));
                send(TAIL);
                let sent = Instant::now();
                next(&arrivals, "the tail arrives").saturating_duration_since(sent)
            })
            .collect();
        waits.sort();
        assert!(waits[ROUNDS / 4] < BOUND, "{transport}: {waits:?}");
        let counted = sender.counters();
        let (messages, packets) =
            (counted.get(Counter::MessagesSent), counted.get(Counter::PacketsSent));
        assert!(packets * 4 < messages, "{messages} messages in {packets} packets: none waited");
    }
}
