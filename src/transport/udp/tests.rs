//! Tests with real sockets, on loopback only, through each way to send and to receive.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mio::{Events, Poll};
use proptest::prelude::*;

use super::*;
use crate::config::{Config, InterfaceSpec};
use crate::transport::interface::{Interface, resolve};

/// How a run leaves: cut by the kernel, as a batch, or packet by packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Segmented,
    Batched,
    Portable,
}

/// How a run leaves, and in packets of which family.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    how: How,
    family: Family,
}

const LOOPBACK: IpAddr = Family::V4.loopback();
const SEGMENTED: Way = Way { how: How::Segmented, family: Family::V4 };
const PORTABLE: Way = Way { how: How::Portable, family: Family::V4 };

/// Every way that this machine has. Without IPv6 that is said where people see it.
fn ways() -> Vec<Way> {
    let mut families = vec![Family::V4];
    match resolve(&InterfaceSpec::Loopback(Family::V6)) {
        Ok(_) => families.push(Family::V6),
        Err(reason) => {
            use std::io::Write as _;
            // Not by a macro: the harness would keep that to itself.
            let _ = writeln!(io::stderr(), "\nSKIPPED for IPv6: {reason}");
        }
    }
    let of = |family| [How::Segmented, How::Batched, How::Portable].map(|how| Way { how, family });
    families.into_iter().flat_map(of).collect()
}

/// Those of IPv4, whose groups every loopback interface carries. IPv6 needs a route there, and is tested
/// in networks of its own.
fn group_ways() -> impl Iterator<Item = Way> {
    ways().into_iter().filter(|way| way.family == Family::V4)
}

impl Way {
    fn options(self) -> SocketOptions {
        SocketOptions {
            receive_buffer_bytes: 1 << 20,
            send_buffer_bytes: 1 << 20,
            force_portable: self.how == How::Portable,
            faults: None,
            counters: None,
        }
    }

    fn loopback(self) -> Interface {
        resolve(&InterfaceSpec::Loopback(self.family)).unwrap()
    }

    fn prepared(self, socket: UdpSocket) -> UdpSocket {
        if self.how != How::Segmented {
            socket.can_segment.store(false, Ordering::Relaxed);
        }
        socket
    }

    fn sender(self) -> UdpSocket {
        self.prepared(UdpSocket::open_sender(&self.loopback(), 0, &self.options()).unwrap())
    }

    fn connected(self, to: &UdpSocket) -> UdpSocket {
        let to = to.local_address();
        let opened = self.sender().open_connected(&self.loopback(), 0, to, &self.options());
        self.prepared(opened.unwrap())
    }

    fn receiver(self) -> UdpSocket {
        UdpSocket::bind_unicast(&self.loopback(), [0], &self.options()).unwrap()
    }
}

fn loopback() -> Interface {
    SEGMENTED.loopback()
}

fn to(socket: &UdpSocket) -> Destination {
    socket.destination(socket.local_address())
}

/// A socket as a poller has it. Waiting is bounded so that a lost packet fails the test.
struct Inbox<'s> {
    socket: &'s UdpSocket,
    poll: Poll,
    buffer: ReceiveBuffer,
}

impl<'s> Inbox<'s> {
    fn of(socket: &'s UdpSocket) -> Self {
        Self::with_buffer(socket, ReceiveBuffer::new())
    }

    fn with_buffer(socket: &'s UdpSocket, buffer: ReceiveBuffer) -> Self {
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut &*socket, Token(0), Interest::READABLE).unwrap();
        Self { socket, poll, buffer }
    }

    /// The next datagram or run: who sent it, and its packets.
    fn next(&mut self) -> (SocketAddr, Vec<Vec<u8>>) {
        let mut events = Events::with_capacity(1);
        loop {
            if let Some(received) = self.socket.recv(&mut self.buffer).unwrap() {
                let packets = received.segments().map(<[u8]>::to_vec).collect();
                return (received.source(), packets);
            }
            self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(!events.is_empty(), "nothing arrived");
        }
    }

    fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while packets.len() < count {
            packets.extend(self.next().1);
        }
        packets
    }

    fn is_empty(&mut self) -> bool {
        self.socket.recv(&mut self.buffer).unwrap().is_none()
    }
}

/// Bytes that tell where in the run they lie.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

/// Sends everything, in as many calls as the socket wants.
fn send_all(socket: &UdpSocket, to: Option<&Destination>, bytes: &[u8], segment_bytes: usize) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = socket.send_run(to, rest, segment_bytes).unwrap();
        rest = rest.get(sent * segment_bytes..).unwrap_or_default();
    }
}

fn split(bytes: &[u8], segment_bytes: usize) -> Vec<Vec<u8>> {
    bytes.chunks(segment_bytes).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_run_with_a_short_tail_arrives_intact() {
    let bytes = pattern(40 * 1408 + 77);
    for way in ways() {
        let receiver = way.receiver();
        let mut inbox = Inbox::of(&receiver);
        let sender = way.sender();
        assert_eq!(sender.send_run(Some(&to(&receiver)), &bytes, 1408).unwrap(), 41, "{way:?}");
        assert_eq!(inbox.packets(41), split(&bytes, 1408), "{way:?}");
        let connected = way.connected(&receiver);
        assert_eq!(connected.send_run(None, &bytes, 1408).unwrap(), 41, "{way:?}");
        assert_eq!(inbox.packets(41), split(&bytes, 1408), "{way:?}");
        assert!(inbox.is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn over_loopback_a_run_stays_in_one_piece() {
    for way in ways().into_iter().filter(|way| way.how == How::Segmented) {
        let (sender, receiver) = (way.sender(), way.receiver());
        let mut inbox = Inbox::of(&receiver);
        let bytes = pattern(46 * 1408);
        sender.send_run(Some(&to(&receiver)), &bytes, 1408).unwrap();
        let (source, packets) = inbox.next();
        assert_eq!(source, sender.local_address());
        assert_eq!(packets, split(&bytes, 1408), "{way:?}");
    }
}

/// An IPv6 socket takes nothing of IPv4, at no address: families share no port.
#[test]
fn families_do_not_mix() {
    let Some(way) = ways().into_iter().find(|way| way.family == Family::V6) else { return };
    let (v6, v4) = (way.receiver(), SEGMENTED.sender());
    assert!(v6.socket.only_v6().unwrap());
    assert_eq!((v6.family(), v4.family()), (Family::V6, Family::V4));
    assert!(v4.send_run(Some(&to(&v6)), b"?", 1).is_err());
    let port = v6.local_address().port();
    let beside = UdpSocket::bind_unicast(&loopback(), [port], &SEGMENTED.options()).unwrap();
    beside.send_run(Some(&to(&beside)), b"self", 10).unwrap();
    assert_eq!(Inbox::of(&beside).next().1, [b"self"]);
    assert!(Inbox::of(&v6).is_empty());
}

/// Where the kernel would refuse what is sent later, the reason and the remedy are told at once.
#[test]
fn ipv6_groups_of_loopback_work_or_say_what_is_missing() {
    let Some(way) = ways().into_iter().find(|way| way.family == Family::V6) else { return };
    let group = "ff15::7665:6761:ffff".parse().unwrap();
    match UdpSocket::bind_multicast(&way.loopback(), group, 0, &way.options()) {
        Ok(member) => {
            let sender = way.sender();
            sender.send_run(Some(&to(&member)), b"group", 10).unwrap();
            assert_eq!(Inbox::of(&member).next().1, [b"group"]);
        }
        Err(error @ OpenError::NoRoute { .. }) => {
            assert!(error.to_string().contains("ip -6 route add local ff00::/8 dev lo"));
        }
        Err(error) => panic!("{error}"),
    }
    let v4 = UdpSocket::bind_multicast(&loopback(), group, 0, &way.options()).unwrap_err();
    assert_eq!(v4.to_string(), format!("group {group} is no IPv4 multicast address"));
}

#[test]
fn ways_of_sending_and_receiving_mix() {
    let bytes = pattern(20 * 1000);
    for sending in ways() {
        for how in [How::Segmented, How::Portable] {
            let receiving = Way { how, ..sending };
            let receiver = receiving.receiver();
            let mut inbox = Inbox::of(&receiver);
            send_all(&sending.sender(), Some(&to(&receiver)), &bytes, 1000);
            assert_eq!(inbox.packets(20), split(&bytes, 1000), "{sending:?} to {receiving:?}");
        }
    }
}

#[test]
fn every_receiver_of_a_group_gets_everything_and_can_answer() {
    for (way, host) in group_ways().zip(10..) {
        let group = Ipv4Addr::new(239, 255, 200, host).into();
        let first = UdpSocket::bind_multicast(&loopback(), group, 0, &way.options()).unwrap();
        let port = first.local_address().port();
        let second = UdpSocket::bind_multicast(&loopback(), group, port, &way.options()).unwrap();
        let sender = way.sender();
        let bytes = pattern(30 * 1408 + 5);
        let to_group = sender.destination(SocketAddr::new(group, port));
        send_all(&sender, Some(&to_group), &bytes, 1408);
        let mut answers = Inbox::of(&sender);
        for receiver in [&first, &second] {
            let mut inbox = Inbox::of(receiver);
            let (source, mut packets) = inbox.next();
            packets.extend(inbox.packets(31 - packets.len()));
            assert_eq!(packets, split(&bytes, 1408), "{way:?}");

            let feedback = way.receiver();
            feedback.send_run(Some(&feedback.destination(source)), b"feedback", 100).unwrap();
            let (from, answer) = answers.next();
            assert_eq!(from, feedback.local_address());
            assert_eq!(answer, [b"feedback"]);
        }
    }
}

#[test]
fn a_group_is_sent_to_from_the_address_that_its_members_answer() {
    for (way, host) in group_ways().zip(30..) {
        let group = Ipv4Addr::new(239, 255, 200, host).into();
        let member = UdpSocket::bind_multicast(&loopback(), group, 0, &way.options()).unwrap();
        let to_group = SocketAddr::new(group, member.local_address().port());
        let anywhere = way.sender();
        let opened = anywhere.open_connected(&loopback(), 0, to_group, &way.options());
        let connected = way.prepared(opened.unwrap());
        let bytes = pattern(30 * 1408 + 5);
        send_all(&connected, None, &bytes, 1408);
        let mut inbox = Inbox::of(&member);
        let (source, mut packets) = inbox.next();
        packets.extend(inbox.packets(31 - packets.len()));
        assert_eq!(packets, split(&bytes, 1408), "{way:?}");
        assert_eq!(source, anywhere.local_address());

        let status = way.receiver();
        status.send_run(Some(&status.destination(source)), b"status", 100).unwrap();
        assert_eq!(Inbox::of(&anywhere).next().1, [b"status"]);
        assert!(Inbox::of(&connected).is_empty());
        // The address is not shared with anybody else.
        let port = anywhere.local_address().port();
        let other = UdpSocket::bind_unicast(&loopback(), [port], &way.options());
        assert!(matches!(other, Err(OpenError::PortsTaken { .. })));
    }
}

#[test]
fn a_group_does_not_hear_its_neighbours_on_the_same_port() {
    let way = SEGMENTED;
    let group = |number| IpAddr::from([239, 255, 200, number]);
    let (ours, theirs) = (group(20), group(21));
    let receiver = UdpSocket::bind_multicast(&loopback(), ours, 0, &way.options()).unwrap();
    let port = receiver.local_address().port();
    let _neighbour = UdpSocket::bind_multicast(&loopback(), theirs, port, &way.options()).unwrap();
    let sender = way.sender();
    for (group, bytes) in [(theirs, b"theirs"), (ours, b"ours..")] {
        let group = sender.destination(SocketAddr::new(group, port));
        sender.send_run(Some(&group), bytes, 100).unwrap();
    }
    let mut inbox = Inbox::of(&receiver);
    assert_eq!(inbox.next().1, [b"ours.."]);
    assert!(inbox.is_empty());
}

#[test]
fn the_first_free_port_is_taken_and_kept() {
    let options = SEGMENTED.options();
    let bind =
        |ports: &[u16]| UdpSocket::bind_unicast(&loopback(), ports.iter().copied(), &options);
    let (first, second) = (bind(&[0]).unwrap(), bind(&[0]).unwrap());
    let range = [first.local_address().port(), second.local_address().port()];
    let (low, high) = (range[0].min(range[1]), range[0].max(range[1]));
    let error = bind(&range).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("all ports from {low} to {high} of {} are taken (tried: 2)", loopback())
    );
    drop(second);
    let again = bind(&range).unwrap();
    assert_eq!(again.local_address(), SocketAddr::new(LOOPBACK, range[1]));
    assert!(matches!(bind(&range), Err(OpenError::PortsTaken { tried: 2, .. })));
    drop(first);
    assert_eq!(bind(&range).unwrap().local_address().port(), range[0]);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let options = SEGMENTED.options();
    let none = UdpSocket::bind_unicast(&loopback(), [], &options).unwrap_err();
    assert!(matches!(none, OpenError::NoPorts { .. }));
    // Reserved for documentation: no host has it.
    let foreign = Interface { address: [203, 0, 113, 1].into(), ..loopback() };
    let error = UdpSocket::bind_unicast(&foreign, [0, 1], &options).unwrap_err();
    assert!(matches!(error, OpenError::Bind { .. }), "{error}");
    let error = UdpSocket::bind_multicast(&loopback(), LOOPBACK, 0, &options).unwrap_err();
    assert!(matches!(error, OpenError::NotMulticast { group: LOOPBACK, .. }));
    let absent = Interface { index: 0x7fff_0000, ..loopback() };
    let group = [239, 255, 200, 22].into();
    let error = UdpSocket::bind_multicast(&absent, group, 0, &options).unwrap_err();
    assert!(matches!(error, OpenError::Join { .. }), "{error}");
    let v6 = "[::1]:9".parse().unwrap();
    let error = SEGMENTED.sender().open_connected(&loopback(), 0, v6, &options).unwrap_err();
    assert!(matches!(error, OpenError::Connect { .. }), "{error}");
}

#[test]
fn runs_that_cannot_be_are_refused_and_the_socket_lives_on() {
    let run = |bytes: usize| pattern(bytes);
    for way in ways() {
        let (sender, receiver) = (way.sender(), way.receiver());
        let to = to(&receiver);
        for (bytes, segment_bytes) in
            [(0, 100), (100, 0), (0, 0), (65, 1), (MAX_RUN_BYTES + 1, 60_000), (65_488, 65_488)]
        {
            let error = sender.send_run(Some(&to), &run(bytes), segment_bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bytes}/{segment_bytes}");
        }
        // Without a destination and without a connection; to a port that does not exist.
        assert!(sender.send_run(None, &run(300), 100).is_err());
        let nowhere = sender.destination(SocketAddr::new(way.family.loopback(), 0));
        assert!(sender.send_run(Some(&nowhere), &run(300), 100).is_err());
        assert_eq!(
            sender.can_segment.load(Ordering::Relaxed),
            way.how == How::Segmented && sys::native::can_segment(&sender.socket),
            "{way:?}: another error was taken for missing segmentation"
        );
        let mut inbox = Inbox::of(&receiver);
        send_all(&sender, Some(&to), &run(300), 100);
        assert_eq!(inbox.packets(3), split(&run(300), 100));
    }
}

/// The kernel refuses for good what it was known to take: the same run goes another way, nothing is
/// lost, and it is not tried again.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_is_refused_segmentation_finds_another_way() {
    let counters = Arc::new(Counters::new());
    let options = SocketOptions { counters: Some(Arc::clone(&counters)), ..SEGMENTED.options() };
    let sender = UdpSocket::open_sender(&loopback(), 0, &options).unwrap();
    assert_eq!(sender.path(), ("UDP_SEGMENT", "UDP_GRO"));
    sys::native::send_without_checksums(&sender.socket);
    let receiver = SEGMENTED.receiver();
    let mut inbox = Inbox::of(&receiver);
    for _ in 0..3 {
        send_all(&sender, Some(&to(&receiver)), &pattern(1000), 100);
        assert_eq!(inbox.packets(10), split(&pattern(1000), 100));
        assert_eq!(sender.path(), ("sendmmsg", "UDP_GRO"));
        assert_eq!(counters.get(Counter::OffloadsRefused), 1);
    }
}

#[test]
fn what_is_forced_is_what_is_used() {
    assert_eq!(PORTABLE.receiver().path(), ("sendto", "recvmsg"));
    let faults = Config::parse("[fault]\nloss = 1").unwrap().fault;
    let counters = Arc::new(Counters::new());
    let faults = FaultSource::new(faults, crate::time::Clock::start(), counters);
    let options = SocketOptions { faults: Some(Arc::new(faults)), ..SEGMENTED.options() };
    let socket = UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap();
    assert_eq!(socket.path().1, "recvmsg", "each datagram has its own fate");
}

#[test]
fn run_limits_follow_from_the_packet_size() {
    for (segment_bytes, segments) in [
        (0, 64),
        (1, 64),
        (1023, 64),
        (1024, 63),
        (1408, 46),
        (32_743, 2),
        (32_744, 1),
        (65_487, 1),
        (usize::MAX, 1),
    ] {
        assert_eq!(UdpSocket::max_run_segments(segment_bytes), segments, "{segment_bytes}");
    }
}

/// A packet larger than the MTU of the interface is more than segmentation takes on.
#[test]
fn the_largest_packet_and_the_largest_run_arrive() {
    for way in ways() {
        let (sender, receiver) = (way.sender(), way.receiver());
        let mut inbox = Inbox::of(&receiver);
        for segment_bytes in [MAX_RUN_BYTES, 32_743, 1408, 1024, 1] {
            let count = UdpSocket::max_run_segments(segment_bytes);
            let bytes = pattern(segment_bytes * count);
            send_all(&sender, Some(&to(&receiver)), &bytes, segment_bytes);
            assert!(inbox.packets(count) == split(&bytes, segment_bytes), "{segment_bytes}");
        }
    }
}

#[test]
fn an_absent_peer_is_loss_and_not_an_error() {
    for way in ways() {
        let peer = way.receiver();
        let (port, socket) = (peer.local_address().port(), way.connected(&peer));
        drop(peer);
        let mut buffer = ReceiveBuffer::new();
        for _ in 0..5 {
            assert!(socket.send_run(None, b"nobody hears this", 4).unwrap() > 0, "{way:?}");
            socket.send_run(None, b"nor this", 100).unwrap();
            assert!(socket.recv(&mut buffer).unwrap().is_none(), "{way:?}");
        }
        let peer = UdpSocket::bind_unicast(&way.loopback(), [port], &way.options()).unwrap();
        socket.send_run(None, b"but this", 100).unwrap();
        assert_eq!(Inbox::of(&peer).next().1, [b"but this"], "{way:?}");
    }
}

#[test]
fn empty_and_truncated_datagrams_have_no_packets() {
    for way in ways().into_iter().filter(|way| way.how != How::Batched) {
        let receiver = way.receiver();
        let mut inbox = Inbox::with_buffer(&receiver, ReceiveBuffer::with_capacity(100));
        let sender = way.sender();
        // The public interface sends nothing empty; others do.
        sender.socket.send_to(&[], &to(&receiver).0).unwrap();
        for bytes in [101, 100] {
            sender.send_run(Some(&to(&receiver)), &pattern(bytes), 1000).unwrap();
        }
        for _ in 0..2 {
            assert!(inbox.next().1.is_empty());
        }
        assert_eq!(inbox.next().1, [pattern(100)]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_reads_packets_one_by_one_reads_the_same() {
    for way in ways().into_iter().filter(|way| way.how == How::Segmented) {
        one_by_one_is_the_same(way);
    }
}

#[cfg(target_os = "linux")]
fn one_by_one_is_the_same(way: Way) {
    let receiver = way.receiver();
    let sender = way.connected(&receiver);
    let mut inbox = Inbox::of(&receiver);
    let bytes = pattern(40 * 1408 + 77);
    for singly in [true, false, true] {
        assert!(inbox.is_empty());
        receiver.receive_singly(singly);
        send_all(&sender, None, &bytes, 1408);
        let (source, first) = inbox.next();
        assert_eq!(source, sender.local_address());
        assert_eq!(first.len(), if singly { 1 } else { 41 });
        let rest = inbox.packets(41 - first.len());
        assert!([first, rest].concat() == split(&bytes, 1408), "{singly}");
    }
    let mut inbox = Inbox::with_buffer(&receiver, ReceiveBuffer::with_capacity(100));
    send_all(&sender, None, &pattern(101), 101);
    assert_eq!(inbox.next().1.len(), 0, "it does not fit");
    let portable = PORTABLE.receiver();
    portable.receive_singly(true);
    assert!(!portable.receives_singly(), "it never does anything else");
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_tells_what_it_dropped() {
    for way in ways().into_iter().filter(|way| way.how == How::Segmented) {
        the_kernel_tells_what_it_dropped_of(way);
    }
}

#[cfg(target_os = "linux")]
fn the_kernel_tells_what_it_dropped_of(way: Way) {
    const SENT: u64 = 200;
    let small = SocketOptions { receive_buffer_bytes: 8192, ..way.options() };
    let receiver = UdpSocket::bind_unicast(&way.loopback(), [0], &small).unwrap();
    assert!(receiver.receive_buffer_bytes() >= 8192);
    let sender = way.sender();
    for _ in 0..SENT {
        sender.send_run(Some(&to(&receiver)), &pattern(1000), 1000).unwrap();
    }
    let mut buffer = ReceiveBuffer::new();
    let mut received = 0;
    while let Some(run) = receiver.recv(&mut buffer).unwrap() {
        received += u64::try_from(run.segments().count()).unwrap();
    }
    // The count travels with the packets that come after the loss.
    sender.send_run(Some(&to(&receiver)), b"after", 100).unwrap();
    assert_eq!(Inbox::of(&receiver).next().1, [b"after"]);
    assert!(received < SENT);
    assert_eq!(receiver.kernel_drops(), SENT - received);
}

#[test]
fn the_drop_count_passes_32_bits_and_never_goes_back() {
    let socket = SEGMENTED.receiver();
    for (counted, known) in [
        (0, 0),
        (5, 5),
        (3, 5),
        (0x7000_0000, 0x7000_0000),
        (0xe000_0000, 0xe000_0000),
        (2, 0x1_0000_0002),
        (0xffff_ffff, 0x1_0000_0002),
    ] {
        socket.note_kernel_drops(counted);
        assert_eq!(socket.kernel_drops(), known);
    }
}

#[test]
fn only_exhaustion_is_back_pressure() {
    for errno in [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM] {
        assert!(is_back_pressure(&io::Error::from_raw_os_error(errno)));
    }
    for errno in [libc::ENETDOWN, libc::ENETUNREACH, libc::EPERM, libc::EINVAL] {
        assert!(!is_back_pressure(&io::Error::from_raw_os_error(errno)));
    }
}

#[test]
fn a_receive_buffer_of_usual_size_is_granted_in_full() {
    let options = SocketOptions { receive_buffer_bytes: 64 * 1024, ..SEGMENTED.options() };
    let socket = UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(socket.receive_buffer_bytes(), 64 * 1024);
    }
    let options = SocketOptions {
        receive_buffer_bytes: usize::MAX,
        send_buffer_bytes: usize::MAX,
        ..options
    };
    let socket = UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap();
    assert!(socket.receive_buffer_bytes() >= 64 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn runs_of_any_shape_arrive_intact(
        segment_bytes in 1_usize..3000,
        full in 0_usize..64,
        tail in 1_usize..3000,
        way in prop::sample::select(ways()),
    ) {
        let full = full.min(UdpSocket::max_run_segments(segment_bytes) - 1);
        let bytes = pattern(full * segment_bytes + tail.min(segment_bytes));
        let (sender, receiver) = (way.sender(), way.receiver());
        let mut inbox = Inbox::of(&receiver);
        send_all(&sender, Some(&to(&receiver)), &bytes, segment_bytes);
        prop_assert_eq!(inbox.packets(full + 1), split(&bytes, segment_bytes));
        prop_assert!(inbox.is_empty());
    }
}
