//! What an instance is told about its peers, as a channel. Tests.

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::{Counter, DownReason, InstanceId, InstanceListener, Peer};

use super::next;

/// One call of an instance listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    Up(String),
    Down(String, DownReason),
    SubscriberMatched(String),
    SubscriberUnmatched(String),
    PublisherMatched(String),
    PublisherUnmatched(String),
    Conflict(String),
    OutOfReach(String),
    PatternMatched(String, String),
    PatternUnmatched(String, String),
    PatternRefused(String, String),
    Trouble(Counter, u64),
}

/// What has happened around an instance.
pub(crate) struct Watch(Receiver<Happening>);

impl Watch {
    pub(crate) fn new() -> (Self, impl InstanceListener) {
        let (sender, receiver) = unbounded();
        (Self(receiver), Reporter(sender))
    }

    /// Waits until `wanted` happens; what comes before it is passed over.
    pub(crate) fn wait_for(&self, wanted: &Happening) {
        while next(&self.0, &format!("{wanted:?}")) != *wanted {}
    }

    /// Waits until `last` happens, and says what came before it.
    pub(crate) fn until(&self, last: &Happening) -> Vec<Happening> {
        let happenings = std::iter::repeat_with(|| next(&self.0, &format!("{last:?}")));
        happenings.take_while(|happening| happening != last).collect()
    }

    /// Waits until trouble of this kind has added up to `amount`, and says how many events that took;
    /// what else comes is passed over.
    pub(crate) fn wait_for_trouble(&self, wanted: Counter, amount: u64) -> usize {
        let (mut told, mut events) = (0, 0);
        while told < amount {
            told += self.wait_for_trouble_of(wanted);
            events += 1;
        }
        assert_eq!(told, amount, "{wanted:?}");
        events
    }

    /// Waits for trouble of this kind, and says how much of it there is.
    pub(crate) fn wait_for_trouble_of(&self, wanted: Counter) -> u64 {
        loop {
            let (counter, increase) = self.first_trouble();
            if counter == wanted {
                return increase;
            }
        }
    }

    /// Waits for trouble of any kind.
    pub(crate) fn first_trouble(&self) -> (Counter, u64) {
        loop {
            if let Happening::Trouble(counter, increase) = next(&self.0, "trouble") {
                return (counter, increase);
            }
        }
    }
}

struct Reporter(Sender<Happening>);

impl Reporter {
    fn tell(&self, happening: Happening) {
        // A test that does not look any more misses nothing.
        let _ = self.0.send(happening);
    }
}

impl InstanceListener for Reporter {
    fn on_instance_up(&mut self, peer: &Peer) {
        self.tell(Happening::Up(peer.name().to_owned()));
    }

    fn on_instance_down(&mut self, peer: &Peer, reason: DownReason) {
        self.tell(Happening::Down(peer.name().to_owned(), reason));
    }

    fn on_subscriber_matched(&mut self, topic: &str, _: InstanceId) {
        self.tell(Happening::SubscriberMatched(topic.to_owned()));
    }

    fn on_subscriber_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.tell(Happening::SubscriberUnmatched(topic.to_owned()));
    }

    fn on_publisher_matched(&mut self, topic: &str, _: InstanceId) {
        self.tell(Happening::PublisherMatched(topic.to_owned()));
    }

    fn on_publisher_unmatched(&mut self, topic: &str, _: InstanceId) {
        self.tell(Happening::PublisherUnmatched(topic.to_owned()));
    }

    fn on_topic_conflict(&mut self, topic: &str, _: InstanceId, _: &str) {
        self.tell(Happening::Conflict(topic.to_owned()));
    }

    fn on_peer_conflict(&mut self, _: &Peer, reason: &str) {
        self.tell(Happening::OutOfReach(reason.to_owned()));
    }

    fn on_pattern_matched(&mut self, pattern: &str, topic: &str) {
        self.tell(Happening::PatternMatched(pattern.to_owned(), topic.to_owned()));
    }

    fn on_pattern_unmatched(&mut self, pattern: &str, topic: &str) {
        self.tell(Happening::PatternUnmatched(pattern.to_owned(), topic.to_owned()));
    }

    fn on_pattern_refused(&mut self, pattern: &str, topic: &str, _: &str) {
        self.tell(Happening::PatternRefused(pattern.to_owned(), topic.to_owned()));
    }

    fn on_trouble(&mut self, counter: Counter, increase: u64) {
        self.tell(Happening::Trouble(counter, increase));
    }
}
