//! What lies between two hosts, and what befalls packets there. Layer: sim. Owned by one world.
//!
//! Packets of one run that nothing befalls arrive together, as one run. A corrupted packet does not
//! arrive: the checksum of UDP finds it. A truncated one does, and decoders have to refuse it.

use std::rc::Rc;
use std::time::Duration;

use super::dice::Dice;
use crate::time::Timestamp;

/// A packet on its way, shared by all to whom it goes.
pub(super) type Packet = Rc<[u8]>;

/// What a router holds for a line that is narrower than its input; the rest is dropped.
const LONGEST_QUEUE: Duration = Duration::from_millis(10);
/// How much longer a packet takes that is overtaken or doubled, in delays of its line.
const DETOUR: u32 = 3;

/// A line that is good or bad for a while (Gilbert and Elliott). Chances in millionths, per packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Burst {
    pub(super) begins: u32,
    pub(super) ends: u32,
    /// Loss while it is bad.
    pub(super) loss: u32,
}

/// What befalls packets in one direction between two hosts. Chances in millionths, per packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub(super) delay: Duration,
    /// Added to the delay of a run, at random up to this.
    pub(super) jitter: Duration,
    pub(super) loss: u32,
    pub(super) burst: Burst,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
    pub(super) corrupt: u32,
    pub(super) truncate: u32,
    /// Zero is no limit.
    pub(super) bytes_per_second: u64,
}

/// What the network has done to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Injected {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) truncated: u64,
    /// Dropped where a line was too narrow, or a socket's buffer full.
    pub(super) overflowed: u64,
}

/// What arrives at the same time.
pub(super) type Arrival = (Timestamp, Vec<Packet>);

#[derive(Clone, Debug)]
struct Line {
    conditions: Conditions,
    is_bad: bool,
    is_cut: bool,
    free_at: Timestamp,
}

/// All lines between some hosts.
#[derive(Debug)]
pub(super) struct Network {
    hosts: usize,
    lines: Vec<Line>,
    pub(super) injected: Injected,
}

impl Network {
    pub(super) fn new(hosts: usize, mut conditions: impl FnMut() -> Conditions) -> Self {
        let line = |_| Line {
            conditions: conditions(),
            is_bad: false,
            is_cut: false,
            free_at: Timestamp::default(),
        };
        Self { hosts, lines: (0..hosts * hosts).map(line).collect(), injected: Injected::default() }
    }

    /// All lines lose nothing from now on, and none is cut.
    pub(super) fn heal(&mut self) {
        for line in &mut self.lines {
            let Conditions { delay, jitter, .. } = line.conditions;
            line.conditions = Conditions { delay, jitter, ..Conditions::default() };
            line.is_cut = false;
        }
    }

    /// One direction only: the other one may live on.
    pub(super) fn cut(&mut self, from: usize, to: usize, is_cut: bool) {
        self.line(from, to).is_cut = is_cut;
    }

    fn line(&mut self, from: usize, to: usize) -> &mut Line {
        &mut self.lines[from * self.hosts + to]
    }

    /// Sends a run. What arrives, and when, goes to `out`.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        dice: &mut Dice,
        (from, to): (usize, usize),
        run: &[Packet],
        out: &mut Vec<Arrival>,
    ) {
        let jitter = dice.pause(self.line(from, to).conditions.jitter);
        let mut together = Vec::with_capacity(run.len());
        let mut arrives = now;
        for packet in run {
            let line = &mut self.lines[from * self.hosts + to];
            let is_lost = line.loses(dice);
            let Some(left) = line.leaves(now, packet.len()) else {
                self.injected.overflowed += 1;
                continue;
            };
            if is_lost {
                self.injected.lost += 1;
                continue;
            }
            let Conditions { delay, duplicate, reorder, truncate, .. } = line.conditions;
            arrives = left + delay + jitter;
            let detour = |dice: &mut Dice| arrives + dice.pause(delay * DETOUR);
            if dice.chance(duplicate) {
                self.injected.doubled += 1;
                out.push((detour(dice), vec![Rc::clone(packet)]));
            }
            if dice.chance(truncate) {
                self.injected.truncated += 1;
                let length = dice.index(packet.len());
                out.push((arrives, vec![packet[..length].into()]));
            } else if dice.chance(reorder) {
                self.injected.reordered += 1;
                out.push((detour(dice), vec![Rc::clone(packet)]));
            } else {
                together.push(Rc::clone(packet));
            }
        }
        if !together.is_empty() {
            out.push((arrives, together));
        }
    }
}

impl Line {
    fn loses(&mut self, dice: &mut Dice) -> bool {
        let Conditions { loss, burst, corrupt, .. } = self.conditions;
        let changes = if self.is_bad { burst.ends } else { burst.begins };
        if dice.chance(changes) {
            self.is_bad = !self.is_bad;
        }
        let is_lost = dice.chance(if self.is_bad { burst.loss.max(loss) } else { loss });
        self.is_cut || is_lost || dice.chance(corrupt)
    }

    /// When the last bit has left; `None` when too much waits already.
    fn leaves(&mut self, now: Timestamp, bytes: usize) -> Option<Timestamp> {
        let rate = self.conditions.bytes_per_second;
        if rate == 0 {
            return Some(now);
        }
        let begins = self.free_at.max(now);
        if begins.since(now) > LONGEST_QUEUE {
            return None;
        }
        self.free_at = begins + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate);
        Some(self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);
    const MS: Duration = Duration::from_millis(1);

    fn sent(conditions: Conditions, packets: usize) -> (Vec<Arrival>, Injected) {
        let mut network = Network::new(2, || conditions);
        let run: Vec<Packet> = vec![vec![7; 100].into(); packets];
        let mut out = Vec::new();
        network.send(NOW, &mut Dice::new(1), (0, 1), &run, &mut out);
        (out, network.injected)
    }

    #[test]
    fn a_run_arrives_as_a_run() {
        let (out, _) = sent(Conditions { delay: MS, ..Conditions::default() }, 5);
        assert_eq!((out.len(), out[0].0, out[0].1.len()), (1, NOW + MS, 5));
    }

    #[test]
    fn losses_are_as_frequent_as_asked_and_bursts_come_in_a_row() {
        let (_, injected) = sent(Conditions { loss: 100_000, ..Conditions::default() }, 10_000);
        assert!((800..1200).contains(&injected.lost), "{injected:?}");
        let burst = Burst { begins: 10_000, ends: 100_000, loss: 1_000_000 };
        let (_, injected) = sent(Conditions { burst, ..Conditions::default() }, 10_000);
        assert!((500..1400).contains(&injected.lost), "{injected:?}");
    }

    #[test]
    fn a_narrow_line_delays_and_then_drops() {
        let conditions = Conditions { bytes_per_second: 100_000, ..Conditions::default() };
        let (out, injected) = sent(conditions, 20);
        assert_eq!((out[0].1.len(), injected.overflowed), (11, 9));
        assert_eq!(out[0].0, NOW + MS * 11);
    }

    #[test]
    fn a_line_is_cut_in_one_direction() {
        let mut network = Network::new(2, Conditions::default);
        network.cut(0, 1, true);
        let run: [Packet; 1] = [vec![7].into()];
        let (mut there, mut back) = (Vec::new(), Vec::new());
        network.send(NOW, &mut Dice::new(1), (0, 1), &run, &mut there);
        network.send(NOW, &mut Dice::new(1), (1, 0), &run, &mut back);
        assert_eq!((there.len(), back.len()), (0, 1));
    }
}
