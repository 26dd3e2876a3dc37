//! The lock of a publication: taken with each message, and hardly ever by two at a time. Layer:
//! engine. Any thread.
//!
//! A mutex that puts waiters to sleep has to look for them when it is released, which is a second
//! locked instruction: on the path of a message of 32 bytes the two were a third of the time. This
//! one is released by a plain store. Who finds it taken spins for as long as a transmission takes,
//! then leaves the processor to whoever holds it, and then sleeps.

use std::thread;
use std::time::Duration;

use spin::mutex::{SpinMutex, SpinMutexGuard};

/// Looks before a waiter leaves the processor: some microseconds, about one transmission.
const SPINS: u32 = 128;
/// Looks before it sleeps: the holder may have a lower priority, and then only runs while nobody
/// else wants to.
const YIELDS: u32 = SPINS + 32;
/// How long it sleeps between two further looks.
const NAP: Duration = Duration::from_micros(50);

/// Whoever holds the latch, until dropped.
pub(super) type Held<'a, T> = SpinMutexGuard<'a, T>;

/// A value that is held for microseconds at most.
#[derive(Debug)]
pub(super) struct Latch<T>(SpinMutex<T>);

impl<T> Latch<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    #[inline]
    pub(super) fn lock(&self) -> Held<'_, T> {
        match self.0.try_lock() {
            Some(held) => held,
            None => self.wait(),
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> Option<Held<'_, T>> {
        self.0.try_lock()
    }

    #[cold]
    fn wait(&self) -> Held<'_, T> {
        let mut looks = 0;
        loop {
            // A load first: it does not take the cache line away from the holder.
            if !self.0.is_locked()
                && let Some(held) = self.0.try_lock()
            {
                return held;
            }
            match looks {
                0..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                _ => thread::sleep(NAP),
            }
            looks = looks.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_gets_between_taking_and_releasing() {
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 20_000;
        let latch = Arc::new(Latch::new((0_u64, 0_u64)));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut held = latch.lock();
                        assert_eq!(held.0, held.1);
                        held.0 += 1;
                        std::hint::spin_loop();
                        held.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*latch.lock(), (THREADS * ROUNDS, THREADS * ROUNDS));
    }

    #[test]
    fn who_waits_gets_it_after_a_holder_that_sleeps() {
        let latch = Latch::new(0);
        thread::scope(|scope| {
            let mut held = latch.lock();
            let waiting = scope.spawn(|| *latch.lock());
            assert!(latch.try_lock().is_none());
            // Longer than a waiter spins and yields.
            thread::sleep(Duration::from_millis(20));
            *held = 1;
            drop(held);
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}
