//! What the world publishes: messages, requests, responses. Layer: sim. Owned by one run.

use super::{AGAIN, Event, Step, World};
use crate::id::{InstanceId, RequestId};
use crate::sim::host::Host;
use crate::wire::frame::{FrameKind, RequestPrefix, ResponsePrefix};
use crate::wire::locator::Locator;

impl World {
    pub(super) fn publish_next(&mut self, station: usize) -> Step {
        if self.stations[station].messages_left == 0 {
            return Ok(());
        }
        let asks = self.dice.chance(self.scenario.requests);
        let bytes = self.draw_size();
        let wait = if self.publish(station, bytes, asks)? {
            self.stations[station].messages_left -= 1;
            self.dice.pause(self.scenario.gap)
        } else {
            AGAIN
        };
        self.queue.push(self.queue.now() + wait, Event::Publish { station });
        Ok(())
    }

    fn draw_size(&mut self) -> usize {
        let (usual, large) = self.scenario.sizes;
        let limit = if self.dice.chance(50_000) { large } else { usual };
        self.dice.index(limit + 1)
    }

    /// Publishes one message. False when it was back-pressured.
    fn publish(&mut self, station: usize, bytes: usize, asks: bool) -> Result<bool, String> {
        let publisher = self.dice.index(self.stations[station].books.len());
        self.publish_as(station, publisher, bytes, asks)
    }

    /// Publishes one message as one of the publishers of a station.
    fn publish_as(
        &mut self,
        station: usize,
        publisher: usize,
        bytes: usize,
        asks: bool,
    ) -> Result<bool, String> {
        let now = self.queue.now();
        let mut payload: Vec<u8> = Vec::with_capacity(bytes + 8);
        while payload.len() < bytes {
            payload.extend_from_slice(&self.dice.draw().to_le_bytes());
        }
        payload.truncate(bytes);
        let host = self.stations[station].parts.host;
        let timeout = self.scenario.request_timeout;
        let expected = self.stations[station].receivers.len();
        let request = if asks && expected > 0 {
            self.hosts[host].asking.open(now, timeout, expected)
        } else {
            None
        };
        let (kind, prefix) = match request {
            None => (FrameKind::Message, Vec::new()),
            Some(request) => {
                let reply_to = Locator { address: self.hosts[host].address, stream: 1 };
                let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                let prefix = RequestPrefix { request, timeout_ns, reply_to };
                (FrameKind::Request, prefix.encode().to_vec())
            }
        };
        let parts = (prefix.as_slice(), payload.as_slice());
        let sent = self.stations[station].publish(now, &mut self.dice, publisher, kind, parts);
        if let Some(request) = request {
            if !sent {
                self.hosts[host].asking.withdraw(request);
            }
            self.arm_expiry(host);
        }
        self.arm_station(station, now + self.scenario.poll_interval);
        self.route(station);
        Ok(sent)
    }

    /// One more message of every publisher that is left, before which losses are reported.
    pub(in crate::sim) fn publish_epilogue(&mut self) -> Step {
        for station in 0..self.stations.len() {
            if self.stations[station].is_dead {
                continue;
            }
            for publisher in 0..self.stations[station].books.len() {
                if !self.publish_as(station, publisher, 8, false)? {
                    return Err(format!("station {station} is settled and back-pressured"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn respond(
        &mut self,
        host: usize,
        responder: InstanceId,
        requester: InstanceId,
        request: RequestId,
    ) -> Step {
        let asks = |it: &Host| it.is_up && it.receiver.instance == requester;
        let Some(to) = self.hosts.iter().position(asks) else { return Ok(()) };
        if self.hosts[host].receiver.instance != responder {
            return Ok(());
        }
        let now = self.queue.now();
        let station = match self.answering.get(&(responder, requester)) {
            Some(station) => *station,
            None => {
                let station = self.open_station(host, false, 1);
                self.answering.insert((responder, requester), station);
                let id = self.hosts[to].receiver;
                let place = (to, self.hosts[to].address);
                self.stations[station].add_receiver(now, id, place, &mut self.dice);
                station
            }
        };
        let prefix = ResponsePrefix { request, requester }.encode();
        let payload = vec![7; self.draw_size()];
        let parts = (prefix.as_slice(), payload.as_slice());
        let sent =
            self.stations[station].publish(now, &mut self.dice, 0, FrameKind::Response, parts);
        if !sent {
            self.queue.push(now + AGAIN, Event::Respond { host, responder, requester, request });
        }
        self.arm_station(station, now + self.scenario.poll_interval);
        self.route(station);
        Ok(())
    }
}
