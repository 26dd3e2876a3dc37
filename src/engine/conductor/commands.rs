//! What the conductor does when it is told to. Layer: engine. Runs on the conductor's thread.

use std::sync::Arc;

use super::{Command, Conductor};
use crate::counters::Counter;
use crate::discovery::{Advert, AdvertiseError};
use crate::engine::dispatch::Ticket;
use crate::engine::matching::Matching;
use crate::engine::seen::{peer, topic_advert};
use crate::id::TopicHash;
use crate::listener::Event;
use crate::time::Timestamp;
use crate::wire::advert::AdvertKind;

impl Conductor {
    /// True when the conductor is to stop.
    pub(super) fn take_commands(&mut self, now: Timestamp) -> bool {
        while let Ok(command) = self.queue.try_recv() {
            match command {
                Command::Publish { advert, publisher, reply } => {
                    let result = self.advertise(advert, now, |matching| {
                        matching.add_publisher(publisher, now);
                    });
                    // Nobody waits any more when the instance was closed meanwhile.
                    let _ = reply.send(result);
                }
                Command::Subscribe { advert, subscriber, ticket, reply } => {
                    let result = self.driver.discovery.check(&advert);
                    if result.is_ok() {
                        self.joining.insert(advert.hash, (ticket, advert, subscriber));
                    }
                    let _ = reply.send(result);
                }
                Command::Listening(hash, ticket) => self.join(hash, ticket, now),
                Command::Unpublish(hash) => {
                    self.heartbeats.remove(hash);
                    self.matching.remove_publisher(hash);
                    self.withdraw(hash, AdvertKind::Publisher);
                }
                Command::Unsubscribe(hash) => {
                    self.joining.remove(&hash);
                    self.matching.remove_subscriber(hash);
                    self.withdraw(hash, AdvertKind::Subscriber);
                }
                Command::RingLost(session, delivery) => {
                    self.matching.ring_lost(session, delivery, now);
                }
                Command::ActivateHeartbeats(activation) => {
                    let subscribers = self.matching.subscribers(activation.topic);
                    self.heartbeats.activate(activation, subscribers, now);
                }
                Command::DeactivateHeartbeats(hash) => self.heartbeats.deactivate(hash),
                Command::LookedUp(call) => {
                    if let Some(answer) = self.heartbeats.handle_looked_up(*call) {
                        self.send_roll(&answer);
                    }
                }
                Command::WatchTopics(watch) => self.matching.watch(watch),
                Command::Peers(reply) => {
                    let peers = self.driver.discovery.peers().map(peer).collect();
                    let _ = reply.send(peers);
                }
                Command::Adverts(reply) => {
                    let adverts = self.driver.discovery.adverts().map(topic_advert).collect();
                    let _ = reply.send(adverts);
                }
                Command::Daemons(reply) => {
                    let _ = reply.send(self.driver.discovery.daemons_up().collect());
                }
                Command::DaemonMoved(index, address) => {
                    self.driver.discovery.daemon_moved(index, address, now);
                }
                Command::Stop => return true,
            }
        }
        false
    }

    fn join(&mut self, hash: TopicHash, ticket: Ticket, now: Timestamp) {
        // It may have ended meanwhile, and another one begun.
        let is_current = self.joining.get(&hash).is_some_and(|(current, ..)| *current == ticket);
        if is_current && let Some((_, advert, subscriber)) = self.joining.remove(&hash) {
            let topic = Arc::clone(&advert.topic);
            let joined = self.advertise(advert, now, |matching| {
                matching.add_subscriber(subscriber, now);
            });
            if let Err(error) = joined {
                // Only a peer that took the hash since the subscription was accepted can do that.
                self.counters.add(Counter::TopicConflicts, 1);
                tracing::warn!(%topic, %error, "a subscription is not advertised");
                let reason =
                    "a peer has taken its hash for another topic: nobody hears of this one";
                self.requests.tell(Event::TopicConflict(topic, self.instance, reason));
            }
        }
    }

    fn advertise(
        &mut self,
        advert: Advert,
        now: Timestamp,
        add: impl FnOnce(&mut Matching),
    ) -> Result<(), AdvertiseError> {
        let key = self.driver.discovery.advertise(advert.clone())?;
        let advert = Arc::new(advert);
        add(&mut self.matching);
        self.own.insert((advert.hash, advert.kind), (key, Arc::clone(&advert)));
        self.matching.advertised(self.instance, &advert, now);
        Ok(())
    }

    fn withdraw(&mut self, hash: TopicHash, kind: AdvertKind) {
        if let Some((key, advert)) = self.own.remove(&(hash, kind)) {
            self.driver.discovery.withdraw(key);
            self.matching.withdrawn(self.instance, &advert);
        }
    }
}
