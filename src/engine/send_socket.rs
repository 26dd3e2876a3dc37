//! The socket that the publications of one interface and TTL share: data goes out, feedback comes back
//! to the same address. Layer: engine. Any thread sends; whoever reads feedback puts it into the
//! mailbox of the publication that it is for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::counters::{Counter, Counters};
use crate::id::SessionId;
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::control::{Feedback, Range, Status};
use crate::wire::packet::{PacketKind, Prefix};

/// Packets that wait for one publication; those that come later are refused.
const MAX_WAITING: usize = 256;
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

/// A sending socket and the mailboxes behind it.
#[derive(Debug)]
pub(crate) struct SendSocket {
    pub(super) socket: UdpSocket,
    /// Room to read feedback. Locked by whoever does; others do not wait for it.
    desk: Mutex<Desk>,
    mailboxes: RwLock<HashMap<SessionId, Arc<Mailbox>>>,
    counters: Arc<Counters>,
}

/// What feedback is read into.
#[derive(Debug)]
struct Desk {
    buffer: ReceiveBuffer,
    missing: Vec<Range>,
}

impl SendSocket {
    pub(crate) fn new(socket: UdpSocket, counters: Arc<Counters>) -> Self {
        Self {
            socket,
            desk: Mutex::new(Desk { buffer: ReceiveBuffer::new(), missing: Vec::new() }),
            mailboxes: RwLock::default(),
            counters,
        }
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
        let Desk { buffer, missing } = &mut *desk;
        for _ in 0..FEEDBACK_BURST {
            let received = match self.socket.recv(buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "feedback cannot be read");
                    return;
                }
            };
            if received.bytes().is_empty() {
                self.counters.add(Counter::Malformed, 1);
            }
            let source = received.source();
            for packet in received.segments() {
                self.sort(source, packet, missing);
            }
        }
    }

    fn sort(&self, source: SocketAddr, packet: &[u8], missing: &mut Vec<Range>) {
        let feedback = match Prefix::decode(packet) {
            Ok(prefix) if matches!(prefix.kind, PacketKind::Status | PacketKind::Nak) => {
                Feedback::decode(&prefix, &packet[..prefix.length], missing)
            }
            Ok(_) => return self.counters.add(Counter::Foreign, 1),
            Err(error) => Err(error),
        };
        let Ok(feedback) = feedback else { return self.counters.add(Counter::Malformed, 1) };
        let mailboxes = self.mailboxes.read();
        let mailbox = mailboxes.get(&feedback.status.session);
        if !mailbox.is_some_and(|mailbox| mailbox.put(source, &feedback)) {
            self.counters.add(Counter::StatusesRefused, 1);
        }
    }
}
