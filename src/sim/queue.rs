//! The virtual clock: what happens next, and when. Layer: sim. Owned by one world.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::time::Timestamp;

/// Events by their time; those of one time in the order in which they were put in.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Due<E>>>,
    now: Timestamp,
    count: u64,
}

#[derive(Debug)]
struct Due<E> {
    at: Timestamp,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    /// An empty queue. Time starts at one second: zero stands for "never happened" in places.
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), now: Timestamp::from_nanos(1_000_000_000), count: 0 }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// What is in the past happens now.
    pub(super) fn push(&mut self, at: Timestamp, event: E) {
        self.count += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Due { at, order: self.count, event }));
    }

    /// When the next event happens; never when there is none.
    pub(super) fn next_at(&self) -> Timestamp {
        self.heap.peek().map_or(Timestamp::NEVER, |Reverse(due)| due.at)
    }

    /// Moves the clock to a time at which nothing happens.
    pub(super) fn advance(&mut self, to: Timestamp) {
        self.now = self.now.max(to.min(self.next_at()));
    }

    /// The next event; the clock moves to its time.
    pub(super) fn pop(&mut self) -> Option<E> {
        let Reverse(due) = self.heap.pop()?;
        self.now = due.at;
        Some(due.event)
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Due<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut queue = Queue::new();
        let at = |nanos: u64| Timestamp::from_nanos(2_000_000_000 + nanos);
        for (time, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (4, 'b')] {
            queue.push(at(time), event);
        }
        let all: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((all.as_str(), queue.now()), ("abcd", at(5)));
        queue.push(Timestamp::default(), 'e');
        queue.pop();
        assert_eq!(queue.now(), at(5), "the clock does not go back");
    }
}
