//! Processes of the world: they start, open publications, are cut off, stopped and killed. Layer:
//! sim. Owned by one run.

use std::time::Duration;

use super::{Event, NOTICING, Step, World};
use crate::id::SessionId;
use crate::protocol::flow_control::FlowSettings;
use crate::sim::host::Host;
use crate::sim::scenario::Fault;
use crate::sim::station::{Station, StationParts};
use crate::wire::packet::PacketHeader;

impl World {
    pub(super) fn start(&mut self, host: usize) {
        self.hosts[host].is_up = true;
        if host < self.scenario.publishers {
            self.open_topic(host);
            return;
        }
        let topics: Vec<usize> = self.live_topics().collect();
        for station in topics {
            self.introduce(station, host);
        }
    }

    /// Stations of topics, those for responses not counted.
    fn live_topics(&self) -> impl Iterator<Item = usize> + '_ {
        let publishers = self.scenario.publishers;
        let stations = self.stations.iter().enumerate();
        stations.filter(move |(_, it)| !it.is_dead && it.parts.host < publishers).map(|(at, _)| at)
    }

    fn introduce(&mut self, station: usize, host: usize) {
        let at = self.queue.now() + self.dice.pause(self.scenario.discovery);
        let id = self.hosts[host].receiver;
        self.queue.push(at, Event::Discover { station, host, id });
    }

    /// A publication with its publishers, which begin to publish.
    fn open_topic(&mut self, host: usize) {
        let (is_group, indices) = (self.scenario.is_group, self.scenario.indices);
        let station = self.open_station(host, is_group, indices);
        self.stations[station].messages_left = self.scenario.messages;
        for receiver in self.scenario.publishers..self.hosts.len() {
            if self.hosts[receiver].is_up {
                self.introduce(station, receiver);
            }
        }
        let at = self.queue.now() + self.dice.pause(Duration::from_millis(2));
        self.queue.push(at, Event::Publish { station });
    }

    pub(super) fn open_station(&mut self, host: usize, is_group: bool, publishers: usize) -> usize {
        let scenario = &self.scenario;
        let layout = self.layout();
        let session = SessionId(self.dice.draw());
        let header = PacketHeader {
            session,
            sequence: 0,
            stream: 1,
            instance: self.hosts[host].receiver.instance,
        };
        let parts = StationParts {
            header,
            host,
            layout,
            flow: FlowSettings {
                strategy: scenario.strategy,
                drops_slow: scenario.drops_slow,
                window_packets: layout.window_packets(scenario.window_bytes),
                timeout: scenario.receiver_timeout,
            },
            is_group,
            batch: scenario.batch,
            eager: scenario.eager,
            refuses: scenario.refuses,
            poll_interval: scenario.poll_interval,
        };
        self.stations.push(Station::new(self.queue.now(), parts, publishers));
        self.by_session.insert(session, self.stations.len() - 1);
        self.stations.len() - 1
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Step {
        let now = self.queue.now();
        match fault {
            Fault::Cut { from, to, is_cut } => self.network.cut(from, to, is_cut),
            Fault::Pause { host, lasts } => {
                let host = &mut self.hosts[host];
                host.paused_until = host.paused_until.max(now + lasts);
            }
            Fault::RestartPublisher { host } => {
                self.kill(host)?;
                self.queue.push(now + self.scenario.discovery, Event::Start { host });
            }
            Fault::RestartReceiver { host } => {
                if self.hosts[host].is_up {
                    self.kill(host)?;
                    self.queue.push(now + self.scenario.discovery, Event::Start { host });
                }
            }
        }
        Ok(())
    }

    /// A process dies: nothing is said to anybody, discovery notices after a while.
    fn kill(&mut self, host: usize) -> Step {
        let now = self.queue.now();
        self.hosts[host].asking.close()?;
        self.count(host);
        let old = self.hosts[host].receiver;
        let mut dead = Vec::new();
        for (at, station) in self.stations.iter_mut().enumerate() {
            if station.parts.host == host && !station.is_dead {
                station.is_dead = true;
                station.messages_left = 0;
                dead.push(station.parts.header.session);
            } else if !station.is_dead && station.receivers.iter().any(|known| known.id == old) {
                let at_time = now + self.dice.pause(NOTICING);
                self.queue.push(at_time, Event::Forget { station: at, id: old });
            }
        }
        for session in dead {
            for other in 0..self.hosts.len() {
                let at = now + NOTICING + self.dice.pause(NOTICING);
                self.queue.push(at, Event::Orphan { host: other, session });
            }
        }
        let settings = self.receive_settings(host);
        let paused_until = self.hosts[host].paused_until;
        let mut fresh = Host::new(now, host, &mut self.dice, settings);
        fresh.paused_until = paused_until;
        fresh.is_up = false;
        self.hosts[host] = fresh;
        Ok(())
    }
}
