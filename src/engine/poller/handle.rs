//! How others talk to a poller, and what it reports. Layer: engine. Any thread gives commands; the
//! poller takes them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError, sync_channel};

use crossbeam_channel::{Receiver, Sender};
use mio::{Token, Waker};

use crate::engine::callback::{self, CallbackThread};
use crate::engine::dispatch::{Ticket, TopicSubscription};
use crate::engine::endpoint::{EndpointId, SocketEndpoint};
use crate::engine::heartbeats::PendingCall;
use crate::engine::ring_endpoint::RingEndpoint;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::protocol::delivery::Delivery;

/// Commands that may wait for a poller. One that is in a long callback drains none meanwhile.
const MAX_COMMANDS: usize = 16 * 1024;

pub(super) const WAKE: Token = Token(usize::MAX);

/// What a poller is told to do.
pub(crate) enum Command {
    AddSocket(Box<SocketEndpoint>),
    RemoveSocket(EndpointId),
    Subscribe(Box<TopicSubscription>),
    Unsubscribe {
        hash: TopicHash,
        ticket: Ticket,
        done: Option<Sender<()>>,
    },
    /// Dropped when it is reached: who gave it knows then that all commands before it are done.
    Pass(Sender<()>),
    /// Leaves those topics in it that somebody here listens to.
    LookUp(Box<PendingCall>),
    AttachRing(Box<RingEndpoint>),
    /// After what the writer has left in it is read.
    DetachRing(SessionId),
    /// At once: nobody listens any more.
    DropRing(SessionId),
    ForgetInstance(InstanceId),
    Stop,
}

/// What a poller reports to the conductor.
pub(crate) trait Reports: Send + Sync {
    /// What arrives for the topic is delivered from now on.
    fn listening(&self, hash: TopicHash, opening: Ticket);
    /// A call has been looked up.
    fn looked_up(&self, call: Box<PendingCall>);
    /// The ring is to be attached anew.
    /// `delivery` knows what has been delivered of the session, so that the loss can be told.
    fn ring_lost(&self, session: SessionId, delivery: Delivery);
}

thread_local! {
    /// Commands that callbacks on this poller's own thread give to it: carried out right after the
    /// callback, without a queue that could be full.
    static DEFERRED: RefCell<Vec<Command>> = const { RefCell::new(Vec::new()) };
}

/// What this thread's callbacks have deferred, if anything.
#[inline]
pub(super) fn take_deferred() -> Option<Vec<Command>> {
    if DEFERRED.with_borrow(Vec::is_empty) {
        return None;
    }
    Some(DEFERRED.with_borrow_mut(std::mem::take))
}

/// How others talk to a poller. A channel of the standard library, which discards what waits when
/// its receiver is dropped: whoever waits for the end of a subscription notices.
#[derive(Clone)]
pub(crate) struct PollerHandle {
    instance: InstanceId,
    index: usize,
    commands: SyncSender<Command>,
    is_waiting: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// The commands that wait for a poller.
pub(in crate::engine) struct Inbox {
    commands: mpsc::Receiver<Command>,
    /// Set after a command has been put in. To ask the channel itself takes a fence, which waits for
    /// all that the poller has just written to rings.
    is_waiting: Arc<AtomicBool>,
}

impl Inbox {
    /// Whether there may be commands.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// All commands that are there are going to be taken; it is ready again with the next one.
    pub(super) fn begin(&self) {
        // Acquire: pairs with the Release in `PollerHandle::wake`.
        self.is_waiting.swap(false, Ordering::Acquire);
    }

    pub(in crate::engine) fn take(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }
}

/// The two ends of a queue with room for `room` commands.
fn queue(
    instance: InstanceId,
    index: usize,
    room: usize,
    waker: Arc<Waker>,
) -> (PollerHandle, Inbox) {
    let (sender, receiver) = sync_channel(room);
    let is_waiting = Arc::new(AtomicBool::new(false));
    let inbox = Inbox { commands: receiver, is_waiting: Arc::clone(&is_waiting) };
    (PollerHandle { instance, index, commands: sender, is_waiting, waker }, inbox)
}

impl PollerHandle {
    /// A handle of the poller that `waker` wakes, and what it is to take commands from.
    pub(super) fn open(instance: InstanceId, index: usize, waker: Arc<Waker>) -> (Self, Inbox) {
        queue(instance, index, MAX_COMMANDS, waker)
    }

    /// Gives a command. From the poller's own callbacks it is carried out after the callback; from
    /// elsewhere this waits when [`MAX_COMMANDS`] are waiting already.
    pub(crate) fn submit(&self, command: Command) {
        if self.is_current_thread() {
            DEFERRED.with_borrow_mut(|deferred| deferred.push(command));
            return;
        }
        // A poller that is gone has nothing left to do.
        if self.commands.send(command).is_ok() {
            self.wake();
        }
    }

    /// Gives a command unless too many are waiting.
    pub(crate) fn try_submit(&self, command: Command) -> Result<(), Command> {
        match self.commands.try_send(command) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(command)) => Err(command),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Ends one subscription to a topic, which is closed already. What is returned disconnects once the callback in flight is over;
    /// threads that run callbacks get nothing to wait for, because waiting for each other could
    /// deadlock.
    pub(crate) fn unsubscribe(&self, hash: TopicHash, ticket: Ticket) -> Option<Receiver<()>> {
        if callback::current_thread(self.instance).is_some() {
            self.submit(Command::Unsubscribe { hash, ticket, done: None });
            return None;
        }
        let (done, finished) = crossbeam_channel::bounded(1);
        self.submit(Command::Unsubscribe { hash, ticket, done: Some(done) });
        Some(finished)
    }

    /// Which of the instance's pollers it is.
    pub(in crate::engine) const fn index(&self) -> usize {
        self.index
    }

    /// Whether both lead to the same poller of one instance.
    pub(in crate::engine) fn is_same(&self, other: &Self) -> bool {
        self.index == other.index
    }

    fn is_current_thread(&self) -> bool {
        callback::current_thread(self.instance) == Some(CallbackThread::Poller(self.index))
    }

    fn wake(&self) {
        // Release: pairs with the Acquire in `Inbox::begin`; the command comes first.
        self.is_waiting.store(true, Ordering::Release);
        // Fails only when the poller is gone.
        let _ = self.waker.wake();
    }
}

/// A handle whose poller takes nothing by itself, and the queue with room for `room` commands.
#[cfg(test)]
pub(in crate::engine) fn stalled(index: usize, room: usize) -> (PollerHandle, Inbox) {
    let poll = mio::Poll::new().expect("an epoll instance");
    let waker = Waker::new(poll.registry(), WAKE).expect("a waker");
    queue(InstanceId::random(), index, room, Arc::new(waker))
}
