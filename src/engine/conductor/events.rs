//! What discovery has found, and who of the instance has to know. Layer: engine. Runs on the conductor's
//! thread.

use std::sync::Arc;

use super::Conductor;
use crate::config::Family;
use crate::counters::Counter;
use crate::discovery::event::{self, PeerInfo};
use crate::engine::seen::{down_reason, peer};
use crate::listener::Event;
use crate::time::Timestamp;

impl Conductor {
    pub(super) fn take_events(&mut self, now: Timestamp) {
        while let Some(event) = self.driver.discovery.poll_event() {
            match event {
                event::Event::InstanceUp(info) => {
                    self.responses.learn(info.instance, info.responses.address);
                    self.matching.instance_up(info.instance, info.host);
                    self.heartbeats.instance_up(info.instance, info.control.address);
                    self.requests.tell(Event::InstanceUp(peer(&info)));
                    self.tell_what_is_out_of_reach(&info);
                }
                event::Event::InstanceDown { peer: info, reason } => {
                    self.responses.forget(info.instance);
                    self.matching.instance_down(info.instance, &self.pollers);
                    self.heartbeats.instance_down(info.instance);
                    self.requests.tell(Event::InstanceDown(peer(&info), down_reason(reason)));
                }
                event::Event::Advertised { instance, advert, .. } => {
                    self.matching.advertised(instance, &advert, now);
                }
                event::Event::Withdrawn { instance, advert, .. } => {
                    self.matching.withdrawn(instance, &advert);
                }
                event::Event::TopicCollision { instance, held, refused, .. } => {
                    self.counters.add(Counter::TopicConflicts, 1);
                    tracing::warn!(%instance, %held, %refused, "two topics have the same hash");
                    let reason = "another topic with the same hash";
                    self.requests.tell(Event::TopicConflict(held, instance, reason));
                }
                event::Event::Overflow(limit) => {
                    tracing::warn!(?limit, "discovery holds as much as it may");
                }
                event::Event::DaemonUp { index, address, daemon } => {
                    let name = self.driver.daemon(index);
                    tracing::info!(daemon = %name, %address, id = %daemon, "a discovery daemon is up");
                    self.requests.tell(Event::DaemonUp(Arc::clone(name)));
                }
                event::Event::DaemonDown { index } => {
                    let name = self.driver.daemon(index);
                    tracing::warn!(daemon = %name, "a discovery daemon answers no more");
                    self.requests.tell(Event::DaemonDown(Arc::clone(name)));
                }
                event::Event::DuplicateIdentity { source } => {
                    tracing::error!(%source, "somebody else uses the identity of this instance");
                }
            }
        }
    }

    /// A socket reaches addresses of its own family only.
    fn tell_what_is_out_of_reach(&self, info: &PeerInfo) {
        for (here, there, reason) in [
            (
                self.driver.control().family(),
                info.control,
                "[control] sockets of different address families: its topics are not found",
            ),
            (
                self.responses.family(),
                info.responses,
                "[responses] sockets of different address families: requests get no answers",
            ),
        ] {
            if Family::of_socket(there.address) != here {
                self.counters.add(Counter::PeerConflicts, 1);
                let (instance, name) = (info.instance, &info.name);
                tracing::warn!(%instance, %name, there = %there.address, here = %here, reason);
                self.requests.tell(Event::PeerConflict(peer(info), reason));
            }
        }
    }
}
