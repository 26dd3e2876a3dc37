//! Which counters of trouble have grown, for the listener of an instance or of a sniffer. Layer: engine.
//! Owned by the thread that runs that listener.
//!
//! Whoever loses, refuses or drops something only counts it, also on the hot path. Looking at the
//! counters now and then makes an event of it, and bounds how many events there can be.

use super::TROUBLE_INTERVAL;
use crate::counters::{Counter, Counters, Totals};
use crate::time::Timestamp;
use crate::wire::WireError;

/// What is counted of bytes that were refused.
pub(super) const fn refusal(error: WireError) -> Counter {
    match error {
        WireError::Version { .. } => Counter::OtherVersions,
        _ => Counter::Malformed,
    }
}

/// What the listener has been told up to now.
pub(super) struct Trouble {
    told: Totals,
    due: Timestamp,
}

impl Trouble {
    /// Of somebody who has counted nothing yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { told: [0; Counter::ALL.len()], due: now + TROUBLE_INTERVAL }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now
    }

    pub(super) const fn next_deadline(&self) -> Timestamp {
        self.due
    }

    /// `tell` runs user code: not to be called under a lock.
    pub(super) fn tell(
        &mut self,
        now: Timestamp,
        counters: &Counters,
        mut tell: impl FnMut(Counter, u64),
    ) {
        self.due = now + TROUBLE_INTERVAL;
        let totals = counters.totals(Counter::is_trouble);
        for counter in Counter::ALL.iter().copied().filter(|counter| counter.is_trouble()) {
            let (total, told) = (totals[counter as usize], &mut self.told[counter as usize]);
            let increase = total.saturating_sub(*told);
            if increase > 0 {
                *told = total;
                tell(counter, increase);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::counters::EndpointColumn;
    use crate::engine::callback;

    #[test]
    fn what_has_grown_is_told_once_and_nothing_else() {
        let counters = Arc::new(Counters::new());
        let mut row = counters.row::<EndpointColumn>("template", "place");
        let (mut now, mut told) = (Timestamp::default(), Vec::new());
        let mut trouble = Trouble::new(now);
        assert!(!trouble.is_due(now));
        now = trouble.next_deadline();
        assert!(trouble.is_due(now));
        trouble.tell(now, &counters, |counter, increase| told.push((counter, increase)));
        assert!(told.is_empty() && !trouble.is_due(now));

        row.add(EndpointColumn::Malformed, 2);
        counters.add(Counter::Malformed, 1);
        counters.add(Counter::EventsDropped, 7);
        counters.add(Counter::MessagesSent, 1);
        trouble.tell(now, &counters, |counter, increase| told.push((counter, increase)));
        // What a row has counted stays when it ends.
        drop(row);
        trouble.tell(now, &counters, |counter, increase| told.push((counter, increase)));
        counters.add(Counter::Malformed, 1);
        trouble.tell(now, &counters, |counter, increase| told.push((counter, increase)));
        let expected =
            [(Counter::Malformed, 3), (Counter::EventsDropped, 7), (Counter::Malformed, 1)];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_panic_is_trouble_of_the_next_time() {
        let (counters, now) = (Counters::new(), Timestamp::default());
        let (mut trouble, mut told) = (Trouble::new(now), Vec::new());
        counters.add(Counter::SendErrors, 1);
        for _ in 0..2 {
            trouble.tell(now, &counters, |counter, increase| {
                callback::run(&counters, "test", "", || {
                    told.push((counter, increase));
                    assert!(told.len() > 1, "on purpose");
                });
            });
        }
        assert_eq!(told, [(Counter::SendErrors, 1), (Counter::CallbackPanics, 1)]);
    }
}
