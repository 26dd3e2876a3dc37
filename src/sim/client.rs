//! One client of discovery daemons without its socket, clock and thread. Layer: sim. Owned by
//! whoever drives it.
//!
//! An instance costs three threads and some megabytes; what a daemon sees of it is its discovery. So a
//! thousand of these make a daemon believe in a thousand instances, over sockets that are real.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Config, Transport};
use crate::discovery::event::Event;
use crate::discovery::{Advert, Carrier, Discovery, Identity, Settings, Target};
use crate::id::{InstanceId, TopicHash};
use crate::time::Timestamp;
use crate::wire::advert::AdvertKind;
use crate::wire::locator::Locator;

/// As when an instance closes.
const GOODBYES: usize = 2;

/// The discovery of production, of one instance behind daemons, which publishes topics by unicast.
///
/// Time is what has passed since any moment before the start, the same for all calls. After every other
/// call, what [`Client::poll_transmit`] gives has to be sent from the client's address until it gives
/// nothing, and again when [`Client::next_deadline`] has come.
#[derive(Debug)]
pub struct Client {
    id: InstanceId,
    address: SocketAddr,
    discovery: Discovery,
    lost: usize,
}

impl Client {
    /// A client with a socket at `address`. Of the configuration, `[discovery]` and `[limits]` matter.
    #[must_use]
    pub fn new(config: &Config, name: &str, address: SocketAddr, now: Duration) -> Self {
        let (id, at) = (InstanceId::random(), Locator { address, stream: 0 });
        let identity = Identity {
            instance: id,
            name: name.into(),
            control: at,
            source: address,
            responses: at,
            host: 0,
        };
        let carrier = Carrier::of(&config.discovery, false);
        let (seed, _) = id.as_uuid().as_u64_pair();
        let settings = Settings::of(config);
        let discovery = Discovery::new(identity, settings, &carrier, seed, timestamp(now));
        Self { id, address, discovery, lost: 0 }
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.id
    }

    /// Tells the others that it publishes a topic. False when the name is none, or its hash is taken.
    pub fn publish(&mut self, topic: &str) -> bool {
        let advert = Advert {
            kind: AdvertKind::Publisher,
            transport: Transport::Unicast,
            topic: topic.into(),
            hash: TopicHash::of(topic),
            locator: Some(Locator { address: self.address, stream: 1 }),
            session: None,
        };
        self.discovery.advertise(advert).is_ok()
    }

    /// Takes a datagram. What is none of discovery is dropped.
    pub fn handle_datagram(&mut self, now: Duration, source: SocketAddr, bytes: &[u8]) {
        // Discovery counts what it refuses.
        let _ = self.discovery.handle_datagram(timestamp(now), source, bytes);
        self.take_events();
    }

    /// Gives up whoever was silent for too long.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.discovery.handle_timeout(timestamp(now));
        self.take_events();
    }

    /// Says goodbye, with the next [`Client::poll_transmit`], and is silent from then on.
    pub fn leave(&mut self) {
        self.discovery.goodbye(GOODBYES);
    }

    /// Writes the next datagram that is due into `buffer`, and says where it goes.
    #[must_use = "the datagram in the buffer has to be sent"]
    pub fn poll_transmit(&mut self, now: Duration, buffer: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            match self.discovery.poll_transmit(timestamp(now), buffer)? {
                Target::Unicast(address) => return Some(address),
                // There is none: everything for everybody goes through daemons.
                Target::Group => {}
            }
        }
    }

    /// When something is due, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        self.discovery.next_deadline().since(Timestamp::default())
    }

    /// The others that it knows.
    pub fn peers(&self) -> impl Iterator<Item = InstanceId> {
        self.discovery.peers().map(|peer| peer.instance)
    }

    /// How many others it knows, and how many adverts of theirs.
    #[must_use]
    pub fn known(&self) -> (usize, usize) {
        let counters = self.discovery.counters();
        let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
        (size(counters.peers), size(counters.adverts))
    }

    /// The topics of the others, with who publishes each.
    pub fn adverts(&self) -> impl Iterator<Item = (InstanceId, &str)> {
        self.discovery.adverts().map(|(instance, advert)| (instance, &*advert.topic))
    }

    /// How many of the others have gone, for whatever reason, since the start.
    #[must_use]
    pub const fn lost(&self) -> usize {
        self.lost
    }

    fn take_events(&mut self) {
        while let Some(event) = self.discovery.poll_event() {
            self.lost += usize::from(matches!(event, Event::InstanceDown { .. }));
        }
    }
}

fn timestamp(time: Duration) -> Timestamp {
    Timestamp::default() + time
}
