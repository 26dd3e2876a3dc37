//! An allocator that counts, thread by thread. Tests. Any thread counts for itself, without a lock and
//! without allocating; one test at a time reads.
#![expect(unsafe_code, reason = "the number of a thread has no safe wrapper here")]

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use crate::allocator::Watched;

/// More threads than a run of these tests starts; those beyond would share the last place.
const PLACES: usize = 1024;
/// Set to anything, it shows where each allocation of a round comes from.
const TRACE: &str = "VEGA_TRACE_ALLOCATIONS";

static THREADS: [AtomicI32; PLACES] = [const { AtomicI32::new(0) }; PLACES];
static COUNTS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static IS_TRACING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Showing an allocation allocates.
    static IS_SHOWING: Cell<bool> = const { Cell::new(false) };
}

/// Counts allocations for each thread. What is freed is not counted: it was allocated before.
#[global_allocator]
static ALLOCATOR: Watched = Watched { taken: note, given_back: |_| () };

fn note(bytes: usize) {
    // A thread that ends may free and allocate when its thread-locals are gone.
    let place = PLACE.try_with(|place| {
        if place.get() == usize::MAX {
            place.set(claim());
        }
        place.get()
    });
    let Ok(place) = place else { return };
    COUNTS[place].fetch_add(1, Ordering::Relaxed);
    if IS_TRACING.load(Ordering::Relaxed) && !IS_SHOWING.replace(true) {
        eprintln!("{bytes} bytes:\n{}", Backtrace::force_capture());
        IS_SHOWING.set(false);
    }
}

/// The first free place.
fn claim() -> usize {
    let own = own_id();
    let is_free = |place: &&AtomicI32| {
        place.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    THREADS.iter().position(|place| is_free(&place)).unwrap_or(PLACES - 1)
}

/// The number of this thread, as the kernel knows it.
fn own_id() -> i32 {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// How often each thread of interest has allocated during some work: those of vega, and the one that
/// did the work. Those of the test harness do what they like.
#[derive(PartialEq, Eq)]
pub(crate) struct Allocations(Vec<(String, u64)>);

impl Allocations {
    /// Counts while `work` runs.
    pub(crate) fn during(work: impl FnOnce()) -> Self {
        let is_tracing = std::env::var_os(TRACE).is_some();
        let mut before = [0; PLACES];
        let mut after = [0; PLACES];
        read(&mut before);
        IS_TRACING.store(is_tracing, Ordering::Relaxed);
        work();
        IS_TRACING.store(false, Ordering::Relaxed);
        read(&mut after);
        let own = own_id();
        let mut found = Vec::new();
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let thread = THREADS[at].load(Ordering::Relaxed);
            if after > before {
                let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
                let name = name.unwrap_or_default().trim().to_owned();
                if thread == own || name.starts_with("vega-") {
                    found.push((name, after - before));
                }
            }
        }
        Self(found)
    }

    /// Of all threads of this name.
    pub(crate) fn of(&self, thread: &str) -> u64 {
        self.0.iter().filter(|(name, _)| name == thread).map(|(_, count)| count).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

fn read(counts: &mut [u64; PLACES]) {
    for (count, place) in counts.iter_mut().zip(&COUNTS) {
        *count = place.load(Ordering::Relaxed);
    }
}

impl fmt::Debug for Allocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, count)| (name, count))).finish()
    }
}
