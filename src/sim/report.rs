//! What a run has seen. Layer: sim.

use std::time::Duration;

use super::world::World;

/// What a run has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The kind of the scenario.
    pub kind: String,
    /// Messages that were sent.
    pub messages: u64,
    /// Messages that were delivered, at all receivers together.
    pub delivered: u64,
    /// Packets that were sent, repairs not counted; once each, whoever they went to.
    pub packets: u64,
    /// Packets that the network lost, or that were damaged on the way.
    pub injected_losses: u64,
    /// Packets for which a socket's buffer or a line had no room.
    pub overflows: u64,
    /// Packets that receivers gave up.
    pub packets_lost: u64,
    /// Requests for repairs.
    pub naks: u64,
    /// Packets that were sent again.
    pub repairs: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// The longest time from a message's acceptance to its delivery.
    pub slowest: Duration,
    /// Time from the last fault, or the last message if that was later, to the last delivery.
    pub recovery: Duration,
}

impl Report {
    pub(super) fn of(world: &mut World) -> Self {
        world.count_all();
        let heard = || world.hosts.iter().flat_map(|host| host.heard.values());
        let accounts = || heard().map(|heard| &heard.account);
        let sent = |station: &super::station::Station| station.fan_out().sent();
        let injected = world.network.injected;
        let accepted = world.stations.iter().map(|station| station.accepted_at).max();
        let last = accepted.unwrap_or_default().max(world.heals_at);
        let delivered_at = world.hosts.iter().map(|host| host.delivered_at).max();
        Self {
            kind: format!("{:?}", world.scenario.kind),
            messages: world
                .stations
                .iter()
                .flat_map(|it| &it.books)
                .map(|it| it.len() as u64)
                .sum(),
            delivered: accounts().map(|account| account.delays.len() as u64).sum(),
            packets: world.stations.iter().map(sent).sum(),
            injected_losses: injected.lost + injected.truncated,
            overflows: injected.overflowed,
            packets_lost: heard().map(|heard| heard.session.counters().packets_lost).sum(),
            naks: world.naks,
            repairs: world.stations.iter().map(|it| it.fan_out().counters().retransmits).sum(),
            requests: world.asked,
            slowest: accounts().flat_map(|it| &it.delays).max().copied().unwrap_or_default(),
            recovery: delivered_at.unwrap_or_default().since(last),
        }
    }
}
