//! All contestants of a case: first each tries its setups, then the best ones take turns. Layer:
//! peers; runs on the commanding thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;

use crate::cases::Case;
use crate::exchange::{self, Merits, Outcome};
use crate::links;
use crate::rounds::{Rounds, Spread};
use crate::setups::{Peer, Setup};

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Each of the rounds, of which everybody has as many.
    pub(crate) duration: Duration,
    pub(crate) rounds: u32,
    /// A setup that is tried.
    pub(crate) trial: Duration,
}

/// What became of a contestant.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    pub(crate) peer: Peer,
    pub(crate) standing: Standing,
}

#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// The best of so many setups, and its rounds.
    Measured {
        setup: Setup,
        tried: usize,
        rounds: Rounds,
    },
    NotAvailable(String),
}

/// Measures a case. `remark` hears of every exchange.
///
/// # Errors
///
/// When the user wants to stop.
pub(crate) fn hold(
    case: Case,
    peers: &[Peer],
    effort: Effort,
    stop: &Arc<AtomicBool>,
    mut remark: impl FnMut(&Setup, &anyhow::Result<Outcome>),
) -> anyhow::Result<Vec<Result>> {
    let mut exchange = |setup, duration| {
        let outcome = exchange::run(case, setup, duration, stop);
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        remark(&setup, &outcome);
        Ok(outcome)
    };
    let mut contestants = Vec::new();
    for &peer in peers.iter().filter(|peer| peer.takes_part(&case)) {
        let entry = match links::absence(peer) {
            Some(reason) => Err(reason),
            None => try_out(&peer.setups(&case), |setup| exchange(setup, effort.trial))?,
        };
        contestants.push((peer, entry, Rounds::default()));
    }
    for _ in 0..effort.rounds {
        for (_, entry, rounds) in &mut contestants {
            let Ok((setup, _)) = *entry else { continue };
            match exchange(setup, effort.duration)? {
                Ok(outcome) => rounds.push(outcome),
                Err(error) => *entry = Err(format!("{error:#}")),
            }
        }
    }
    let results = contestants.into_iter().map(|(peer, entry, rounds)| {
        let standing = match entry {
            Ok((setup, tried)) => Standing::Measured { setup, tried, rounds },
            Err(reason) => Standing::NotAvailable(reason),
        };
        Result { peer, standing }
    });
    Ok(results.collect())
}

/// Setups that are tried again after the first attempt...
const FINALISTS: usize = 4;
/// ...and how often each of them, in turns: a machine may have been at its worst for one attempt.
const FINAL_HEATS: usize = 4;

/// The best setup and how many there were, or why none works.
fn try_out(
    setups: &[Setup],
    mut attempt: impl FnMut(Setup) -> anyhow::Result<anyhow::Result<Outcome>>,
) -> anyhow::Result<std::result::Result<(Setup, usize), String>> {
    if let [only] = setups {
        return Ok(Ok((*only, 1)));
    }
    let mut reason = "no setup".to_owned();
    let mut tried = Vec::new();
    for &setup in setups {
        match attempt(setup)? {
            Ok(outcome) => tried.push((setup, vec![outcome.merits()])),
            Err(error) => reason = format!("{error:#}"),
        }
    }
    rank(&mut tried);
    tried.truncate(FINALISTS);
    for _ in 0..FINAL_HEATS {
        for (setup, merits) in &mut tried {
            let outcome = attempt(*setup)?;
            merits.push(outcome.map_or(Merits::default(), |outcome| outcome.merits()));
        }
    }
    rank(&mut tried);
    Ok(tried.first().map(|(setup, _)| (*setup, setups.len())).ok_or(reason))
}

/// The best first, by the medians of the merits of each.
fn rank(tried: &mut [(Setup, Vec<Merits>)]) {
    let medians = |all: &[Merits]| {
        let median = |which: usize| Spread::of(all.iter().map(|merits| merits[which]));
        [0, 1].map(|which| median(which).map_or(0.0, |spread| spread.median))
    };
    tried.sort_by(|(_, one), (_, other)| {
        let (one, other) = (medians(one), medians(other));
        other[0].total_cmp(&one[0]).then(other[1].total_cmp(&one[1]))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Flow;

    fn stream(received: u64) -> anyhow::Result<Outcome> {
        let flow = Flow { sent: 100, received, astray: 0, timed: received, elapsed_ns: 1_000 };
        Ok(Outcome::Stream(flow))
    }

    #[test]
    fn the_best_setup_is_the_fastest_that_loses_nothing() {
        let case = Case::all()[3];
        let setups = Peer::Aeron.setups(&case);
        let attempt = |setup: Setup| {
            Ok(match setups.iter().position(|known| *known == setup) {
                Some(0) => stream(90),
                Some(1) => stream(100),
                _ => Err(anyhow::anyhow!("broken")),
            })
        };
        let best = try_out(&setups[..3], attempt).unwrap();
        assert_eq!(best, Ok((setups[1], 3)));
    }

    #[test]
    fn one_attempt_at_a_bad_moment_does_not_decide() {
        let case = Case::all()[0];
        let setups = &Peer::Aeron.setups(&case)[..2];
        let trip = |ns: u64| {
            let mut latency = crate::round_trips::histogram().unwrap();
            latency.record(ns).unwrap();
            Ok(Outcome::RoundTrips(latency))
        };
        let mut attempts = 0;
        let best = try_out(setups, |setup| {
            attempts += 1;
            Ok(trip(if setup == setups[1] {
                200
            } else if attempts == 1 {
                900
            } else {
                100
            }))
        });
        assert_eq!(best.unwrap(), Ok((setups[0], 2)));
    }

    #[test]
    fn of_two_with_the_same_median_the_one_with_the_better_tail_is_chosen() {
        let case = Case::all()[0];
        let setups = &Peer::Vega.setups(&case)[..3];
        let best = try_out(setups, |setup| {
            let (most, few) = match setups.iter().position(|known| *known == setup) {
                Some(0) => (150, 900),
                Some(1) => (150, 200),
                _ => (160, 170),
            };
            let mut latency = crate::round_trips::histogram().unwrap();
            latency.record_n(most, 90).unwrap();
            latency.record_n(few, 10).unwrap();
            Ok(Ok(Outcome::RoundTrips(latency)))
        });
        assert_eq!(best.unwrap(), Ok((setups[1], 3)));
    }

    #[test]
    fn a_peer_without_a_setup_that_works_says_why() {
        let case = Case::all()[0];
        let setups = Peer::Aeron.setups(&case);
        let best = try_out(&setups, |_| Ok(Err(anyhow::anyhow!("no driver")))).unwrap();
        assert_eq!(best, Err("no driver".to_owned()));
    }
}
