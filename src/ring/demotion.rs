//! Whether a reader moves what it has read out of the processor's caches. Layer: ring. Owned by the
//! poller that reads the ring; gets the time as an argument.
//!
//! A writer that comes to a line which the reader's core still has must take it away first. Between
//! cores that share a cache that is cheap, and going through memory costs more; between cores that
//! do not, it is the other way round by a factor of five to eight. No program can ask how far its
//! cores are apart, and a virtual machine moves them. So it is tried: after a number of laps, one
//! lap the other way for the writer to meet what the reader has left behind, one more that is timed.

use crate::time::Timestamp;

/// Laps before the first trial. In the first of all, pages are touched for the first time.
const FIRST_REST: u32 = 1;
/// Laps between trials after one that changed something.
const SHORTEST_REST: u32 = 8;
/// Laps between trials that change nothing, after some. Two laps of each so many are spent on them, at up to
/// eight times the time: three percent at most.
const LONGEST_REST: u32 = 512;
/// The other way must be faster by this much: one part in so many.
const GAIN: u64 = 8;
/// Slower streams wait for their writer, not for cache lines, and their laps tell nothing.
const SLOWEST_NS_PER_LINE: u64 = 500;
const CACHE_LINE: u64 = 64;

/// The state of the trials of one ring.
#[derive(Debug)]
pub(crate) struct Demotion {
    /// What the last trial, or the one under way, says.
    is_on: bool,
    phase: Phase,
    /// Laps between this trial and the next one.
    rest: u32,
    /// Nothing but this is timed.
    lap_began: Timestamp,
    /// A slower lap tells nothing.
    slowest_lap_ns: u64,
}

/// What the lap is for that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing; so many more come.
    Rest(u32),
    /// To know how long one takes.
    Timed,
    /// The other way; the writer still meets what was left behind before.
    Settling { before_ns: u64 },
    /// The other way, to know how long it takes.
    Trial { before_ns: u64 },
}

impl Demotion {
    /// For a ring of so many bytes, of which nothing has been read.
    pub(crate) const fn new(ring_bytes: usize) -> Self {
        Self {
            is_on: false,
            phase: Phase::Rest(FIRST_REST),
            rest: SHORTEST_REST,
            lap_began: Timestamp::from_nanos(0),
            slowest_lap_ns: (ring_bytes as u64).div_ceil(CACHE_LINE) * SLOWEST_NS_PER_LINE,
        }
    }

    /// The ring has been read once around. Returns whether the next lap is to be moved out of the
    /// caches as it is read.
    pub(crate) fn handle_lap(&mut self, now: Timestamp) -> bool {
        let lap_ns = (now.as_nanos() - self.lap_began.as_nanos()).max(1);
        self.lap_began = now;
        let is_telling = lap_ns <= self.slowest_lap_ns;
        self.phase = match self.phase {
            Phase::Rest(laps @ 1..) => Phase::Rest(laps - 1),
            Phase::Rest(_) => Phase::Timed,
            Phase::Timed if is_telling => {
                self.is_on = !self.is_on;
                Phase::Settling { before_ns: lap_ns }
            }
            Phase::Timed => Phase::Rest(self.rest),
            Phase::Settling { before_ns } => Phase::Trial { before_ns },
            Phase::Trial { before_ns } => {
                if lap_ns < before_ns - before_ns / GAIN {
                    self.rest = SHORTEST_REST;
                } else {
                    self.is_on = !self.is_on;
                    self.rest = (2 * self.rest).min(LONGEST_REST);
                }
                Phase::Rest(self.rest)
            }
        };
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING_BYTES: usize = 1 << 20;

    /// Reads laps that take so long by what was done with the lap before, and says how many of them
    /// were demoted, and whether the last was.
    fn read(
        demotion: &mut Demotion,
        now: &mut u64,
        laps: u32,
        kept_ns: u64,
        demoted_ns: u64,
    ) -> u32 {
        let mut demoted = 0;
        let mut before = demotion.is_on;
        for _ in 0..laps {
            *now += if before { demoted_ns } else { kept_ns };
            before = demotion.is_on;
            demoted += u32::from(demotion.handle_lap(Timestamp::from_nanos(*now)));
        }
        demoted
    }

    #[test]
    fn the_faster_way_is_found_and_kept_to() {
        for (kept_ns, demoted_ns, is_on) in [(800_000, 100_000, true), (100_000, 400_000, false)] {
            let (mut demotion, mut now) = (Demotion::new(RING_BYTES), 7);
            read(&mut demotion, &mut now, FIRST_REST + 4, kept_ns, demoted_ns);
            assert_eq!(demotion.is_on, is_on);
            let demoted = read(&mut demotion, &mut now, 10_000, kept_ns, demoted_ns);
            let astray = if is_on { 10_000 - demoted } else { demoted };
            assert!((1..100).contains(&astray), "{astray} laps the slower way");
        }
    }

    #[test]
    fn cores_that_move_are_noticed() {
        let (mut demotion, mut now) = (Demotion::new(RING_BYTES), 0);
        for _ in 0..3 {
            read(&mut demotion, &mut now, 2 * LONGEST_REST, 100_000, 300_000);
            assert!(!demotion.is_on);
            read(&mut demotion, &mut now, 2 * LONGEST_REST, 800_000, 100_000);
            assert!(demotion.is_on);
        }
    }

    #[test]
    fn nothing_is_tried_with_a_stream_that_waits_for_its_writer() {
        let (mut demotion, mut now) = (Demotion::new(RING_BYTES), 0);
        assert_eq!(read(&mut demotion, &mut now, 10_000, 1_000_000_000, 1_000_000), 0);
    }

    #[test]
    fn small_differences_change_nothing() {
        let (mut demotion, mut now) = (Demotion::new(RING_BYTES), 0);
        read(&mut demotion, &mut now, 5_000, 100_000, 95_000);
        assert!(!demotion.is_on);
    }
}
