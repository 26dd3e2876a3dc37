//! What an endpoint counts, over a real socket. Tests.

use std::time::{Duration, Instant};

use super::*;
use crate::config::{Family, InterfaceSpec};
use crate::id::SessionId;
use crate::listener::{Reply, Respond, RespondError};
use crate::time::Clock;
use crate::transport::interface::resolve;
use crate::transport::udp::SocketOptions;

/// Asks for nothing, and cannot answer.
pub(in crate::engine) struct Nobody;

impl Respond for Nobody {
    fn respond(&self, _: &Reply, _: &[u8]) -> Result<(), RespondError> {
        Err(RespondError::Closed)
    }
}

/// A socket of its own on loopback.
pub(in crate::engine) fn socket() -> UdpSocket {
    let loopback = resolve(&InterfaceSpec::Loopback(Family::V4)).unwrap();
    UdpSocket::open_sender(&loopback, 0, &OPTIONS).unwrap()
}

/// What hears packets on this socket, for the instance `OWN`.
pub(in crate::engine) fn endpoint(
    id: u32,
    socket: UdpSocket,
    repair_timeout: Duration,
    counters: &Arc<Counters>,
) -> SocketEndpoint {
    let settings = ReceiveSettings {
        window_packets: 16,
        max_message_bytes: 1024,
        repair_timeout,
        is_group: false,
        tag: 0,
    };
    let known_as = ReceiverId { instance: OWN, port: 1 };
    SocketEndpoint::new(EndpointId(id), socket, None, known_as, settings, counters.row("", ""))
}

pub(in crate::engine) const OWN: InstanceId = InstanceId::from_bytes([1; 16]);
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

/// Sends packets, each as its session and its number, to an endpoint that has heard nothing before.
fn hear(
    repair_timeout: Duration,
    packets: impl IntoIterator<Item = (u64, u64)>,
    check: impl FnOnce(&mut SocketEndpoint, &mut Context<'_>),
) {
    let (own, sender) = (socket(), socket());
    let to = own.destination(own.local_address());
    for (session, sequence) in packets {
        sender.send_run(Some(&to), &packet(session, sequence), PACKET_HEADER_LENGTH).unwrap();
    }

    let (counters, clock) = (Arc::new(Counters::new()), Clock::start());
    let mut endpoint = endpoint(EndpointId::FIRST_TOPIC, own, repair_timeout, &counters);
    endpoint.add_stream(STREAM);
    let requests = Arc::new(RequestProcessor::new(OWN, 1, Arc::clone(&counters), clock));
    let mut context = Context {
        buffer: &mut ReceiveBuffer::new(),
        dispatch: &mut Dispatch::new(Arc::clone(&counters), Arc::new(Nobody)),
        requests: &requests,
        counters: &counters,
        clock: &clock,
    };
    check(&mut endpoint, &mut context);
}

#[test]
fn the_losses_of_every_session_of_a_batch_are_counted() {
    let packets = [(1, 0), (1, 5), (2, 0), (2, 3), (3, 0)];
    hear(Duration::from_millis(1), packets, |endpoint, context| {
        let is_over = deadline();
        while context.counters.get(Counter::PacketsReceived) < 5 && !is_over() {
            endpoint.poll(context);
        }
        while endpoint.has_gaps() && !is_over() {
            endpoint.handle_timeouts(context.clock.now(), context);
        }
        assert_eq!(context.counters.get(Counter::PacketsReceived), 5);
        assert_eq!(context.counters.get(Counter::PacketsLost), 4 + 2);
    });
}

#[test]
fn nothing_is_asked_for_again_while_the_answer_may_wait_to_be_read() {
    // Packet 1 comes after a whole burst.
    let sequences = [0].into_iter().chain(2..=BURST as u64).chain([1]);
    hear(Duration::from_secs(60), sequences.map(|sequence| (1, sequence)), |endpoint, context| {
        let asked = |context: &Context<'_>| context.counters.get(Counter::NaksSent);
        assert_eq!(endpoint.poll(context), (BURST, true));
        assert_eq!(asked(context), 1, "at once");
        let since = endpoint.unread_since.expect("there is more to read");
        endpoint.handle_timeouts(since + READ_FIRST * 3 / 4, context);
        assert_eq!(asked(context), 1);
        endpoint.handle_timeouts(since + READ_FIRST, context);
        assert_eq!(asked(context), 2, "others fill the socket all the time");
        let is_over = deadline();
        while endpoint.unread_since.is_some() && !is_over() {
            endpoint.poll(context);
        }
        assert!(!endpoint.handle_timeouts(since + READ_FIRST * 2, context), "the gap is closed");
        assert_eq!(asked(context), 2);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn packets_that_are_far_apart_are_read_one_by_one_and_those_that_are_not_in_runs() {
    hear(Duration::from_secs(60), [(1, 0)], |endpoint, context| {
        endpoint.alone = SPARSE - 1;
        assert_eq!(endpoint.poll(context), (1, false));
        assert!(endpoint.socket.receives_singly());
        assert_eq!(endpoint.poll(context), (0, false));
        assert!(endpoint.socket.receives_singly(), "nothing says otherwise");
    });
    let many = (0..DENSE as u64).map(|sequence| (1, sequence));
    hear(Duration::from_secs(60), many, |endpoint, context| {
        endpoint.alone = SPARSE - 1;
        endpoint.socket.receive_singly(true);
        assert_eq!(endpoint.poll(context), (DENSE, false));
        assert!(!endpoint.socket.receives_singly());
        assert_eq!(endpoint.alone, 0, "and for a while");
    });
}
