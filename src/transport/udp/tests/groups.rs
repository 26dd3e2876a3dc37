//! Groups: who hears what is sent to one, and who does not. Tests.

use super::*;

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
