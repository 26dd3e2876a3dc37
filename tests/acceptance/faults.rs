//! Faults on purpose: what `[fault]` does is what arrives, and it is counted. Tests.

use vega::{Config, Counter, Delivery, Instance, Message, TopicReceiver};

use crate::support::{Place, Settings, WAIT, eventually, payload};

const MESSAGES: u64 = 3000;
/// Fills most of a packet, so that each message has one of its own.
const BYTES: usize = 1000;

/// An instance at this place with a `[fault]` table.
fn start(place: &Place, name: &str, faults: &str) -> Instance {
    let text = format!("{}[fault]\n{faults}\n", place.config_text());
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    Instance::builder().name(name).config(config).start().unwrap()
}

/// Reads deliveries, and holds each reported loss to the gap in which it stands.
#[derive(Default)]
struct Account {
    first: Option<u64>,
    last: u64,
    received: u64,
    lost: u64,
    /// Reported lost since the last message.
    gap: u64,
}

impl Account {
    fn read(&mut self, deliveries: &TopicReceiver) {
        for delivery in deliveries.try_iter() {
            match delivery {
                Delivery::Lost { messages, .. } => self.gap += messages,
                Delivery::Message(message) => {
                    self.count(message.sequence());
                    assert!(payload::number_of(message.payload()).is_some());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn count(&mut self, sequence: u64) {
        let gap = std::mem::take(&mut self.gap);
        // What was sent before the first packet arrived was never expected here.
        if self.first.is_some() {
            assert_eq!(sequence, self.last + gap + 1, "reported {gap} lost");
            self.lost += gap;
        }
        self.first.get_or_insert(sequence);
        self.last = sequence;
        self.received += 1;
    }
}

/// Sends until the receiver has heard of everything, and returns its account.
fn stream(sender: &Instance, receiver: &Instance, topic: &str) -> Account {
    let (_subscription, deliveries) = receiver.subscribe_channel(topic, 1 << 16).unwrap();
    let mut publisher = sender.publisher(topic).unwrap();
    assert!(publisher.wait_for_subscribers(1, WAIT));
    let payload = payload::numbered(0, BYTES);
    while publisher.sequence() < MESSAGES {
        eventually("there is room", || publisher.send(&payload).is_ok());
    }
    let mut account = Account::default();
    eventually("all is told of", || {
        account.read(&deliveries);
        // A loss at the end is told by what comes after it. Without room this is tried again.
        if account.last < MESSAGES {
            let _ = publisher.send(&payload);
        }
        account.last >= MESSAGES
    });
    account
}

/// A fifth of all packets is dropped, repairs and heartbeats included, and nothing is lost.
#[test]
fn what_is_dropped_is_repaired() {
    for transport in ["multicast", "unicast"] {
        let place = Place::new();
        let (sender, receiver) =
            (place.start("sender"), start(&place, "receiver", "seed = 1\nloss = '20%'"));
        let topic = format!("{transport}.stream");
        let Account { first, last, received, lost, .. } = stream(&sender, &receiver, &topic);
        assert_eq!((first, received, lost), (Some(1), last, 0), "{topic}");
        let here = receiver.counters();
        let there = sender.counters();
        assert!(here.get(Counter::FaultsDropped) >= MESSAGES / 10, "{here:?}");
        assert!(here.get(Counter::NaksSent) > 0, "{here:?}");
        assert!(there.get(Counter::Retransmits) >= MESSAGES / 10, "{there:?}");
        assert_eq!(here.get(Counter::PacketsLost) + here.get(Counter::MessagesLost), 0);
        assert_eq!(there.get(Counter::FaultsDropped), 0);
    }
}

/// What is not repaired in time is told of, gap by gap, and counted.
#[test]
fn what_is_lost_and_what_arrives_is_all_that_was_sent() {
    for transport in ["multicast", "unicast"] {
        let place = Place::with(Settings { repair_timeout: "1ms", ..Settings::default() });
        let (sender, receiver) =
            (place.start("sender"), start(&place, "receiver", "seed = 1\nloss = '60%'"));
        let topic = format!("{transport}.stream");
        let Account { first, last, received, lost, .. } = stream(&sender, &receiver, &topic);
        assert_eq!(received + lost, last + 1 - first.unwrap(), "{topic}");
        let counters = receiver.counters();
        assert!(lost > 0 && counters.get(Counter::PacketsLost) > 0, "{topic}: {counters:?}");
        assert!(counters.get(Counter::MessagesLost) >= lost, "{topic}: {counters:?}");
    }
}

/// Copies are the network's, and no listener sees them. A poller that blocks comes back for what is
/// held without being woken, whether it asks few sockets one by one or many through the kernel.
#[test]
fn what_is_doubled_and_delayed_arrives_once() {
    for (transport, others) in [("multicast", 0), ("multicast", 8), ("unicast", 0), ("unicast", 8)]
    {
        let place = Place::new();
        let sender = place.start("sender");
        let receiver = start(&place, "receiver", "seed = 2\nduplicate = '20%'\ndelay = '3ms'");
        let topic = format!("{transport}.stream");
        let (_subscription, deliveries) = receiver.subscribe_channel(&topic, 1 << 16).unwrap();
        let other =
            |number| receiver.subscribe(&format!("{transport}.{number}"), |_: &Message<'_>| ());
        let _others: Vec<_> = (0..others).map(|number| other(number).unwrap()).collect();
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let payload = payload::numbered(0, BYTES);
        while publisher.sequence() < MESSAGES {
            eventually("there is room", || publisher.send(&payload).is_ok());
        }
        let mut account = Account::default();
        eventually("the last one has arrived", || {
            account.read(&deliveries);
            account.last == MESSAGES
        });
        assert_eq!((account.received, account.lost), (MESSAGES, 0), "{topic}");
        let counters = receiver.counters();
        let doubled = counters.get(Counter::FaultsDuplicated);
        assert!(doubled >= MESSAGES / 10, "{topic}: {doubled}");
        eventually("the copies are counted", || {
            receiver.counters().get(Counter::Duplicates) >= MESSAGES / 10
        });
        assert!(counters.get(Counter::FaultsDelayed) >= MESSAGES, "{topic}");
    }
}
