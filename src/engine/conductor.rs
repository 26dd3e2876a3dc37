//! The conductor: the one slow-path thread of an instance. Layer: engine.
//!
//! It moves discovery's datagrams, keeps matches up to date, and looks after publications that are
//! active: tails nobody follows up, heartbeats, silent receivers. It never runs user callbacks and
//! never waits for a poller.

mod commands;
mod events;
mod link;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use self::link::{Command, ConductorLink, Mailroom};
use super::discovery_driver::{BURST, DiscoveryDriver};
use super::dispatch::Ticket;
use super::heartbeats::{Heartbeats, Outgoing};
use super::matching::{LocalSubscriber, Matching, MatchingParts};
use super::poller::PollerHandle;
use super::publication::Urgency;
use super::request_processor::RequestProcessor;
use super::responses::Responses;
use super::tending::Tending;
use super::wakeups::Wakeups;
use crate::counters::Counters;
use crate::discovery::{Advert, AdvertKey};
use crate::id::{InstanceId, TopicHash};
use crate::time::{Clock, Timestamp};
use crate::wire::advert::AdvertKind;
use crate::wire::roll::Roll;

/// Pause between two looks at active publications: the bound on how long a tail that nobody follows
/// up can wait, scheduling apart.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Pause between two looks at publications that have sent everything: coarser, so that a thread that
/// sends and receives all the time is rarely disturbed.
const HEARTBEAT_TICK: Duration = Duration::from_millis(4);
/// How often dead readers and writers of rings are looked for.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(100);
/// How often rows of counters without a place in the table are summed up, however often something
/// happens: there is one for each of thousands of topics.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);
/// An instance that closes waits this long for receivers to confirm what it has sent: dozens of
/// round trips on a local network, and not long for a person.
const CLOSE_LINGER: Duration = Duration::from_millis(500);
/// What the conductor needs from its instance.
pub(crate) struct ConductorParts {
    pub(crate) instance: InstanceId,
    pub(crate) driver: DiscoveryDriver,
    pub(crate) matching: MatchingParts,
    pub(crate) pollers: Vec<PollerHandle>,
    pub(crate) requests: Arc<RequestProcessor>,
    pub(crate) responses: Arc<Responses>,
    pub(crate) tending: Arc<Tending>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

/// Starts the conductor's thread.
///
/// # Errors
///
/// What the operating system says when a socket cannot be polled or it gives no thread.
pub(crate) fn start(mailroom: Mailroom, parts: ConductorParts) -> io::Result<JoinHandle<()>> {
    parts.driver.register(&mailroom.poll)?;
    let conductor = Conductor {
        queue: mailroom.queue,
        wakeups: Wakeups::new(mailroom.poll)?,
        matching: Matching::new(parts.matching),
        heartbeats: Heartbeats::new(
            parts.instance,
            Arc::clone(&parts.requests),
            Arc::clone(&parts.counters),
        ),
        instance: parts.instance,
        driver: parts.driver,
        pollers: parts.pollers,
        requests: parts.requests,
        responses: parts.responses,
        tending: parts.tending,
        counters: parts.counters,
        clock: parts.clock,
        own: HashMap::new(),
        joining: HashMap::new(),
        reclaimed_at: Timestamp::default(),
        settled_at: Timestamp::default(),
        tend_at: Timestamp::NEVER,
        leaving_until: None,
        busy: false,
    };
    thread::Builder::new().name("vega-conductor".to_owned()).spawn(move || conductor.run())
}

struct Conductor {
    queue: Receiver<Command>,
    wakeups: Wakeups,
    instance: InstanceId,
    driver: DiscoveryDriver,
    matching: Matching,
    heartbeats: Heartbeats,
    pollers: Vec<PollerHandle>,
    requests: Arc<RequestProcessor>,
    responses: Arc<Responses>,
    tending: Arc<Tending>,
    counters: Arc<Counters>,
    clock: Clock,
    /// Adverts of this instance.
    own: HashMap<(TopicHash, AdvertKind), (AdvertKey, Arc<Advert>)>,
    /// Subscriptions that their pollers do not serve yet. Others hear of a subscriber only when
    /// nothing that they send then can be missed.
    joining: HashMap<TopicHash, (Ticket, Advert, LocalSubscriber)>,
    reclaimed_at: Timestamp,
    settled_at: Timestamp,
    /// When publications have something to say, should nothing else happen.
    tend_at: Timestamp,
    /// The instance closes: then at the latest.
    leaving_until: Option<Timestamp>,
    /// Something was left for the next cycle.
    busy: bool,
}

impl Conductor {
    fn run(mut self) {
        loop {
            self.wait();
            self.busy = false;
            let now = self.clock.now();
            self.receive(now);
            if self.take_commands(now) {
                self.leaving_until.get_or_insert(now + CLOSE_LINGER);
                self.tending.forget(self.instance);
            }
            self.driver.discovery.handle_timeout(now);
            self.driver.look_after_daemons(now);
            self.take_events(now);
            self.busy |= self.driver.transmit(now);
            self.matching.service(now);
            self.beat(now);
            self.service_publications(now);
            if self.matching.has_rings() && now.since(self.reclaimed_at) >= RECLAIM_INTERVAL {
                self.reclaimed_at = now;
                self.matching.reclaim(now);
            }
            self.driver.count();
            if now.since(self.settled_at) >= SETTLE_INTERVAL {
                self.settled_at = now;
                self.counters.settle();
            }
            if self.leaving_until.is_some_and(|until| until <= now || !self.tending.owes()) {
                break;
            }
        }
        self.leave();
    }

    fn wait(&mut self) {
        let now = self.clock.now();
        let deadline = self.matching.next_deadline().min(self.heartbeats.next_deadline());
        let mut timeout = deadline.since(now).min(self.driver.idle_time(now));
        if self.matching.has_rings() {
            timeout = timeout.min(RECLAIM_INTERVAL);
        }
        let urgency = self.tending.urgency();
        timeout = timeout.min(longest_pause(urgency));
        // Whoever streams keeps the timers of repairs, too.
        let is_kept = urgency == Urgency::Streaming || !self.tending.is_left_to_conductor();
        if !is_kept || self.leaving_until.is_some() {
            timeout = timeout.min(self.tend_at.since(now));
        }
        if self.driver.is_holding() || self.tending.is_holding() {
            timeout = timeout.min(TICK);
        }
        if self.busy {
            timeout = Duration::ZERO;
        }
        self.wakeups.wait(timeout, &self.counters);
    }

    fn receive(&mut self, now: Timestamp) {
        let Self { driver, heartbeats, matching, .. } = self;
        self.busy |= driver.receive(now, |source, datagram| {
            let is_roll = Roll::is_one(datagram);
            if is_roll {
                heartbeats.handle_datagram(source, datagram, matching);
            }
            is_roll
        });
    }

    /// Calls subscribers, and tells who answers.
    fn beat(&mut self, now: Timestamp) {
        let changes = self.matching.take_subscriber_changes();
        self.heartbeats.service(changes, now);
        for _ in 0..BURST {
            let Some(call) = self.heartbeats.poll_call(&self.matching) else { return };
            self.send_roll(&call);
        }
        self.busy = true;
    }

    fn send_roll(&mut self, Outgoing { to, roll }: &Outgoing) {
        self.driver.send_other(*to, |buffer| roll.encode(buffer));
    }

    fn service_publications(&mut self, now: Timestamp) {
        self.tend_at = self.tending.service(now);
        self.tending.settle_wakes();
        self.tending.release(now);
    }

    /// Says goodbye.
    fn leave(mut self) {
        // Before others hear of it, so that they need not ask themselves whether it was only out of sight.
        self.matching.finish_rings();
        self.driver.leave(self.clock.now());
        self.counters.settle();
    }
}

/// How long the conductor may be away from publications of this urgency.
const fn longest_pause(urgency: Urgency) -> Duration {
    match urgency {
        Urgency::Settled => Duration::MAX,
        Urgency::Unconfirmed => HEARTBEAT_TICK,
        Urgency::Waiting | Urgency::Streaming => TICK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docs/performance.md says of the tail of a stream.
    #[test]
    fn frames_wait_for_the_conductor_for_a_millisecond_at_most() {
        for urgency in [Urgency::Waiting, Urgency::Streaming] {
            assert!(longest_pause(urgency) <= Duration::from_millis(1), "{urgency:?}");
        }
    }
}
