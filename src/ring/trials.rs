//! Which ways of reading a ring make its stream faster. Layer: ring. Owned by the poller that reads the
//! ring; gets the time as an argument.
//!
//! A writer that comes to a line which the reader's core has must take it away first. There are two ways
//! to have less of that, and both do harm where they do not help:
//!
//! * To rest at the edge. A reader that is as fast as the writer stays right behind it, and its processor
//!   fetches the lines ahead, which the writer is about to use. One that lets the writer go ahead and then
//!   reads many messages at once makes a stream two to seven times faster, and its messages wait for that.
//! * To move what has been read out of the caches. Between cores that share a cache, going through memory
//!   costs more than it saves; between cores that do not, it is the other way round.
//!
//! No program can ask how far its cores are apart, and a virtual machine moves them; nor can it ask whether a
//! writer could be faster. So it is tried: after a number of laps, one lap the other way for the writer to meet
//! what the reader has left behind, one more that is timed.

use crate::time::Timestamp;

/// Laps before the first trial. In the first of all, pages are touched for the first time.
const FIRST_REST: u32 = 1;
/// Laps between trials after one that changed something, and at least.
const SHORTEST_REST: u32 = 8;
/// Laps between trials that change nothing, after some. Two laps of each so many are spent on each way, at up to
/// eight times the time: three percent at most.
const LONGEST_REST: u32 = 1024;
/// The other way must be faster by this much: one part in so many.
const GAIN: u64 = 8;
/// A lap that takes so many times as long as the last one that was timed is a reason to try at once.
const SLOWER: u64 = 2;
/// Slower streams wait for their writer, not for cache lines, and their laps tell nothing.
const SLOWEST_NS_PER_LINE: u64 = 500;
const CACHE_LINE: u64 = 64;

/// What a reader does beside reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// It rests when it has caught up with a stream.
    pub(crate) rests: bool,
    /// It moves what it has read out of the caches.
    pub(crate) demotes: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Rest,
    Demote,
}

/// The state of the trials of one ring.
#[derive(Debug)]
pub(crate) struct Trials {
    /// What the last trials, or the one under way, say.
    ways: Ways,
    can_demote: bool,
    /// Which is tried now or next.
    tried: Way,
    phase: Phase,
    /// Laps between this round of trials and the next one.
    rest: u32,
    /// How long a lap took when it was timed last.
    usual_ns: u64,
    /// Nothing but this is timed.
    lap_began: Timestamp,
    /// A slower lap tells nothing.
    slowest_lap_ns: u64,
}

/// What the lap is for that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing; so many have been, of so many.
    Rest { laps: u32, of: u32 },
    /// To know how long one takes.
    Timed,
    /// The other way; the writer still meets what was left behind before.
    Settling { before_ns: u64 },
    /// The other way, to know how long it takes.
    Trial { before_ns: u64 },
}

impl Trials {
    /// For a ring of so many bytes, of which nothing has been read.
    pub(crate) const fn new(ring_bytes: usize, can_demote: bool) -> Self {
        Self {
            ways: Ways { rests: false, demotes: false },
            can_demote,
            tried: Way::Rest,
            phase: Phase::Rest { laps: 0, of: FIRST_REST },
            rest: SHORTEST_REST,
            usual_ns: u64::MAX / SLOWER,
            lap_began: Timestamp::from_nanos(0),
            slowest_lap_ns: (ring_bytes as u64).div_ceil(CACHE_LINE) * SLOWEST_NS_PER_LINE,
        }
    }

    /// The ring has been read once around. Returns what to do with the next lap.
    pub(crate) fn handle_lap(&mut self, now: Timestamp) -> Ways {
        let lap_ns = (now.as_nanos() - self.lap_began.as_nanos()).max(1);
        self.lap_began = now;
        let is_telling = lap_ns <= self.slowest_lap_ns;
        self.phase = match self.phase {
            Phase::Rest { laps, .. }
                if laps >= SHORTEST_REST && is_telling && lap_ns / SLOWER > self.usual_ns =>
            {
                Phase::Timed
            }
            Phase::Rest { laps, of } if laps < of => Phase::Rest { laps: laps + 1, of },
            Phase::Rest { .. } => Phase::Timed,
            Phase::Timed if is_telling => {
                self.usual_ns = lap_ns;
                self.turn();
                Phase::Settling { before_ns: lap_ns }
            }
            Phase::Timed => Phase::Rest { laps: 0, of: self.rest },
            Phase::Settling { before_ns } => Phase::Trial { before_ns },
            Phase::Trial { before_ns } => self.conclude(before_ns, lap_ns),
        };
        self.ways
    }

    /// Keeps to the way that was faster.
    fn conclude(&mut self, before_ns: u64, lap_ns: u64) -> Phase {
        let is_faster = lap_ns < before_ns - before_ns / GAIN;
        if is_faster {
            (self.rest, self.usual_ns) = (SHORTEST_REST, lap_ns);
        } else {
            self.turn();
        }
        self.tried = match self.tried {
            Way::Rest if self.can_demote => Way::Demote,
            Way::Rest | Way::Demote => Way::Rest,
        };
        if self.tried == Way::Demote {
            // In one lap the writer still meets what was left behind in this one.
            return Phase::Rest { laps: 0, of: 0 };
        }
        if !is_faster {
            self.rest = (2 * self.rest).min(LONGEST_REST);
        }
        Phase::Rest { laps: 0, of: self.rest }
    }

    const fn turn(&mut self) {
        match self.tried {
            Way::Rest => self.ways.rests = !self.ways.rests,
            Way::Demote => self.ways.demotes = !self.ways.demotes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING_BYTES: usize = 1 << 20;

    /// Reads laps that take so long by what was done with the lap before, and says how many of them were read
    /// otherwise than the last one.
    fn read(trials: &mut Trials, now: &mut u64, laps: u32, took_ns: impl Fn(Ways) -> u64) -> usize {
        let mut before = trials.ways;
        let ways: Vec<_> = (0..laps)
            .map(|_| {
                *now += took_ns(before);
                before = trials.ways;
                trials.handle_lap(Timestamp::from_nanos(*now))
            })
            .collect();
        ways.iter().filter(|way| **way != trials.ways).count()
    }

    fn with(rests: bool, demotes: bool) -> Ways {
        Ways { rests, demotes }
    }

    #[test]
    fn the_fastest_way_is_found_soon_and_kept_to() {
        for best in [(false, false), (true, false), (false, true), (true, true)] {
            let best = with(best.0, best.1);
            let took_ns = |ways: Ways| {
                let wrong =
                    u64::from(ways.rests != best.rests) + u64::from(ways.demotes != best.demotes);
                100_000 << wrong
            };
            let (mut trials, mut now) = (Trials::new(RING_BYTES, true), 7);
            read(&mut trials, &mut now, FIRST_REST + 9, took_ns);
            assert_eq!(trials.ways, best);
            let astray = read(&mut trials, &mut now, 10_000, took_ns);
            assert_eq!(trials.ways, best);
            assert!((1..100).contains(&astray), "{astray} laps another way");
        }
    }

    #[test]
    fn a_stream_that_slows_down_is_tried_at_once() {
        let (mut trials, mut now) = (Trials::new(RING_BYTES, true), 0);
        for _ in 0..3 {
            read(&mut trials, &mut now, 3 * LONGEST_REST, |ways| {
                if ways.rests { 300_000 } else { 100_000 }
            });
            assert_eq!(trials.ways, with(false, false));
            read(&mut trials, &mut now, SHORTEST_REST + 8, |ways| {
                if ways.rests { 200_000 } else { 800_000 }
            });
            assert_eq!(trials.ways, with(true, false));
        }
    }

    #[test]
    fn nothing_is_tried_with_a_stream_that_waits_for_its_writer() {
        let (mut trials, mut now) = (Trials::new(RING_BYTES, true), 0);
        let took_ns = |ways| if ways == Ways::default() { 1_000_000_000 } else { 1_000_000 };
        assert_eq!(read(&mut trials, &mut now, 10_000, took_ns), 0);
        assert_eq!(trials.ways, Ways::default());
    }

    #[test]
    fn small_differences_change_nothing() {
        let (mut trials, mut now) = (Trials::new(RING_BYTES, true), 0);
        read(&mut trials, &mut now, 5_000, |ways| if ways.rests { 95_000 } else { 100_000 });
        assert_eq!(trials.ways, Ways::default());
    }

    #[test]
    fn nothing_is_demoted_where_that_cannot_be() {
        let (mut trials, mut now) = (Trials::new(RING_BYTES, false), 0);
        read(&mut trials, &mut now, 100, |ways| if ways.rests { 100_000 } else { 800_000 });
        assert_eq!(trials.ways, with(true, false));
    }
}
