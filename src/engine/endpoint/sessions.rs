//! The sessions that one endpoint follows, and which of them the packet at hand belongs to. Layer:
//! engine. Owned by one endpoint.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;

use crate::counters::{Counter, Counters};
use crate::engine::dispatch::{HashHasher, Origin};
use crate::id::SessionId;
use crate::protocol::receiver::{ReceiveCounters, ReceiveSession};
use crate::time::Timestamp;
use crate::transport::udp::{Destination, UdpSocket};
use crate::wire::packet::PacketHeader;

/// Sessions that one endpoint follows. A session more than that takes the place of the one that has
/// been silent longest: what a forger opens cannot grow without bound.
const MAX_SESSIONS: usize = 4096;

/// A session, and whom to tell how far it has been read.
pub(super) struct Heard {
    pub(super) session: ReceiveSession,
    pub(super) origin: Origin,
    pub(super) source: SocketAddr,
    pub(super) feedback_to: Destination,
    pub(super) last_heard: Timestamp,
    /// What it had counted when that was last published.
    pub(super) counted: ReceiveCounters,
    /// Its instance is gone: to be forgotten once the socket has been read empty.
    pub(super) is_orphan: bool,
}

impl Heard {
    pub(super) fn send(&self, feedback: &UdpSocket, packet: &[u8], counters: &Counters) {
        if let Err(error) = feedback.send_run(Some(&self.feedback_to), packet, packet.len()) {
            counters.add(Counter::SendErrors, 1);
            tracing::debug!(%error, to = %self.source, "feedback not sent");
        }
    }

    /// Whether a packet that names this session is its sender's. A session does not change its owner,
    /// its stream or its socket; who claims so is somebody else, and could end it with a number far
    /// ahead.
    #[inline]
    pub(super) fn is_from(&self, source: SocketAddr, header: &PacketHeader) -> bool {
        self.origin.instance == header.instance
            && self.origin.stream == header.stream
            && self.source == source
    }
}

/// Sessions by their identity.
#[derive(Default)]
pub(super) struct Sessions {
    all: Vec<Heard>,
    by_id: HashMap<SessionId, usize, BuildHasherDefault<HashHasher>>,
    /// The session of the packet at hand, which is mostly that of the packet before.
    current: usize,
}

impl Sessions {
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Heard> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Heard> {
        self.all.iter_mut()
    }

    /// The session that was selected last.
    #[inline]
    pub(super) fn current(&mut self) -> Option<&mut Heard> {
        self.all.get_mut(self.current)
    }

    #[inline]
    pub(super) fn is_current(&self, id: SessionId) -> bool {
        self.all.get(self.current).is_some_and(|heard| heard.origin.session == id)
    }

    /// Makes a session the current one. False when it is not known.
    pub(super) fn select(&mut self, id: SessionId) -> bool {
        match self.by_id.get(&id) {
            Some(at) => {
                self.current = *at;
                true
            }
            None => false,
        }
    }

    /// The same by its place, for who goes through all of them.
    pub(super) fn select_at(&mut self, at: usize) -> Option<&mut Heard> {
        self.current = at;
        self.current()
    }

    /// Makes room for one more. True when another had to go.
    pub(super) fn make_room(&mut self) -> bool {
        if self.all.len() < MAX_SESSIONS {
            return false;
        }
        if let Some(oldest) = self.all.iter().map(|heard| heard.last_heard).min() {
            self.forget(|heard| heard.last_heard == oldest);
        }
        true
    }

    /// Follows a session from now on, which is the current one then.
    pub(super) fn open(&mut self, heard: Heard) {
        self.current = self.all.len();
        self.by_id.insert(heard.origin.session, self.current);
        self.all.push(heard);
    }

    pub(super) fn forget(&mut self, which: impl Fn(&Heard) -> bool) {
        self.take(which, drop);
    }

    /// Forgets sessions, and hands each of them over.
    pub(super) fn take(&mut self, which: impl Fn(&Heard) -> bool, with: impl FnMut(Heard)) {
        self.all.extract_if(.., |heard| which(heard)).for_each(with);
        let places = self.all.iter().enumerate();
        self.by_id = places.map(|(at, heard)| (heard.origin.session, at)).collect();
        self.current = 0;
    }
}
