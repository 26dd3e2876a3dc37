//! All rounds of a contestant in one case, and what they have in common. Layer: peers. Plain data.

use crate::exchange::{Flow, Outcome};

/// What each round came to, in their order. All of them measured the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<Outcome>);

/// The middle of what rounds came to, and the quarters below and above it. Not their sum: the cores of
/// a virtual machine change their distance between rounds, and with ten rounds near and one far, the 99th
/// percentile of all round trips would be that of the far one, whoever met it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Rounds {
    pub(crate) fn push(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }

    /// A percentile of the round trips of each round. Nothing of streams.
    pub(crate) fn latencies_ns(&self, quantile: f64) -> Vec<f64> {
        let latency = |outcome: &Outcome| match outcome {
            Outcome::RoundTrips(latency) => Some(latency.value_at_quantile(quantile) as f64),
            Outcome::Stream(_) => None,
        };
        self.0.iter().filter_map(latency).collect()
    }

    /// Messages a second of each round. Nothing of round trips.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.flows().map(Flow::messages_per_second).collect()
    }

    /// What all streams together sent and received. None of round trips.
    pub(crate) fn flow(&self) -> Option<Flow> {
        self.flows().copied().reduce(|sum, other| sum + other)
    }

    fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.0.iter().filter_map(|outcome| match outcome {
            Outcome::RoundTrips(_) => None,
            Outcome::Stream(flow) => Some(flow),
        })
    }
}

/// How many times as large `ones` are as `others`: the median of the ratios of each to each, after Hodges and Lehmann.
/// The ratio of the medians would compare two states of the machine where most of `ones` met the one and most of
/// `others` the other. None where there is nothing, or nothing to divide by.
pub(crate) fn typical_ratio(ones: &[f64], others: &[f64]) -> Option<f64> {
    let each_to_each = ones.iter().flat_map(|one| others.iter().map(move |other| one / other));
    Spread::of(each_to_each).map(|all| all.median).filter(|ratio| ratio.is_finite())
}

impl Spread {
    /// None of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |quarters: usize| values[(last * quarters + 2) / 4];
        Some(Self { low: at(1), median: at(2), high: at(3) })
    }

    /// The same in another unit.
    pub(crate) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self { low: change(self.low), median: change(self.median), high: change(self.high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round_trips::histogram;

    fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
        let Spread { low, median, high } = Spread::of(values.iter().copied())?;
        Some((low, median, high))
    }

    #[test]
    fn the_middle_and_its_quarters_are_those_of_the_sorted_values() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 2.0, 3.0)));
        assert_eq!(spread(&[5.0, 9.0, 1.0, 3.0, 7.0]), Some((3.0, 5.0, 7.0)));
    }

    #[test]
    fn one_round_at_a_bad_moment_moves_neither_percentile() {
        let mut rounds = Rounds::default();
        for ns in [100, 900, 110, 120, 105] {
            let mut latency = histogram().unwrap();
            latency.record_n(ns, 98).unwrap();
            latency.record_n(2 * ns, 2).unwrap();
            rounds.push(Outcome::RoundTrips(latency));
        }
        let median = |quantile| Spread::of(rounds.latencies_ns(quantile)).unwrap().median;
        assert_eq!((median(0.5), median(0.99)), (110.0, 220.0));
        assert!(rounds.rates().is_empty() && rounds.flow().is_none());
    }

    #[test]
    fn who_is_faster_in_each_state_is_ahead_however_often_a_state_was_met() {
        let [one, other] = [[50.0, 51.0, 17.0, 52.0, 16.0], [24.0, 76.0, 25.0, 23.0, 75.0]];
        let ratio = typical_ratio(&other, &one).unwrap();
        assert!((1.4..1.6).contains(&ratio), "{ratio}");
        let ratio = typical_ratio(&one, &other).unwrap();
        assert!((1.0 / 1.6..1.0 / 1.4).contains(&ratio), "{ratio}");
        assert_eq!(typical_ratio(&[3.0], &[2.0]), Some(1.5));
        assert_eq!(typical_ratio(&[3.0], &[]), None);
        assert_eq!(typical_ratio(&[3.0], &[0.0]), None);
    }

    #[test]
    fn what_one_stream_lost_is_not_forgotten() {
        let flow = |received| Flow { sent: 10, received, timed: received, ..Flow::default() };
        let mut rounds = Rounds::default();
        for received in [10, 9, 10] {
            rounds.push(Outcome::Stream(flow(received)));
        }
        let sum = rounds.flow().unwrap();
        assert_eq!((sum.sent, sum.received), (30, 29));
        assert!(!sum.is_reliable());
    }
}
