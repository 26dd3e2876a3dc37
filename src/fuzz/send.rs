//! A send session under arbitrary feedback, and what that must not make it do. Beside `lib.rs`,
//! above all layers.

use std::net::SocketAddr;
use std::time::Duration;

use super::program::Program;
use crate::id::{InstanceId, ReceiverId, SessionId};
use crate::protocol::flow_control::{FlowSettings, Strategy};
use crate::protocol::retransmit::REFILL;
use crate::protocol::sender::{Output, SendSession};
use crate::protocol::timing::SHORTEST_TAIL;
use crate::time::Timestamp;
use crate::wire::control::{Feedback, MAX_RANGES, Range, Status};

const SESSION: SessionId = SessionId(7);
const TIMEOUT: Duration = Duration::from_millis(50);
/// Receivers that can be known to the session; feedback comes from more.
const RECEIVERS: u8 = 4;
/// Packets of the longest run that is sent or repeated at once.
const MOST: u64 = 16;
/// Outputs at one moment: all that can wait, a few times over.
const MAX_OUTPUTS: usize = 8192;
/// Ticks of `TICK` after which a session that hears nothing is silent: the timeout, the heartbeats
/// that nobody confirms, and all repairs that can wait at a window of one packet.
const MAX_TICKS: u32 = 4096;
const TICK: Duration = Duration::from_millis(10);

/// Runs a program against a send session.
///
/// # Panics
///
/// When feedback of a stranger changes anything, when feedback makes the session send more than its
/// budget, packets that it has not sent or does not hold, when limits contradict each other, or when
/// the session does not fall silent.
pub fn send(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut run = Run::new(&mut program);
    while let Some(step) = program.step() {
        run.step(step, &mut program);
        run.check();
    }
    run.fall_silent();
}

struct Run {
    session: SendSession,
    settings: FlowSettings,
    known: Vec<ReceiverId>,
    now: Timestamp,
    started: Timestamp,
    /// First packet that the ring still holds.
    oldest: u64,
    repeated: u64,
    welcomes: u64,
    feedback: u64,
    heartbeats: u64,
    /// Receivers added, packets sent: each may cause one heartbeat outside the timer.
    causes: u64,
}

impl Run {
    fn new(program: &mut Program<'_>) -> Self {
        let flags = program.byte();
        let settings = FlowSettings {
            strategy: match flags % 3 {
                0 => Strategy::Min,
                1 => Strategy::Max,
                _ => Strategy::Tagged(1),
            },
            drops_slow: flags & 16 != 0,
            window_packets: u32::from(program.byte() % 64) + 1,
            timeout: TIMEOUT,
        };
        let now = Timestamp::from_nanos(1_000_000_000);
        // A lane begins where its ring is when its receiver comes.
        let first = if flags & 32 != 0 { 1000 } else { 0 };
        Self {
            session: SendSession::new(SESSION, settings, first),
            settings,
            known: Vec::new(),
            now,
            started: now,
            oldest: first,
            repeated: 0,
            welcomes: 0,
            feedback: 0,
            heartbeats: 0,
            causes: 1,
        }
    }

    fn step(&mut self, step: u8, program: &mut Program<'_>) {
        let next = self.session.next();
        match step % 8 {
            0 => {
                let id = receiver(program.byte() % RECEIVERS);
                self.session.add_receiver(id, None, self.now);
                self.causes += 1;
                if !self.known.contains(&id) {
                    self.known.push(id);
                }
            }
            1 => {
                let id = receiver(program.byte() % RECEIVERS);
                self.session.remove_receiver(id);
                self.known.retain(|known| *known != id);
                assert!(self.session.has_consumed(id, u64::MAX), "nobody waits for who has gone");
            }
            2 => {
                let packets = u64::from(program.byte()) % MOST;
                self.session.handle_sent(next + packets);
                self.causes += 1;
            }
            3 => self.oldest += u64::from(program.byte()).min(next - self.oldest),
            4 => self.session.handle_blocked(self.now),
            5 => self.hear(program),
            6 => {
                self.now = self.now + program.pause();
                self.session.handle_timeout(self.now);
            }
            _ => self.transmit(program.byte().is_multiple_of(4)),
        }
    }

    fn hear(&mut self, program: &mut Program<'_>) {
        let (status, missing) = feedback(program, self.session.next());
        let feedback = Feedback { status, missing: &missing };
        let source = SocketAddr::from(([127, 0, 0, 1], u16::from(program.byte() % 2) + 1));
        let Status { session, receiver, .. } = feedback.status;
        let is_stranger = session != SESSION || !self.known.contains(&receiver);
        let before = self.state();
        let refused = self.session.counters().statuses_refused;
        self.session.handle_feedback(self.now, source, &feedback);
        self.feedback += 1;
        if is_stranger {
            assert_eq!(self.session.counters().statuses_refused, refused + 1);
        }
        if self.session.counters().statuses_refused > refused {
            assert_eq!(self.state(), before, "what is refused changes nothing");
        }
    }

    /// What feedback can change, as seen from outside.
    fn state(&self) -> (u64, u64, bool, Timestamp, Vec<bool>) {
        let next = self.session.next();
        let consumed = self.known.iter().map(|id| self.session.has_consumed(*id, next));
        (
            self.session.limit(),
            self.session.confirmed(),
            self.session.is_settled(),
            self.session.next_deadline(),
            consumed.collect(),
        )
    }

    /// Takes all outputs of this moment. A socket that is full takes half of a repair, and no more.
    fn transmit(&mut self, is_full: bool) {
        for _ in 0..MAX_OUTPUTS {
            match self.session.poll_transmit(self.now, self.oldest, MOST) {
                None => return,
                Some(Output::Heartbeat(heartbeat)) => {
                    assert_eq!(heartbeat.next, self.session.next());
                    self.heartbeats += 1;
                }
                Some(Output::Welcome(welcome)) => {
                    assert!(self.known.contains(&welcome.receiver));
                    assert!(welcome.start <= self.session.next());
                    self.welcomes += 1;
                }
                Some(Output::Gone { oldest }) => assert_eq!(oldest, self.oldest),
                Some(Output::Repair(mut repair)) => {
                    assert!((1..=MOST).contains(&repair.packets));
                    assert!(repair.first >= self.oldest, "the ring does not hold it");
                    assert!(repair.first + repair.packets <= self.session.next(), "never sent");
                    if is_full {
                        let taken = repair.packets / 2;
                        self.repeated += taken;
                        repair.first += taken;
                        repair.packets -= taken;
                        self.session.put_back(repair);
                        return;
                    }
                    self.repeated += repair.packets;
                }
            }
        }
        panic!("outputs do not end: {:?}", self.session);
    }

    fn check(&self) {
        let (next, window) = (self.session.next(), u64::from(self.settings.window_packets));
        assert!(self.session.confirmed() <= next, "nobody confirms what was not sent");
        let limit = self.session.limit();
        assert!(limit == u64::MAX || limit <= next + window, "a window at most: {limit}");
        let elapsed = self.now.since(self.started).as_nanos();
        let refills = u64::try_from(elapsed / REFILL.as_nanos()).unwrap_or(u64::MAX) + 2;
        let budget = next.saturating_add(window.saturating_mul(refills));
        assert!(self.repeated <= budget, "{} repeated, {budget} allowed", self.repeated);
        assert!(self.welcomes <= self.feedback, "one answer to a question");
        let shortest = SHORTEST_TAIL.as_nanos();
        let ticks = u64::try_from(elapsed / shortest).unwrap_or(u64::MAX);
        assert!(self.heartbeats <= self.causes + ticks, "heartbeats are bounded");
        assert_eq!(self.session.counters().retransmits, self.repeated, "counts are true");
    }

    /// Nobody says anything any more: who does not confirm is left out, discovery takes it for gone
    /// after a while, and nothing is left to say.
    fn fall_silent(&mut self) {
        for tick in 0..MAX_TICKS {
            if tick == MAX_TICKS / 2 {
                self.known.drain(..).for_each(|id| self.session.remove_receiver(id));
            }
            self.session.handle_timeout(self.now);
            if self.session.is_settled() {
                return;
            }
            self.transmit(false);
            self.check();
            self.now = self.now + TICK;
        }
        panic!("the session does not fall silent: {:?}", self.session);
    }
}

fn receiver(number: u8) -> ReceiverId {
    ReceiverId { instance: InstanceId::from_bytes([number; 16]), port: 1 }
}

/// Feedback as the decoder lets it through.
fn feedback(program: &mut Program<'_>, next: u64) -> (Status, Vec<Range>) {
    let flags = program.byte();
    let consumed = program.sequence(next);
    let status = Status {
        session: if flags & 15 == 0 { SessionId(8) } else { SESSION },
        consumed,
        window_packets: program.u32() >> (program.byte() % 32),
        echo: u32::from(program.byte()),
        receiver: receiver(program.byte() % (RECEIVERS + 2)),
        tag: u32::from(flags & 16 != 0),
        is_joining: flags & 32 != 0,
    };
    let ranges = if flags & 64 != 0 { usize::from(program.byte()) % MAX_RANGES } else { 0 };
    let missing = (0..ranges).map(|_| {
        let distance = if flags & 128 != 0 { program.u32() } else { u32::from(program.byte()) };
        Range {
            first: consumed + u64::from(distance),
            packets: (program.u32() >> (program.byte() % 32)).max(1),
        }
    });
    (status, missing.collect())
}
