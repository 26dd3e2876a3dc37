//! A receive session driven by bytes, and what must hold after every step. Beside `lib.rs`, above
//! all layers.
//!
//! Packet *p* of the sender carries the message *p* + 1, so that a delivery tells which packet it
//! comes from. Forged frames are of other publishers.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::program::Program;
use crate::id::{InstanceId, ReceiverId, SessionId, TopicHash};
use crate::protocol::delivery::{Arrival, Loss, Sink};
use crate::protocol::receiver::{ReceiveSession, ReceiveSettings};
use crate::protocol::timing::SHORTEST_RETRY;
use crate::time::Timestamp;
use crate::wire::control::{Heartbeat, MAX_RANGES, Welcome};
use crate::wire::frame::{FLAG_WHOLE, FRAME_HEADER_LENGTH, FrameKind, align, commit_word};

const ME: ReceiverId = ReceiverId { instance: InstanceId::from_bytes([1; 16]), port: 1 };
const OTHER: ReceiverId = ReceiverId { port: 2, ..ME };
const REPAIR_TIMEOUT: Duration = Duration::from_millis(80);
const MAX_MESSAGE_BYTES: usize = 4096;
/// The publisher whose messages are told by their packets; all others are forged.
const HONEST: u32 = 0;
/// Longest packet that a program makes up.
const MAX_FORGED_BYTES: usize = 200;
/// Rounds of timeouts and requests within which a session that hears nothing comes to rest: one
/// for each retry within the repair timeout, and then some.
const MAX_ROUNDS: usize = 4096;

/// Runs a program against a receive session.
///
/// # Panics
///
/// When messages come out of order, twice, altered or from nowhere, when counts do not add up, when
/// more is held than the window allows, when something is asked for that is not missing, or when the
/// session does not come to rest.
pub fn receive(bytes: &[u8]) {
    let mut program = Program::new(bytes);
    let mut run = Run::new(&mut program);
    while let Some(step) = program.step() {
        run.step(step, &mut program);
        run.check();
    }
    run.come_to_rest();
}

struct Run {
    session: ReceiveSession,
    window_packets: u32,
    heard: Heard,
    now: Timestamp,
    /// Data packets that the session was given.
    packets: u64,
    /// All packets before this one were sent, as packets and heartbeats say.
    announced: u64,
    /// The same, as the sender says of what it cannot repeat.
    gone: u64,
    /// First packet that was meant for the session: all from there on are delivered or lost.
    began: u64,
    /// The sender knows the session, so far as it has been heard.
    is_member: bool,
    /// Nobody repeats anything: nothing may be asked for.
    is_guest: bool,
    steps: u64,
}

impl Run {
    fn new(program: &mut Program<'_>) -> Self {
        let window_packets = u32::from(program.byte() % 64) + 1;
        let settings = ReceiveSettings {
            window_packets,
            max_message_bytes: MAX_MESSAGE_BYTES,
            repair_timeout: REPAIR_TIMEOUT,
            is_group: program.byte() & 1 != 0,
            tag: 0,
        };
        Self {
            session: ReceiveSession::new(SessionId(7), ME, settings),
            window_packets,
            heard: Heard::default(),
            now: Timestamp::from_nanos(1_000_000_000),
            packets: 0,
            announced: 0,
            gone: 0,
            began: 0,
            is_member: true,
            is_guest: false,
            steps: 0,
        }
    }

    fn step(&mut self, step: u8, program: &mut Program<'_>) {
        self.steps += 1;
        let around = self.session.consumed();
        let (now, heard) = (self.now, &mut self.heard);
        match step % 10 {
            0..=2 => {
                let sequence = program.sequence(around);
                heard.given.insert(sequence);
                self.packet(sequence, &honest_frames(sequence));
            }
            3 => {
                let sequence = program.sequence(around);
                let length = usize::from(program.byte()).min(MAX_FORGED_BYTES);
                let frames = forged_frames(program.bytes(length));
                self.packet(sequence, &frames);
            }
            4 => {
                let next = program.sequence(around);
                let heartbeat = Heartbeat {
                    next,
                    status_wanted: program.byte() & 1 != 0,
                    rtt_ns: program.u64() >> (program.byte() % 64),
                    receivers: program.u32() >> (program.byte() % 32),
                    probe: program.u32(),
                };
                self.announced = self.announced.max(next);
                self.open(next);
                self.session.handle_heartbeat(now, &heartbeat);
            }
            5 => {
                let start = program.sequence(around);
                let receiver = if program.byte().is_multiple_of(8) { OTHER } else { ME };
                if receiver == ME && !self.is_member {
                    self.open(start);
                    self.began = self.began.min(start);
                    (self.is_member, self.is_guest) = (true, false);
                }
                let welcome = Welcome { receiver, start };
                self.session.handle_welcome(now, &welcome, &mut self.heard);
            }
            6 => {
                let oldest = program.sequence(around);
                self.gone = self.gone.max(oldest);
                self.session.handle_gone(now, oldest, heard);
            }
            7 => {
                self.is_guest = self.session.is_known();
                self.is_member = false;
                self.session.handle_goodbye(now, heard);
            }
            8 => {
                self.now = now + program.pause();
                self.session.handle_timeout(self.now, heard);
            }
            _ => self.ask(),
        }
    }

    fn packet(&mut self, sequence: u64, frames: &[u8]) {
        self.packets += 1;
        self.announced = self.announced.max(sequence + 1);
        self.open(sequence);
        self.session.handle_packet(self.now, sequence, frames, &mut self.heard);
    }

    /// Who hears packet 0 first knows that it is the first.
    fn open(&mut self, first: u64) {
        if !self.session.is_known() {
            self.began = first;
            self.is_member &= first == 0;
        }
    }

    /// What is asked for must be missing, and little.
    fn ask(&mut self) {
        let status = self.session.poll_status();
        assert!(self.session.poll_status().is_none(), "one status at a time");
        let consumed = self.session.consumed();
        assert!(status.is_none_or(|status| status.consumed == consumed));
        let mut missing = Vec::new();
        let Some(status) = self.session.poll_nak(self.now, &mut missing) else { return };
        assert!(!self.is_guest, "a guest asks for nothing");
        assert_eq!(status.consumed, consumed);
        assert!((1..=MAX_RANGES).contains(&missing.len()));
        let mut end = consumed;
        for range in &missing {
            assert!(range.first >= end && range.packets > 0, "{missing:?}");
            end = range.end();
        }
        assert!(end <= self.announced.max(self.gone), "nobody has sent that yet");
        assert!(end - consumed <= u64::from(self.window_packets), "no room for it");
    }

    fn check(&self) {
        let counters = self.session.counters();
        let held = self.session.held_packets() as u64;
        assert_eq!(
            counters.packets + counters.duplicates + counters.overruns + held,
            self.packets,
            "each packet is delivered, held, or counted as of no use: {counters:?}"
        );
        assert_eq!(
            u128::from(counters.packets) + u128::from(counters.packets_lost),
            u128::from(self.session.consumed() - self.began),
            "each packet from {} on is delivered or lost: {counters:?}",
            self.began
        );
        assert!(held <= 2 * u64::from(self.window_packets), "memory is bounded");
        let retries = u128::from(self.now.as_nanos()) / SHORTEST_RETRY.as_nanos();
        assert!(
            u128::from(counters.naks) <= u128::from(self.steps) + retries,
            "requests are bounded"
        );
        self.heard.check();
    }

    /// Nobody says anything any more: what is held is delivered, what is missing is given up.
    fn come_to_rest(&mut self) {
        for _ in 0..MAX_ROUNDS {
            self.session.handle_timeout(self.now, &mut self.heard);
            self.ask();
            self.check();
            let next = self.session.next_deadline();
            if next == Timestamp::NEVER {
                assert_eq!(self.session.held_packets(), 0);
                assert!(self.session.consumed() >= self.announced || !self.session.is_known());
                return;
            }
            assert!(next > self.now, "a deadline that stays in the past keeps its thread busy");
            self.now = next;
        }
        panic!("the session does not come to rest: {:?}", self.session);
    }
}

/// What the session delivered.
#[derive(Debug, Default)]
struct Heard {
    /// Honest packets that the session was given.
    given: BTreeSet<u64>,
    /// First and last number of each publisher, and how many were delivered or lost in between.
    publishers: HashMap<u32, (u64, u64, u128)>,
}

impl Heard {
    /// Every number between the first and the last was delivered or lost.
    fn check(&self) {
        for (publisher, (first, last, count)) in &self.publishers {
            assert_eq!(*count, u128::from(last - first) + 1, "of publisher {publisher}");
        }
    }
}

impl Sink for Heard {
    fn deliver(&mut self, arrival: Arrival<'_>) {
        let Arrival { publisher, sequence, .. } = arrival;
        if publisher == HONEST {
            assert!(self.given.contains(&sequence.wrapping_sub(1)), "never sent: {sequence}");
            assert_eq!(arrival.body, sequence.to_le_bytes());
        }
        assert!(arrival.body.len() <= MAX_MESSAGE_BYTES);
        let (_, last, count) = self.publishers.entry(publisher).or_insert((sequence, 0, 0));
        assert!(*count == 0 || sequence > *last, "{sequence} after {last} of {publisher}");
        *last = sequence;
        *count += 1;
    }

    fn lost(&mut self, loss: Loss) {
        assert!(loss.messages > 0);
        // Nothing came before: then number 1 is the first that is missing.
        let (_, _, count) = self.publishers.entry(loss.publisher).or_insert((1, 0, 0));
        *count += u128::from(loss.messages);
    }
}

fn honest_frames(packet: u64) -> Vec<u8> {
    let sequence = packet + 1;
    let body = sequence.to_le_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "far below the largest packet")]
    let length = (FRAME_HEADER_LENGTH + body.len()) as u16;
    let word = commit_word(length, FrameKind::Message, FLAG_WHOLE, HONEST);
    let words = [word, TopicHash(1).0, sequence];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(body).collect()
}

/// Anything, except that the honest publisher is not impersonated: a session that believes what
/// carries its number cannot tell.
fn forged_frames(bytes: &[u8]) -> Vec<u8> {
    let mut frames = bytes.to_vec();
    let mut at = 0;
    while let Some(word) = frames.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
        word[7] |= 0x80;
        at += align(usize::from(u16::from_le_bytes([word[0], word[1]])).max(1));
    }
    frames
}
