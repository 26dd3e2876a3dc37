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
use crate::wire::control::Feedback;
use crate::wire::packet::{PacketKind, Prefix};

/// Packets that wait for one publication; those that come later are refused.
const MAX_WAITING: usize = 256;
/// Datagrams read in one go, so that a flood cannot hold up a sender.
const FEEDBACK_BURST: usize = 64;

/// Feedback for one publication, with the address that each came from.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: AtomicBool,
    feedback: Mutex<Vec<(SocketAddr, Feedback)>>,
}

impl Mailbox {
    /// Takes what has come. Costs one load when nothing has.
    #[inline]
    pub(super) fn take(&self, into: &mut Vec<(SocketAddr, Feedback)>) {
        if self.waiting.load(Ordering::Acquire) {
            self.waiting.store(false, Ordering::Release);
            into.append(&mut self.feedback.lock());
        }
    }

    /// Whether something has come.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    fn put(&self, source: SocketAddr, feedback: Feedback) -> bool {
        let mut waiting = self.feedback.lock();
        if waiting.len() >= MAX_WAITING {
            return false;
        }
        waiting.push((source, feedback));
        // Release: pairs with the Acquire in `take`.
        self.waiting.store(true, Ordering::Release);
        true
    }
}

/// A sending socket and the mailboxes behind it.
#[derive(Debug)]
pub(crate) struct SendSocket {
    pub(super) socket: UdpSocket,
    /// Locked by whoever reads feedback; others do not wait for it.
    buffer: Mutex<ReceiveBuffer>,
    mailboxes: RwLock<HashMap<SessionId, Arc<Mailbox>>>,
    counters: Arc<Counters>,
}

impl SendSocket {
    pub(crate) fn new(socket: UdpSocket, counters: Arc<Counters>) -> Self {
        Self {
            socket,
            buffer: Mutex::new(ReceiveBuffer::new()),
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
        let Some(mut buffer) = self.buffer.try_lock() else { return };
        for _ in 0..FEEDBACK_BURST {
            let received = match self.socket.recv(&mut buffer) {
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
                self.sort(source, packet);
            }
        }
    }

    fn sort(&self, source: SocketAddr, packet: &[u8]) {
        let feedback = match Prefix::decode(packet) {
            Ok(prefix) if matches!(prefix.kind, PacketKind::Status | PacketKind::Nak) => {
                Feedback::decode(&prefix, &packet[..prefix.length])
            }
            Ok(_) => return self.counters.add(Counter::Foreign, 1),
            Err(error) => Err(error),
        };
        let Ok(feedback) = feedback else { return self.counters.add(Counter::Malformed, 1) };
        let mailboxes = self.mailboxes.read();
        let mailbox = mailboxes.get(&feedback.status.session);
        if !mailbox.is_some_and(|mailbox| mailbox.put(source, feedback)) {
            self.counters.add(Counter::StatusesRefused, 1);
        }
    }
}
