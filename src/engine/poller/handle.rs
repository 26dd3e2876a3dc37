//! How others talk to a poller, and what it reports. Layer: engine. Any thread gives commands; the
//! poller takes them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use mio::{Token, Waker};

use super::inbox::{Inbox, Queue};
use crate::engine::callback::{self, CallbackThread};
use crate::engine::dispatch::{Ticket, TopicSubscription};
use crate::engine::endpoint::{EndpointId, SocketEndpoint};
use crate::engine::heartbeats::PendingCall;
use crate::engine::ring_endpoint::RingEndpoint;
use crate::id::{InstanceId, SessionId, TopicHash};
use crate::protocol::delivery::Delivery;

/// Commands that may wait for a poller before others wait for it. One that is in a long callback takes
/// none meanwhile.
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

/// How others talk to a poller.
#[derive(Clone)]
pub(crate) struct PollerHandle {
    instance: InstanceId,
    index: usize,
    commands: Arc<Queue>,
    waker: Arc<Waker>,
}

/// The two ends of a queue with room for `room` commands.
fn queue(
    instance: InstanceId,
    index: usize,
    room: usize,
    waker: Arc<Waker>,
) -> (PollerHandle, Inbox) {
    let (commands, inbox) = Inbox::with_room(room);
    (PollerHandle { instance, index, commands, waker }, inbox)
}

impl PollerHandle {
    /// A handle of the poller that `waker` wakes, and what it is to take commands from.
    pub(super) fn open(instance: InstanceId, index: usize, waker: Arc<Waker>) -> (Self, Inbox) {
        queue(instance, index, MAX_COMMANDS, waker)
    }

    /// Gives a command, and never waits. From the poller's own callbacks it is carried out after the
    /// callback. A poller that is gone has nothing left to do.
    pub(crate) fn submit(&self, command: Command) {
        drop(self.hand_over(command));
    }

    /// The same, for a command with a listener in it, from who holds a lock: gives back what a poller that
    /// is gone does not take.
    pub(in crate::engine) fn hand_over(&self, command: Command) -> Option<Command> {
        let refused = self.commands.put(command);
        self.wake();
        refused
    }

    /// Gives a command unless too many are waiting.
    pub(crate) fn try_submit(&self, command: Command) -> Result<(), Command> {
        self.commands.try_put(command)?;
        self.wake();
        Ok(())
    }

    /// Waits as long as [`MAX_COMMANDS`] are waiting: for who is going to give some, before it takes a
    /// lock that callbacks take as well. Threads that run callbacks do not wait, because waiting for each
    /// other could deadlock.
    pub(crate) fn wait_for_room(&self) {
        if callback::current_thread(self.instance).is_none() {
            self.commands.wait_for_room();
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
        // It looks before it waits.
        if !self.is_current_thread() {
            // Fails only when the poller is gone.
            let _ = self.waker.wake();
        }
    }
}

/// A handle whose poller takes nothing by itself, and the queue with room for `room` commands.
#[cfg(test)]
pub(in crate::engine) fn stalled(index: usize, room: usize) -> (PollerHandle, Inbox) {
    let poll = mio::Poll::new().expect("an epoll instance");
    let waker = Waker::new(poll.registry(), WAKE).expect("a waker");
    queue(InstanceId::random(), index, room, Arc::new(waker))
}
