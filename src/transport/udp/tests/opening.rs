//! What is opened, at which port, and what is said when it cannot be. Tests.

use super::*;

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
