//! Points 1, 2 and 11: what is sent arrives, on every transport, in every process, in every size.
//! Tests.

use std::time::Duration;

use vega::{RequestError, Response, SendError, SendStatus, SentRequest, Transport};

use crate::support::{
    Behaviour, Host, Journal, Place, Report, Settings, TRANSPORTS, WAIT, description, eventually,
    next, payload,
};

#[test]
fn messages_and_requests_arrive_on_every_transport() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.quotes");
        host.subscribe(&topic, Behaviour::respond(1));
        let mut publisher = asker.publisher(&topic).unwrap();
        assert_eq!(publisher.transport().as_str(), transport);
        assert!(publisher.wait_for_subscribers(1, WAIT), "{topic}");
        for number in 1..=100 {
            let sent = publisher.send(&payload::numbered(number, 100)).unwrap();
            assert_eq!(sent, SendStatus::Sent);
        }
        assert_eq!(host.expect(&topic, 100), Report::complete(100), "{topic}");

        let (answers, answered) = crossbeam_channel::unbounded();
        let request = publisher
            .request(b"how much?", WAIT, move |request: &SentRequest, response: &Response<'_>| {
                let same = request.request_id() == response.original_request_id();
                answers.send((response.topic().to_owned(), same, response.to_owned())).unwrap();
            })
            .unwrap();
        let (answer_topic, same, answer) = next(&answered, &topic);
        assert_eq!((answer_topic.as_str(), same), (topic.as_str(), true));
        assert_eq!(answer.payload().as_ref(), b"host/0");
        assert_eq!(publisher.subscriber_instances(), [answer.responder()]);
        assert_eq!(request.number_of_responses(), 1);
        assert!(request.close());
    }
}

#[test]
fn requests_carry_content_topic_and_sender() {
    let place = Place::new();
    let asker = place.start("asker");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.quotes");
        host.subscribe(&topic, Behaviour::Describe);
        let mut publisher = asker.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let (answers, answered) = crossbeam_channel::unbounded();
        let tell = move |_: &SentRequest, response: &Response<'_>| {
            answers.send(String::from_utf8(response.payload().to_vec()).unwrap()).unwrap();
        };
        let request = publisher.request(b"content", WAIT, tell).unwrap();
        let id = request.request_id();
        let expected = description(&topic, b"content", asker.id(), id, WAIT);
        assert_eq!(next(&answered, &topic), expected);
    }
}

#[test]
fn a_channel_brings_requests_and_ends_with_its_subscription() {
    let place = Place::new();
    let responder = place.start("responder");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.quotes");
        let (subscription, requests) = responder.subscribe_channel(&topic, 10).unwrap();
        host.publish(&topic);
        host.wait_for_subscribers(&topic, 1);
        host.request(&topic, Duration::from_millis(1));
        let vega::Delivery::Request(received) = next(&requests, &topic) else {
            panic!("not a request");
        };
        assert_eq!(received.topic(), topic);
        assert_eq!(received.payload().as_ref(), b"?");
        assert_eq!(received.sender().to_string(), host.id());
        assert_eq!(received.timeout(), Duration::from_millis(1));
        subscription.unsubscribe();
        assert!(requests.recv().is_err(), "the channel ends with the subscription");
    }
}

#[test]
fn every_process_of_a_host_gets_everything() {
    let place = Place::new();
    let mut publisher = Host::start(&place, "publisher");
    let mut subscribers: Vec<_> =
        (0..3).map(|index| Host::start(&place, &format!("subscriber-{index}"))).collect();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.all");
        for host in &mut subscribers {
            host.subscribe(&topic, Behaviour::Collect);
        }
        publisher.publish(&topic);
        publisher.wait_for_subscribers(&topic, subscribers.len());
        publisher.send(&topic, 10_000, 64);
        for host in &mut subscribers {
            assert_eq!(host.expect(&topic, 10_000), Report::complete(10_000), "{topic}");
        }
    }
}

#[test]
fn publishers_in_several_processes_meet_in_one_subscription() {
    const EACH: u64 = 5_000;
    let place = Place::new();
    let listener = place.start("listener");
    let mut hosts: Vec<_> =
        (0..4).map(|index| Host::start(&place, &format!("publisher-{index}"))).collect();
    for transport in TRANSPORTS {
        let topic = format!("{transport}.many-to-one");
        let journal = Journal::new(&topic);
        let subscription = listener.subscribe(&topic, journal.clone()).unwrap();
        for host in &mut hosts {
            host.publish(&topic);
        }
        assert!(subscription.wait_for_publishers(hosts.len(), WAIT));
        std::thread::scope(|scope| {
            for host in &mut hosts {
                scope.spawn(|| {
                    host.wait_for_subscribers(&topic, 1);
                    host.send(&topic, EACH, 200);
                });
            }
        });
        let all = EACH * hosts.len() as u64;
        assert_eq!(journal.expect(all), Report::complete(all), "{topic}");
    }
}

#[test]
fn an_instance_hears_itself() {
    let place = Place::new();
    let instance = place.start("only");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.own");
        let journal = Journal::new(&topic);
        let _subscription = instance.subscribe(&topic, journal.clone()).unwrap();
        let mut publisher = instance.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        publisher.send(&payload::numbered(1, 10)).unwrap();
        assert_eq!(journal.expect(1), Report::complete(1));
    }
}

#[test]
fn large_messages_arrive_byte_for_byte() {
    const MIB: usize = 1 << 20;
    let place = Place::new();
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.large");
        host.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        // The default limit, and what it is made of: whole packets, and one byte more or less.
        let in_packet = publisher.max_claim_bytes();
        let sizes = [8, in_packet, in_packet + 1, 2 * in_packet - 1, MIB - 1, MIB, 16 * MIB];
        for (number, bytes) in (1..).zip(sizes) {
            while publisher.send(&payload::numbered(number, bytes)) == Err(SendError::BackPressured)
            {
                std::thread::yield_now();
            }
            assert_eq!(host.expect(&topic, number), Report::complete(number), "{topic} {bytes}");
        }
    }
}

#[test]
fn what_is_over_the_limit_is_not_sent_at_all() {
    let place = Place::with(Settings { max_message: "1MiB", ..Settings::default() });
    let limit_bytes = 1 << 20;
    let sender = place.start("sender");
    let mut host = Host::start(&place, "host");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.limited");
        host.subscribe(&topic, Behaviour::respond(1));
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let too_large = vec![0; limit_bytes + 1];
        let error = SendError::TooLarge { bytes: limit_bytes + 1, limit_bytes };
        assert_eq!(publisher.send(&too_large), Err(error));
        assert_eq!(publisher.request(&too_large, WAIT, ()).unwrap_err(), error.into());
        let claim_bytes = publisher.max_claim_bytes() + 1;
        assert!(matches!(publisher.try_claim(claim_bytes), Err(SendError::TooLarge { .. })));
        assert_eq!(publisher.sequence(), 0, "no number was used");
        // The next message is the first to arrive, and the largest one is not too large: neither
        // alone nor as a request.
        publisher.send(&payload::numbered(1, limit_bytes)).unwrap();
        assert_eq!(host.expect(&topic, 1), Report::complete(1), "{topic}");
        assert_eq!(publisher.sequence(), 1);
        let (answers, answered) = crossbeam_channel::unbounded();
        let question = payload::numbered(2, limit_bytes);
        // Two of them are more than a ring in shared memory, whose reader tells how far it is only after
        // its callback.
        eventually("there is room for the request", || {
            let answers = answers.clone();
            let tell = move |_: &SentRequest, response: &Response<'_>| {
                answers.send(response.payload().to_vec()).unwrap();
            };
            match publisher.request(&question, WAIT, tell) {
                Err(RequestError::Send(SendError::BackPressured)) => false,
                asked => asked.is_ok(),
            }
        });
        assert_eq!(next(&answered, &topic), b"host/0");
    }
}

#[test]
fn large_responses_arrive_byte_for_byte() {
    const BYTES: usize = 3 << 20;
    let place = Place::new();
    let asker = place.start("asker");
    let mut responder = Host::start(&place, "responder");
    responder.subscribe("unicast.large", Behaviour::RespondLarge(BYTES));
    let mut publisher = asker.publisher("unicast.large").unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let (answers, answered) = crossbeam_channel::unbounded();
    let _request = publisher
        .request(b"all of it", WAIT, move |_: &SentRequest, response: &Response<'_>| {
            answers.send(response.to_owned()).unwrap();
        })
        .unwrap();
    let answer = next(&answered, "a response larger than the ring");
    assert_eq!(answer.payload().len(), BYTES);
    assert_eq!(payload::number_of(answer.payload()), Some(BYTES as u64));
}

/// Whether a message takes a little less than the ring, all of it or a little more: there is a moment
/// when it can go.
#[test]
fn messages_about_as_large_as_the_ring_arrive_one_after_the_other() {
    let place = Place::with(Settings { window: "64KiB", ..Settings::default() });
    let sender = place.start("sender");
    let mut receiver = Host::start(&place, "receiver");
    for transport in TRANSPORTS {
        let topic = format!("{transport}.large");
        receiver.subscribe(&topic, Behaviour::Collect);
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        // What fits into a packet, and the packets of a ring.
        let (part, packets) = if transport == "ipc" { (4032, 32) } else { (1344, 128) };
        let mut sent = 0;
        for packets in packets - 4..packets + 2 {
            for _ in 0..3 {
                sent += 1;
                let message = payload::numbered(sent, packets * part);
                assert!(publisher.send_blocking(&message, WAIT).is_ok(), "{topic}: {packets}");
            }
        }
        assert_eq!(receiver.expect(&topic, sent), Report::complete(sent), "{topic}");
    }
}

#[test]
fn a_message_tells_who_sent_it() {
    let place = Place::new();
    let receiver = place.start("receiver");
    let mut sender = Host::start(&place, "sender");
    for (transport, expected) in
        TRANSPORTS.into_iter().zip([Transport::Multicast, Transport::Unicast, Transport::Ipc])
    {
        let topic = format!("{transport}.identity");
        let (subscription, messages) = receiver.subscribe_channel(&topic, 10).unwrap();
        assert_eq!(subscription.transport(), expected);
        sender.publish(&topic);
        sender.wait_for_subscribers(&topic, 1);
        assert!(subscription.wait_for_publishers(1, WAIT));
        let identity = sender.id();
        assert_eq!(
            subscription.publisher_instances().iter().map(ToString::to_string).collect::<Vec<_>>(),
            std::slice::from_ref(&identity)
        );
        sender.send(&topic, 2, 0);
        for sequence in 1..=2 {
            let vega::Delivery::Message(message) = next(&messages, &topic) else {
                panic!("not a message");
            };
            assert_eq!(message.topic(), topic);
            assert_eq!(message.sender().to_string(), identity);
            assert_eq!(message.publisher_id().to_string(), sender.publisher_id(&topic));
            assert_eq!(message.sequence(), sequence);
            assert!(message.payload().is_empty());
        }
    }
}
