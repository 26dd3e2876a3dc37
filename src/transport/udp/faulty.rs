//! Receiving through faults. Layer: transport. Owned by the socket; called by whichever thread
//! receives from it.
//!
//! A socket with faults holds datagrams that the kernel does not know of any more, so whoever
//! sleeps until the kernel calls has to look at [`UdpSocket::is_holding`] before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{ReceiveBuffer, Received, UdpSocket};
use crate::config::FaultConfig;
use crate::counters::{Counter, Counters};
use crate::random::SplitMix64;
use crate::time::Clock;
use crate::transport::fault::{FaultCounts, FaultInjector};

/// Datagrams that one call takes from the kernel without giving any to its caller: a flood that is
/// dropped must not hold up a poller.
const MAX_TAKEN: usize = 256;

/// Makes the faults of the sockets of one instance.
#[derive(Debug)]
pub(crate) struct FaultSource {
    config: FaultConfig,
    clock: Clock,
    counters: Arc<Counters>,
    /// Sockets that were opened so far.
    sockets: AtomicU64,
}

impl FaultSource {
    /// The seed of `config` is taken as it is, 0 as well.
    pub(crate) const fn new(config: FaultConfig, clock: Clock, counters: Arc<Counters>) -> Self {
        Self { config, clock, counters, sockets: AtomicU64::new(0) }
    }

    /// Faults for the next socket, with random numbers of its own.
    pub(super) fn next_socket(self: &Arc<Self>) -> Faults {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        let seed = SplitMix64::new(self.config.seed ^ (number << u32::BITS)).draw();
        Faults {
            source: Arc::clone(self),
            state: Mutex::new(State {
                injector: FaultInjector::new(self.config.clone(), seed),
                counted: FaultCounts::default(),
                has_left_some: false,
            }),
        }
    }
}

/// The faults of one socket. The lock is for the compiler: one thread at a time receives.
#[derive(Debug)]
pub(super) struct Faults {
    source: Arc<FaultSource>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    injector: FaultInjector,
    counted: FaultCounts,
    /// The last call ended before the queue of the kernel was empty, with nothing to give.
    has_left_some: bool,
}

impl Faults {
    pub(super) fn is_holding(&self) -> bool {
        let state = self.state.lock();
        state.has_left_some || state.injector.is_holding()
    }

    /// As [`UdpSocket::recv`].
    #[cold]
    pub(super) fn recv<'b>(
        &self,
        socket: &UdpSocket,
        buffer: &'b mut ReceiveBuffer,
    ) -> io::Result<Option<Received<'b>>> {
        let mut state = self.state.lock();
        let State { injector, counted, has_left_some } = &mut *state;
        let now = self.source.clock.now();
        *has_left_some = false;
        if let Some(packet) = injector.poll_due(now) {
            return Ok(Some(buffer.put(packet.source, &packet.bytes)));
        }
        for _ in 0..MAX_TAKEN {
            let Some(datagram) = socket.take(buffer)? else { return Ok(None) };
            // What does not fit into the buffer is not all there, and cannot be held.
            let passes = datagram.is_truncated
                || injector.handle_packet(now, datagram.source, buffer.filled(&datagram));
            self.count(injector.counts(), counted);
            if passes {
                return Ok(Some(buffer.received(&datagram)));
            }
        }
        *has_left_some = true;
        Ok(None)
    }

    fn count(&self, now: FaultCounts, before: &mut FaultCounts) {
        let counters = &self.source.counters;
        counters.add(Counter::FaultsDropped, now.dropped - before.dropped);
        counters.add(Counter::FaultsDuplicated, now.duplicated - before.duplicated);
        counters.add(Counter::FaultsDelayed, now.delayed - before.delayed);
        *before = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Family, InterfaceSpec};
    use crate::transport::interface::{Interface, resolve};
    use crate::transport::udp::SocketOptions;

    const OPTIONS: SocketOptions = SocketOptions {
        receive_buffer_bytes: 1 << 20,
        send_buffer_bytes: 1 << 20,
        force_portable: false,
        faults: None,
        counters: None,
    };
    const PACKET_BYTES: usize = 100;

    fn loopback() -> Interface {
        resolve(&InterfaceSpec::Loopback(Family::V4)).unwrap()
    }

    /// A socket with the `[fault]` table of these keys, and what it counts.
    fn receiver(keys: &str) -> (UdpSocket, Arc<Counters>) {
        let config = Config::parse(&format!("[fault]\n{keys}")).unwrap().fault;
        let counters = Arc::new(Counters::new());
        let source = FaultSource::new(config, Clock::start(), Arc::clone(&counters));
        let options = SocketOptions { faults: Some(Arc::new(source)), ..OPTIONS };
        (UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap(), counters)
    }

    /// Sends runs of numbered packets; on loopback they have arrived when this returns.
    fn send(to: &UdpSocket, packets: u8) {
        let socket = UdpSocket::open_sender(&loopback(), 0, &OPTIONS).unwrap();
        let to = to.destination(to.local_address());
        let bytes: Vec<u8> = (0..packets).flat_map(|number| [number; PACKET_BYTES]).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let run = rest.len().min(64 * PACKET_BYTES);
            let sent = socket.send_run(Some(&to), &rest[..run], PACKET_BYTES).unwrap();
            rest = &rest[sent * PACKET_BYTES..];
        }
    }

    /// What comes out until the kernel has nothing more.
    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = ReceiveBuffer::new();
        let mut numbers = Vec::new();
        while let Some(received) = socket.recv(&mut buffer).unwrap() {
            assert_eq!(received.bytes().len(), PACKET_BYTES, "a run was not taken apart");
            numbers.push(received.bytes()[0]);
        }
        numbers
    }

    #[test]
    fn each_packet_of_a_run_has_its_own_fate() {
        let (socket, counters) = receiver("seed = 1\nloss = '30%'");
        send(&socket, 200);
        let numbers = receive(&socket);
        let dropped = counters.get(Counter::FaultsDropped);
        assert_eq!(numbers.len() as u64 + dropped, 200);
        assert!((30..90).contains(&dropped), "{dropped}");
        assert!(numbers.is_sorted() && !socket.is_holding());
    }

    #[test]
    fn what_is_held_comes_out_of_a_socket_with_an_empty_queue() {
        let (socket, counters) = receiver("delay = '50ms'");
        let clock = Clock::start();
        send(&socket, 10);
        let mut numbers = receive(&socket);
        while numbers.len() < 10 {
            assert!(socket.is_holding(), "{numbers:?}");
            std::thread::yield_now();
            numbers.extend(receive(&socket));
        }
        assert!(clock.now().since(crate::time::Timestamp::default()) >= Duration::from_millis(50));
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert_eq!(counters.get(Counter::FaultsDelayed), 10);
        assert!(!socket.is_holding());
    }

    #[test]
    fn a_flood_that_is_dropped_ends_the_call_and_is_not_forgotten() {
        let (socket, counters) = receiver("loss = 1");
        send(&socket, 150);
        send(&socket, 150);
        assert!(receive(&socket).is_empty());
        assert_eq!(counters.get(Counter::FaultsDropped), MAX_TAKEN as u64);
        assert!(socket.is_holding(), "the rest would wait for the next datagram");
        assert!(receive(&socket).is_empty());
        assert_eq!(counters.get(Counter::FaultsDropped), 300);
        assert!(!socket.is_holding());
    }

    #[test]
    fn sockets_draw_numbers_of_their_own() {
        let config = Config::parse("[fault]\nseed = 5\nloss = '50%'").unwrap().fault;
        let source = FaultSource::new(config, Clock::start(), Arc::new(Counters::new()));
        let options = SocketOptions { faults: Some(Arc::new(source)), ..OPTIONS };
        let [first, second] =
            [(); 2].map(|()| UdpSocket::bind_unicast(&loopback(), [0], &options).unwrap());
        send(&first, 100);
        send(&second, 100);
        assert_ne!(receive(&first), receive(&second));
    }
}
