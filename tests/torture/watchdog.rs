//! Notices a thread that does not come on, and shows where it hangs. Tests. A thread of its own looks
//! at what the others note down.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);
/// So many looks at the same deed are a hang: many times what a deed takes on a busy machine.
const PATIENCE: u32 = 120;

/// What one thread is doing.
#[derive(Default)]
pub(crate) struct Post {
    /// Deeds that were begun.
    begun: AtomicU64,
    /// The one in progress; `None` while there is nothing to do.
    deed: Mutex<Option<String>>,
}

impl Post {
    /// Says what is done from now on.
    pub(crate) fn begin(&self, deed: String) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        *self.deed.lock() = Some(deed);
    }

    /// Says that it is done.
    pub(crate) fn end(&self) {
        *self.deed.lock() = None;
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Watches from now on. A hang ends the process, after all threads were shown.
pub(crate) fn watch(posts: Vec<Arc<Post>>) {
    let look = move || {
        let mut seen = vec![(0, 0); posts.len()];
        loop {
            std::thread::sleep(PERIOD);
            for (post, (begun, looks)) in posts.iter().zip(&mut seen) {
                let is_same = post.begun() == *begun && post.deed.lock().is_some();
                *looks = if is_same { *looks + 1 } else { 0 };
                *begun = post.begun();
            }
            if seen.iter().any(|(_, looks)| *looks >= PATIENCE) {
                show(&posts, &seen);
                std::process::abort();
            }
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(look).unwrap();
}

fn show(posts: &[Arc<Post>], seen: &[(u64, u32)]) {
    for (number, (post, (begun, looks))) in posts.iter().zip(seen).enumerate() {
        let deed = post.deed.lock().clone();
        eprintln!("thread {number}, deed {begun}, for {looks} looks: {deed:?}");
    }
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |what| std::fs::read_to_string(task.path().join(what)).unwrap_or_default();
        eprintln!("{:?} {} waits in {}", task.file_name(), read("comm").trim(), read("wchan"));
    }
    // Where there is a debugger, it shows more.
    let process = std::process::id().to_string();
    let stacks = ["-batch", "-p", &process, "-ex", "thread apply all backtrace 40"];
    let _ = Command::new("gdb").args(stacks).status();
}
