//! A publication without a conductor, over a real socket. Tests.

use super::*;
use crate::config::InterfaceSpec;
use crate::id::TopicHash;
use crate::protocol::flow_control::Strategy;
use crate::transport::interface::resolve;
use crate::transport::udp::{ReceiveBuffer, SocketOptions};
use crate::wire::frame::FrameKind;
use crate::wire::packet::{PacketKind, Prefix};

const OPTIONS: SocketOptions = SocketOptions {
    receive_buffer_bytes: 1 << 18,
    send_buffer_bytes: 1 << 18,
    force_portable: false,
    faults: None,
};

struct Nobody;

impl Attention for Nobody {
    fn wake(&self) {}
}

/// A caller that tries without a pause leaves nobody else a chance to look after the publication.
#[test]
fn a_caller_that_waits_for_room_asks_receivers_itself() {
    let loopback = resolve(&InterfaceSpec::Loopback).unwrap();
    let open = || UdpSocket::open_sender(&loopback, 0, &OPTIONS).unwrap();
    let (receiver, counters, clock) = (open(), Arc::new(Counters::new()), Clock::start());
    let layout = Layout::for_window(1408, 16 * 1408);
    let publication = Publication::new(PublicationParts {
        socket: Arc::new(SendSocket::new(open(), Arc::clone(&counters))),
        instance: InstanceId::from_bytes([1; 16]),
        stream: 1,
        layout,
        flow: FlowSettings {
            strategy: Strategy::Min,
            drops_slow: false,
            window_packets: 16,
            timeout: Duration::from_hours(1),
        },
        group: None,
        attention: Arc::new(Nobody),
        counters,
        clock,
    });
    let topic = TopicHash(1);
    let address = SocketAddr::from(receiver.local_address());
    publication.add_receiver(InstanceId::from_bytes([2; 16]), topic, Some(address), clock.now());
    let payload = vec![0; layout.whole_body_bytes()];
    let entry = Entry {
        kind: FrameKind::Message,
        publisher: 0,
        topic,
        sequence: 1,
        prefix: &[],
        payload: &payload,
    };
    while publication.send(&entry).is_ok() {}
    // One heartbeat came when the receiver was added, before the first packet.
    let mut buffer = ReceiveBuffer::new();
    let mut heartbeats = 0;
    let begin = clock.now();
    while heartbeats < 3 && clock.now().since(begin) < Duration::from_secs(20) {
        assert_eq!(publication.send(&entry), Err(SendError::BackPressured));
        while let Some(received) = receiver.recv(&mut buffer).unwrap() {
            let kinds = received.segments().map(|packet| Prefix::decode(packet).unwrap().kind);
            heartbeats += kinds.filter(|kind| *kind == PacketKind::Heartbeat).count();
        }
    }
    assert!(heartbeats >= 3, "{heartbeats}");
}
