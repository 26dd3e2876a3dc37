//! Runs arrive whole, whatever they look like and whichever way they take. Tests.

use super::*;

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
    assert_eq!(counters.get(Counter::OffloadsMissing), 0);
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
    let counters = Arc::new(Counters::new());
    let options = SocketOptions { counters: Some(Arc::clone(&counters)), ..PORTABLE.options() };
    let socket = UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap();
    assert_eq!(socket.path(), ("sendto", "recvmsg"));
    assert_eq!(counters.get(Counter::OffloadsMissing), 1);
    let faults = Config::parse("[fault]\nloss = 1").unwrap().fault;
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
fn only_exhaustion_is_back_pressure() {
    for errno in [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM] {
        assert!(is_back_pressure(&io::Error::from_raw_os_error(errno)));
    }
    for errno in [libc::ENETDOWN, libc::ENETUNREACH, libc::EPERM, libc::EINVAL] {
        assert!(!is_back_pressure(&io::Error::from_raw_os_error(errno)));
    }
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
