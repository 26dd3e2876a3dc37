//! Who listens to a topic: one listener, mostly, or a direct subscription and patterns. Layer:
//! engine. Owned by one poller, inside its [`Dispatch`](super::dispatch::Dispatch).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::callback;
use super::dispatch::Ticket;
use crate::counters::Counters;
use crate::listener::{Listener, ListenerHandle, Message, MessageLoss, Request};

/// The order in which the listeners of a topic are called: direct subscriptions come first,
/// patterns in the order in which they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(pub(crate) u64);

impl Rank {
    pub(crate) const DIRECT: Self = Self(0);
}

/// One subscription to a topic.
pub(crate) struct Member {
    /// Names it among those of the instance.
    pub(crate) ticket: Ticket,
    pub(crate) rank: Rank,
    /// Set by unsubscribe: nothing is delivered from then on, even before the poller has removed
    /// the member.
    pub(crate) closed: Arc<AtomicBool>,
    pub(crate) listener: ListenerHandle,
}

impl Member {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Everybody who listens to one topic.
pub(super) struct Audience {
    /// Of a lone listener; otherwise each member has its own, and this one is never set.
    closed: Arc<AtomicBool>,
    listeners: Listeners,
}

enum Listeners {
    /// What most topics have, and costs nothing per message.
    One(Ticket, Box<dyn Listener>),
    Several(Several),
}

impl Audience {
    pub(super) fn new(member: Member, counters: &Arc<Counters>) -> Self {
        match member.listener {
            ListenerHandle::Own(listener) => {
                Self { closed: member.closed, listeners: Listeners::One(member.ticket, listener) }
            }
            ListenerHandle::Shared(_) => Self {
                closed: Arc::default(),
                listeners: Listeners::Several(Several::new(counters, member)),
            },
        }
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether anybody is called.
    pub(super) fn is_open(&self) -> bool {
        match &self.listeners {
            Listeners::One(..) => !self.is_closed(),
            Listeners::Several(several) => {
                several.seats.iter().any(|seat| !seat.member.is_closed())
            }
        }
    }

    /// What is called with everything that arrives.
    #[inline]
    pub(super) fn listener(&mut self) -> &mut dyn Listener {
        match &mut self.listeners {
            Listeners::One(_, listener) => &mut **listener,
            Listeners::Several(several) => several,
        }
    }

    pub(super) fn add(self, member: Member, counters: &Arc<Counters>) -> Self {
        let mut several = match self.listeners {
            Listeners::One(ticket, listener) => {
                let listener = ListenerHandle::Own(listener);
                let (closed, rank) = (self.closed, Rank::DIRECT);
                Several::new(counters, Member { ticket, rank, closed, listener })
            }
            Listeners::Several(several) => several,
        };
        several.add(member);
        Self { closed: Arc::default(), listeners: Listeners::Several(several) }
    }

    /// Takes a member out, and gives back who remains, if anybody does.
    pub(super) fn remove(self, ticket: Ticket) -> (Option<ListenerHandle>, Option<Self>) {
        let Self { closed, listeners } = self;
        let mut several = match listeners {
            Listeners::One(lone, listener) if lone == ticket => {
                return (Some(ListenerHandle::Own(listener)), None);
            }
            listeners @ Listeners::One(..) => return (None, Some(Self { closed, listeners })),
            Listeners::Several(several) => several,
        };
        let removed = several.remove(ticket);
        if several.seats.len() > 1 {
            return (removed, Some(Self { closed, listeners: Listeners::Several(several) }));
        }
        let last = several.seats.pop();
        (removed, last.map(|last| Self::new(last.member, &several.counters)))
    }

    /// All listeners, to be dropped.
    pub(super) fn into_listeners(self) -> Vec<ListenerHandle> {
        match self.listeners {
            Listeners::One(_, listener) => vec![ListenerHandle::Own(listener)],
            Listeners::Several(several) => {
                several.seats.into_iter().map(|seat| seat.member.listener).collect()
            }
        }
    }
}

/// Passes on what arrives to each member.
struct Several {
    seats: Vec<Seat>,
    counters: Arc<Counters>,
}

struct Seat {
    member: Member,
    /// Whether the member was called with what arrives now.
    served: bool,
}

impl Several {
    fn new(counters: &Arc<Counters>, member: Member) -> Self {
        let seats = vec![Seat { member, served: false }];
        Self { seats, counters: Arc::clone(counters) }
    }

    fn add(&mut self, member: Member) {
        let at = self.seats.partition_point(|seat| seat.member.rank <= member.rank);
        self.seats.insert(at, Seat { member, served: false });
    }

    fn remove(&mut self, ticket: Ticket) -> Option<ListenerHandle> {
        let at = self.seats.iter().position(|seat| seat.member.ticket == ticket)?;
        Some(self.seats.remove(at).member.listener)
    }

    /// Calls each member, except those whose listener has been called already and needs it once.
    fn call(&mut self, what: &'static str, topic: &str, mut call: impl FnMut(&mut dyn Listener)) {
        for at in 0..self.seats.len() {
            let (before, rest) = self.seats.split_at_mut(at);
            let Some(Seat { member, served }) = rest.first_mut() else { return };
            *served = !member.is_closed() && !before.iter().any(|seat| seat.serves(member));
            if !*served {
                continue;
            }
            let closed = &*member.closed;
            let listener = &mut member.listener;
            callback::run(&self.counters, what, topic, || match listener {
                ListenerHandle::Own(listener) => call(&mut **listener),
                // Asked again: whoever ends the subscription waits for the call in flight.
                ListenerHandle::Shared(shared) => shared.call(|listener| {
                    if !closed.load(Ordering::SeqCst) {
                        call(listener);
                    }
                }),
            });
        }
    }
}

impl Seat {
    fn serves(&self, other: &Member) -> bool {
        match (&self.member.listener, &other.listener) {
            (ListenerHandle::Shared(here), ListenerHandle::Shared(there)) => {
                self.served && here.is_served_with(there)
            }
            _ => false,
        }
    }
}

impl Listener for Several {
    fn on_message(&mut self, message: &Message<'_>) {
        self.call("on_message", message.topic, |listener| listener.on_message(message));
    }

    fn on_request(&mut self, request: &Request<'_>) {
        self.call("on_request", request.topic(), |listener| listener.on_request(request));
    }

    fn on_message_lost(&mut self, loss: &MessageLoss<'_>) {
        self.call("on_message_lost", loss.topic, |listener| listener.on_message_lost(loss));
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::id::{InstanceId, PublisherId, SessionId};
    use crate::listener::SharedListener;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn note(log: &Log, name: &'static str) -> impl Listener + use<> {
        let log = Arc::clone(log);
        move |_: &Message<'_>| log.lock().push(name)
    }

    fn member(number: u64, rank: u64, listener: ListenerHandle) -> Member {
        Member { ticket: Ticket(number), rank: Rank(rank), closed: Arc::default(), listener }
    }

    fn deliver(audience: &mut Audience, log: &Log) -> Vec<&'static str> {
        let topic = Arc::from("t");
        let message = Message {
            topic: &topic,
            sender: InstanceId::from_bytes([1; 16]),
            publisher: PublisherId { session: SessionId(1), index: 0 },
            sequence: 1,
            payload: b"",
        };
        if !audience.is_closed() {
            audience.listener().on_message(&message);
        }
        std::mem::take(&mut *log.lock())
    }

    #[test]
    fn direct_listeners_come_first_and_patterns_in_their_order() {
        let (log, counters) = (Log::default(), Arc::new(Counters::new()));
        let of = |name| ListenerHandle::of(note(&log, name));
        let pattern = |name| ListenerHandle::Shared(of(name).into_shared());
        let mut audience = Audience::new(member(1, 7, pattern("later")), &counters);
        assert_eq!(deliver(&mut audience, &log), ["later"]);
        audience = audience.add(member(2, 3, pattern("sooner")), &counters);
        audience = audience.add(member(3, 0, of("direct")), &counters);
        assert_eq!(deliver(&mut audience, &log), ["direct", "sooner", "later"]);
        for (ticket, left) in [(9, 3), (2, 2), (1, 1)] {
            let (removed, rest) = audience.remove(Ticket(ticket));
            assert_eq!(removed.is_some(), ticket != 9);
            audience = rest.unwrap();
            assert_eq!(deliver(&mut audience, &log).len(), left);
        }
        assert!(matches!(audience.listeners, Listeners::One(..)), "alone again");
        let (_, rest) = audience.add(member(4, 1, pattern("next")), &counters).remove(Ticket(3));
        let mut audience = rest.unwrap();
        assert_eq!(deliver(&mut audience, &log), ["next"]);
        assert!(audience.remove(Ticket(4)).1.is_none());
    }

    #[test]
    fn a_shared_listener_gets_a_message_once_or_for_every_match() {
        let (log, counters) = (Log::default(), Arc::new(Counters::new()));
        for (shared, times) in [
            (SharedListener::new(note(&log, "x")), 1),
            (SharedListener::every_match(note(&log, "x")), 3),
        ] {
            let handle = || ListenerHandle::of(shared.clone());
            assert!(matches!(handle(), ListenerHandle::Shared(_)));
            let first = member(1, 0, handle());
            let closed = Arc::clone(&first.closed);
            let mut audience = Audience::new(first, &counters);
            audience = audience.add(member(2, 1, handle()), &counters);
            audience = audience.add(member(3, 2, handle()), &counters);
            audience = audience.add(member(4, 3, ListenerHandle::of(note(&log, "y"))), &counters);
            assert_eq!(deliver(&mut audience, &log).len(), times + 1);
            // The one that was called first has ended: another one is called instead.
            closed.store(true, Ordering::SeqCst);
            assert_eq!(deliver(&mut audience, &log).len(), times.max(2) - 1 + 1);
        }
    }

    #[test]
    fn who_panics_keeps_nobody_from_his_message() {
        let (log, counters) = (Log::default(), Arc::new(Counters::new()));
        let bad = SharedListener::new(|_: &Message<'_>| panic!("on purpose"));
        let mut audience = Audience::new(member(1, 0, ListenerHandle::of(bad)), &counters);
        audience = audience.add(member(2, 1, ListenerHandle::of(note(&log, "x"))), &counters);
        for _ in 0..2 {
            assert_eq!(deliver(&mut audience, &log), ["x"]);
        }
        assert_eq!(counters.get(crate::counters::Counter::CallbackPanics), 2);
    }

    #[test]
    fn a_lone_listener_that_is_closed_stays_so_among_others() {
        let (log, counters) = (Log::default(), Arc::new(Counters::new()));
        let first = member(1, 0, ListenerHandle::of(note(&log, "x")));
        let closed = Arc::clone(&first.closed);
        let mut audience = Audience::new(first, &counters);
        assert_eq!(deliver(&mut audience, &log), ["x"]);
        audience = audience.add(member(2, 1, ListenerHandle::of(note(&log, "y"))), &counters);
        closed.store(true, Ordering::SeqCst);
        assert_eq!(deliver(&mut audience, &log), ["y"]);
    }
}
