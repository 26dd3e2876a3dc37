//! Tells the listener of an instance which counters of trouble have grown. Layer: engine. Owned by
//! the request processor's thread, which runs that listener.
//!
//! Whoever loses, refuses or drops something only counts it, also on the hot path. Looking at the
//! counters now and then makes an event of it, and bounds how many events there can be.

use super::{TROUBLE_INTERVAL, callback};
use crate::counters::{Counter, Counters, Totals};
use crate::listener::InstanceListener;
use crate::time::Timestamp;

/// What the listener has been told up to now.
pub(super) struct Trouble {
    told: Totals,
    due: Timestamp,
}

impl Trouble {
    /// Of an instance that has counted nothing yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { told: [0; Counter::ALL.len()], due: now + TROUBLE_INTERVAL }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now
    }

    pub(super) const fn next_deadline(&self) -> Timestamp {
        self.due
    }

    /// Runs user code: not to be called under a lock.
    pub(super) fn tell(
        &mut self,
        now: Timestamp,
        counters: &Counters,
        listener: &mut dyn InstanceListener,
    ) {
        self.due = now + TROUBLE_INTERVAL;
        let totals = counters.totals(Counter::is_trouble);
        for counter in Counter::ALL.iter().copied().filter(|counter| counter.is_trouble()) {
            let (total, told) = (totals[counter as usize], &mut self.told[counter as usize]);
            let increase = total.saturating_sub(*told);
            if increase > 0 {
                *told = total;
                let listener = &mut *listener;
                callback::run(counters, "instance listener", "", move || {
                    listener.on_trouble(counter, increase);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::counters::EndpointColumn;

    #[derive(Default)]
    struct Told(Vec<(Counter, u64)>);

    impl InstanceListener for Told {
        fn on_trouble(&mut self, counter: Counter, increase: u64) {
            self.0.push((counter, increase));
        }
    }

    #[test]
    fn what_has_grown_is_told_once_and_nothing_else() {
        let counters = Arc::new(Counters::new());
        let mut row = counters.row::<EndpointColumn>("template", "place");
        let (mut now, mut told) = (Timestamp::default(), Told::default());
        let mut trouble = Trouble::new(now);
        assert!(!trouble.is_due(now));
        now = trouble.next_deadline();
        assert!(trouble.is_due(now));
        trouble.tell(now, &counters, &mut told);
        assert!(told.0.is_empty() && !trouble.is_due(now));

        row.add(EndpointColumn::Malformed, 2);
        counters.add(Counter::Malformed, 1);
        counters.add(Counter::EventsDropped, 7);
        counters.add(Counter::MessagesSent, 1);
        trouble.tell(now, &counters, &mut told);
        // What a row has counted stays when it ends.
        drop(row);
        trouble.tell(now, &counters, &mut told);
        counters.add(Counter::Malformed, 1);
        trouble.tell(now, &counters, &mut told);
        let expected =
            [(Counter::Malformed, 3), (Counter::EventsDropped, 7), (Counter::Malformed, 1)];
        assert_eq!(told.0, expected);
    }

    #[test]
    fn a_panic_is_trouble_of_the_next_time() {
        struct Panics(Told);
        impl InstanceListener for Panics {
            fn on_trouble(&mut self, counter: Counter, increase: u64) {
                self.0.on_trouble(counter, increase);
                assert!(self.0.0.len() > 1, "on purpose");
            }
        }
        let (counters, now) = (Counters::new(), Timestamp::default());
        let (mut trouble, mut listener) = (Trouble::new(now), Panics(Told::default()));
        counters.add(Counter::SendErrors, 1);
        trouble.tell(now, &counters, &mut listener);
        trouble.tell(now, &counters, &mut listener);
        assert_eq!(listener.0.0, [(Counter::SendErrors, 1), (Counter::CallbackPanics, 1)]);
    }
}
