//! The socket that the publications of one template share: data goes out, feedback comes back to
//! the same address. Layer: engine. Any thread sends; whoever reads feedback puts it into the
//! mailbox of the publication that it is for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::counters::{Counter, Counters};
use crate::id::SessionId;
use crate::transport::udp::{ReceiveBuffer, UdpSocket};
use crate::wire::control::Status;
use crate::wire::packet::{PacketKind, Prefix};

/// Statuses that wait for one publication; the newest ones matter, the others are refused.
const MAX_WAITING: usize = 256;
/// Datagrams read in one go, so that a flood cannot hold up a sender.
const FEEDBACK_BURST: usize = 64;

/// Feedback for one publication.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: AtomicBool,
    statuses: Mutex<Vec<Status>>,
}

impl Mailbox {
    /// Takes what has come. Costs one load when nothing has.
    #[inline]
    pub(super) fn take(&self, into: &mut Vec<Status>) {
        if self.waiting.load(Ordering::Acquire) {
            self.waiting.store(false, Ordering::Release);
            into.append(&mut self.statuses.lock());
        }
    }

    fn put(&self, status: Status) -> bool {
        let mut statuses = self.statuses.lock();
        if statuses.len() >= MAX_WAITING {
            return false;
        }
        statuses.push(status);
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
            for packet in received.segments() {
                self.sort(packet);
            }
        }
    }

    fn sort(&self, packet: &[u8]) {
        let status = match Prefix::decode(packet) {
            Ok(prefix) if prefix.kind == PacketKind::Status => {
                Status::decode(&packet[..prefix.length])
            }
            Ok(_) => return self.counters.add(Counter::Foreign, 1),
            Err(error) => Err(error),
        };
        let Ok(status) = status else { return self.counters.add(Counter::Malformed, 1) };
        let mailboxes = self.mailboxes.read();
        let accepted = mailboxes.get(&status.session).is_some_and(|mailbox| mailbox.put(status));
        if !accepted {
            self.counters.add(Counter::StatusesRefused, 1);
        }
    }
}
