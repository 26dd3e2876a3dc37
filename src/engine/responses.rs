//! Sends responses: one publication per requester, always UDP unicast to the response socket that
//! the request names. Layer: engine. Called by whatever thread answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::publication::{Attention, Publication, PublicationParts};
use super::send_socket::SendSocket;
use super::tending::Tending;
use crate::config::{Family, ResponsesConfig};
use crate::counters::{Counter, Counters};
use crate::id::InstanceId;
use crate::listener::{Reply, Respond, RespondError, SendError};
use crate::protocol::flow_control::{FlowSettings, Strategy};
use crate::ring::Layout;
use crate::ring::append::Entry;
use crate::time::{Clock, Timestamp};
use crate::wire::frame::{FrameKind, RESPONSE_PREFIX_LENGTH, ResponsePrefix};
use crate::wire::locator::Locator;

/// What [`Responses`] is made of.
pub(crate) struct ResponsesParts {
    pub(crate) instance: InstanceId,
    pub(crate) config: ResponsesConfig,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_requesters: usize,
    pub(crate) socket: Arc<SendSocket>,
    pub(crate) on_loopback: bool,
    pub(crate) attention: Arc<dyn Attention>,
    pub(crate) tending: Arc<Tending>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

/// Sends the responses of one instance.
pub(crate) struct Responses {
    parts: ResponsesParts,
    closed: AtomicBool,
    /// By place *and* identity: who takes over the socket of a dead requester is somebody else.
    requesters: RwLock<HashMap<(InstanceId, Locator), Arc<Requester>>>,
    /// Response sockets that discovery has told: these need no proof by source address.
    known: RwLock<HashMap<InstanceId, SocketAddr>>,
}

struct Requester {
    publication: Arc<Publication>,
    /// Number of the next response. Held while it is appended, so that numbers are in order.
    next: Mutex<u64>,
}

impl Responses {
    pub(crate) fn new(parts: ResponsesParts) -> Self {
        Self {
            parts,
            closed: AtomicBool::new(false),
            requesters: RwLock::default(),
            known: RwLock::default(),
        }
    }

    /// The family of the addresses that responses can be sent to.
    pub(super) fn family(&self) -> Family {
        self.parts.socket.socket.family()
    }

    /// Discovery knows where an instance receives responses.
    pub(super) fn learn(&self, instance: InstanceId, address: SocketAddr) {
        self.known.write().insert(instance, address);
    }

    /// An instance is gone.
    pub(super) fn forget(&self, instance: InstanceId) {
        self.known.write().remove(&instance);
        self.requesters.write().retain(|(requested_by, _), requester| {
            let gone = *requested_by == instance;
            if gone {
                self.parts.tending.retire(&requester.publication);
            }
            !gone
        });
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn requester(&self, reply: &Reply) -> Result<Arc<Requester>, RespondError> {
        let key = (reply.requester, reply.to);
        if let Some(known) = self.requesters.read().get(&key) {
            return Ok(Arc::clone(known));
        }
        let requester = {
            let mut requesters = self.requesters.write();
            if let Some(known) = requesters.get(&key) {
                return Ok(Arc::clone(known));
            }
            let limit = self.parts.max_requesters;
            if requesters.len() >= limit && !self.make_place(&mut requesters) {
                return Err(RespondError::TooManyRequesters { limit });
            }
            let requester = Arc::new(self.open(reply));
            self.parts.tending.add_publication(Arc::clone(&requester.publication));
            requesters.insert(key, Arc::clone(&requester));
            requester
        };
        Ok(requester)
    }

    /// Requesters that discovery does not know are never told to be gone: one of them gives way.
    fn make_place(&self, requesters: &mut HashMap<(InstanceId, Locator), Arc<Requester>>) -> bool {
        let known = self.known.read();
        let stranger = requesters.keys().find(|(instance, _)| !known.contains_key(instance));
        let Some(key) = stranger.copied() else { return false };
        if let Some(requester) = requesters.remove(&key) {
            self.parts.tending.retire(&requester.publication);
        }
        true
    }

    fn open(&self, reply: &Reply) -> Requester {
        let parts = &self.parts;
        let config = &parts.config;
        let layout = Layout::for_window(config.packet_bytes, config.window_bytes);
        let place = format!("unicast {}/{}", reply.to.address, reply.to.stream);
        let row = parts.counters.row("responses", &place);
        let of_publication = PublicationParts {
            socket: Arc::clone(&parts.socket),
            instance: parts.instance,
            stream: reply.to.stream,
            layout,
            flow: FlowSettings {
                strategy: Strategy::Min,
                drops_slow: false,
                window_packets: layout.window_packets(config.window_bytes),
                timeout: parts.config.receiver_timeout,
            },
            group: None,
            attention: Arc::clone(&parts.attention),
            counters: Arc::clone(&parts.counters),
            clock: parts.clock,
        };
        let publication = Arc::new(Publication::new(of_publication, row));
        // One receiver, whatever the topics of its requests.
        let (to, now) = (Some(reply.to.address), parts.clock.now());
        publication.add_receiver(reply.requester, reply.topic, to, now);
        Requester { publication, next: Mutex::new(1) }
    }

    /// Whether answering cannot be used to send traffic to a bystander.
    fn is_safe(&self, reply: &Reply) -> bool {
        if self.parts.on_loopback && !reply.to.address.ip().is_loopback() {
            return false;
        }
        reply.trusted || self.known.read().get(&reply.requester) == Some(&reply.to.address)
    }
}

impl Respond for Responses {
    fn respond(&self, reply: &Reply, payload: &[u8]) -> Result<(), RespondError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(RespondError::Closed);
        }
        let limit_bytes = self.parts.max_message_bytes;
        if payload.len() > limit_bytes {
            return Err(RespondError::TooLarge { bytes: payload.len(), limit_bytes });
        }
        if Family::of_socket(reply.to.address) != self.family() {
            return Err(RespondError::OtherFamily { locator: reply.to.address });
        }
        if !self.is_safe(reply) {
            return Err(RespondError::Untrusted { locator: reply.to.address });
        }
        let requester = self.requester(reply)?;
        let prefix: [u8; RESPONSE_PREFIX_LENGTH] =
            ResponsePrefix { request: reply.request, requester: reply.requester }.encode();
        let mut next = requester.next.lock();
        let sent = requester.publication.send(
            &Entry {
                kind: FrameKind::Response,
                publisher: 0,
                topic: reply.topic,
                sequence: *next,
                prefix: &prefix,
                payload,
            },
            Timestamp::NEVER,
        );
        match sent {
            Ok(()) => {
                *next += 1;
                self.parts.counters.add(Counter::ResponsesSent, 1);
                Ok(())
            }
            Err(SendError::Closed) => Err(RespondError::Closed),
            Err(_) => Err(RespondError::BackPressured),
        }
    }
}
