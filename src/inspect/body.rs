//! What follows the prefix of a packet, for each kind. Layer: inspect. The names are those of
//! `docs/wire-protocol.md`.

use std::time::Duration;

use super::{Fault, Fragment, FrameKind, Locator, Packet, Range, SessionId, TopicHash};
use crate::config::Transport;
use crate::id::{InstanceId, RequestId};
use crate::listener::Side;
use crate::wire::frame;

/// What a packet says, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// Messages, requests and responses.
    #[non_exhaustive]
    Data {
        /// Whose packet it is.
        sender: Sender,
        /// Its number among the data packets of the session.
        sequence: u64,
        /// Those that are there and can be read.
        frames: Vec<Frame<'a>>,
    },
    /// A sender tells how far it has come.
    #[non_exhaustive]
    Heartbeat {
        /// Whose packet it is.
        sender: Sender,
        /// Number of the next packet: all before it have been sent.
        next: u64,
        /// Whether every receiver is to answer with a status.
        status_wanted: bool,
        /// The longest one to a receiver; zero when none has been measured.
        round_trip: Duration,
        /// How many the sender knows.
        receivers: u32,
        /// What the status that answers is to echo.
        probe: u32,
    },
    /// A receiver tells how far it has read.
    Status(Status),
    /// A receiver misses packets.
    #[non_exhaustive]
    Nak {
        /// How far it has read.
        status: Status,
        /// At most 64 ranges; none only if the capture has none of them.
        missing: Vec<Range>,
    },
    /// A sender tells a receiver where the session begins for it.
    #[non_exhaustive]
    Welcome {
        /// Whose packet it is.
        sender: Sender,
        /// Number of the first packet that is meant for the receiver.
        start: u64,
        /// Instance of the receiver.
        receiver: InstanceId,
        /// UDP port of the receiver.
        port: u16,
    },
    /// A sender tells what it cannot repeat any more.
    #[non_exhaustive]
    Gone {
        /// Whose packet it is.
        sender: Sender,
        /// Number of the oldest packet that can be repeated.
        oldest: u64,
    },
    /// An instance is there.
    Announce(Announce<'a>),
    /// What an instance advertises.
    Changes(Changes<'a>),
    /// An instance asks another one for its changes.
    Ask(Ask),
    /// An instance leaves.
    #[non_exhaustive]
    Goodbye {
        /// Which.
        instance: InstanceId,
    },
    /// An instance asks a discovery daemon for a ticket.
    #[non_exhaustive]
    Register {
        /// Which.
        instance: InstanceId,
    },
    /// A discovery daemon gives one.
    #[non_exhaustive]
    Ticket {
        /// Identity of the daemon.
        daemon: InstanceId,
        /// Proof that its holder receives what is sent to its address.
        ticket: u64,
    },
    /// A packet that a discovery daemon is to pass on.
    #[non_exhaustive]
    Relay {
        /// From the daemon.
        ticket: u64,
        /// An ANNOUNCE, CHANGES or GOODBYE.
        packet: Box<Packet<'a>>,
    },
    /// The instances that a discovery daemon has heard.
    #[non_exhaustive]
    Heard {
        /// Identity of the daemon.
        daemon: InstanceId,
        /// At least one.
        entries: Vec<Heard>,
    },
    /// An instance asks a discovery daemon about others.
    #[non_exhaustive]
    Who {
        /// From the daemon.
        ticket: u64,
        /// At least one.
        instances: Vec<InstanceId>,
    },
    /// A publisher's instance calls subscribers.
    Call(Roll),
    /// The answer to a call.
    Present(Roll),
}

/// Whose a packet is that a sender sends in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sender {
    /// The incarnation of the publication.
    pub session: SessionId,
    /// Tells apart what shares an address and port.
    pub stream: u32,
    /// Instance of the sender.
    pub instance: InstanceId,
}

/// One message, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// Where it begins in the packet.
    pub offset: usize,
    /// Bytes of it, header included, padding not.
    pub length: usize,
    /// What it carries.
    pub kind: FrameKind,
    /// As they travel: bit 0 `BEGIN`, bit 1 `END`.
    pub flags: u8,
    /// Index of the publisher in its session.
    pub publisher: u32,
    /// Hash of the topic's name.
    pub topic: TopicHash,
    /// Number of the message among those of its publisher, from 1.
    pub sequence: u64,
    /// Which part of its message it has; `None` if it has all of it.
    pub fragment: Option<Fragment>,
    /// What stands before the payload of a request or response. A fragment has it if it is the first one.
    pub prefix: Option<BodyPrefix>,
    /// The user's bytes; less of them if the capture has not all.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether it is the beginning of its message.
    #[must_use]
    pub const fn begins(&self) -> bool {
        self.flags & frame::FLAG_BEGIN != 0
    }

    /// Whether it is the end of its message.
    #[must_use]
    pub const fn ends(&self) -> bool {
        self.flags & frame::FLAG_END != 0
    }

    /// Bytes of the body, as the length tells them: what stands before the payload is part of it.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        let extension = self.fragment.map_or(0, |_| frame::FRAGMENT_LENGTH);
        self.length.saturating_sub(frame::FRAME_HEADER_LENGTH + extension)
    }

    pub(super) const fn prefix_bytes(&self) -> usize {
        match self.prefix {
            None => 0,
            Some(BodyPrefix::Request { .. }) => frame::REQUEST_PREFIX_LENGTH,
            Some(BodyPrefix::Response { .. }) => frame::RESPONSE_PREFIX_LENGTH,
        }
    }
}

/// What stands before the payload of a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyPrefix {
    /// Of a request.
    #[non_exhaustive]
    Request {
        /// The number that responses repeat.
        request: RequestId,
        /// How long the requester waits, from when it sent the request.
        timeout: Duration,
        /// Where responses go.
        reply_to: Locator,
    },
    /// Of a response.
    #[non_exhaustive]
    Response {
        /// The number of the request.
        request: RequestId,
        /// Instance that has asked.
        requester: InstanceId,
    },
}

/// A receiver tells how far it has read and how much more it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The session that it is about.
    pub session: SessionId,
    /// Every packet below this number has been delivered or given up.
    pub consumed: u64,
    /// How many packets from `consumed` on the receiver takes.
    pub window_packets: u32,
    /// The probe of the heartbeat that is answered, or 0.
    pub echo: u32,
    /// Instance of the receiver.
    pub instance: InstanceId,
    /// The set of receivers that this one belongs to; 0 is none.
    pub tag: u32,
    /// UDP port at which the receiver hears the session.
    pub port: u16,
    /// Whether it does not know where the session begins for it.
    pub is_joining: bool,
}

/// An instance is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announce<'a> {
    /// Which.
    pub instance: InstanceId,
    /// Its control socket.
    pub control: Locator,
    /// Its response socket.
    pub responses: Locator,
    /// Equal on instances that can share memory.
    pub host: u64,
    /// Number of the latest change of what it advertises.
    pub head: u64,
    /// Of all that it advertises.
    pub digest: u64,
    /// How often it announces itself.
    pub interval: Duration,
    /// How long it is to be believed alive.
    pub timeout: Duration,
    /// Whether it needs no greeting in return.
    pub is_direct: bool,
    /// Its name, for people.
    pub name: &'a str,
}

/// One page of what an instance advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes<'a> {
    /// Which instance.
    pub instance: InstanceId,
    /// The page continues what is known up to here.
    pub from: u64,
    /// With the page, all is known up to here.
    pub to: u64,
    /// Number of the latest change that there is.
    pub head: u64,
    /// Who is behind starts over with this page.
    pub is_reset: bool,
    /// Whether it is the last page of a transmission.
    pub is_end: bool,
    /// In their order on the page.
    pub entries: Vec<Change<'a>>,
}

/// One line of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Something is advertised.
    Add(Advert<'a>),
    /// It is no more.
    #[non_exhaustive]
    Remove {
        /// The key under which it was advertised.
        key: u64,
    },
}

/// One side of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advert<'a> {
    /// Number of the change that has added it.
    pub key: u64,
    /// Which side.
    pub side: Side,
    /// How the topic travels.
    pub transport: Transport,
    /// Hash of the name.
    pub topic_hash: TopicHash,
    /// The name.
    pub topic: &'a str,
    /// Where the data arrives, or where it is sent from.
    pub locator: Option<Locator>,
    /// Names the ring of a publisher on shared memory.
    pub session: Option<SessionId>,
}

/// An instance asks another one for its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ask {
    /// Who asks.
    pub instance: InstanceId,
    /// From where it believes to ask.
    pub control: Locator,
    /// Who is asked.
    pub target: InstanceId,
    /// Everything up to this change is known.
    pub have: u64,
    /// Removals up to this change do not concern who asks.
    pub horizon: u64,
}

/// What a discovery daemon has heard of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// Which.
    pub instance: InstanceId,
    /// Number of its latest change.
    pub head: u64,
    /// Of all that it advertises.
    pub digest: u64,
}

/// A call to subscribers, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roll {
    /// Who sends.
    pub instance: InstanceId,
    /// Whom it is for.
    pub target: InstanceId,
    /// At least one.
    pub entries: Vec<RollEntry>,
}

/// One topic of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollEntry {
    /// Hash of the topic's name.
    pub topic: TopicHash,
    /// Number of the round, which the answer repeats.
    pub number: u64,
}

/// A body as far as it could be read, and what is wrong with it.
pub(super) type Described<'a> = (Option<Body<'a>>, Option<Fault>);
