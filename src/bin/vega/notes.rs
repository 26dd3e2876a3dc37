//! What commands say about their surroundings on standard error. Layer: bin. Called on the thread that the
//! instance tells its events on.

use vega::{InstanceId, InstanceListener, Peer};

use crate::output::note;

/// Says what keeps others from meeting this command, and which topics patterns find and lose.
pub(crate) struct Notes;

impl InstanceListener for Notes {
    fn on_topic_conflict(&mut self, topic: &str, peer: InstanceId, reason: &str) {
        note(format_args!("{topic}: {peer} uses it in a way that cannot meet: {reason}"));
    }

    fn on_peer_conflict(&mut self, peer: &Peer, reason: &str) {
        let (id, at) = (peer.id(), peer.response_address());
        note(format_args!("{id}, which takes responses at {at}, cannot be reached: {reason}"));
    }

    fn on_pattern_matched(&mut self, pattern: &str, topic: &str) {
        note(format_args!("listening to {topic}, which matches {pattern}"));
    }

    fn on_pattern_unmatched(&mut self, pattern: &str, topic: &str) {
        note(format_args!("nobody publishes {topic}, which matches {pattern}, any more"));
    }

    fn on_pattern_refused(&mut self, pattern: &str, topic: &str, reason: &str) {
        note(format_args!("cannot listen to {topic}, which matches {pattern}: {reason}"));
    }
}
