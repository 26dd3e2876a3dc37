//! What discovery counts. Layer: discovery (sans-IO). Owned by the conductor, inside
//! [`Discovery`](super::Discovery), which hands out copies.

/// What has happened so far. All but the last two only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiscoveryCounters {
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) announces_sent: u64,
    pub(crate) changes_sent: u64,
    pub(crate) asks_sent: u64,
    pub(crate) announces_received: u64,
    pub(crate) changes_received: u64,
    pub(crate) asks_received: u64,
    pub(crate) goodbyes_received: u64,
    /// Datagrams refused by the wire format...
    pub(crate) malformed: u64,
    /// ... and those of a version that this build does not speak.
    pub(crate) other_versions: u64,
    /// Our own packets, returned by multicast loop.
    pub(crate) echoes: u64,
    /// Packets with our identity that we did not send.
    pub(crate) duplicate_identities: u64,
    /// ANNOUNCEs with the identity of a known peer and other locators.
    pub(crate) conflicting_identities: u64,
    /// CHANGES of instances that have not announced themselves yet.
    pub(crate) from_strangers: u64,
    /// ANNOUNCEs that arrived after the GOODBYE of their sender.
    pub(crate) late_packets: u64,
    /// ASKs meant for another instance.
    pub(crate) asks_misdirected: u64,
    /// ASKs that came from another address than the asker believes: a wrong binding or NAT.
    pub(crate) asks_readdressed: u64,
    /// ASKs left without an answer because too many asked.
    pub(crate) asks_deferred: u64,
    /// CHANGES that could not be applied because something before them was lost.
    pub(crate) changes_gap: u64,
    /// CHANGES with nothing new for us.
    pub(crate) changes_stale: u64,
    /// Listings from the start because what we held was wrong.
    pub(crate) restarts: u64,
    pub(crate) topic_collisions: u64,
    pub(crate) peers_refused: u64,
    pub(crate) adverts_refused: u64,
    pub(crate) peers_expired: u64,
    /// Datagrams dropped because events were not polled.
    pub(crate) overruns: u64,
    /// Daemons that answered no more.
    pub(crate) daemons_lost: u64,
    /// TICKETs and HEARDs from somebody who is no daemon of ours.
    pub(crate) not_from_daemons: u64,
    /// Peers now.
    pub(crate) peers: u64,
    /// Adverts of all peers now.
    pub(crate) adverts: u64,
}
