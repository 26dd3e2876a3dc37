//! Latencies that were measured. Layer: bin. Owned by the thread that measures.

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant decimal digits of what is recorded.
const DIGITS: u8 = 3;

/// A distribution of latencies, and how many messages did not come back.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
    lost: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            // Refused only for bounds that are out of order and digits beyond five.
            .expect("constant bounds are valid");
        Self { histogram, lost: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
    }

    /// The same value so many times.
    pub(crate) fn record_many(&mut self, nanoseconds: u64, count: u64) {
        self.histogram.saturating_record_n(nanoseconds, count);
    }

    /// All values, and how often each was recorded.
    pub(crate) fn values(&self) -> Vec<(u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }

    pub(crate) const fn lose(&mut self) {
        self.lost += 1;
    }

    /// So many did not come.
    pub(crate) const fn lose_many(&mut self, count: u64) {
        self.lost += count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// The value that this share of all does not exceed.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    pub(crate) const fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Refused only when the other one has values that do not fit, and bounds are the same.
        self.histogram += &other.histogram;
        self.lost += other.lost;
    }
}
