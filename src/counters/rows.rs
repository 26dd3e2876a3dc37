//! What is counted for each topic, publication, socket and poller: the kinds of rows and their
//! columns. Layer: counters. Plain data; no thread owns it.

use super::Counter;

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// Only grows.
    Total,
    /// Goes up and down: how things are now.
    Level,
    /// The largest value so far.
    Peak,
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    label: &'static str,
    unit: &'static str,
    description: &'static str,
    shape: Shape,
    total: Option<Counter>,
}

impl Column {
    /// Name of the column in tables, in JSON and in files.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.label
    }

    /// What one unit is.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// What it says, in one sentence.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// How it moves.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The counter of the instance that it is a part of.
    #[must_use]
    pub const fn total(&self) -> Option<Counter> {
        self.total
    }
}

/// Names a column of one kind of row, so that a row takes no column of another kind.
pub(crate) trait ColumnOf: Copy {
    const KIND: RowKind;

    /// Position in the row.
    fn index(self) -> usize;
}

/// Columns that a row can have.
pub(super) const MAX_COLUMNS: usize = 16;

macro_rules! rows {
    ($(
        #[doc = $kind_doc:literal]
        $kind:ident($kind_label:literal, $name:literal) $columns:ident {
            $(#[doc = $doc:literal]
            $column:ident => $label:literal, $unit:literal, $shape:ident $(, $total:ident)?;)+
        }
    )+) => {
        /// What a row is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum RowKind {
            $(#[doc = $kind_doc] $kind,)+
        }

        impl RowKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Name of the kind in tables, in JSON and in files.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $kind_label,)+
                }
            }

            /// What the name of such a row is the name of.
            #[must_use]
            pub const fn named_by(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// What is counted for each row, in the order in which it is shown.
            #[must_use]
            pub const fn columns(self) -> &'static [Column] {
                match self {
                    $(Self::$kind => const { &[$(Column {
                        label: $label,
                        unit: $unit,
                        description: $doc.trim_ascii(),
                        shape: Shape::$shape,
                        total: rows!(@total $($total)?),
                    },)+] },)+
                }
            }
        }

        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub(crate) enum $columns {
                $(#[doc = $doc] $column,)+
            }

            impl ColumnOf for $columns {
                const KIND: RowKind = RowKind::$kind;

                #[inline]
                fn index(self) -> usize {
                    self as usize
                }
            }
        )+
    };
    (@total) => { None };
    (@total $total:ident) => { Some(Counter::$total) };
}

rows! {
    /// A topic that the instance publishes.
    Publisher("publisher", "topic") PublisherColumn {
        /// Messages and requests accepted for sending.
        Messages => "messages", "messages", Total, MessagesSent;
        /// Bytes of their payloads.
        Bytes => "bytes", "bytes", Total;
        /// Those of them that are requests.
        Requests => "requests", "requests", Total, RequestsSent;
        /// Sends refused because receivers or the socket could not take more.
        BackPressured => "back_pressured", "sends", Total;
        /// Instances that are known to listen.
        Subscribers => "subscribers", "instances", Level;
    }
    /// A topic that the instance listens to.
    Subscription("subscription", "topic") SubscriptionColumn {
        /// Messages and requests handed to the listener.
        Messages => "messages", "messages", Total, MessagesReceived;
        /// Bytes of their payloads.
        Bytes => "bytes", "bytes", Total;
        /// Those of them that are requests.
        Requests => "requests", "requests", Total;
        /// Messages reported lost to the listener.
        Lost => "lost", "messages", Total, MessagesLost;
        /// Instances that are known to publish.
        Publishers => "publishers", "instances", Level;
        /// Callbacks whose duration was measured.
        CallbacksTimed => "callbacks_timed", "callbacks", Total, CallbacksTimed;
        /// Time that those took.
        CallbackTime => "callback_ns", "ns", Total, CallbackTime;
        /// The longest of them.
        LongestCallback => "longest_callback_ns", "ns", Peak;
    }
    /// The sending side of one UDP address, port and stream.
    Publication("publication", "template") PublicationColumn {
        /// Data packets sent, each once whatever the number of receivers.
        Packets => "packets", "packets", Total, PacketsSent;
        /// Their bytes.
        Bytes => "bytes", "bytes", Total, BytesSent;
        /// Packets sent again because a receiver asked for them.
        Retransmits => "retransmits", "packets", Total, Retransmits;
        /// Requests for missing packets accepted.
        NaksReceived => "naks_received", "packets", Total, NaksReceived;
        /// Packets asked for when they could not be sent again any more.
        RepairsGone => "repairs_gone", "packets", Total, RepairsGone;
        /// Sends refused because receivers or the socket could not take more.
        BackPressured => "back_pressured", "sends", Total, BackPressured;
        /// Feedback of receivers accepted.
        StatusesReceived => "statuses_received", "packets", Total, StatusesReceived;
        /// Feedback that names no receiver that is known, or claims the impossible.
        StatusesRefused => "statuses_refused", "packets", Total, StatusesRefused;
        /// Receivers left out because they were silent or slow for too long.
        ReceiversDropped => "receivers_dropped", "receivers", Total, ReceiversDropped;
        /// Receivers that discovery has matched.
        Receivers => "receivers", "receivers", Level;
        /// Round trip to the receivers, as measured; of unicast the longest of them.
        RoundTrip => "round_trip_ns", "ns", Level;
    }
    /// A socket on which the instance receives topics or responses.
    Endpoint("endpoint", "template") EndpointColumn {
        /// Packets that belong to a stream that somebody here listens to.
        Packets => "packets", "packets", Total, PacketsReceived;
        /// Bytes received, wanted or not.
        Bytes => "bytes", "bytes", Total, BytesReceived;
        /// Packets that never came and were given up.
        PacketsLost => "packets_lost", "packets", Total, PacketsLost;
        /// Packets received more than once.
        Duplicates => "duplicates", "packets", Total, Duplicates;
        /// Packets beyond the window of a session.
        Overruns => "overruns", "packets", Total, Overruns;
        /// Requests for missing packets sent.
        NaksSent => "naks_sent", "packets", Total, NaksSent;
        /// Datagrams that were not ours, cut short or contradictory.
        Malformed => "malformed", "packets", Total, Malformed;
        /// Packets of a version of the wire protocol that this build does not speak.
        OtherVersions => "other_versions", "packets", Total, OtherVersions;
        /// Fragments without the rest of their message, and messages that came late or twice.
        FramesRefused => "frames_refused", "frames", Total, FramesRefused;
        /// Well-formed packets of streams that nobody here wants.
        Foreign => "foreign", "packets", Total, Foreign;
        /// Datagrams that the kernel dropped because the receive buffer was full.
        SocketDrops => "socket_drops", "datagrams", Total, SocketDrops;
        /// Sessions of publishers that are followed.
        Sessions => "sessions", "sessions", Level;
    }
    /// A thread that receives and runs callbacks.
    Poller("poller", "poller") PollerColumn {
        /// Rounds that found something to do.
        Cycles => "cycles", "cycles", Total, PollCycles;
        /// Time that those took, callbacks included.
        BusyTime => "busy_ns", "ns", Total, PollTime;
        /// Those that took longer than ten milliseconds.
        SlowCycles => "slow_cycles", "cycles", Total, SlowCycles;
        /// The longest of them.
        LongestCycle => "longest_cycle_ns", "ns", Peak;
    }
}

const _: () = {
    let mut at = 0;
    while at < RowKind::ALL.len() {
        assert!(RowKind::ALL[at].columns().len() <= MAX_COLUMNS, "a row has no more columns");
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn columns_are_unique_and_described() {
        for kind in RowKind::ALL {
            let labels: HashSet<_> = kind.columns().iter().map(Column::label).collect();
            assert_eq!(labels.len(), kind.columns().len());
            assert!(kind.columns().iter().all(|column| column.description().ends_with('.')));
        }
    }

    /// A total can be a sum of totals only.
    #[test]
    fn parts_of_totals_are_totals() {
        for column in RowKind::ALL.iter().flat_map(|kind| kind.columns()) {
            let Some(total) = column.total() else { continue };
            assert_eq!((column.shape(), total.shape()), (Shape::Total, Shape::Total), "{column:?}");
            assert_eq!(column.unit(), total.unit());
        }
    }
}
