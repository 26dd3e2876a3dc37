//! What a look at a ring comes to, over a real file. Tests.

use std::sync::Arc;

use super::*;
use crate::engine::endpoint::tests::{Nobody, OWN};
use crate::id::{InstanceId, TopicHash};
use crate::ring::Layout;
use crate::ring::append::{Appender, Entry};
use crate::ring::shared::{Description, SharedRing, Start};
use crate::transport::shm::Directory;
use crate::wire::packet::PacketHeader;

pub(in crate::engine) const SESSION: SessionId = SessionId(7);
const TOPIC: TopicHash = TopicHash(1);

/// A folder for rings, and one in there as its writer sees it.
pub(in crate::engine) fn ring_file(
    name: &str,
    instance: InstanceId,
    topic: TopicHash,
) -> (tempfile::TempDir, Directory, SharedRing) {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = Directory::open(Some(&folder.path().join("rings"))).expect("a directory");
    let layout = Layout::for_shared_window(1408, 64 << 10);
    let file = directory.create(name, SharedRing::file_bytes(layout) as u64).expect("a file");
    let description = Description { layout, topic, session: SESSION, instance, stream: 0 };
    (folder, directory, SharedRing::create(file, description))
}

/// A ring, its writer, and who reads it for a poller without subscriptions.
struct Fixture {
    ring: SharedRing,
    appender: Appender,
    endpoint: RingEndpoint,
    dispatch: Dispatch,
    counters: Arc<Counters>,
    clock: Clock,
    sequence: u64,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let (folder, directory, ring) = ring_file("1", OWN, TOPIC);
        let header = PacketHeader { session: SESSION, sequence: 0, stream: 0, instance: OWN };
        // Mapped a second time: who holds a lock on a file does not see it.
        let seen = SharedRing::open(directory.open_file("1").expect("the file")).expect("the ring");
        let joined = seen.attach(OWN, Start::LiveEdge).expect("a place");
        let counters = Arc::new(Counters::new());
        let mut delivery = Delivery::new(1024);
        delivery.expect_from(joined.first);
        Self {
            appender: Appender::new(ring.slots(), &header),
            ring,
            endpoint: RingEndpoint::new(joined.entry, joined.reader, delivery),
            dispatch: Dispatch::new(Arc::clone(&counters), Arc::new(Nobody)),
            counters,
            clock: Clock::start(),
            sequence: 0,
            _folder: folder,
        }
    }

    fn send(&mut self) {
        self.sequence += 1;
        let message = Entry {
            kind: FrameKind::Message,
            publisher: 1,
            topic: TOPIC,
            sequence: self.sequence,
            prefix: &[],
            payload: &[0; 1024],
        };
        self.appender.append(&message).expect("room");
    }

    fn read(&mut self) -> RingState {
        let Self { endpoint, dispatch, counters, clock, .. } = self;
        endpoint.read(false, dispatch, counters, clock)
    }

    /// Packet up to which the writer knows that everything has been read.
    fn published(&self) -> u64 {
        self.ring.positions().next().expect("a reader").1
    }
}

/// An idle strategy that yields or sleeps would otherwise do so between two messages of an exchange, once for each
/// packet.
#[test]
fn who_tells_the_writer_how_far_it_is_has_not_looked_in_vain() {
    let mut fixture = Fixture::new();
    assert!(!fixture.endpoint.has_something());
    // The second message is in a packet of its own: the first one has been read.
    for _ in 0..2 {
        fixture.send();
        assert_eq!(fixture.read(), RingState::Busy);
    }
    assert_eq!(fixture.published(), 0);
    assert!(fixture.endpoint.has_something());
    assert_eq!(fixture.read(), RingState::Busy);
    assert_eq!(fixture.published(), 1);
    assert!(!fixture.endpoint.has_something());
    assert_eq!(fixture.read(), RingState::Idle);
    fixture.endpoint.close();
    assert_eq!(fixture.read(), RingState::Drained);
}
