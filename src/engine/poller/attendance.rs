//! When a poller that spins looks after the sending side. Layer: engine. Owned by one poller; sans-IO: it
//! counts cycles, and is told what time has passed.

/// A poller that spins and finds nothing for this long looks after the sending side: what was expected
/// may have been lost. Sooner would slow down who is not waiting.
const QUIET_NS: u64 = 12_000;
/// It does so again in every so many cycles: often enough for repairs within tens of microseconds.
const ATTEND_EVERY: u32 = 2;
/// The same for a poller that is busy.
const ATTEND_BUSY_EVERY: u32 = 32;
/// But not before this time has passed: with rings, so many cycles take no longer than that many messages.
const ATTEND_BUSY_PAUSE_NS: u64 = 20_000;
/// The same when nothing is being sent: about a millisecond with sockets.
const ATTEND_ALL_EVERY: u32 = 512;
/// But not before this time has passed: it is a system call for each socket.
const ATTEND_ALL_PAUSE_NS: u64 = 1_000_000;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// At what is being sent.
    Usual,
    /// At everything, with a system call for each socket.
    Thorough,
}

/// When that was done, by the poller's stopwatch.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    attended: u64,
    attended_all: u64,
}

impl Attendance {
    /// What is due in a cycle that began at `now` and was preceded by `idle_ns` in which nothing was
    /// found; taken for done. `since` says how many nanoseconds ago a moment of the stopwatch was.
    #[inline]
    pub(super) fn take_due(
        &mut self,
        cycle: u32,
        idle_ns: u64,
        now: u64,
        since: impl Fn(u64) -> u64,
    ) -> Option<Care> {
        let is_quiet = idle_ns >= QUIET_NS;
        let every = if is_quiet { ATTEND_EVERY } else { ATTEND_BUSY_EVERY };
        if !cycle.is_multiple_of(every) {
            return None;
        }
        let thorough = cycle.is_multiple_of(ATTEND_ALL_EVERY)
            && since(self.attended_all) >= ATTEND_ALL_PAUSE_NS;
        if thorough {
            self.attended_all = now;
        } else if !is_quiet && since(self.attended) < ATTEND_BUSY_PAUSE_NS {
            return None;
        }
        self.attended = now;
        Some(if thorough { Care::Thorough } else { Care::Usual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it was due in a number of cycles of so many nanoseconds, as usual and thoroughly.
    fn count(cycles: u64, cycle_ns: u64, idle_ns: u64) -> (usize, usize) {
        // A moment of the stopwatch is a nanosecond here, and long after zero.
        let mut attendance = Attendance::default();
        let mut now = 1 << 40;
        let due: Vec<_> = (1..=u32::try_from(cycles).unwrap())
            .filter_map(|cycle| {
                now += cycle_ns;
                attendance.take_due(cycle, idle_ns, now, |earlier| now - earlier)
            })
            .collect();
        let thorough = due.iter().filter(|care| **care == Care::Thorough).count();
        (due.len() - thorough, thorough)
    }

    #[test]
    fn cycles_as_short_as_a_message_bring_no_more_system_calls_than_long_ones() {
        const TIME_NS: u64 = 100_000_000;
        for cycle_ns in [150, 2_000] {
            let (usual, thorough) = count(TIME_NS / cycle_ns, cycle_ns, 0);
            assert!((45..=100).contains(&thorough), "{thorough} of {cycle_ns} ns");
            assert!((1_400..=5_000).contains(&usual), "{usual} of {cycle_ns} ns");
        }
    }

    #[test]
    fn who_finds_nothing_looks_in_every_other_cycle() {
        let (usual, thorough) = count(1_000, 2_000, QUIET_NS);
        assert_eq!((usual + thorough, thorough), (500, 1));
        assert_eq!(count(31, 2_000, QUIET_NS - 1), (0, 0));
    }
}
