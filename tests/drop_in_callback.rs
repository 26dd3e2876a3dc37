//! An instance that is dropped by one of its own callbacks stops all the same. Test.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vega::{Config, Instance, Message};

/// Between two looks at the threads of this process.
const POLLING_PAUSE: Duration = Duration::from_millis(10);
/// How many looks before the test gives up.
const ATTEMPTS: u32 = 1000;

/// Whether this process has a thread of that name, of which the kernel keeps 15 bytes.
fn has_thread(name: &str) -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

/// For discovery, so that nobody else is met.
fn free_port() -> u16 {
    #[expect(clippy::disallowed_methods, reason = "asks the kernel for a free port")]
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn the_poller_ends_when_its_own_callback_drops_the_instance() {
    let port = free_port();
    let config = format!("[discovery]\nport = {port}\n[[poller]]\nname = 'dropping'");
    let instance = Instance::builder().config(Config::parse(&config).unwrap()).start().unwrap();
    let mut publisher = instance.publisher("drop").unwrap();
    let slot = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&slot);
    let subscription = instance
        .subscribe("drop", move |_: &Message<'_>| drop(taken.lock().unwrap().take()))
        .unwrap();
    assert!(publisher.wait_for_subscribers(1, Duration::from_secs(10)));
    assert!(has_thread("vega-dropping"));
    *slot.lock().unwrap() = Some(instance);
    publisher.send(b"drop it").unwrap();
    for _ in 0..ATTEMPTS {
        if !has_thread("vega-dropping") {
            assert!(slot.lock().unwrap().is_none());
            drop(subscription);
            return;
        }
        std::thread::sleep(POLLING_PAUSE);
    }
    panic!("the poller is still there");
}
