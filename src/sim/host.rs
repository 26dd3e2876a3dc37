//! A process: a socket with a bounded buffer, and the receive sessions of production, driven as
//! `engine::endpoint` drives them. Layer: sim. Owned by one world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::account::Account;
use super::asking::Asking;
use super::dice::Dice;
use super::network::Packet;
use super::station::Sent;
use crate::id::{InstanceId, ReceiverId, RequestId, SessionId};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::protocol::receiver::{ReceiveSession, ReceiveSettings};
use crate::time::Timestamp;
use crate::wire::WireError;
use crate::wire::control::{Heartbeat, Range, Welcome};
use crate::wire::frame::{FrameKind, RequestPrefix, ResponsePrefix};
use crate::wire::packet::{PACKET_HEADER_LENGTH, PacketHeader, PacketKind, Prefix};

/// Which socket of a host: the one that hears data, or the one that data is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Data,
    Feedback,
}

/// What has arrived at a socket and has not been read.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    runs: VecDeque<(usize, Vec<Packet>)>,
    bytes: usize,
}

impl Inbox {
    /// A run that does not fit is dropped as a whole, as a kernel does. True when it is the only
    /// one: somebody has to be told to read.
    pub(super) fn put(&mut self, from: usize, run: Vec<Packet>, limit: usize) -> Option<bool> {
        let bytes: usize = run.iter().map(|packet| packet.len()).sum();
        if self.bytes + bytes > limit {
            return None;
        }
        self.bytes += bytes;
        self.runs.push_back((from, run));
        Some(self.runs.len() == 1)
    }

    pub(super) fn take(&mut self) -> Option<(usize, Vec<Packet>)> {
        let (from, run) = self.runs.pop_front()?;
        self.bytes -= run.iter().map(|packet| packet.len()).sum::<usize>();
        Some((from, run))
    }

    /// Packets of the next run; `None` when there is none.
    pub(super) fn next_packets(&self) -> Option<u32> {
        let (_, run) = self.runs.front()?;
        Some(u32::try_from(run.len()).unwrap_or(u32::MAX))
    }
}

/// A session that a host hears.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) session: ReceiveSession,
    pub(super) from: usize,
    /// The instance whose session it is.
    sender: InstanceId,
    pub(super) account: Account,
}

/// A request or a response that was delivered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivered {
    Request { request: RequestId, requester: InstanceId },
    Response { request: RequestId, requester: InstanceId, responder: InstanceId },
}

/// One process, until it dies.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) receiver: ReceiverId,
    /// Where its feedback comes from.
    pub(super) address: SocketAddr,
    pub(super) is_up: bool,
    pub(super) paused_until: Timestamp,
    pub(super) inboxes: [Inbox; 2],
    pub(super) heard: BTreeMap<SessionId, Heard>,
    /// The next event for a deadline of its sessions.
    pub(super) timer_at: Timestamp,
    pub(super) settings: ReceiveSettings,
    pub(super) asking: Asking,
    /// Requests that it has been asked.
    pub(super) asked: BTreeSet<(InstanceId, RequestId)>,
    /// Feedback on its way out, and to whom.
    pub(super) outbox: Vec<(usize, Packet)>,
    pub(super) delivered: Vec<Delivered>,
    pub(super) delivered_at: Timestamp,
    /// Datagrams that decoders refused.
    pub(super) refused: u64,
    missing: Vec<Range>,
}

impl Host {
    pub(super) fn new(
        now: Timestamp,
        place: usize,
        dice: &mut Dice,
        settings: ReceiveSettings,
    ) -> Self {
        let (high, low) = (dice.draw().to_le_bytes(), dice.draw().to_le_bytes());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        let octet = u8::try_from(place + 1).unwrap_or(u8::MAX);
        Self {
            receiver: ReceiverId { instance: InstanceId::from_bytes(bytes), port: 1 },
            address: SocketAddr::from(([127, 0, 0, octet], 1)),
            is_up: true,
            paused_until: Timestamp::default(),
            inboxes: [Inbox::default(), Inbox::default()],
            heard: BTreeMap::new(),
            timer_at: Timestamp::NEVER,
            settings,
            asking: Asking::new(now),
            asked: BTreeSet::new(),
            outbox: Vec::new(),
            delivered: Vec::new(),
            delivered_at: now,
            refused: 0,
            missing: Vec::new(),
        }
    }

    /// Takes a packet of a session. `books` finds what its sender has sent.
    pub(super) fn handle_packet<'a>(
        &mut self,
        now: Timestamp,
        from: usize,
        packet: &[u8],
        books: impl FnOnce(SessionId) -> &'a [Vec<Sent>],
    ) -> Result<Option<SessionId>, String> {
        let Ok((prefix, header)) = read(packet) else {
            self.refused += 1;
            return Ok(None);
        };
        let id = header.session;
        let (receiver, settings) = (self.receiver, self.settings);
        let heard = self.heard.entry(id).or_insert_with(|| Heard {
            session: ReceiveSession::new(id, receiver, settings),
            from,
            sender: header.instance,
            account: Account::new(now),
        });
        let mut ears = Ears {
            now,
            books: books(id),
            account: &mut heard.account,
            sender: heard.sender,
            delivered: &mut self.delivered,
            wrong: None,
            hears: false,
        };
        let packet = &packet[..prefix.length];
        match prefix.kind {
            PacketKind::Data => {
                ears.account.note_announced(now, header.sequence, header.sequence + 1);
                let frames = &packet[PACKET_HEADER_LENGTH..];
                heard.session.handle_packet(now, header.sequence, frames, &mut ears);
            }
            PacketKind::Heartbeat => {
                let heartbeat = Heartbeat::decode(&prefix, &header, packet);
                let heartbeat = heartbeat.map_err(|error| error.to_string())?;
                ears.account.note_announced(now, heartbeat.next, heartbeat.next);
                ears.account.note_rtt(Duration::from_nanos(heartbeat.rtt_ns));
                heard.session.handle_heartbeat(now, &heartbeat);
            }
            PacketKind::Welcome => {
                let welcome =
                    Welcome::decode(&header, packet).map_err(|error| error.to_string())?;
                let is_news = heard.session.state().is_joining || heard.session.state().is_guest;
                if welcome.receiver == receiver && (is_news || ears.account.begin.is_none()) {
                    ears.account.note_welcome(welcome.start);
                }
                heard.session.handle_welcome(now, &welcome, &mut ears);
            }
            _ => heard.session.handle_gone(now, header.sequence, &mut ears),
        }
        let (wrong, hears) = (ears.wrong.take(), ears.hears);
        if hears {
            self.delivered_at = now;
        }
        self.send_feedback(now, id);
        wrong.map_or(Ok(Some(id)), Err)
    }

    /// Sessions whose deadline has come. `books` finds what their senders have sent.
    pub(super) fn handle_timeouts<'a>(
        &mut self,
        now: Timestamp,
        books: impl Fn(SessionId) -> &'a [Vec<Sent>],
        orphan: Option<SessionId>,
    ) -> Result<(), String> {
        let due = |(id, heard): (&SessionId, &Heard)| {
            let is_due = heard.session.next_deadline() <= now || orphan == Some(*id);
            is_due.then_some(*id)
        };
        let due: Vec<SessionId> = self.heard.iter().filter_map(due).collect();
        for id in due {
            let Some(heard) = self.heard.get_mut(&id) else { continue };
            let mut ears = Ears {
                now,
                books: books(id),
                account: &mut heard.account,
                sender: heard.sender,
                delivered: &mut self.delivered,
                wrong: None,
                hears: false,
            };
            if orphan == Some(id) {
                ears.account.is_orphan = true;
                heard.session.handle_goodbye(now, &mut ears);
            } else {
                heard.session.handle_timeout(now, &mut ears);
            }
            if let Some(wrong) = ears.wrong {
                return Err(wrong);
            }
            self.send_feedback(now, id);
        }
        Ok(())
    }

    fn send_feedback(&mut self, now: Timestamp, id: SessionId) {
        let Some(heard) = self.heard.get_mut(&id) else { return };
        if let Some(status) = heard.session.poll_status() {
            self.outbox.push((heard.from, status.encode().as_slice().into()));
        }
        if let Some(status) = heard.session.poll_nak(now, &mut self.missing) {
            heard.account.note_nak();
            let mut nak = Vec::new();
            status.encode_nak(&self.missing, &mut nak);
            self.outbox.push((heard.from, nak.into()));
        }
    }

    pub(super) fn next_deadline(&self) -> Timestamp {
        let deadlines = self.heard.values().map(|heard| heard.session.next_deadline());
        deadlines.min().unwrap_or(Timestamp::NEVER)
    }
}

/// As an endpoint reads what arrives.
fn read(packet: &[u8]) -> Result<(Prefix, PacketHeader), WireError> {
    let prefix = Prefix::decode(packet)?;
    let is_of_session = matches!(
        prefix.kind,
        PacketKind::Data | PacketKind::Heartbeat | PacketKind::Welcome | PacketKind::Gone
    );
    if !is_of_session {
        return Err(WireError::Foreign);
    }
    Ok((prefix, PacketHeader::decode(&packet[..prefix.length])?))
}

/// Listens to what a session delivers.
struct Ears<'a> {
    now: Timestamp,
    books: &'a [Vec<Sent>],
    account: &'a mut Account,
    sender: InstanceId,
    delivered: &'a mut Vec<Delivered>,
    wrong: Option<String>,
    hears: bool,
}

impl Sink for Ears<'_> {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        self.hears = true;
        if let Err(wrong) = self.account.deliver(self.now, &arrival, self.books) {
            self.wrong.get_or_insert(wrong);
        }
        match arrival.kind {
            FrameKind::Request => match RequestPrefix::decode(arrival.body) {
                Ok((RequestPrefix { request, .. }, _)) => {
                    let requester = self.sender;
                    self.delivered.push(Delivered::Request { request, requester });
                }
                Err(error) => self.wrong = Some(error.to_string()),
            },
            FrameKind::Response => match ResponsePrefix::decode(arrival.body) {
                Ok((ResponsePrefix { request, requester }, _)) => {
                    let responder = self.sender;
                    self.delivered.push(Delivered::Response { request, requester, responder });
                }
                Err(error) => self.wrong = Some(error.to_string()),
            },
            _ => {}
        }
    }

    fn lost(&mut self, loss: Loss) {
        if let Err(wrong) = self.account.lose(loss) {
            self.wrong.get_or_insert(wrong);
        }
    }
}
