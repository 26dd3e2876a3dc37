//! One round of a ping-pong: how it is timed, when it is over, and who waits for that. Layer: bin.
//! The thread that plays owns the [`Recorder`]; the commanding thread waits on the [`Outcome`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::goal::{Finish, Goal};
use super::latency::Latency;
use crate::clock;

/// Round trips before the first one that counts: caches, branch predictors, sockets and the pacing
/// of the engine have settled by then.
const WARM_UP: u64 = 2_000;
/// Pause between two looks at whether everybody is well.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Without a single round trip for so long, the ball is gone for good.
const STALL: Duration = Duration::from_secs(10);

/// Records round trips, one at a time.
#[derive(Debug)]
pub(crate) struct Recorder {
    goal: Goal,
    /// Known once the warm-up is over.
    finish: Option<Finish>,
    sent_at_ns: u64,
    returned: u64,
    /// As `returned`, for the thread that waits.
    progress: Arc<AtomicU64>,
    latency: Latency,
    /// Taken when the round is over.
    outcome: Option<Sender<anyhow::Result<Latency>>>,
}

/// What a round comes to.
#[derive(Debug)]
pub(crate) struct Outcome {
    latency: Receiver<anyhow::Result<Latency>>,
    progress: Arc<AtomicU64>,
}

impl Recorder {
    pub(crate) fn new(goal: Goal) -> (Self, Outcome) {
        let (sender, latency) = crossbeam_channel::bounded(1);
        let progress = Arc::new(AtomicU64::new(0));
        let recorder = Self {
            goal,
            finish: None,
            sent_at_ns: 0,
            returned: 0,
            progress: Arc::clone(&progress),
            latency: Latency::new(),
            outcome: Some(sender),
        };
        (recorder, Outcome { latency, progress })
    }

    /// A ball is about to be sent.
    #[inline]
    pub(crate) fn send(&mut self) {
        self.sent_at_ns = clock::shared_ns();
    }

    /// It came back. Returns whether the next one is wanted.
    #[inline]
    pub(crate) fn receive(&mut self, now_ns: u64) -> bool {
        self.returned += 1;
        self.progress.store(self.returned, Ordering::Relaxed);
        let Some(finish) = self.finish else {
            if self.returned == WARM_UP {
                self.finish = Some(self.goal.start());
            }
            return true;
        };
        self.latency.record(now_ns.saturating_sub(self.sent_at_ns));
        if finish.is_reached(self.returned - WARM_UP, now_ns) {
            self.end(None);
        }
        self.outcome.is_some()
    }

    /// It did not come back. Returns whether the next one is wanted.
    #[cold]
    pub(crate) fn lose(&mut self) -> bool {
        if self.finish.is_some() {
            self.latency.lose();
        }
        self.outcome.is_some()
    }

    /// The round cannot go on.
    #[cold]
    pub(crate) fn fail(&mut self, error: impl Into<anyhow::Error>) {
        self.end(Some(error.into()));
    }

    fn end(&mut self, error: Option<anyhow::Error>) {
        if let Some(outcome) = self.outcome.take() {
            let latency = std::mem::take(&mut self.latency);
            // Whoever does not wait any more does not want to know.
            let _ = outcome.send(error.map_or(Ok(latency), Err));
        }
    }
}

impl Outcome {
    /// Waits until the round is over. `check` looks at each `interval` whether all is well.
    ///
    /// # Errors
    ///
    /// Those of `check` and of the player, and when nothing comes back any more.
    pub(crate) fn wait(
        &self,
        interval: Duration,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Latency> {
        let mut seen = (0, clock::now());
        loop {
            match self.latency.recv_timeout(interval) {
                Ok(latency) => return latency,
                Err(RecvTimeoutError::Disconnected) => bail!("the measuring thread is gone"),
                Err(RecvTimeoutError::Timeout) => {
                    check()?;
                    self.look(&mut seen)?;
                }
            }
        }
    }

    fn look(&self, seen: &mut (u64, Instant)) -> anyhow::Result<()> {
        let returned = self.progress.load(Ordering::Relaxed);
        let now = clock::now();
        if returned != seen.0 {
            *seen = (returned, now);
        } else if now.duration_since(seen.1) > STALL {
            bail!("no round trip was completed for {STALL:?} (after {returned})");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    #[test]
    fn the_warm_up_does_not_count() {
        let (mut recorder, outcome) = Recorder::new(Goal::Count(3));
        let mut rounds = 0;
        assert!(recorder.lose());
        loop {
            recorder.send();
            rounds += 1;
            if rounds == WARM_UP + 2 {
                assert!(recorder.lose());
            }
            if !recorder.receive(recorder.sent_at_ns + 7) {
                break;
            }
        }
        assert_eq!(rounds, WARM_UP + 3);
        let latency = outcome.wait(INTERVAL, || Ok(())).unwrap();
        assert_eq!((latency.count(), latency.lost(), latency.max_ns()), (3, 1, 7));
    }

    #[test]
    fn a_failure_ends_the_round() {
        let (mut recorder, outcome) = Recorder::new(Goal::Count(1));
        assert!(recorder.lose());
        recorder.fail(anyhow::anyhow!("broken"));
        assert!(!recorder.lose());
        assert_eq!(outcome.wait(INTERVAL, || Ok(())).unwrap_err().to_string(), "broken");
    }
}
