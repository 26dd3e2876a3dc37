//! How others talk to a poller, and what it reports. Layer: engine. Any thread gives commands; the
//! poller takes them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

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
pub(super) const MAX_COMMANDS: usize = 16 * 1024;

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
    waker: Arc<Waker>,
}

impl PollerHandle {
    pub(super) const fn new(
        instance: InstanceId,
        index: usize,
        commands: SyncSender<Command>,
        waker: Arc<Waker>,
    ) -> Self {
        Self { instance, index, commands, waker }
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
        // Fails only when the poller is gone.
        let _ = self.waker.wake();
    }
}

/// A handle whose poller takes nothing by itself, and the queue with room for `room` commands.
#[cfg(test)]
pub(in crate::engine) fn stalled(
    index: usize,
    room: usize,
) -> (PollerHandle, std::sync::mpsc::Receiver<Command>) {
    let poll = mio::Poll::new().expect("an epoll instance");
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).expect("a waker"));
    let (commands, queue) = std::sync::mpsc::sync_channel(room);
    (PollerHandle { instance: InstanceId::random(), index, commands, waker }, queue)
}
