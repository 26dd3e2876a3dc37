//! Everything that an instance counts as a whole. Layer: counters. Plain data; no thread owns it.

use super::rows::Shape;

macro_rules! shape {
    () => {
        Shape::Total
    };
    ($shape:ident) => {
        Shape::$shape
    };
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $label:literal, $unit:literal $(, $shape:ident)?;)+) => {
        /// Something that an instance counts, from its start on, or a level that goes up and down.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Counter {
            /// All counters, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name of the counter in tables, in JSON and in files.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// What one unit of the counter is.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self {
                    $(Self::$variant => $unit,)+
                }
            }

            /// Whether it only grows, or goes up and down.
            #[must_use]
            pub const fn shape(self) -> Shape {
                match self {
                    $(Self::$variant => shape!($($shape)?),)+
                }
            }

            /// What the counter says, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

counters! {
    /// Messages and requests accepted for sending.
    MessagesSent => "messages_sent", "messages";
    /// Messages and requests handed to listeners.
    MessagesReceived => "messages_received", "messages";
    /// Messages reported lost to listeners.
    MessagesLost => "messages_lost", "messages";
    /// Sends refused because receivers or the socket could not take more.
    BackPressured => "back_pressured", "sends";
    /// Data packets sent, each counted once whatever the number of destinations.
    PacketsSent => "packets_sent", "packets";
    /// Bytes of the data packets sent.
    BytesSent => "bytes_sent", "bytes";
    /// Packets received that belong to a stream that somebody listens to.
    PacketsReceived => "packets_received", "packets";
    /// Bytes received on all sockets of topics and responses.
    BytesReceived => "bytes_received", "bytes";
    /// Packets that never came and were given up: their sender could not repeat them, or not in
    /// time.
    PacketsLost => "packets_lost", "packets";
    /// Packets received more than once.
    Duplicates => "duplicates", "packets";
    /// Packets beyond the window of a session: dropped, and asked for when there is room.
    Overruns => "overruns", "packets";
    /// Requests for missing packets sent.
    NaksSent => "naks_sent", "packets";
    /// Datagrams that were not ours, cut short or contradictory.
    Malformed => "malformed", "packets";
    /// Packets of a version of the wire protocol that this build does not speak.
    OtherVersions => "other_versions", "packets";
    /// Fragments without the rest of their message, and messages that came late or twice.
    FramesRefused => "frames_refused", "frames";
    /// Well-formed packets of streams, topics or instances that nobody here wants.
    Foreign => "foreign", "packets";
    /// Datagrams that the kernel dropped because a socket's receive buffer was full.
    SocketDrops => "socket_drops", "datagrams";
    /// Datagrams received and dropped on purpose, because `[fault]` asks for it.
    FaultsDropped => "faults_dropped", "datagrams";
    /// Datagrams received and doubled on purpose, because `[fault]` asks for it.
    FaultsDuplicated => "faults_duplicated", "datagrams";
    /// Datagrams received and held back on purpose, because `[fault]` asks for it.
    FaultsDelayed => "faults_delayed", "datagrams";
    /// Sends that the operating system refused; of data for other reasons than a full buffer.
    SendErrors => "send_errors", "sends";
    /// Receives that the operating system refused.
    ReceiveErrors => "receive_errors", "receives";
    /// Sockets whose runs the device would not take in one piece, and that send them otherwise since.
    OffloadsRefused => "offloads_refused", "sockets";
    /// Sockets that send or receive runs packet by packet from the start: the system cannot do better, or
    /// the configuration does not let it, with `offload` or `[fault]`.
    OffloadsMissing => "offloads_missing", "sockets";
    /// Sessions that were forgotten, the longest silent first, because too many were followed.
    SessionsForgotten => "sessions_forgotten", "sessions";
    /// Commands that a poller was not given, because thousands waited for it already.
    CommandsRefused => "commands_refused", "commands";
    /// Requests sent.
    RequestsSent => "requests_sent", "requests";
    /// Responses received for open requests.
    ResponsesReceived => "responses_received", "responses";
    /// Responses that came after their request ended, or were meant for somebody else.
    ResponsesUnmatched => "responses_unmatched", "responses";
    /// Responses sent.
    ResponsesSent => "responses_sent", "responses";
    /// Requests that expired.
    RequestTimeouts => "request_timeouts", "requests";
    /// Requests that have not ended: now, not from the start on.
    OpenRequests => "open_requests", "requests", Level;
    /// Feedback of receivers accepted by send sessions.
    StatusesReceived => "statuses_received", "packets";
    /// Feedback that names no session or receiver that we know, or claims the impossible.
    StatusesRefused => "statuses_refused", "packets";
    /// Requests for missing packets accepted by send sessions.
    NaksReceived => "naks_received", "packets";
    /// Packets sent again because a receiver asked for them.
    Retransmits => "retransmits", "packets";
    /// Packets that a receiver asked for when they could not be sent again any more.
    RepairsGone => "repairs_gone", "packets";
    /// Receivers that no longer hold back a sender because they were silent or slow for too long.
    ReceiversDropped => "receivers_dropped", "receivers";
    /// Readers of shared rings that were cut off because they did not read, or reclaimed because
    /// their process died.
    ReadersReclaimed => "readers_reclaimed", "readers";
    /// Shared rings that were left behind by processes that died, and removed here.
    RingsReclaimed => "rings_reclaimed", "files";
    /// Shared rings whose pages could not be brought in early, or not be made huge.
    PagesRefused => "pages_refused", "rings";
    /// Callbacks that panicked.
    CallbackPanics => "callback_panics", "callbacks";
    /// Events of the instance that its listener was not told, because thousands waited already.
    EventsDropped => "events_dropped", "events";
    /// Callbacks of topics whose duration was measured: one in 100 microseconds and poller at most.
    CallbacksTimed => "callbacks_timed", "callbacks";
    /// Time that those took.
    CallbackTime => "callback_ns", "ns";
    /// Rounds of pollers that found something to do.
    PollCycles => "poll_cycles", "cycles";
    /// Time that those took, callbacks included.
    PollTime => "poll_ns", "ns";
    /// Those that took longer than ten milliseconds.
    SlowCycles => "slow_cycles", "cycles";
    /// Other instances that discovery knows: now, not from the start on.
    Peers => "peers", "instances", Level;
    /// Discovery datagrams sent.
    DiscoverySent => "discovery_sent", "packets";
    /// Bytes of the discovery datagrams sent.
    DiscoveryBytesSent => "discovery_bytes_sent", "bytes";
    /// Discovery datagrams received.
    DiscoveryReceived => "discovery_received", "packets";
    /// Announcements of instances and topics that were refused, because discovery holds as many as it
    /// may.
    DiscoveryRefused => "discovery_refused", "adverts";
    /// Packets of somebody else who uses the identity of this instance.
    DuplicateIdentities => "duplicate_identities", "packets";
    /// Names of discovery daemons that were looked up and not found.
    LookupsFailed => "lookups_failed", "lookups";
    /// Discovery daemons that answered no more.
    DaemonsLost => "daemons_lost", "daemons";
    /// Topics refused because another name has the same hash, or a peer uses another route.
    TopicConflicts => "topic_conflicts", "topics";
    /// Other instances that are discovered and cannot be reached in part: address families differ.
    PeerConflicts => "peer_conflicts", "instances";
    /// Calls to subscribers sent, because heartbeats are active.
    HeartbeatsSent => "heartbeats_sent", "packets";
    /// Calls of publishers' instances answered.
    HeartbeatsAnswered => "heartbeats_answered", "packets";
    /// Calls of publishers' instances not answered, because a poller has too many to look at.
    HeartbeatsDropped => "heartbeats_dropped", "packets";
    /// Heartbeats that a connected subscriber has not answered in time.
    HeartbeatsMissed => "heartbeats_missed", "heartbeats";
    /// Topics that appeared and were subscribed to because a pattern matches them.
    PatternMatches => "pattern_matches", "topics";
    /// Topics that match a pattern and could not be subscribed to.
    PatternRefusals => "pattern_refusals", "topics";
    /// Topics, publications and sockets that count in the totals only, because the table of rows was
    /// full.
    RowsRefused => "rows_refused", "rows";
}

impl Counter {
    /// Whether growth means that something was lost, refused or dropped that nobody is told of at a
    /// call: see [`on_trouble`](crate::InstanceListener::on_trouble).
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::MessagesLost
                | Self::PacketsLost
                | Self::Overruns
                | Self::Malformed
                | Self::OtherVersions
                | Self::FramesRefused
                | Self::SocketDrops
                | Self::SendErrors
                | Self::ReceiveErrors
                | Self::OffloadsRefused
                | Self::SessionsForgotten
                | Self::CommandsRefused
                | Self::ResponsesUnmatched
                | Self::StatusesRefused
                | Self::RepairsGone
                | Self::ReceiversDropped
                | Self::ReadersReclaimed
                | Self::RingsReclaimed
                | Self::CallbackPanics
                | Self::EventsDropped
                | Self::DiscoveryRefused
                | Self::DuplicateIdentities
                | Self::LookupsFailed
                | Self::HeartbeatsDropped
                | Self::RowsRefused
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_described() {
        let labels: std::collections::HashSet<_> =
            Counter::ALL.iter().map(|counter| counter.label()).collect();
        assert_eq!(labels.len(), Counter::ALL.len());
        assert!(Counter::ALL.iter().all(|counter| counter.description().ends_with('.')));
    }
}
