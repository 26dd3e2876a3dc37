//! The sockets that the publications of one interface and TTL share: data goes out, feedback comes back
//! to the address that it left from. Layer: engine. Any thread sends; whoever reads feedback puts it
//! into the mailbox of the publication that it is for.
//!
//! One socket can send anywhere. To look up the way costs it a tenth of a round trip over loopback
//! with every packet, so groups, and a few receivers, have a connected socket beside it. All have one
//! address: a session never changes the one that it comes from.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use mio::{Interest, Registry, Token};
use parking_lot::{Mutex, RwLock};

use super::reading::read;
use super::trouble::refusal;
use crate::counters::{Counter, Counters};
use crate::id::SessionId;
use crate::transport::interface::Interface;
use crate::transport::udp::{
    Destination, OpenError, ReceiveBuffer, SocketOptions, UdpSocket, find_route,
};
use crate::wire::control::{Feedback, Range, Status};
use crate::wire::packet::{PacketKind, Prefix};

/// Packets that wait for one publication; those that come later are refused.
const MAX_WAITING: usize = 256;
/// Receivers with a connected socket: to read feedback takes a system call for each.
const MAX_CONNECTED: usize = 8;
/// Groups with a connected socket, to which no feedback comes: what they take is descriptors.
const MAX_GROUPS: usize = 128;
/// Datagrams read in one go, so that a flood cannot hold up a sender.
const FEEDBACK_BURST: usize = 64;

/// Feedback in the order in which it came. What is missing stands in one list for all of it, so that a
/// NAK takes no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Where each came from, and how many ranges it has.
    statuses: Vec<(SocketAddr, Status, usize)>,
    missing: Vec<Range>,
}

impl Letters {
    pub(super) const fn is_empty(&self) -> bool {
        self.statuses.is_empty()
    }

    fn push(&mut self, source: SocketAddr, feedback: &Feedback<'_>) {
        self.statuses.push((source, feedback.status, feedback.missing.len()));
        self.missing.extend_from_slice(feedback.missing);
    }

    fn append(&mut self, other: &mut Self) {
        self.statuses.append(&mut other.statuses);
        self.missing.append(&mut other.missing);
    }

    /// Hands over each with the address that it came from, and forgets all.
    pub(super) fn read(&mut self, mut reader: impl FnMut(SocketAddr, &Feedback<'_>)) {
        let mut rest = &self.missing[..];
        for (source, status, ranges) in self.statuses.drain(..) {
            let (missing, later) = rest.split_at(ranges);
            rest = later;
            reader(source, &Feedback { status, missing });
        }
        self.missing.clear();
    }
}

/// Feedback for one publication.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: AtomicBool,
    letters: Mutex<Letters>,
}

impl Mailbox {
    /// Takes what has come. Costs one load when nothing has.
    #[inline]
    pub(super) fn take(&self, into: &mut Letters) {
        if self.waiting.load(Ordering::Acquire) {
            self.waiting.store(false, Ordering::Release);
            into.append(&mut self.letters.lock());
        }
    }

    /// Whether something has come.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    fn put(&self, source: SocketAddr, feedback: &Feedback<'_>) -> bool {
        let mut letters = self.letters.lock();
        if letters.statuses.len() >= MAX_WAITING {
            return false;
        }
        letters.push(source, feedback);
        // Release: pairs with the Acquire in `take`.
        self.waiting.store(true, Ordering::Release);
        true
    }
}

/// Sending sockets and the mailboxes behind them.
#[derive(Debug)]
pub(crate) struct SendSocket {
    /// Sends anywhere.
    pub(super) socket: UdpSocket,
    opener: Opener,
    branches: RwLock<Branches>,
    /// Groups that have a connected socket, or had one.
    groups: AtomicUsize,
    /// Room to read feedback. Locked by whoever does; others do not wait for it.
    desk: Mutex<Desk>,
    mailboxes: RwLock<HashMap<SessionId, Arc<Mailbox>>>,
    counters: Arc<Counters>,
}

/// How further sockets are opened.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    pub(crate) interface: Interface,
    pub(crate) ttl: u8,
    pub(crate) options: SocketOptions,
}

/// Connected sockets that feedback comes to.
#[derive(Debug, Default)]
struct Branches {
    /// Each lives as long as the lanes that send through it.
    sockets: Vec<(SocketAddr, Weak<UdpSocket>)>,
    /// Whom feedback wakes.
    wakes: Option<Arc<(Registry, Token)>>,
}

impl Branches {
    fn open(&self) -> impl Iterator<Item = Arc<UdpSocket>> + '_ {
        self.sockets.iter().filter_map(|(_, socket)| socket.upgrade())
    }
}

/// Where packets leave, and to whom.
#[derive(Debug)]
pub(super) enum Way {
    /// Through the socket that sends anywhere.
    Shared(Destination),
    /// Through a socket that leads nowhere else.
    Own(Arc<UdpSocket>),
}

/// What feedback is read into.
#[derive(Debug)]
struct Desk {
    buffer: ReceiveBuffer,
    missing: Vec<Range>,
}

impl SendSocket {
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn open(opener: Opener, counters: Arc<Counters>) -> Result<Self, OpenError> {
        Ok(Self {
            socket: UdpSocket::open_sender(&opener.interface, opener.ttl, &opener.options)?,
            opener,
            branches: RwLock::default(),
            groups: AtomicUsize::new(0),
            desk: Mutex::new(Desk { buffer: ReceiveBuffer::new(), missing: Vec::new() }),
            mailboxes: RwLock::default(),
            counters,
        })
    }

    /// Looks whether a group can be sent to.
    ///
    /// # Errors
    ///
    /// [`OpenError`], where the routing table knows no way.
    pub(super) fn check_group(&self, group: SocketAddr) -> Result<(), OpenError> {
        find_route(&self.opener.interface, group.ip(), &self.opener.options)
    }

    /// The way to one receiver, whose feedback comes back by it.
    pub(super) fn way_to(&self, receiver: SocketAddr) -> Way {
        let mut branches = self.branches.write();
        branches.sockets.retain(|(_, socket)| socket.strong_count() > 0);
        let mut open = branches.sockets.iter().filter(|(to, _)| *to == receiver);
        if let Some(known) = open.find_map(|(_, socket)| socket.upgrade()) {
            return Way::Own(known);
        }
        if branches.sockets.len() >= MAX_CONNECTED {
            return Way::Shared(self.socket.destination(receiver));
        }
        let opened = self.connect(receiver);
        if let Ok(socket) = &opened {
            branches.sockets.push((receiver, Arc::downgrade(socket)));
            branches.wakes.iter().for_each(|wakes| let_wake(wakes, socket));
        }
        self.own_or_shared(opened, receiver)
    }

    /// The way to a group, whose members answer to the socket that sends anywhere.
    pub(super) fn way_to_group(&self, group: SocketAddr) -> Way {
        if self.groups.fetch_add(1, Ordering::Relaxed) >= MAX_GROUPS {
            return Way::Shared(self.socket.destination(group));
        }
        self.own_or_shared(self.connect(group), group)
    }

    /// Without a connected socket it works as well, only slower.
    fn own_or_shared(&self, opened: Result<Arc<UdpSocket>, OpenError>, to: SocketAddr) -> Way {
        match opened {
            Ok(socket) => Way::Own(socket),
            Err(error) => {
                tracing::debug!(%error, %to, "no socket of its own");
                Way::Shared(self.socket.destination(to))
            }
        }
    }

    fn connect(&self, to: SocketAddr) -> Result<Arc<UdpSocket>, OpenError> {
        let Opener { interface, ttl, options } = &self.opener;
        self.socket.open_connected(interface, *ttl, to, options).map(Arc::new)
    }

    /// From now on feedback wakes whoever is given, or nobody.
    pub(super) fn set_wakes(&self, wakes: Option<Arc<(Registry, Token)>>) {
        let mut branches = self.branches.write();
        let before = std::mem::replace(&mut branches.wakes, wakes);
        let switch = |socket: &UdpSocket| {
            if let Some((registry, _)) = before.as_deref() {
                // Fails only for a socket that could not be registered.
                let _ = registry.deregister(&mut &*socket);
            }
            branches.wakes.iter().for_each(|wakes| let_wake(wakes, socket));
        };
        switch(&self.socket);
        branches.open().for_each(|socket| switch(&socket));
    }

    /// Whether there is feedback that the kernel will not announce.
    pub(super) fn is_holding(&self) -> bool {
        let branches = self.branches.read();
        self.socket.is_holding() || branches.open().any(|socket| socket.is_holding())
    }

    pub(super) fn register(&self, session: SessionId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.write().insert(session, Arc::clone(&mailbox));
        mailbox
    }

    pub(super) fn unregister(&self, session: SessionId) {
        self.mailboxes.write().remove(&session);
    }

    /// Reads what receivers have sent back, unless another thread is doing that.
    pub(super) fn read_feedback(&self) {
        let Some(mut desk) = self.desk.try_lock() else { return };
        self.read(&self.socket, &mut desk);
        for socket in self.branches.read().open() {
            self.read(&socket, &mut desk);
        }
    }

    fn read(&self, socket: &UdpSocket, desk: &mut Desk) {
        let Desk { buffer, missing } = desk;
        read(socket, buffer, FEEDBACK_BURST, &self.counters, |source, packet| {
            self.sort(source, packet, missing);
        });
    }

    fn sort(&self, source: SocketAddr, packet: &[u8], missing: &mut Vec<Range>) {
        let feedback = match Prefix::decode(packet) {
            Ok(prefix) if matches!(prefix.kind, PacketKind::Status | PacketKind::Nak) => {
                Feedback::decode(&prefix, &packet[..prefix.length], missing)
            }
            Ok(_) => return self.counters.add(Counter::Foreign, 1),
            Err(error) => Err(error),
        };
        let feedback = match feedback {
            Ok(feedback) => feedback,
            Err(error) => return self.counters.add(refusal(error), 1),
        };
        let mailboxes = self.mailboxes.read();
        let mailbox = mailboxes.get(&feedback.status.session);
        if !mailbox.is_some_and(|mailbox| mailbox.put(source, &feedback)) {
            self.counters.add(Counter::StatusesRefused, 1);
        }
    }
}

fn let_wake((registry, token): &(Registry, Token), socket: &UdpSocket) {
    if let Err(error) = registry.register(&mut &*socket, *token, Interest::READABLE) {
        tracing::error!(%error, "feedback will be late: its socket cannot be polled");
    }
}
