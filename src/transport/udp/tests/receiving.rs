//! What a receive call yields, and what the kernel has dropped. Tests.

use super::*;

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
