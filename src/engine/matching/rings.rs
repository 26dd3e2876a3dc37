//! The rings of publishers that subscriptions of this instance read: found, mapped, handed to
//! pollers, tried again, given up. Layer: engine. Owned by the conductor.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::backlog::Backlog;
use super::{LocalSubscriber, MatchingParts};
use crate::counters::Counter;
use crate::engine::poller::Command;
use crate::engine::ring_endpoint::RingEndpoint;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::protocol::delivery::Delivery;
use crate::ring::shared::{AttachError, Joined, SharedRing, Start};
use crate::time::Timestamp;
use crate::transport::shm::{Directory, ShmError};

/// How long to wait before a ring that could not be attached is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// Rings tried again before the rest of a cycle of the conductor gets its turn.
const RETRIES_PER_CYCLE: usize = 64;

/// What the names of ring files end with.
pub(in crate::engine) const RING_SUFFIX: &str = ".ring";

/// Name of a ring's file in the shared-memory directory.
pub(in crate::engine) fn ring_name(instance: InstanceId, session: SessionId) -> String {
    format!("{}-{session}{RING_SUFFIX}", instance.as_uuid().simple())
}

/// A ring that a subscription wants to read and has not attached yet.
struct Wanted {
    subscriber: Arc<LocalSubscriber>,
    instance: InstanceId,
    session: SessionId,
    due: Timestamp,
    /// Of a ring that was being read before: what has been delivered of it.
    delivery: Option<Delivery>,
    /// Discovery has lost sight of its writer: as below.
    is_unseen: bool,
}

/// A ring that is being read.
struct Attached {
    subscriber: Arc<LocalSubscriber>,
    ring: SharedRing,
    instance: InstanceId,
}

/// All rings that this instance reads or wants to read.
pub(super) struct Rings {
    parts: MatchingParts,
    /// Those that are due first come first.
    wanted: VecDeque<Wanted>,
    attached: HashMap<SessionId, Attached>,
    /// Those of them whose writers live and are not heard of any more: out of sight, they may write on,
    /// and nothing is lost of what they do. They are matched with nobody until they are heard of again.
    unseen: HashSet<SessionId>,
    /// Which machine peers are on: only those on ours can share memory.
    hosts: HashMap<InstanceId, u64>,
}

impl Rings {
    pub(super) fn new(parts: MatchingParts) -> Self {
        Self {
            parts,
            wanted: VecDeque::new(),
            attached: HashMap::new(),
            unseen: HashSet::new(),
            hosts: HashMap::new(),
        }
    }

    pub(super) fn instance_up(&mut self, instance: InstanceId, host: u64) {
        self.hosts.insert(instance, host);
    }

    pub(super) fn instance_down(&mut self, instance: InstanceId) {
        self.hosts.remove(&instance);
    }

    /// Whether `instance` can map what this one writes, and the other way around.
    pub(super) fn shares_memory(&self, instance: InstanceId) -> bool {
        instance == self.parts.own || self.hosts.get(&instance) == Some(&self.parts.host)
    }

    /// A publisher's ring meets a subscription.
    pub(super) fn advertised(
        &mut self,
        subscriber: &Arc<LocalSubscriber>,
        instance: InstanceId,
        session: SessionId,
        now: Timestamp,
        backlog: &mut Backlog,
    ) {
        if self.is_seen_again(instance, session) {
            return;
        }
        let subscriber = Arc::clone(subscriber);
        let wanted =
            Wanted { subscriber, instance, session, due: now, delivery: None, is_unseen: false };
        self.attach(wanted, now, backlog);
    }

    /// Whether this is a ring that was read, or was to be, while nothing was heard of its writer.
    fn is_seen_again(&mut self, instance: InstanceId, session: SessionId) -> bool {
        let is_it = |wanted: &&mut Wanted| wanted.session == session && wanted.instance == instance;
        if let Some(wanted) = self.wanted.iter_mut().filter(|wanted| wanted.is_unseen).find(is_it) {
            wanted.is_unseen = false;
            return true;
        }
        let Some(attached) = self.attached.get(&session) else { return false };
        if attached.instance != instance || !self.unseen.remove(&session) {
            return false;
        }
        attached.subscriber.match_with(instance, &self.parts.requests);
        true
    }

    /// The ring is not advertised any more. If nobody writes it, what the writer left in it is still
    /// read; if its writer was only lost sight of, it is read on. A session that another instance claims
    /// to have ended goes on.
    pub(super) fn withdrawn(
        &mut self,
        instance: InstanceId,
        session: SessionId,
        backlog: &mut Backlog,
    ) {
        // What has been delivered of it is not forgotten as long as its writer may write.
        let is_it = |wanted: &Wanted| wanted.session == session && wanted.instance == instance;
        self.wanted.retain(|wanted| !is_it(wanted) || wanted.delivery.is_some());
        self.wanted.iter_mut().filter(|it| is_it(it)).for_each(|wanted| wanted.is_unseen = true);
        let Some(attached) = self.attached.get(&session) else { return };
        if attached.instance != instance {
            return;
        }
        if attached.ring.writer_is_gone() {
            self.detach(session, backlog);
        } else if self.unseen.insert(session) {
            attached.subscriber.unmatch(instance, &self.parts.requests);
        }
    }

    /// The subscription has ended: its rings, which are among those that are advertised, are not read
    /// on.
    pub(super) fn unsubscribed(
        &mut self,
        hash: TopicHash,
        advertised: impl Iterator<Item = SessionId>,
        backlog: &mut Backlog,
    ) {
        self.wanted.retain(|wanted| wanted.subscriber.hash != hash);
        let unseen: Vec<_> = self.unseen.iter().copied().collect();
        for session in advertised.chain(unseen) {
            if let Entry::Occupied(attached) = self.attached.entry(session)
                && attached.get().subscriber.hash == hash
            {
                let poller = &attached.remove().subscriber.poller;
                self.unseen.remove(&session);
                backlog.submit(poller, Command::DropRing(session));
            }
        }
    }

    /// A poller lost its place in a ring: attach again, if the ring is still advertised, or its writer
    /// still writes.
    pub(super) fn lost(&mut self, session: SessionId, delivery: Delivery, now: Timestamp) {
        if let Some(Attached { subscriber, instance, .. }) = self.attached.remove(&session) {
            let (delivery, is_unseen) = (Some(delivery), self.unseen.remove(&session));
            let wanted = Wanted { subscriber, instance, session, due: now, delivery, is_unseen };
            self.wanted.push_front(wanted);
        }
    }

    /// Tries again what could not be attached.
    pub(super) fn retry(&mut self, now: Timestamp, backlog: &mut Backlog) {
        for _ in 0..RETRIES_PER_CYCLE {
            let Some(wanted) = self.wanted.pop_front_if(|wanted| wanted.due <= now) else { return };
            self.attach(wanted, now, backlog);
        }
    }

    /// Lets a ring go if its writer is gone, and removes the file if a dead one left it.
    pub(super) fn reclaim(&mut self, session: SessionId, backlog: &mut Backlog) {
        let Some(Attached { ring, .. }) = self.attached.get(&session) else { return };
        if !ring.writer_is_gone() {
            return;
        }
        if ring.is_abandoned() {
            ring.remove_file();
            self.parts.counters.add(Counter::RingsReclaimed, 1);
        }
        self.detach(session, backlog);
    }

    /// The sessions that are being read: [`Rings::reclaim`] can have something to do.
    pub(super) fn attached(&self) -> impl ExactSizeIterator<Item = SessionId> {
        self.attached.keys().copied()
    }

    /// When [`Rings::retry`] is due.
    pub(super) fn next_deadline(&self) -> Timestamp {
        self.wanted.front().map_or(Timestamp::NEVER, |wanted| wanted.due)
    }

    /// Maps a ring and hands it to the subscription's poller. A ring that is not there yet, or not
    /// any more, is tried again until its advert is withdrawn; one that is out of sight, until nobody
    /// writes it.
    fn attach(&mut self, wanted: Wanted, now: Timestamp, backlog: &mut Backlog) {
        let Wanted { instance, session, .. } = wanted;
        let shares_memory = wanted.is_unseen || self.shares_memory(instance);
        if self.attached.contains_key(&session) || !shares_memory {
            return;
        }
        if !backlog.has_room(&wanted.subscriber.poller) {
            self.parts.counters.add(Counter::CommandsRefused, 1);
            self.wanted.push_back(Wanted { due: now + RETRY, ..wanted });
            return;
        }
        let directory = self.parts.directory.as_ref();
        let start = match wanted.delivery {
            None => Start::LiveEdge,
            Some(_) => Start::OpenPacket,
        };
        let opened = directory.map(|directory| open(&self.parts, directory, &wanted, start));
        let Some(Ok((ring, joined))) = opened else {
            if let Some(Err(error)) = opened {
                let topic = &wanted.subscriber.topic;
                tracing::debug!(%error, %topic, "a ring was not attached");
                if wanted.is_unseen && error.is_final() {
                    return;
                }
            }
            self.wanted.push_back(Wanted { due: now + RETRY, ..wanted });
            return;
        };
        let Wanted { subscriber, delivery, is_unseen, .. } = wanted;
        if ring.description().topic != subscriber.hash {
            return self.parts.counters.add(Counter::Foreign, 1);
        }
        let max_message_bytes = self.parts.max_message_bytes;
        let delivery = delivery.unwrap_or_else(|| {
            let mut delivery = Delivery::new(max_message_bytes);
            delivery.expect_from(joined.first);
            delivery
        });
        let endpoint = RingEndpoint::new(joined.entry, joined.reader, delivery);
        backlog.submit(&subscriber.poller, Command::AttachRing(Box::new(endpoint)));
        if is_unseen {
            self.unseen.insert(session);
        } else {
            subscriber.match_with(instance, &self.parts.requests);
        }
        self.attached.insert(session, Attached { subscriber, ring, instance });
    }

    fn detach(&mut self, session: SessionId, backlog: &mut Backlog) {
        let Some(Attached { subscriber, instance, .. }) = self.attached.remove(&session) else {
            return;
        };
        backlog.submit(&subscriber.poller, Command::DetachRing(session));
        // Who was lost sight of is matched with nobody, or with a ring that it has begun since.
        if !self.unseen.remove(&session) {
            subscriber.unmatch(instance, &self.parts.requests);
        }
    }
}

/// Why a ring was not attached.
#[derive(Debug, Error)]
enum OpenRingError {
    #[error(transparent)]
    File(#[from] ShmError),
    #[error(transparent)]
    Ring(#[from] AttachError),
}

impl OpenRingError {
    /// Whether nobody writes the ring any more.
    fn is_final(&self) -> bool {
        match self {
            Self::File(ShmError::Io { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            Self::Ring(error) => matches!(error, AttachError::WriterGone),
            Self::File(_) => false,
        }
    }
}

fn open(
    parts: &MatchingParts,
    directory: &Directory,
    wanted: &Wanted,
    start: Start,
) -> Result<(SharedRing, Joined), OpenRingError> {
    let file = directory.open_file(&ring_name(wanted.instance, wanted.session))?;
    file.bring_in(parts.pages, &parts.counters);
    let ring = SharedRing::open(file)?;
    let joined = ring.attach(parts.own, start)?;
    Ok((ring, joined))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::config::{RingPages, Transport};
    use crate::counters::Counters;
    use crate::engine::matches::Matches;
    use crate::engine::poller::{Inbox, stalled};
    use crate::engine::request_processor::RequestProcessor;
    use crate::engine::ring_endpoint::tests::{SESSION, ring_file};
    use crate::time::Clock;

    /// A ring of this instance's own, a subscription to it, and the commands for its poller.
    struct Fixture {
        own: InstanceId,
        rings: Rings,
        subscriber: Arc<LocalSubscriber>,
        commands: Inbox,
        clock: Clock,
        writer: SharedRing,
        _folder: tempfile::TempDir,
    }

    fn fixture(room: usize) -> Fixture {
        let (own, hash) = (InstanceId::random(), TopicHash::of("prices"));
        let (folder, directory, writer) = ring_file(&ring_name(own, SESSION), own, hash);
        let (clock, counters) = (Clock::start(), Arc::new(Counters::new()));
        let requests = Arc::new(RequestProcessor::new(own, 1, Arc::clone(&counters), clock));
        let directory = Some(directory);
        let parts = MatchingParts {
            own,
            host: 1,
            directory,
            pages: RingPages::Prefault,
            max_message_bytes: 1024,
            requests,
            counters,
        };
        let (poller, commands) = stalled(0, room);
        let subscriber = Arc::new(LocalSubscriber {
            topic: Arc::from("prices"),
            hash,
            matches: Arc::new(Matches::default()),
            transport: Transport::Ipc,
            locator: None,
            poller,
        });
        let rings = Rings::new(parts);
        Fixture { own, rings, subscriber, commands, clock, writer, _folder: folder }
    }

    #[test]
    fn a_ring_waits_while_its_poller_has_no_room_for_commands() {
        let Fixture { own, rings, subscriber, commands, clock, .. } = &mut fixture(1);
        let (mut backlog, now) = (Backlog::default(), clock.now());
        while backlog.has_room(&subscriber.poller) {
            backlog.submit(&subscriber.poller, Command::ForgetInstance(*own));
        }
        rings.advertised(subscriber, *own, SESSION, now, &mut backlog);
        assert_eq!(rings.attached().len(), 0);
        assert_eq!(rings.parts.counters.get(Counter::CommandsRefused), 1);

        commands.take().expect("the first command");
        backlog.retry();
        assert_eq!(rings.next_deadline(), now + RETRY);
        rings.retry(now + RETRY, &mut backlog);
        assert_eq!(rings.attached().len(), 1);
        let last = std::iter::from_fn(|| {
            let command = commands.take();
            backlog.retry();
            command
        });
        assert!(matches!(last.last(), Some(Command::AttachRing(_))));
    }

    #[test]
    fn a_ring_ends_with_the_advert_of_its_writer_and_not_with_that_of_a_stranger() {
        let Fixture { own, rings, subscriber, commands, clock, writer, .. } = &mut fixture(8);
        let (mut backlog, own, session) = (Backlog::default(), *own, SESSION);
        let stranger = InstanceId::random();
        rings.instance_up(stranger, 1);
        rings.advertised(subscriber, own, session, clock.now(), &mut backlog);
        assert!(matches!(commands.take(), Some(Command::AttachRing(_))));

        rings.advertised(subscriber, stranger, session, clock.now(), &mut backlog);
        rings.withdrawn(stranger, session, &mut backlog);
        assert!(commands.take().is_none());
        assert_eq!(subscriber.matches.all(), [own]);

        writer.finish();
        rings.withdrawn(own, session, &mut backlog);
        assert!(matches!(commands.take(), Some(Command::DetachRing(ended)) if ended == session));
        assert_eq!(subscriber.matches.count(), 0);
        assert_eq!(rings.attached().len(), 0);
    }

    #[test]
    fn a_ring_whose_writer_is_out_of_sight_is_read_on_until_its_writer_is_gone() {
        let Fixture { own, rings, subscriber, commands, clock, writer, .. } = &mut fixture(8);
        let (mut backlog, own, session) = (Backlog::default(), *own, SESSION);
        rings.advertised(subscriber, own, session, clock.now(), &mut backlog);
        assert!(matches!(commands.take(), Some(Command::AttachRing(_))));
        for _ in 0..2 {
            rings.withdrawn(own, session, &mut backlog);
            assert_eq!((subscriber.matches.count(), rings.attached().len()), (0, 1));
            rings.reclaim(session, &mut backlog);
            rings.advertised(subscriber, own, session, clock.now(), &mut backlog);
            assert_eq!(subscriber.matches.all(), [own]);
            assert!(commands.take().is_none());
        }
        rings.withdrawn(own, session, &mut backlog);
        // It has begun another one since.
        subscriber.match_with(own, &rings.parts.requests);
        writer.finish();
        rings.reclaim(session, &mut backlog);
        assert!(matches!(commands.take(), Some(Command::DetachRing(ended)) if ended == session));
        assert_eq!((subscriber.matches.count(), rings.attached().len()), (1, 0));
    }

    #[test]
    fn a_ring_whose_writer_is_out_of_sight_ends_with_its_subscription() {
        let Fixture { own, rings, subscriber, commands, clock, .. } = &mut fixture(8);
        let mut backlog = Backlog::default();
        rings.advertised(subscriber, *own, SESSION, clock.now(), &mut backlog);
        rings.withdrawn(*own, SESSION, &mut backlog);
        rings.unsubscribed(subscriber.hash, std::iter::empty(), &mut backlog);
        assert!(matches!(commands.take(), Some(Command::AttachRing(_))));
        assert!(matches!(commands.take(), Some(Command::DropRing(ended)) if ended == SESSION));
        assert_eq!((rings.attached().len(), rings.unseen.len()), (0, 0));
    }

    /// Cut off while it is out of sight, it is attached again, and what is lost can be told.
    #[test]
    fn a_reader_that_is_cut_off_out_of_sight_goes_on_as_long_as_its_writer_writes() {
        let Fixture { own, rings, subscriber, commands, clock, writer, .. } = &mut fixture(8);
        let (mut backlog, now) = (Backlog::default(), clock.now());
        rings.advertised(subscriber, *own, SESSION, now, &mut backlog);
        rings.withdrawn(*own, SESSION, &mut backlog);
        for _ in 0..2 {
            assert!(matches!(commands.take(), Some(Command::AttachRing(_))));
            rings.lost(SESSION, Delivery::new(1024), now);
            rings.retry(now, &mut backlog);
            assert_eq!((subscriber.matches.count(), rings.attached().len()), (0, 1));
        }
        // In either order, and before it was tried again.
        rings.lost(SESSION, Delivery::new(1024), now);
        rings.advertised(subscriber, *own, SESSION, now, &mut backlog);
        rings.withdrawn(*own, SESSION, &mut backlog);
        assert!(rings.wanted.iter().all(|it| it.delivery.is_some() && it.is_unseen));
        rings.advertised(subscriber, *own, SESSION, now, &mut backlog);
        rings.retry(now, &mut backlog);
        assert_eq!(subscriber.matches.all(), [*own]);
        rings.withdrawn(*own, SESSION, &mut backlog);
        rings.lost(SESSION, Delivery::new(1024), now);
        writer.finish();
        rings.retry(now, &mut backlog);
        assert_eq!((rings.attached().len(), rings.next_deadline()), (0, Timestamp::NEVER));
    }
}
