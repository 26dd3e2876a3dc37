//! How others talk to the conductor: commands, and what wakes it. Layer: engine. Any thread gives
//! commands; the conductor takes them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crossbeam_channel::Sender;
use mio::{Poll, Registry, Token, Waker};

use crate::config::Config;
use crate::discovery::{Advert, AdvertiseError};
use crate::engine::dispatch::Ticket;
use crate::engine::heartbeats::{Activation, PendingCall};
use crate::engine::matching::{LocalPublisher, LocalSubscriber};
use crate::engine::patterns::TopicWatch;
use crate::engine::poller::Reports;
use crate::engine::publication::Attention;
use crate::engine::wakeups::WAKE;
use crate::id::{SessionId, TopicHash};
use crate::listener::{Peer, TopicAdvert};
use crate::protocol::delivery::Delivery;

/// Commands that may wait.
const MAX_COMMANDS: usize = 16 * 1024;

/// Beside those of the sockets of discovery.
const FEEDBACK: Token = Token(3);

/// What the conductor is told to do.
pub(crate) enum Command {
    Publish {
        advert: Advert,
        publisher: LocalPublisher,
        reply: Sender<Result<(), AdvertiseError>>,
    },
    Unpublish(TopicHash),
    Subscribe {
        advert: Advert,
        subscriber: LocalSubscriber,
        ticket: Ticket,
        reply: Sender<Result<(), AdvertiseError>>,
    },
    /// The poller delivers what arrives: now others may know of the subscription.
    Listening(TopicHash, Ticket),
    Unsubscribe(TopicHash),
    RingLost(SessionId, Delivery),
    /// From now on, the topics that are published are of interest.
    WatchTopics(Arc<TopicWatch>),
    ActivateHeartbeats(Activation),
    DeactivateHeartbeats(TopicHash),
    LookedUp(Box<PendingCall>),
    Peers(Sender<Vec<Peer>>),
    Adverts(Sender<Vec<TopicAdvert>>),
    /// Which daemons are up, by their places in the configuration.
    Daemons(Sender<Vec<usize>>),
    /// The name of a daemon was looked up.
    DaemonMoved(usize, SocketAddr),
    Stop,
}

/// How others talk to the conductor. A channel of the standard library, which discards what waits
/// when its receiver is dropped: whoever waits for a reply to a command that came too late notices.
pub(crate) struct ConductorLink {
    commands: SyncSender<Command>,
    waker: Waker,
}

impl ConductorLink {
    /// Gives a command. A conductor that is gone has nothing left to do.
    pub(crate) fn submit(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake();
        }
    }
}

impl Attention for ConductorLink {
    fn wake(&self) {
        // Fails only when the conductor is gone.
        let _ = self.waker.wake();
    }
}

impl Reports for ConductorLink {
    fn listening(&self, hash: TopicHash, ticket: Ticket) {
        self.submit(Command::Listening(hash, ticket));
    }

    fn looked_up(&self, call: Box<PendingCall>) {
        self.submit(Command::LookedUp(call));
    }

    fn ring_lost(&self, session: SessionId, delivery: Delivery) {
        self.submit(Command::RingLost(session, delivery));
    }
}

/// A link and the queue behind it, made before the threads that use them.
pub(crate) struct Mailroom {
    pub(crate) link: Arc<ConductorLink>,
    pub(super) queue: Receiver<Command>,
    pub(super) poll: Poll,
}

impl Mailroom {
    /// # Errors
    ///
    /// What the operating system says when it gives no epoll instance.
    pub(crate) fn open() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (commands, queue) = sync_channel(MAX_COMMANDS);
        Ok(Self { link: Arc::new(ConductorLink { commands, waker }), queue, poll })
    }

    /// How sockets wake the conductor when feedback arrives. A poller that spins anyway finds it
    /// sooner, and waking a thread costs it time.
    ///
    /// # Errors
    ///
    /// What the operating system says when it gives no further handle.
    pub(crate) fn feedback_wakes(&self, config: &Config) -> io::Result<Option<(Registry, Token)>> {
        if config.pollers.iter().any(|poller| poller.idle.spins()) {
            return Ok(None);
        }
        Ok(Some((self.poll.registry().try_clone()?, FEEDBACK)))
    }
}
