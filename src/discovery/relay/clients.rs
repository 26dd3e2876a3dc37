//! Who has shown a ticket and announced itself, until when. Layer: discovery (sans-IO). Owned by the
//! daemon's thread, inside [`Relay`](super::Relay).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::ClientInfo;
use super::allowance::Allowance;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::wire::advert::daemon::Heard;
use crate::wire::advert::{Announce, DiscoveryView, parse};

/// One client. A kilobyte and less, whatever it sends.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) info: ClientInfo,
    pub(super) allowance: Allowance,
    /// It said GOODBYE. It keeps its place until it would have expired, and with it its allowance.
    pub(super) left: bool,
    /// Its last ANNOUNCE, as others get it; none before the first.
    announce: Option<Arc<[u8]>>,
    heard: Heard,
    last_heard: Timestamp,
    timeout: Duration,
    /// The instant under which its expiry is filed.
    expiry: Timestamp,
}

impl Client {
    pub(super) fn new(
        info: ClientInfo,
        allowance: Allowance,
        timeout: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            heard: Heard { instance: info.instance, head: 0, digest: 0 },
            info,
            allowance,
            left: false,
            announce: None,
            last_heard: now,
            timeout,
            expiry: now + timeout,
        }
    }

    /// What others are told of it in short.
    pub(super) const fn heard(&self) -> Heard {
        self.heard
    }

    /// What others are told of it when they ask.
    pub(super) fn announce(&self) -> Option<&Arc<[u8]>> {
        self.announce.as_ref()
    }
}

/// The clients by their addresses: two that share one are one.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: BTreeMap<SocketAddr, Client>,
    /// Where an instance was heard last.
    addresses: HashMap<InstanceId, SocketAddr>,
    /// One entry per client. It is moved when it comes up, not whenever the client is heard.
    expiries: BTreeSet<(Timestamp, SocketAddr)>,
}

impl Clients {
    /// Those that have left and not yet expired take room, too.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.clients.contains_key(&address)
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Client> {
        self.clients.get_mut(&address)
    }

    /// The client that an instance is.
    pub(super) fn find(&self, instance: InstanceId) -> Option<&Client> {
        self.clients.get(self.addresses.get(&instance)?).filter(|client| !client.left)
    }

    /// Those that are there, in the order of their addresses.
    pub(super) fn present(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|client| !client.left)
    }

    /// Those that are there, from the one behind `after` on.
    pub(super) fn beyond(&self, after: Option<SocketAddr>) -> impl Iterator<Item = &Client> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.clients.range((from, Bound::Unbounded));
        range.map(|(_, client)| client).filter(|client| !client.left)
    }

    /// Takes the place of whoever had the address before.
    pub(super) fn insert(&mut self, mut client: Client) {
        let address = client.info.address;
        if let Some(old) = self.remove(address) {
            client.allowance = old.allowance;
        }
        self.expiries.insert((client.expiry, address));
        self.clients.insert(address, client);
    }

    /// Notes an ANNOUNCE. Tells whether others have to be shown it: whether something in it is new that
    /// HEARD does not tell. `None` for no client.
    pub(super) fn announced(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        announce: &Announce<'_>,
        packet: &Arc<[u8]>,
        timeout: Duration,
    ) -> Option<bool> {
        let client = self.clients.get_mut(&address)?;
        let Announce { instance, head, digest, .. } = *announce;
        let is_known = client.announce.as_deref().is_some_and(|old| match parse(old) {
            Ok(DiscoveryView::Announce(old)) => {
                old == Announce { head: old.head, digest: old.digest, direct: true, ..*announce }
            }
            _ => false,
        });
        client.announce = Some(Arc::clone(packet));
        client.heard = Heard { instance, head, digest };
        client.last_heard = now;
        client.timeout = timeout;
        self.addresses.insert(instance, address);
        Some(!is_known)
    }

    /// A client is gone; it keeps its place for a while. `None` when it was gone before.
    pub(super) fn leave(&mut self, address: SocketAddr) -> Option<ClientInfo> {
        let client = self.clients.get_mut(&address).filter(|client| !client.left)?;
        client.left = true;
        client.announce = None;
        Some(client.info.clone())
    }

    /// Removes a client that was silent for too long; tells whether it had left before.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(ClientInfo, bool)> {
        while let Some(&(due, address)) = self.expiries.first()
            && due <= now
        {
            let client = self.clients.get_mut(&address)?;
            let expiry = client.last_heard + client.timeout;
            if expiry <= now {
                return self.remove(address).map(|client| (client.info, client.left));
            }
            client.expiry = expiry;
            self.expiries.pop_first();
            self.expiries.insert((expiry, address));
        }
        None
    }

    fn remove(&mut self, address: SocketAddr) -> Option<Client> {
        let client = self.clients.remove(&address)?;
        self.expiries.remove(&(client.expiry, address));
        if self.addresses.get(&client.info.instance) == Some(&address) {
            self.addresses.remove(&client.info.instance);
        }
        Some(client)
    }

    /// With a quarter more for what trees and tables leave empty.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        let fixed = size_of::<(SocketAddr, Client)>()
            + size_of::<(InstanceId, SocketAddr)>()
            + size_of::<(Timestamp, SocketAddr)>();
        let held = |client: &Client| {
            fixed + client.info.name.len() + client.announce.as_ref().map_or(0, |it| it.len())
        };
        self.clients.values().map(held).sum::<usize>() * 5 / 4
    }

    pub(super) fn next_expiry(&self) -> Timestamp {
        self.expiries.first().map_or(Timestamp::NEVER, |(due, _)| *due)
    }
}
