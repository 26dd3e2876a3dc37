//! What has to be true once nothing happens any more. Layer: sim.

use std::time::Duration;

use super::station::{Known, Station};
use super::world::World;
use crate::protocol::flow_control::Strategy;

/// Longest time from a message's acceptance to its delivery where nothing is in the way: many round
/// trips of the slowest line, with the smallest window. The pauses of stragglers are longer.
const PROMPT: Duration = Duration::from_millis(150);

impl World {
    /// The network is well and silent: everything is settled, and whoever is owed a message has got
    /// it, or has counted it as lost.
    pub(super) fn check_silent(&self) -> Result<(), String> {
        for (at, station) in self.stations.iter().enumerate().filter(|(_, it)| !it.is_dead) {
            if station.messages_left > 0 {
                return Err(format!("station {at} has {} messages left", station.messages_left));
            }
            if !station.is_settled() {
                return Err(format!("station {at} is silent and not settled"));
            }
            for known in &station.receivers {
                self.check_receiver(at, station, known, false)?;
                self.check_prompt(station, known)?;
            }
        }
        self.hosts.iter().try_for_each(|host| host.asking.check_over())
    }

    /// The same after one more message of every publisher, before which its losses are reported.
    pub(super) fn check_over(&self) -> Result<(), String> {
        self.check_silent()?;
        for (at, station) in self.stations.iter().enumerate().filter(|(_, it)| !it.is_dead) {
            for known in &station.receivers {
                self.check_receiver(at, station, known, true)?;
            }
        }
        Ok(())
    }

    fn check_receiver(
        &self,
        at: usize,
        station: &Station,
        known: &Known,
        is_over: bool,
    ) -> Result<(), String> {
        let host = &self.hosts[known.host];
        if host.receiver != known.id {
            return Err(format!("station {at} has not forgotten a receiver that is gone"));
        }
        let may_lack = known.was_dropped || station.parts.flow.strategy != Strategy::Min;
        let heard = host.heard.get(&station.parts.header.session);
        let lost = heard.map_or(0, |heard| heard.session.counters().packets_lost);
        for (publisher, book) in station.books.iter().enumerate() {
            let owed = book.partition_point(|sent| sent.packet < known.start) as u64 + 1;
            let last = book.len() as u64;
            if owed > last {
                continue;
            }
            let stream = heard.and_then(|heard| heard.account.streams.get(&publisher).copied());
            let stream = stream.unwrap_or_default();
            let what = format_args!(
                "messages {owed} to {last} of publisher {publisher} of station {at}, of which it \
                 has got {} to {} but {}, with {lost} packets lost",
                stream.first, stream.last, stream.reported
            );
            let is_late = stream.last < last && (is_over || !(may_lack || lost > 0));
            let is_short = lost == 0 && !may_lack && (stream.first > owed || stream.reported > 0);
            let is_silent_loss = is_over && lost == 0 && stream.first > owed;
            if is_late || is_short || is_silent_loss {
                let state = heard.map(|heard| heard.session.state());
                return Err(
                    self.at_host(known.host, &format!("is owed {what}: {known:?}, {state:?}"))
                );
            }
        }
        Ok(())
    }

    /// One straggler does not hold up what the others are sent: a message waits to be accepted when
    /// the ring is full, and no longer after that.
    fn check_prompt(&self, station: &Station, known: &Known) -> Result<(), String> {
        let Some((straggler, _)) = self.scenario.straggler else { return Ok(()) };
        if known.host == straggler || known.was_dropped {
            return Ok(());
        }
        let heard = self.hosts[known.host].heard.get(&station.parts.header.session);
        let slowest = heard.and_then(|heard| heard.account.delays.iter().max().copied());
        if slowest.is_some_and(|slowest| slowest > PROMPT) {
            let what = format!("got a message after {slowest:?}, held up by host {straggler}");
            return Err(self.at_host(known.host, &what));
        }
        Ok(())
    }
}
