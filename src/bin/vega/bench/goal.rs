//! When a round is over. Layer: bin. A [`Goal`] is plain data; a [`Finish`] belongs to the thread
//! that counts.

use std::time::Duration;

use crate::clock;

/// How much is to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Round trips or messages.
    Count(u64),
    Duration(Duration),
}

impl Goal {
    /// The same in parts, none of which is empty.
    pub(crate) fn split(self, parts: u32) -> impl Iterator<Item = Self> {
        (0..u64::from(parts)).filter_map(move |part| match self {
            Self::Count(count) => {
                let parts = u64::from(parts);
                let share = count / parts + u64::from(part < count % parts);
                (share > 0).then_some(Self::Count(share))
            }
            Self::Duration(duration) => Some(Self::Duration(duration / parts)),
        })
    }

    /// Begins now.
    pub(crate) fn start(self) -> Finish {
        match self {
            Self::Count(count) => Finish { count, at_ns: u64::MAX },
            Self::Duration(duration) => {
                let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                Finish { count: u64::MAX, at_ns: clock::shared_ns().saturating_add(ns) }
            }
        }
    }
}

/// The end of a goal that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish {
    count: u64,
    at_ns: u64,
}

impl Finish {
    #[inline]
    pub(crate) const fn is_reached(&self, count: u64, now_ns: u64) -> bool {
        count >= self.count || now_ns >= self.at_ns
    }

    #[inline]
    pub(crate) const fn is_counted(&self, count: u64) -> bool {
        count >= self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        for count in [1, 4, 5, 7, 1000, 1001] {
            let parts: Vec<_> = Goal::Count(count).split(5).collect();
            let sum: u64 = parts
                .iter()
                .map(|part| match part {
                    Goal::Count(count) => *count,
                    Goal::Duration(_) => 0,
                })
                .sum();
            assert_eq!(sum, count);
            assert!(!parts.contains(&Goal::Count(0)), "{parts:?}");
        }
        let second = Duration::from_secs(1);
        let parts: Vec<_> = Goal::Duration(5 * second).split(5).collect();
        assert_eq!(parts, [Goal::Duration(second); 5]);
    }
}
