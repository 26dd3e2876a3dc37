//! What arrives at one instance, in all and at its worst. Layer: sim. Owned by one member of a crowd.

use std::time::Duration;

use crate::time::Timestamp;

/// Peaks are counted over so long: what a thread that is held up for a moment finds in its socket.
const WINDOW: Duration = Duration::from_millis(10);

/// Datagrams and bytes of their payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
}

/// Counts what arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pub(super) total: Volume,
    /// The most within one window.
    pub(super) peak: Volume,
    window: Volume,
    window_end: Timestamp,
}

impl Meter {
    pub(super) fn count(&mut self, now: Timestamp, bytes: usize) {
        if now >= self.window_end {
            self.window = Volume::default();
            self.window_end = now + WINDOW;
        }
        for volume in [&mut self.total, &mut self.window] {
            volume.datagrams += 1;
            volume.bytes += bytes as u64;
        }
        self.peak.datagrams = self.peak.datagrams.max(self.window.datagrams);
        self.peak.bytes = self.peak.bytes.max(self.window.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_the_worst_window() {
        let mut meter = Meter::default();
        let at = |micros: u64| Timestamp::from_nanos(1_000_000_000 + 1_000 * micros);
        for micros in [0, 9_000, 20_000, 21_000, 22_000, 50_000] {
            meter.count(at(micros), 100);
        }
        assert_eq!(meter.total, Volume { datagrams: 6, bytes: 600 });
        assert_eq!(meter.peak, Volume { datagrams: 3, bytes: 300 });
    }
}
