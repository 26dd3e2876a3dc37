//! What an endpoint counts, over a real socket. Tests.

use std::time::{Duration, Instant};

use super::*;
use crate::config::InterfaceSpec;
use crate::listener::{Reply, Respond, RespondError};
use crate::time::Clock;
use crate::transport::interface::resolve;
use crate::transport::udp::SocketOptions;

struct Nobody;

impl Respond for Nobody {
    fn respond(&self, _: &Reply, _: &[u8]) -> Result<(), RespondError> {
        Err(RespondError::Closed)
    }
}

const OPTIONS: SocketOptions = SocketOptions {
    receive_buffer_bytes: 1 << 16,
    send_buffer_bytes: 1 << 16,
    force_portable: false,
    faults: None,
    counters: None,
};
const STREAM: u32 = 1;

fn packet(session: u64, sequence: u64) -> [u8; PACKET_HEADER_LENGTH] {
    let instance = InstanceId::from_bytes([7; 16]);
    PacketHeader { session: SessionId(session), sequence, stream: STREAM, instance }
        .encode(PacketKind::Data, 0)
}

#[expect(clippy::disallowed_methods, reason = "a test gives up after a while")]
fn deadline() -> impl Fn() -> bool {
    let start = Instant::now();
    move || start.elapsed() > Duration::from_secs(20)
}

#[test]
fn the_losses_of_every_session_of_a_batch_are_counted() {
    let loopback = resolve(&InterfaceSpec::Loopback).unwrap();
    let open = || UdpSocket::open_sender(&loopback, 0, &OPTIONS).unwrap();
    let (socket, sender) = (open(), open());
    let to = Destination::from(SocketAddr::from(socket.local_address()));
    for (session, sequence) in [(1, 0), (1, 5), (2, 0), (2, 3), (3, 0)] {
        sender.send_run(Some(&to), &packet(session, sequence), PACKET_HEADER_LENGTH).unwrap();
    }

    let (counters, clock) = (Arc::new(Counters::new()), Clock::start());
    let receiver = InstanceId::from_bytes([1; 16]);
    let settings = ReceiveSettings {
        window_packets: 16,
        max_message_bytes: 1024,
        repair_timeout: Duration::from_millis(1),
        is_group: false,
        tag: 0,
    };
    let id = EndpointId(EndpointId::FIRST_TOPIC);
    let mut endpoint = SocketEndpoint::new(id, socket, None, receiver, settings);
    endpoint.add_stream(STREAM);
    let requests = Arc::new(RequestProcessor::new(receiver, 1, Arc::clone(&counters), clock));
    let mut context = Context {
        buffer: &mut ReceiveBuffer::new(),
        dispatch: &mut Dispatch::new(Arc::clone(&counters), Arc::new(Nobody)),
        requests: &requests,
        counters: &counters,
        clock: &clock,
    };
    let is_over = deadline();
    while counters.get(Counter::PacketsReceived) < 5 && !is_over() {
        endpoint.poll(&mut context);
    }
    while endpoint.has_gaps() && !is_over() {
        endpoint.handle_timeouts(clock.now(), &mut context);
    }
    assert_eq!(counters.get(Counter::PacketsReceived), 5);
    assert_eq!(counters.get(Counter::PacketsLost), 4 + 2);
}
