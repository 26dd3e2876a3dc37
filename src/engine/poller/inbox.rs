//! The commands that wait for one poller, in the one order in which they were given. Layer: engine. Any
//! thread puts them in; the poller takes them.
//!
//! Who gives a command never waits in here: callers hold locks that callbacks take as well, and a poller
//! in a callback takes no commands. What bounds the queue is that callers without locks
//! [wait for room](Queue::wait_for_room) first, and that the conductor
//! [asks whether there is any](Queue::try_put). Callbacks do neither: what they give is bounded by how
//! long they run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::handle::Command;

/// Both ends of the queue.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// There is room again, or nobody takes commands any more.
    has_room: Condvar,
    /// Set after a command has been put in. To ask the queue itself takes a lock, and that a fence,
    /// which waits for all that the poller has just written to rings.
    is_waiting: AtomicBool,
    /// As many may wait before others have to.
    room: usize,
}

struct Waiting {
    commands: VecDeque<Command>,
    /// The poller is gone: it has nothing left to do.
    is_closed: bool,
}

impl Queue {
    /// Puts a command in, however many wait. Gives it back when nobody takes commands any more: with it a
    /// listener may have to be dropped, which is user code, and not for who holds a lock.
    #[must_use = "what is given back has to be dropped without a lock"]
    pub(super) fn put(&self, command: Command) -> Option<Command> {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return Some(command);
        }
        waiting.commands.push_back(command);
        drop(waiting);
        self.announce();
        None
    }

    /// Puts a command in, unless too many wait.
    pub(super) fn try_put(&self, command: Command) -> Result<(), Command> {
        let mut waiting = self.waiting.lock();
        if !waiting.is_closed {
            if waiting.commands.len() >= self.room {
                return Err(command);
            }
            waiting.commands.push_back(command);
        }
        drop(waiting);
        self.announce();
        Ok(())
    }

    /// Returns when fewer commands wait than may.
    pub(super) fn wait_for_room(&self) {
        let mut waiting = self.waiting.lock();
        while waiting.commands.len() >= self.room {
            self.has_room.wait(&mut waiting);
        }
    }

    fn announce(&self) {
        // Release: pairs with the Acquire in `Inbox::begin`; the command comes first.
        self.is_waiting.store(true, Ordering::Release);
    }
}

/// The end that the poller holds. When it is dropped, what waits is discarded: whoever waits for the end
/// of a subscription notices.
pub(in crate::engine) struct Inbox(Arc<Queue>);

impl Inbox {
    /// An empty queue with room for so many commands.
    pub(super) fn with_room(room: usize) -> (Arc<Queue>, Self) {
        let queue = Arc::new(Queue {
            waiting: Mutex::new(Waiting { commands: VecDeque::new(), is_closed: false }),
            has_room: Condvar::new(),
            is_waiting: AtomicBool::new(false),
            room,
        });
        (Arc::clone(&queue), Self(queue))
    }

    /// Whether there may be commands.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.0.is_waiting.load(Ordering::Relaxed)
    }

    /// All commands that are there are going to be taken; it is ready again with the next one.
    pub(super) fn begin(&self) {
        // Acquire: pairs with the Release in `Queue::announce`.
        self.0.is_waiting.swap(false, Ordering::Acquire);
    }

    pub(in crate::engine) fn take(&self) -> Option<Command> {
        let mut waiting = self.0.waiting.lock();
        let command = waiting.commands.pop_front();
        if waiting.commands.len() + 1 == self.0.room {
            self.0.has_room.notify_all();
        }
        command
    }
}

impl Inbox {
    /// Takes no more commands, and returns those that wait.
    pub(super) fn close(&self) -> VecDeque<Command> {
        let mut waiting = self.0.waiting.lock();
        waiting.is_closed = true;
        self.0.has_room.notify_all();
        std::mem::take(&mut waiting.commands)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::InstanceId;

    fn command(number: u8) -> Command {
        Command::ForgetInstance(InstanceId::from_bytes([number; 16]))
    }

    fn taken(inbox: &Inbox) -> Vec<InstanceId> {
        std::iter::from_fn(|| inbox.take())
            .map(|command| match command {
                Command::ForgetInstance(instance) => instance,
                _ => panic!("nothing else was put in"),
            })
            .collect()
    }

    #[test]
    fn commands_keep_their_order_and_only_who_asks_is_refused() {
        let (queue, inbox) = Inbox::with_room(2);
        assert!(!inbox.is_ready());
        assert!(queue.put(command(1)).is_none());
        assert!(inbox.is_ready());
        assert!(queue.try_put(command(2)).is_ok());
        assert!(queue.try_put(command(3)).is_err());
        assert!(queue.put(command(4)).is_none());
        inbox.begin();
        assert!(!inbox.is_ready());
        assert_eq!(taken(&inbox), [1, 2, 4].map(|number| InstanceId::from_bytes([number; 16])));
        assert!(queue.try_put(command(5)).is_ok());
    }

    #[test]
    fn who_waits_for_room_goes_on_when_there_is_some_or_nobody_is_left() {
        for takes in [true, false] {
            let (queue, inbox) = Inbox::with_room(1);
            assert!((1..=2).all(|number| queue.put(command(number)).is_none()));
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| queue.wait_for_room());
                // Most of the time it waits by now.
                std::thread::sleep(Duration::from_millis(5));
                assert!(!waiting.is_finished());
                if takes {
                    assert_eq!(taken(&inbox).len(), 2);
                } else {
                    drop(inbox);
                }
                waiting.join().unwrap();
            });
        }
    }

    #[test]
    fn what_waits_for_a_poller_that_ends_is_discarded_and_what_comes_later_given_back() {
        let (queue, inbox) = Inbox::with_room(1);
        let (pass, passed) = crossbeam_channel::bounded::<()>(0);
        assert!(queue.put(Command::Pass(pass)).is_none());
        drop(inbox);
        assert!(passed.recv().is_err());
        assert!(queue.put(command(2)).is_some());
        assert!(queue.try_put(command(1)).is_ok());
        queue.wait_for_room();
    }
}
