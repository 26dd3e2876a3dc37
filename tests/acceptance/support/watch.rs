//! What an instance is told about its peers, as a channel. Tests.

use crossbeam_channel::{Receiver, Sender, unbounded};
use vega::{DownReason, InstanceId, InstanceListener, Peer};

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
    PatternMatched(String, String),
    PatternUnmatched(String, String),
    PatternRefused(String, String),
}

/// What has happened around an instance.
pub(crate) struct Watch(Receiver<Happening>);

impl Watch {
    pub(super) fn new() -> (Self, impl InstanceListener) {
        let (sender, receiver) = unbounded();
        (Self(receiver), Reporter(sender))
    }

    /// Waits until `wanted` happens; what comes before it is passed over.
    pub(crate) fn wait_for(&self, wanted: &Happening) {
        while next(&self.0, &format!("{wanted:?}")) != *wanted {}
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

    fn on_pattern_matched(&mut self, pattern: &str, topic: &str) {
        self.tell(Happening::PatternMatched(pattern.to_owned(), topic.to_owned()));
    }

    fn on_pattern_unmatched(&mut self, pattern: &str, topic: &str) {
        self.tell(Happening::PatternUnmatched(pattern.to_owned(), topic.to_owned()));
    }

    fn on_pattern_refused(&mut self, pattern: &str, topic: &str, _: &str) {
        self.tell(Happening::PatternRefused(pattern.to_owned(), topic.to_owned()));
    }
}
