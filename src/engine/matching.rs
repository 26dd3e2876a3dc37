//! Brings publishers and subscribers together: what discovery tells meets what this instance has.
//! Layer: engine. Owned by the conductor.
//!
//! Adverts of this instance go through here like those of peers, so that its own subscribers are
//! matched by the same rules. How subscriptions get at the rings of publishers is in [`rings`].

mod backlog;
mod readers;
mod rings;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use self::backlog::Backlog;
use self::readers::{Checked, Looks};
use self::rings::Rings;
pub(super) use self::rings::{RING_SUFFIX, ring_name};
use super::matches::Matches;
use super::patterns::TopicWatch;
use super::poller::{Command, PollerHandle};
use super::publication::Publication;
use super::request_processor::RequestProcessor;
use crate::config::{Family, RingPages, Transport};
use crate::counters::{Counter, Counters};
use crate::discovery::Advert;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::listener::Event;
use crate::protocol::delivery::Delivery;
use crate::ring::shared::SharedRing;
use crate::time::Timestamp;
use crate::transport::shm::Directory;
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

/// A poller that has no room for commands is in a long callback: it is asked again after a while.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// A publisher of this instance.
pub(crate) struct LocalPublisher {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) matches: Arc<Matches>,
    pub(crate) path: PublisherPath,
}

/// A subscriber of a publisher of this instance was matched, or is so no longer.
pub(super) struct SubscriberChange {
    pub(super) topic: TopicHash,
    pub(super) instance: InstanceId,
    pub(super) is_there: bool,
}

impl LocalPublisher {
    fn match_with(
        &self,
        instance: InstanceId,
        requests: &RequestProcessor,
        changes: &mut Vec<SubscriberChange>,
    ) {
        if self.matches.add(instance) {
            changes.push(SubscriberChange { topic: self.hash, instance, is_there: true });
            requests.tell(Event::SubscriberMatched(Arc::clone(&self.topic), instance));
        }
    }

    /// `end` says what becomes of what is still on its way to the subscriber.
    fn unmatch(
        &self,
        instance: InstanceId,
        requests: &RequestProcessor,
        changes: &mut Vec<SubscriberChange>,
        end: impl FnOnce(&Publication, InstanceId, TopicHash),
    ) {
        if !self.matches.remove(&instance) {
            return;
        }
        changes.push(SubscriberChange { topic: self.hash, instance, is_there: false });
        if let Some(publication) = self.path.publication() {
            end(publication, instance, self.hash);
        }
        requests.tell(Event::SubscriberUnmatched(Arc::clone(&self.topic), instance));
    }
}

/// How a publisher reaches its subscribers.
pub(crate) enum PublisherPath {
    Multicast {
        publication: Arc<Publication>,
        group: Locator,
    },
    /// Where it sends from, and the stream.
    Unicast {
        publication: Arc<Publication>,
        from: Locator,
    },
    Ring(SharedRing),
}

impl PublisherPath {
    const fn publication(&self) -> Option<&Arc<Publication>> {
        match self {
            Self::Multicast { publication, .. } | Self::Unicast { publication, .. } => {
                Some(publication)
            }
            Self::Ring(_) => None,
        }
    }
}

/// A subscription of this instance.
pub(crate) struct LocalSubscriber {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) matches: Arc<Matches>,
    pub(crate) transport: Transport,
    /// Where its data arrives; `None` for shared memory.
    pub(crate) locator: Option<Locator>,
    pub(crate) poller: PollerHandle,
}

impl LocalSubscriber {
    fn match_with(&self, instance: InstanceId, requests: &RequestProcessor) {
        if self.matches.add(instance) {
            requests.tell(Event::PublisherMatched(Arc::clone(&self.topic), instance));
        }
    }

    fn unmatch(&self, instance: InstanceId, requests: &RequestProcessor) {
        if self.matches.remove(&instance) {
            requests.tell(Event::PublisherUnmatched(Arc::clone(&self.topic), instance));
        }
    }
}

/// What the two sides of a topic have told.
#[derive(Default)]
struct Topic {
    publisher: Option<LocalPublisher>,
    subscriber: Option<Arc<LocalSubscriber>>,
    remotes: Vec<(InstanceId, Arc<Advert>)>,
    /// Those of local publishers that are gone: they may still deliver what was accepted.
    released: Vec<Weak<Publication>>,
}

impl Topic {
    /// Nobody else's, and nothing to wait for: what was released is for remote subscribers.
    fn is_empty(&self) -> bool {
        self.publisher.is_none() && self.subscriber.is_none() && self.remotes.is_empty()
    }

    fn release(&mut self, publication: &Arc<Publication>) {
        let gone = Arc::downgrade(publication);
        self.released.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&gone));
        self.released.push(gone);
    }
}

/// What matching needs from the rest of the engine.
pub(crate) struct MatchingParts {
    pub(crate) own: InstanceId,
    /// Equal on instances that can share memory.
    pub(crate) host: u64,
    pub(crate) directory: Option<Directory>,
    pub(crate) pages: RingPages,
    pub(crate) max_message_bytes: usize,
    pub(crate) requests: Arc<RequestProcessor>,
    pub(crate) counters: Arc<Counters>,
}

/// All matches of one instance.
pub(super) struct Matching {
    requests: Arc<RequestProcessor>,
    counters: Arc<Counters>,
    topics: HashMap<TopicHash, Topic>,
    /// The rings that subscriptions read.
    rings: Rings,
    backlog: Backlog,
    /// When to try again what is in there.
    backlog_due: Timestamp,
    /// When to look who reads which local ring.
    looks: Looks,
    /// Rings whose processes have not been looked after in this round.
    unchecked: Vec<Checked>,
    /// Room for who reads one of them.
    readers: Vec<InstanceId>,
    /// How many publishers of this instance are rings.
    local_rings: usize,
    /// Told which topics are published, once there are patterns.
    watch: Option<Arc<TopicWatch>>,
    /// What has become of the subscribers of local publishers since the conductor asked last.
    subscriber_changes: Vec<SubscriberChange>,
}

impl Matching {
    pub(super) fn new(parts: MatchingParts) -> Self {
        Self {
            requests: Arc::clone(&parts.requests),
            counters: Arc::clone(&parts.counters),
            topics: HashMap::new(),
            rings: Rings::new(parts),
            backlog: Backlog::default(),
            backlog_due: Timestamp::default(),
            looks: Looks::default(),
            unchecked: Vec::new(),
            readers: Vec::new(),
            local_rings: 0,
            watch: None,
            subscriber_changes: Vec::new(),
        }
    }

    /// What has become of the subscribers of local publishers since this was last asked.
    pub(super) fn take_subscriber_changes(&mut self) -> Vec<SubscriberChange> {
        std::mem::take(&mut self.subscriber_changes)
    }

    /// Who is matched with the local publisher of a topic.
    pub(super) fn subscribers(&self, hash: TopicHash) -> Vec<InstanceId> {
        let publisher = self.topics.get(&hash).and_then(|topic| topic.publisher.as_ref());
        publisher.map(|publisher| publisher.matches.all()).unwrap_or_default()
    }

    /// The poller that delivers a topic, if somebody here listens to it.
    pub(super) fn poller_of(&self, hash: TopicHash) -> Option<&PollerHandle> {
        let subscriber = self.topics.get(&hash)?.subscriber.as_ref()?;
        Some(&subscriber.poller)
    }

    /// Tells which topics are published, now and whenever that changes.
    pub(super) fn watch(&mut self, watch: Arc<TopicWatch>) {
        self.watch = Some(watch);
        for hash in self.topics.keys() {
            self.tell_watch(*hash);
        }
    }

    /// Tells whether anybody publishes the topic who can be heard here.
    fn tell_watch(&self, hash: TopicHash) {
        let (Some(watch), Some(topic)) = (&self.watch, self.topics.get(&hash)) else { return };
        let mut publishers = topic.remotes.iter().filter(|(instance, advert)| {
            advert.kind == AdvertKind::Publisher
                && (advert.transport != Transport::Ipc || self.rings.shares_memory(*instance))
        });
        watch.tell(hash, publishers.next().map(|(_, advert)| &advert.topic));
    }

    pub(super) fn instance_up(&mut self, instance: InstanceId, host: u64) {
        self.rings.instance_up(instance, host);
    }

    /// Called after everything that the instance advertised has been withdrawn.
    pub(super) fn instance_down(&mut self, instance: InstanceId, pollers: &[PollerHandle]) {
        self.rings.instance_down(instance);
        for poller in pollers {
            if self.backlog.has_room(poller) {
                self.backlog.submit(poller, Command::ForgetInstance(instance));
            } else {
                // Its sessions stay until they are the ones that have been silent longest.
                self.counters.add(Counter::CommandsRefused, 1);
            }
        }
    }

    pub(super) fn add_publisher(&mut self, publisher: LocalPublisher, now: Timestamp) {
        let hash = publisher.hash;
        self.local_rings += usize::from(publisher.path.publication().is_none());
        let topic = self.topics.entry(hash).or_default();
        topic.publisher = Some(publisher);
        for (instance, advert) in topic.remotes.clone() {
            if advert.kind == AdvertKind::Subscriber {
                self.match_subscriber(instance, &advert, now);
            }
        }
    }

    pub(super) fn remove_publisher(&mut self, hash: TopicHash) {
        let Some(topic) = self.topics.get_mut(&hash) else { return };
        if let Some(publisher) = topic.publisher.take() {
            self.local_rings -= usize::from(publisher.path.publication().is_none());
            for instance in publisher.matches.all() {
                let changes = &mut self.subscriber_changes;
                publisher.unmatch(instance, &self.requests, changes, Publication::release_receiver);
            }
            if let Some(publication) = publisher.path.publication() {
                topic.release(publication);
            }
        }
        self.forget_if_empty(hash);
    }

    pub(super) fn add_subscriber(&mut self, subscriber: LocalSubscriber, now: Timestamp) {
        let hash = subscriber.hash;
        let topic = self.topics.entry(hash).or_default();
        topic.subscriber = Some(Arc::new(subscriber));
        for (instance, advert) in topic.remotes.clone() {
            if advert.kind == AdvertKind::Publisher {
                self.match_publisher(instance, &advert, now);
            }
        }
    }

    pub(super) fn remove_subscriber(&mut self, hash: TopicHash) {
        let Some(topic) = self.topics.get_mut(&hash) else { return };
        topic.subscriber = None;
        let advertised = topic.remotes.iter().filter_map(|(_, advert)| advert.session);
        self.rings.unsubscribed(hash, advertised, &mut self.backlog);
        self.forget_if_empty(hash);
    }

    /// A publisher or subscriber appeared somewhere.
    pub(super) fn advertised(
        &mut self,
        instance: InstanceId,
        advert: &Arc<Advert>,
        now: Timestamp,
    ) {
        let topic = self.topics.entry(advert.hash).or_default();
        topic.remotes.push((instance, Arc::clone(advert)));
        match advert.kind {
            AdvertKind::Subscriber => self.match_subscriber(instance, advert, now),
            AdvertKind::Publisher => {
                self.match_publisher(instance, advert, now);
                self.tell_watch(advert.hash);
            }
        }
    }

    /// A publisher or subscriber is gone.
    pub(super) fn withdrawn(&mut self, instance: InstanceId, advert: &Advert) {
        let Some(topic) = self.topics.get_mut(&advert.hash) else { return };
        topic.remotes.retain(|(known, other)| *known != instance || **other != *advert);
        match advert.kind {
            AdvertKind::Subscriber => self.unmatch_subscriber(instance, advert.hash),
            AdvertKind::Publisher => {
                self.unmatch_publisher(instance, advert);
                self.tell_watch(advert.hash);
            }
        }
        self.forget_if_empty(advert.hash);
    }

    /// This instance leaves: nothing more will be written to its rings, even where their publishers are
    /// held on to.
    pub(super) fn finish_rings(&self) {
        let publishers = self.topics.values().filter_map(|topic| topic.publisher.as_ref());
        for publisher in publishers {
            if let PublisherPath::Ring(ring) = &publisher.path {
                ring.finish();
            }
        }
    }

    /// A poller lost its place in a ring: attach again, as long as somebody may write it.
    pub(super) fn ring_lost(&mut self, session: SessionId, delivery: Delivery, now: Timestamp) {
        self.rings.lost(session, delivery, now);
    }

    /// Retries what could not be done, and looks whether writers and readers of rings are alive.
    pub(super) fn service(&mut self, now: Timestamp) {
        self.backlog.retry();
        let is_done = self.backlog.is_empty();
        self.backlog_due = if is_done { Timestamp::NEVER } else { now + BACKLOG_PAUSE };
        self.look_at_readers(now);
        self.rings.retry(now, &mut self.backlog);
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        let backlog_due = if self.backlog.is_empty() { Timestamp::NEVER } else { self.backlog_due };
        self.rings.next_deadline().min(self.looks.next_deadline()).min(backlog_due)
    }

    /// A subscriber at `instance` meets the local publisher of its topic, if there is one.
    fn match_subscriber(&mut self, instance: InstanceId, advert: &Advert, now: Timestamp) {
        let Some(publisher) =
            self.topics.get(&advert.hash).and_then(|topic| topic.publisher.as_ref())
        else {
            return;
        };
        let verdict = match &publisher.path {
            PublisherPath::Multicast { group, .. } => {
                meets(advert, Transport::Multicast, |there| same_group(*group, there))
            }
            PublisherPath::Unicast { from, .. } => {
                meets(advert, Transport::Unicast, |there| same_stream(*from, there))
            }
            PublisherPath::Ring(_) if advert.transport == Transport::Ipc => {
                // Who reads a ring stands in the ring.
                self.looks.expect(advert.hash, now);
                return;
            }
            PublisherPath::Ring(_) => Err("another transport"),
        };
        if let Err(reason) = verdict {
            return self.conflict(&publisher.topic, instance, reason);
        }
        if publisher.matches.contains(instance) {
            return;
        }
        // Before it counts as matched: who waits for subscribers sends at once.
        match &publisher.path {
            PublisherPath::Multicast { publication, .. } => {
                publication.add_receiver(instance, advert.hash, None, now);
            }
            PublisherPath::Unicast { publication, .. } => {
                let address = advert.locator.map(|locator| locator.address);
                publication.add_receiver(instance, advert.hash, address, now);
            }
            PublisherPath::Ring(_) => {}
        }
        publisher.match_with(instance, &self.requests, &mut self.subscriber_changes);
    }

    fn unmatch_subscriber(&mut self, instance: InstanceId, hash: TopicHash) {
        let Some(topic) = self.topics.get(&hash) else { return };
        for publication in topic.released.iter().filter_map(Weak::upgrade) {
            publication.remove_receiver(instance, hash);
        }
        match &topic.publisher {
            Some(LocalPublisher { path: PublisherPath::Ring(_), .. }) => {
                self.looks.expect(hash, Timestamp::default());
            }
            Some(publisher) => {
                let changes = &mut self.subscriber_changes;
                publisher.unmatch(instance, &self.requests, changes, Publication::remove_receiver);
            }
            None => {}
        }
    }

    /// A publisher at `instance` meets the local subscription to its topic, if there is one.
    fn match_publisher(&mut self, instance: InstanceId, advert: &Advert, now: Timestamp) {
        let Some(subscriber) =
            self.topics.get(&advert.hash).and_then(|topic| topic.subscriber.as_ref())
        else {
            return;
        };
        let verdict = match subscriber.transport {
            transport if advert.transport != transport => Err("another transport"),
            Transport::Ipc => Ok(()),
            transport => meets(advert, transport, |there| match subscriber.locator {
                None => Err("no address"),
                Some(here) if transport == Transport::Multicast => same_group(here, there),
                // Where unicast data goes is the subscriber's choice.
                Some(here) => same_stream(here, there),
            }),
        };
        if let Err(reason) = verdict {
            return self.conflict(&subscriber.topic, instance, reason);
        }
        if subscriber.transport == Transport::Ipc {
            if let Some(session) = advert.session {
                self.rings.advertised(subscriber, instance, session, now, &mut self.backlog);
            }
            return;
        }
        subscriber.match_with(instance, &self.requests);
    }

    fn unmatch_publisher(&mut self, instance: InstanceId, advert: &Advert) {
        if let Some(session) = advert.session {
            self.rings.withdrawn(instance, session, &mut self.backlog);
        }
        let subscriber = self.topics.get(&advert.hash).and_then(|topic| topic.subscriber.as_ref());
        if let Some(subscriber) = subscriber {
            subscriber.unmatch(instance, &self.requests);
        }
    }

    fn conflict(&self, topic: &Arc<str>, instance: InstanceId, reason: &'static str) {
        self.counters.add(Counter::TopicConflicts, 1);
        tracing::warn!(%topic, %instance, reason, "a peer uses a topic differently");
        let event = Event::TopicConflict(Arc::clone(topic), instance, reason);
        self.requests.tell(event);
    }

    fn forget_if_empty(&mut self, hash: TopicHash) {
        if self.topics.get(&hash).is_some_and(Topic::is_empty) {
            self.topics.remove(&hash);
        }
    }
}

/// Whether what is sent to one of two groups arrives at the other.
fn same_group(here: Locator, there: Locator) -> Result<(), &'static str> {
    same_family(here, there)?;
    (here == there).then_some(()).ok_or("another group, port or stream")
}

/// Whether a unicast publisher at one of two places reaches a subscriber at the other.
fn same_stream(here: Locator, there: Locator) -> Result<(), &'static str> {
    same_family(here, there)?;
    (here.stream == there.stream).then_some(()).ok_or("another stream")
}

/// A socket reaches addresses of its own family only.
fn same_family(here: Locator, there: Locator) -> Result<(), &'static str> {
    match (Family::of_socket(here.address), Family::of_socket(there.address)) {
        (Family::V4, Family::V6) => Err("another address family: IPv6 there, IPv4 here"),
        (Family::V6, Family::V4) => Err("another address family: IPv4 there, IPv6 here"),
        _ => Ok(()),
    }
}

/// Whether an advert names the transport, and a place that `fits`.
fn meets(
    advert: &Advert,
    transport: Transport,
    fits: impl Fn(Locator) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    if advert.transport != transport {
        return Err("another transport");
    }
    advert.locator.map_or(Err("no address"), fits)
}
