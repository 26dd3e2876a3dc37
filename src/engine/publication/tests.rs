//! A publication without a conductor, over a real socket. Tests.

use super::*;
use crate::config::{Family, InterfaceSpec};
use crate::counters::Counter;
use crate::engine::send_socket::Opener;
use crate::id::TopicHash;
use crate::protocol::flow_control::Strategy;
use crate::transport::interface::resolve;
use crate::transport::udp::{ReceiveBuffer, SocketOptions};
use crate::wire::control::Status;
use crate::wire::frame::FrameKind;
use crate::wire::packet::{PacketKind, Prefix};

const OPTIONS: SocketOptions = SocketOptions {
    receive_buffer_bytes: 1 << 18,
    send_buffer_bytes: 1 << 18,
    force_portable: false,
    faults: None,
    counters: None,
};

struct Nobody;

impl Attention for Nobody {
    fn wake(&self) {}
}

const TOPIC: TopicHash = TopicHash(1);
const WINDOW: u32 = 16;

fn open() -> UdpSocket {
    let loopback = resolve(&InterfaceSpec::Loopback(Family::V4)).unwrap();
    UdpSocket::open_sender(&loopback, 0, &OPTIONS).unwrap()
}

fn publication() -> Publication {
    let counters = Arc::new(Counters::new());
    let row = counters.row("unicast", "unicast 35008/1");
    let interface = resolve(&InterfaceSpec::Loopback(Family::V4)).unwrap();
    let opener = Opener { interface, ttl: 0, options: OPTIONS };
    let parts = PublicationParts {
        socket: Arc::new(SendSocket::open(opener, Arc::clone(&counters)).unwrap()),
        instance: InstanceId::from_bytes([1; 16]),
        stream: 1,
        layout: Layout::for_window(1408, 16 * 1408),
        flow: FlowSettings {
            strategy: Strategy::Min,
            drops_slow: false,
            window_packets: WINDOW,
            timeout: Duration::from_hours(1),
        },
        group: None,
        attention: Arc::new(Nobody),
        counters,
        clock: Clock::start(),
    };
    Publication::new(parts, row)
}

impl Publication {
    /// Sends a message that fills a packet.
    fn send_packet(&self) -> Result<(), SendError> {
        self.send(
            &Entry {
                kind: FrameKind::Message,
                publisher: 0,
                topic: TOPIC,
                sequence: 1,
                prefix: &[],
                payload: &vec![0; self.layout().whole_body_bytes()],
            },
            Timestamp::NEVER,
        )
    }

    fn send_small(&self, sequence: u64) -> Result<(), SendError> {
        self.send(
            &Entry {
                kind: FrameKind::Message,
                publisher: 0,
                topic: TOPIC,
                sequence,
                prefix: &[],
                payload: b"small",
            },
            Timestamp::NEVER,
        )
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.parts.counters.get(counter)
    }
}

/// A receiver that says what it has got when it is told to.
struct Listener {
    id: ReceiverId,
    socket: UdpSocket,
    buffer: ReceiveBuffer,
    /// Packets before this one have come.
    got: u64,
    heartbeats: u64,
    /// Where the last packet came from.
    source: Option<SocketAddr>,
}

impl Listener {
    fn new(byte: u8, publication: &Publication) -> Self {
        let (socket, instance) = (open(), InstanceId::from_bytes([byte; 16]));
        let address = socket.local_address();
        publication.add_receiver(instance, TOPIC, Some(address), publication.parts.clock.now());
        let id = ReceiverId { instance, port: address.port() };
        Self { id, socket, buffer: ReceiveBuffer::new(), got: 0, heartbeats: 0, source: None }
    }

    fn read(&mut self) {
        while let Some(received) = self.socket.recv(&mut self.buffer).unwrap() {
            self.source = Some(received.source());
            for packet in received.segments() {
                let prefix = Prefix::decode(packet).unwrap();
                let header = PacketHeader::decode(&packet[..prefix.length]).unwrap();
                match prefix.kind {
                    PacketKind::Data if header.sequence == self.got => self.got += 1,
                    PacketKind::Heartbeat => self.heartbeats += 1,
                    _ => {}
                }
            }
        }
    }

    /// Reads until `packets` have come.
    fn expect(&mut self, packets: u64) {
        let (clock, begin) = (Clock::start(), Clock::start().now());
        while self.got < packets && clock.now().since(begin) < Duration::from_secs(20) {
            self.read();
        }
        assert_eq!(self.got, packets);
    }

    fn confirm(&self, publication: &Publication) {
        let status = Status {
            session: publication.session(),
            consumed: self.got,
            window_packets: WINDOW,
            echo: 0,
            receiver: self.id,
            tag: 0,
            is_joining: false,
        };
        let shared = publication.parts.socket.socket.local_address();
        let (packet, to) =
            (status.encode(), self.socket.destination(self.source.unwrap_or(shared)));
        self.socket.send_run(Some(&to), &packet, packet.len()).unwrap();
    }
}

/// The first few have a connected socket each, and all are heard at one address.
#[test]
fn every_receiver_answers_to_where_its_packets_come_from() {
    let publication = publication();
    let mut listeners: Vec<_> = (2..14).map(|byte| Listener::new(byte, &publication)).collect();
    publication.send_packet().unwrap();
    publication.flush();
    let address = publication.parts.socket.socket.local_address();
    for listener in &mut listeners {
        listener.expect(1);
        assert_eq!(listener.source, Some(address));
        listener.confirm(&publication);
    }
    let begin = publication.parts.clock.now();
    while publication.owes() {
        let now = publication.parts.clock.now();
        assert!(now.since(begin) < Duration::from_secs(20), "all are heard");
        publication.parts.socket.read_feedback();
        publication.service(now);
    }
}

/// A session that changed its address would be refused.
#[test]
fn a_receiver_that_was_forgotten_is_sent_to_from_the_same_address_again() {
    let publication = publication();
    let mut listener = Listener::new(2, &publication);
    let mut sources = Vec::new();
    for packets in 1..=3 {
        publication.send_packet().unwrap();
        publication.flush();
        listener.expect(packets);
        sources.extend(listener.source);
        publication.forget_receiver(listener.id.instance);
        let (at, now) = (listener.socket.local_address(), publication.parts.clock.now());
        publication.add_receiver(listener.id.instance, TOPIC, Some(at), now);
    }
    sources.dedup();
    assert_eq!(sources.len(), 1, "{sources:?}");
}

/// Frames that wait for more are sent with the next look, and the look after that finds that nobody
/// streams any more.
#[test]
fn a_stream_is_noticed_and_its_end_as_well() {
    let publication = publication();
    let mut listener = Listener::new(2, &publication);
    let begin = publication.parts.clock.now();
    let mut sent = 0;
    while publication.urgency() != Urgency::Streaming {
        let waited = publication.parts.clock.now().since(begin);
        assert!(waited < Duration::from_secs(20), "messages in a row are a stream");
        // In a row: what is read in between takes longer than a message of a stream may.
        while publication.urgency() != Urgency::Streaming
            && publication.send_small(sent + 1).is_ok()
        {
            sent += 1;
        }
        listener.read();
        listener.confirm(&publication);
    }
    let now = publication.parts.clock.now();
    publication.service(now);
    assert_eq!(publication.urgency(), Urgency::Streaming);
    listener.expect(publication.state.lock().ring.open_packet());
    assert!(!publication.state.lock().ring.has_open_frames(), "the tail has left");
    publication.service(now);
    assert!(publication.urgency() < Urgency::Streaming);
}

/// A caller that tries without a pause leaves nobody else a chance to look after the publication.
#[test]
fn a_caller_that_waits_for_room_asks_receivers_itself() {
    let publication = publication();
    let mut listener = Listener::new(2, &publication);
    while publication.send_packet().is_ok() {}
    // One heartbeat came when the receiver was added, before the first packet.
    let begin = publication.parts.clock.now();
    while listener.heartbeats < 3
        && publication.parts.clock.now().since(begin) < Duration::from_secs(20)
    {
        assert_eq!(publication.send_packet(), Err(SendError::BackPressured));
        listener.read();
    }
    assert!(listener.heartbeats >= 3, "{}", listener.heartbeats);
}

#[test]
fn a_receiver_that_says_nothing_holds_back_itself_and_then_the_publisher() {
    let publication = publication();
    let ring = publication.layout().slots as u64;
    let mut listeners = [2, 3, 4].map(|byte| Listener::new(byte, &publication));
    let [first, silent, third] = &mut listeners;
    let mut sent = 0;
    while sent < ring {
        publication.send_packet().unwrap();
        sent += 1;
        assert!(publication.flush() || sent > u64::from(WINDOW));
        for listener in [&mut *first, &mut *third] {
            listener.expect(sent);
            listener.confirm(&publication);
        }
    }
    silent.read();
    assert_eq!(silent.got, u64::from(WINDOW), "its own window, and no more");
    assert_eq!(publication.send_packet(), Err(SendError::BackPressured));
    assert!(publication.owes());
    assert_eq!(publication.counted(Counter::PacketsSent), sent, "once each");
    silent.confirm(&publication);
    let begin = publication.parts.clock.now();
    while publication.send_packet().is_err() {
        let waited = publication.parts.clock.now().since(begin);
        assert!(waited < Duration::from_secs(20), "there is room again");
    }
    silent.expect(2 * u64::from(WINDOW));
    assert_eq!(publication.counted(Counter::ReceiversDropped), 0);
    // Nobody waits for who has gone.
    publication.forget_receiver(silent.id.instance);
    assert!(publication.flush());
    for listener in [first, third] {
        listener.expect(sent + 1);
        listener.confirm(&publication);
    }
    while publication.owes() {
        let waited = publication.parts.clock.now().since(begin);
        assert!(waited < Duration::from_secs(20), "all is confirmed");
        publication.flush();
    }
}

#[test]
fn a_receiver_whose_topic_has_ended_is_let_go_when_it_stops_listening() {
    let publication = publication();
    let listener = Listener::new(2, &publication);
    let (instance, other) = (listener.id.instance, TopicHash(2));
    let address = listener.socket.local_address();
    publication.add_receiver(instance, other, Some(address), publication.parts.clock.now());
    publication.send_packet().unwrap();
    publication.flush();
    publication.release_receiver(instance, TOPIC);
    // It is still to get what was accepted for the other one.
    publication.remove_receiver(instance, other);
    assert!(publication.owes());
    publication.remove_receiver(instance, TOPIC);
    assert!(!publication.owes());
    assert!(publication.state.lock().receivers.is_empty());
}

#[test]
fn a_receiver_whose_topic_ends_is_let_go_when_it_has_everything() {
    let publication = publication();
    let mut listener = Listener::new(2, &publication);
    publication.send_packet().unwrap();
    publication.flush();
    publication.release_receiver(listener.id.instance, TOPIC);
    assert!(publication.owes());
    listener.expect(1);
    listener.confirm(&publication);
    let begin = publication.parts.clock.now();
    while publication.owes() {
        let now = publication.parts.clock.now();
        assert!(now.since(begin) < Duration::from_secs(20), "it is let go");
        publication.parts.socket.read_feedback();
        publication.service(now);
    }
    assert!(publication.state.lock().receivers.is_empty());
    assert_eq!(publication.urgency(), Urgency::Settled);
}
