//! Brings publishers and subscribers together: what discovery tells meets what this instance has.
//! Layer: engine. Owned by the conductor.
//!
//! Adverts of this instance go through here like those of peers, so that its own subscribers are
//! matched by the same rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::endpoint::RingEndpoint;
use super::matches::Matches;
use super::poller::{Command, PollerHandle};
use super::publication::Publication;
use super::request_processor::RequestProcessor;
use crate::config::Transport;
use crate::counters::{Counter, Counters};
use crate::discovery::Advert;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::listener::Event;
use crate::protocol::delivery::Delivery;
use crate::ring::read::Reader;
use crate::ring::shared::{AttachError, ReaderEntry, SharedRing};
use crate::time::Timestamp;
use crate::transport::shm::{Directory, ShmError};
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

/// How long to wait before a ring that could not be attached is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// How often to look who reads a local ring while somebody is about to, or about to stop.
const READERS_INTERVAL: Duration = Duration::from_millis(2);

/// A publisher of this instance.
pub(crate) struct LocalPublisher {
    pub(crate) topic: Arc<str>,
    pub(crate) hash: TopicHash,
    pub(crate) matches: Arc<Matches>,
    pub(crate) path: PublisherPath,
}

/// How a publisher reaches its subscribers.
pub(crate) enum PublisherPath {
    Multicast { publication: Arc<Publication>, group: Locator },
    Unicast { publication: Arc<Publication>, stream: u32 },
    Ring(SharedRing),
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

/// What the two sides of a topic have told.
#[derive(Default)]
struct Topic {
    publisher: Option<LocalPublisher>,
    subscriber: Option<LocalSubscriber>,
    remotes: Vec<(InstanceId, Arc<Advert>)>,
}

impl Topic {
    fn is_empty(&self) -> bool {
        self.publisher.is_none() && self.subscriber.is_none() && self.remotes.is_empty()
    }
}

/// A ring that a subscription wants to read and has not attached yet.
struct Wanted {
    hash: TopicHash,
    instance: InstanceId,
    session: SessionId,
    due: Timestamp,
    /// Of a ring that was being read before: what has been delivered of it.
    delivery: Option<Delivery>,
}

/// A ring that is being read.
struct Attached {
    hash: TopicHash,
    ring: SharedRing,
    instance: InstanceId,
    poller: PollerHandle,
}

/// What matching needs from the rest of the engine.
pub(crate) struct MatchingParts {
    pub(crate) own: InstanceId,
    /// Equal on instances that can share memory.
    pub(crate) host: u64,
    pub(crate) directory: Option<Directory>,
    pub(crate) max_message_bytes: usize,
    pub(crate) requests: Arc<RequestProcessor>,
    pub(crate) counters: Arc<Counters>,
}

/// All matches of one instance.
pub(super) struct Matching {
    parts: MatchingParts,
    topics: HashMap<TopicHash, Topic>,
    wanted: Vec<Wanted>,
    attached: HashMap<SessionId, Attached>,
    /// Commands that a poller had no room for.
    backlog: Vec<(PollerHandle, Command)>,
    /// Which machine peers are on: only those on ours can share memory.
    hosts: HashMap<InstanceId, u64>,
    /// When to look who reads the local rings.
    readers_due: Timestamp,
}

/// Name of a ring's file in the shared-memory directory.
pub(crate) fn ring_name(instance: InstanceId, session: SessionId) -> String {
    format!("{}-{session}{RING_SUFFIX}", instance.as_uuid().simple())
}

/// What the names of ring files end with.
pub(crate) const RING_SUFFIX: &str = ".ring";

impl Matching {
    pub(super) fn new(parts: MatchingParts) -> Self {
        Self {
            parts,
            topics: HashMap::new(),
            wanted: Vec::new(),
            attached: HashMap::new(),
            backlog: Vec::new(),
            hosts: HashMap::new(),
            readers_due: Timestamp::NEVER,
        }
    }

    pub(super) fn instance_up(&mut self, instance: InstanceId, host: u64) {
        self.hosts.insert(instance, host);
    }

    /// Called after everything that the instance advertised has been withdrawn.
    pub(super) fn instance_down(&mut self, instance: InstanceId, pollers: &[PollerHandle]) {
        self.hosts.remove(&instance);
        for poller in pollers {
            self.submit(poller, Command::ForgetInstance(instance));
        }
    }

    pub(super) fn add_publisher(&mut self, publisher: LocalPublisher, now: Timestamp) {
        let hash = publisher.hash;
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
            for instance in publisher.matches.instances() {
                self.unmatch(&publisher, instance, Publication::release_receiver);
            }
        }
        self.forget_if_empty(hash);
    }

    pub(super) fn add_subscriber(&mut self, subscriber: LocalSubscriber, now: Timestamp) {
        let hash = subscriber.hash;
        let topic = self.topics.entry(hash).or_default();
        topic.subscriber = Some(subscriber);
        for (instance, advert) in topic.remotes.clone() {
            if advert.kind == AdvertKind::Publisher {
                self.match_publisher(instance, &advert, now);
            }
        }
    }

    pub(super) fn remove_subscriber(&mut self, hash: TopicHash) {
        let Some(topic) = self.topics.get_mut(&hash) else { return };
        topic.subscriber = None;
        self.wanted.retain(|wanted| wanted.hash != hash);
        let rings: Vec<_> = self
            .attached
            .iter()
            .filter(|(_, attached)| attached.hash == hash)
            .map(|(session, _)| *session)
            .collect();
        for session in rings {
            self.detach(session, Command::DropRing);
        }
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
            AdvertKind::Publisher => self.match_publisher(instance, advert, now),
        }
    }

    /// A publisher or subscriber is gone.
    pub(super) fn withdrawn(&mut self, instance: InstanceId, advert: &Advert) {
        let Some(topic) = self.topics.get_mut(&advert.hash) else { return };
        topic.remotes.retain(|(known, other)| *known != instance || **other != *advert);
        match advert.kind {
            AdvertKind::Subscriber => self.unmatch_subscriber(instance, advert.hash),
            AdvertKind::Publisher => self.unmatch_publisher(instance, advert),
        }
        self.forget_if_empty(advert.hash);
    }

    /// A poller lost its place in a ring: attach again, if the ring is still advertised.
    pub(super) fn ring_lost(&mut self, session: SessionId, delivery: Delivery, now: Timestamp) {
        if let Some(lost) = self.attached.remove(&session) {
            let Attached { hash, instance, .. } = lost;
            let delivery = Some(delivery);
            self.wanted.push(Wanted { hash, instance, session, due: now, delivery });
        }
    }

    /// Retries what could not be done, and looks whether writers and readers of rings are alive.
    pub(super) fn service(&mut self, now: Timestamp) {
        let backlog = std::mem::take(&mut self.backlog);
        for (poller, command) in backlog {
            self.submit(&poller, command);
        }
        if self.readers_due <= now {
            self.readers_due = Timestamp::NEVER;
            self.match_readers(now);
        }
        let wanted = std::mem::take(&mut self.wanted);
        for want in wanted {
            if want.due <= now {
                self.attach(want, now);
            } else {
                self.wanted.push(want);
            }
        }
    }

    /// Frees what dead processes hold in shared memory. Slow path: a few system calls per ring.
    pub(super) fn reclaim(&mut self, now: Timestamp) {
        self.match_readers(now);
        let mut reclaimed = 0;
        for topic in self.topics.values() {
            if let Some(LocalPublisher { path: PublisherPath::Ring(ring), .. }) = &topic.publisher {
                reclaimed += ring.reclaim_dead_readers();
            }
        }
        self.parts.counters.add(Counter::ReadersReclaimed, reclaimed as u64);
        let dead: Vec<_> = self
            .attached
            .iter()
            .filter(|(_, attached)| attached.ring.writer_is_gone())
            .map(|(session, _)| *session)
            .collect();
        for session in dead {
            if let Some(attached) = self.attached.get(&session)
                && attached.ring.is_abandoned()
            {
                attached.ring.remove_file();
                self.parts.counters.add(Counter::RingsReclaimed, 1);
            }
            self.detach(session, Command::DetachRing);
        }
    }

    /// Whether [`Matching::reclaim`] can have something to do.
    pub(super) fn has_rings(&self) -> bool {
        !self.attached.is_empty()
            || self
                .topics
                .values()
                .filter_map(|topic| topic.publisher.as_ref())
                .any(|publisher| matches!(publisher.path, PublisherPath::Ring(_)))
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        if !self.backlog.is_empty() {
            return Timestamp::default();
        }
        let wanted = self.wanted.iter().map(|wanted| wanted.due).min();
        wanted.unwrap_or(Timestamp::NEVER).min(self.readers_due)
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
                meets(advert, Transport::Multicast, |there| {
                    (there == *group).then_some(()).ok_or("another group, port or stream")
                })
            }
            PublisherPath::Unicast { stream, .. } => meets(advert, Transport::Unicast, |there| {
                (there.stream == *stream).then_some(()).ok_or("another stream")
            }),
            PublisherPath::Ring(_) if advert.transport == Transport::Ipc => {
                // Who reads a ring stands in the ring.
                self.readers_due = now;
                return;
            }
            PublisherPath::Ring(_) => Err("another transport"),
        };
        if let Err(reason) = verdict {
            return self.conflict(&Arc::clone(&publisher.topic), instance, reason);
        }
        if publisher.matches.contains(instance) {
            return;
        }
        // Before it counts as matched: who waits for subscribers sends at once.
        match &publisher.path {
            PublisherPath::Multicast { publication, .. } => {
                publication.add_receiver(instance, None, now);
            }
            PublisherPath::Unicast { publication, .. } => {
                let address = advert.locator.map(|locator| locator.address);
                publication.add_receiver(instance, address, now);
            }
            PublisherPath::Ring(_) => {}
        }
        publisher.matches.add(instance);
        let topic = Arc::clone(&publisher.topic);
        self.parts.requests.tell(Event::SubscriberMatched(topic, instance));
    }

    fn unmatch_subscriber(&mut self, instance: InstanceId, hash: TopicHash) {
        let publisher = self.topics.get(&hash).and_then(|topic| topic.publisher.as_ref());
        match publisher {
            Some(LocalPublisher { path: PublisherPath::Ring(_), .. }) => {
                self.readers_due = Timestamp::default();
            }
            Some(publisher) => self.unmatch_from(publisher, instance),
            None => {}
        }
    }

    /// Holds the matches of local rings to what their tables of readers say; looks again soon while
    /// that differs from what discovery says.
    fn match_readers(&mut self, now: Timestamp) {
        for topic in self.topics.values() {
            let Some(publisher) = &topic.publisher else { continue };
            let PublisherPath::Ring(ring) = &publisher.path else { continue };
            let readers = ring.reader_instances();
            for instance in publisher.matches.instances() {
                if !readers.contains(&instance) {
                    self.unmatch_from(publisher, instance);
                }
            }
            for instance in &readers {
                if publisher.matches.add(*instance) {
                    let topic = Arc::clone(&publisher.topic);
                    self.parts.requests.tell(Event::SubscriberMatched(topic, *instance));
                }
            }
            let expected = topic.remotes.iter().filter(|(instance, advert)| {
                advert.kind == AdvertKind::Subscriber && self.shares_memory(*instance)
            });
            if expected.clone().count() != readers.len()
                || expected.clone().any(|(instance, _)| !readers.contains(instance))
            {
                self.readers_due = now + READERS_INTERVAL;
            }
        }
    }

    /// The subscriber is gone: nothing more is sent to it.
    fn unmatch_from(&self, publisher: &LocalPublisher, instance: InstanceId) {
        self.unmatch(publisher, instance, Publication::remove_receiver);
    }

    fn unmatch(
        &self,
        publisher: &LocalPublisher,
        instance: InstanceId,
        end: impl FnOnce(&Publication, InstanceId),
    ) {
        if !publisher.matches.remove(instance) {
            return;
        }
        match &publisher.path {
            PublisherPath::Multicast { publication, .. }
            | PublisherPath::Unicast { publication, .. } => end(publication, instance),
            PublisherPath::Ring(_) => {}
        }
        let topic = Arc::clone(&publisher.topic);
        self.parts.requests.tell(Event::SubscriberUnmatched(topic, instance));
    }

    /// A publisher at `instance` meets the local subscription to its topic, if there is one.
    fn match_publisher(&mut self, instance: InstanceId, advert: &Advert, now: Timestamp) {
        let Some(subscriber) =
            self.topics.get(&advert.hash).and_then(|topic| topic.subscriber.as_ref())
        else {
            return;
        };
        let verdict = match subscriber.transport {
            Transport::Multicast => meets(advert, Transport::Multicast, |there| {
                let here = subscriber.locator;
                (here == Some(there)).then_some(()).ok_or("another group, port or stream")
            }),
            // Where unicast data goes is the subscriber's choice.
            transport if advert.transport == transport => Ok(()),
            _ => Err("another transport"),
        };
        if let Err(reason) = verdict {
            return self.conflict(&Arc::clone(&subscriber.topic), instance, reason);
        }
        if subscriber.transport == Transport::Ipc {
            if let Some(session) = advert.session {
                let hash = advert.hash;
                let wanted = Wanted { hash, instance, session, due: now, delivery: None };
                self.attach(wanted, now);
            }
            return;
        }
        if subscriber.matches.add(instance) {
            let topic = Arc::clone(&subscriber.topic);
            self.parts.requests.tell(Event::PublisherMatched(topic, instance));
        }
    }

    fn unmatch_publisher(&mut self, instance: InstanceId, advert: &Advert) {
        if let Some(session) = advert.session {
            self.wanted.retain(|wanted| wanted.session != session);
            self.detach(session, Command::DetachRing);
        }
        let subscriber = self.topics.get(&advert.hash).and_then(|topic| topic.subscriber.as_ref());
        if let Some(subscriber) = subscriber
            && subscriber.matches.remove(instance)
        {
            let topic = Arc::clone(&subscriber.topic);
            self.parts.requests.tell(Event::PublisherUnmatched(topic, instance));
        }
    }

    /// Maps a ring and hands it to the subscription's poller. A ring that is not there yet, or not
    /// any more, is tried again until its advert is withdrawn.
    fn attach(&mut self, wanted: Wanted, now: Timestamp) {
        let Wanted { hash, instance, session, .. } = wanted;
        let Some(subscriber) = self.topics.get(&hash).and_then(|topic| topic.subscriber.as_ref())
        else {
            return;
        };
        if self.attached.contains_key(&session) || !self.shares_memory(instance) {
            return;
        }
        let own = self.parts.own;
        let opened =
            self.parts.directory.as_ref().map(|directory| open(directory, instance, session, own));
        let Some(Ok((ring, (entry, reader)))) = opened else {
            if let Some(Err(error)) = opened {
                tracing::debug!(%error, topic = %subscriber.topic, "a ring was not attached");
            }
            self.wanted.push(Wanted { due: now + RETRY, ..wanted });
            return;
        };
        if ring.description().topic != hash {
            return self.parts.counters.add(Counter::Foreign, 1);
        }
        let max_message_bytes = self.parts.max_message_bytes;
        let delivery = wanted.delivery.unwrap_or_else(|| Delivery::new(max_message_bytes));
        let endpoint = RingEndpoint::new(entry, reader, delivery);
        let (poller, topic) = (subscriber.poller.clone(), Arc::clone(&subscriber.topic));
        let is_new = subscriber.matches.add(instance);
        self.attached.insert(session, Attached { hash, ring, instance, poller: poller.clone() });
        self.submit(&poller, Command::AttachRing(Box::new(endpoint)));
        if is_new {
            self.parts.requests.tell(Event::PublisherMatched(topic, instance));
        }
    }

    fn detach(&mut self, session: SessionId, how: fn(SessionId) -> Command) {
        let Some(attached) = self.attached.remove(&session) else { return };
        self.submit(&attached.poller, how(session));
        let subscriber =
            self.topics.get(&attached.hash).and_then(|topic| topic.subscriber.as_ref());
        if let Some(subscriber) = subscriber
            && subscriber.matches.remove(attached.instance)
        {
            let topic = Arc::clone(&subscriber.topic);
            self.parts.requests.tell(Event::PublisherUnmatched(topic, attached.instance));
        }
    }

    fn conflict(&self, topic: &Arc<str>, instance: InstanceId, reason: &'static str) {
        self.parts.counters.add(Counter::TopicConflicts, 1);
        tracing::warn!(%topic, %instance, reason, "a peer uses a topic differently");
        let event = Event::TopicConflict(Arc::clone(topic), instance, reason);
        self.parts.requests.tell(event);
    }

    fn shares_memory(&self, instance: InstanceId) -> bool {
        instance == self.parts.own || self.hosts.get(&instance) == Some(&self.parts.host)
    }

    fn submit(&mut self, poller: &PollerHandle, command: Command) {
        if let Err(command) = poller.try_submit(command) {
            self.backlog.push((poller.clone(), command));
        }
    }

    fn forget_if_empty(&mut self, hash: TopicHash) {
        if self.topics.get(&hash).is_some_and(Topic::is_empty) {
            self.topics.remove(&hash);
        }
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

/// Why a ring was not attached.
#[derive(Debug, Error)]
enum OpenRingError {
    #[error(transparent)]
    File(#[from] ShmError),
    #[error(transparent)]
    Ring(#[from] AttachError),
}

fn open(
    directory: &Directory,
    publisher: InstanceId,
    session: SessionId,
    reader: InstanceId,
) -> Result<(SharedRing, (ReaderEntry, Reader)), OpenRingError> {
    let file = directory.open_file(&ring_name(publisher, session))?;
    let ring = SharedRing::open(file)?;
    let attached = ring.attach(reader)?;
    Ok((ring, attached))
}
