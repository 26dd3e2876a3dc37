//! Faults on purpose: what `[fault]` does is what arrives, and it is counted. Tests.

use vega::{Config, Counter, Delivery, Instance, Message, TopicReceiver};

use crate::support::{Place, WAIT, eventually, payload};

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

#[test]
fn what_is_lost_and_what_arrives_is_all_that_was_sent() {
    for transport in ["multicast", "unicast"] {
        let place = Place::new();
        let sender = place.start("sender");
        let receiver = start(&place, "receiver", "seed = 1\nloss = '20%'");
        let topic = format!("{transport}.stream");
        let (_subscription, deliveries) = receiver.subscribe_channel(&topic, 1 << 16).unwrap();
        let mut publisher = sender.publisher(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(1, WAIT));
        let payload = payload::numbered(0, BYTES);
        while publisher.sequence() < MESSAGES {
            eventually("there is room", || publisher.send(&payload).is_ok());
        }
        // A loss at the end is told by what comes after it.
        let mut account = Account::default();
        eventually("the last one has arrived", || {
            account.read(&deliveries);
            if account.last < MESSAGES {
                // Without room this is tried again.
                let _ = publisher.send(&payload);
            }
            account.last >= MESSAGES
        });
        let Account { first, last, received, lost, .. } = account;
        assert_eq!(received + lost, last + 1 - first.unwrap(), "{topic}");

        let counters = receiver.counters();
        let dropped = counters.get(Counter::FaultsDropped);
        assert_eq!(counters.get(Counter::SocketDrops), 0, "{topic}: the kernel lost some, too");
        assert!((MESSAGES / 10..MESSAGES * 3 / 10).contains(&lost), "{topic}: {lost} lost");
        assert!(dropped >= lost, "{topic}: {dropped} dropped, {lost} lost");
        assert_eq!(sender.counters().get(Counter::FaultsDropped), 0);
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
