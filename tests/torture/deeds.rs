//! What a thread under torture can do: one thing, drawn by dice, and what may come of it. Tests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vega::{
    HeartbeatParameters, HostCounters, Instance, PublishError, Publisher, RequestError, Response,
    SendError, SendStatus, SentRequest, SubscribeError, TopicPattern,
};

use crate::crew::{CONTESTED, Common, Dice, Listening, PATTERNS, TOPICS, topic};
use crate::recorder::{Answers, Recorder};
use crate::support::payload::mixed_bytes;
use crate::watchdog::Post;

/// Requests that are kept to be closed later, at most.
const MOST_KEPT: usize = 500;
/// Instances that a process starts beside the main one, at the same time.
const MOST_EXTRA: u64 = 2;
/// Longer than most things take, shorter than anybody minds.
const MOMENT: Duration = Duration::from_millis(5);
const LARGE_BYTES: usize = 600 << 10;
const BEATS: HeartbeatParameters = HeartbeatParameters {
    rate: Duration::from_millis(20),
    timeout: Duration::from_millis(20),
    max_missed: 100,
};

/// One deed.
pub(crate) fn one(common: &Arc<Common>, mut dice: Dice, post: &Post) {
    let number = dice.below(TOPICS);
    let deed = dice.below(1000);
    let begin = |what: &str| post.begin(format!("{what} {}", topic(number)));
    match deed {
        0..300 => {
            begin("send");
            send(common, number, &mut dice);
        }
        300..330 => {
            begin("send large");
            send_large(common, number);
        }
        330..480 => {
            begin("request");
            request(common, number, &mut dice);
        }
        480..560 => {
            begin("close or reset requests");
            end_requests(common, &mut dice);
        }
        560..600 => {
            begin("answer");
            let waiting = common.findings.waiting.lock().pop();
            if let Some(request) = waiting {
                let answered = request.respond(request.payload());
                common.findings.check_answer(request.topic(), answered);
            }
        }
        600..680 => {
            begin("publish");
            publish(common, number);
        }
        680..730 => {
            begin("destroy");
            destroy(common, number);
        }
        730..820 => {
            begin("subscribe");
            subscribe(common, number, &mut dice);
        }
        820..880 => {
            begin("unsubscribe");
            unsubscribe(common, number, dice.below(2) == 0);
        }
        880..920 => {
            begin("pattern");
            pattern(common, &mut dice);
        }
        920..950 => {
            begin("heartbeats");
            heartbeats(common, number, &mut dice);
        }
        950..990 => {
            begin("look");
            look(common, number, &mut dice);
        }
        _ => {
            begin("another instance");
            another_instance(common, &mut dice);
        }
    }
}

fn is_contested(number: usize) -> bool {
    number < CONTESTED
}

fn check_send(common: &Common, number: usize, sent: Result<SendStatus, SendError>) {
    match sent {
        Ok(_) | Err(SendError::BackPressured) => {}
        Err(error) => common.findings.report(|| format!("{}: sending: {error}", topic(number))),
    }
}

fn send(common: &Common, number: usize, dice: &mut Dice) {
    let count = 1 + dice.below(20);
    let (way, size) = (dice.below(4), dice.draw());
    let payload = |nth: usize| common.payload(number, mixed_bytes(size.wrapping_add(nth as u64)));
    if is_contested(number) {
        let Some(publisher) = common.slots[number].shared.lock().clone() else { return };
        for nth in 0..count {
            check_send(common, number, publisher.send(&payload(nth)));
        }
        return;
    }
    let mut publisher = common.slots[number].publisher.lock();
    let Some(publisher) = publisher.as_mut() else { return };
    for nth in 0..count {
        let sent = match way {
            0 => publisher.send_blocking(&payload(nth), MOMENT),
            1 => {
                let payload = common.payload(number, 100);
                publisher.try_claim(payload.len()).map(|mut claim| {
                    claim.copy_from_slice(&payload);
                    if nth % 5 == 0 {
                        claim.abort();
                        return SendStatus::Sent;
                    }
                    claim.commit()
                })
            }
            _ => publisher.send(&payload(nth)),
        };
        check_send(common, number, sent);
    }
    if way == 0 {
        let flushed = publisher.flush();
        check_send(common, number, flushed.map(|()| SendStatus::Sent));
    }
}

/// Larger than a ring has room for: it streams through.
fn send_large(common: &Common, number: usize) {
    let mut publisher = common.slots[number].publisher.lock();
    if let Some(publisher) = publisher.as_mut() {
        let payload = common.payload(number, LARGE_BYTES);
        check_send(common, number, publisher.send(&payload));
    }
}

fn request(common: &Arc<Common>, number: usize, dice: &mut Dice) {
    let timeout = MOMENT + dice.up_to_millis(300);
    let (habit, is_kept) = (dice.below(4), dice.below(2) == 0);
    let payload = common.payload(number, mixed_bytes(dice.draw()));
    let (told, tells) = (Arc::clone(common), Arc::clone(common));
    let asked = payload.clone();
    let on_response = move |request: &SentRequest, response: &Response<'_>| {
        if response.payload() != asked {
            told.findings.report(|| format!("{}: damaged answer", response.topic()));
        }
        match habit {
            0 => {
                request.reset_expiration(MOMENT);
            }
            1 => {
                told.closed.fetch_add(u64::from(request.close()), Ordering::Relaxed);
            }
            _ => {}
        }
    };
    let on_timeout = move |request: &SentRequest| {
        if !request.is_closed() || !request.has_expired() || request.close() {
            tells.findings.report(|| format!("{}: timeout of an open request", request.topic()));
        }
        tells.expired.fetch_add(1, Ordering::Relaxed);
    };
    let listener = (on_response, on_timeout);
    let sent = if is_contested(number) {
        let Some(publisher) = common.slots[number].shared.lock().clone() else { return };
        publisher.request(&payload, timeout, listener)
    } else {
        let mut publisher = common.slots[number].publisher.lock();
        let Some(publisher) = publisher.as_mut() else { return };
        publisher.request(&payload, timeout, listener)
    };
    match sent {
        Ok(request) => {
            common.opened.fetch_add(1, Ordering::Relaxed);
            let mut requests = common.requests.lock();
            if is_kept && requests.len() < MOST_KEPT {
                requests.push(request);
            }
        }
        Err(RequestError::Send(SendError::BackPressured) | RequestError::TooManyOpen { .. }) => {}
        Err(error) => common.findings.report(|| format!("{}: asking: {error}", topic(number))),
    }
}

fn end_requests(common: &Common, dice: &mut Dice) {
    for _ in 0..1 + dice.below(8) {
        let is_reset = dice.below(3) == 0;
        let at = dice.below(usize::MAX);
        let mut requests = common.requests.lock();
        if requests.is_empty() {
            return;
        }
        let at = at % requests.len();
        let request = if is_reset { requests[at].clone() } else { requests.swap_remove(at) };
        drop(requests);
        if is_reset {
            request.reset_expiration(dice.up_to_millis(50));
        } else {
            common.closed.fetch_add(u64::from(request.close()), Ordering::Relaxed);
            if request.close() || !request.is_closed() {
                common.findings.report(|| format!("{}: closed twice", request.topic()));
            }
        }
    }
}

fn publish(common: &Common, number: usize) {
    let name = topic(number);
    if is_contested(number) {
        match common.instance.shared_publisher(&name) {
            // Whatever is there was given up, and may still be in use: see the error.
            Ok(publisher) => drop(common.slots[number].shared.lock().replace(publisher)),
            Err(PublishError::InUse { .. }) => {}
            Err(error) => common.findings.report(|| format!("{name}: publishing: {error}")),
        }
        return;
    }
    let mut slot = common.slots[number].publisher.lock();
    if slot.is_none() {
        match common.instance.publisher(&name) {
            Ok(publisher) => *slot = Some(publisher),
            Err(error) => common.findings.report(|| format!("{name}: publishing: {error}")),
        }
    }
}

fn destroy(common: &Common, number: usize) {
    drop(common.slots[number].shared.lock().take());
    // Within the lock: when it is free, the topic is.
    common.slots[number].publisher.lock().take();
}

/// A listener; now and then it does something itself. It never waits: who holds a slot may wait for
/// this very callback.
fn recorder(common: &Arc<Common>, dice: &mut Dice) -> Recorder {
    let answers = [Answers::None, Answers::AtOnce, Answers::Twice, Answers::Later][dice.below(4)];
    let weak = Arc::downgrade(common);
    let number = CONTESTED + dice.below(TOPICS - CONTESTED);
    let habit = dice.below(6);
    Recorder::new(&common.findings, answers, move |sequence| {
        let Some(common) = weak.upgrade().filter(|_| sequence % 64 == 0) else { return };
        let slot = &common.slots[number];
        match habit {
            0 => {
                if let Some(mut publisher) = slot.publisher.try_lock()
                    && let Some(publisher) = publisher.as_mut()
                {
                    check_send(&common, number, publisher.send(&common.payload(number, 50)));
                }
            }
            // Each is gone before the slot is free.
            1 => {
                if let Some(mut publisher) = slot.publisher.try_lock() {
                    publisher.take();
                }
            }
            2 => {
                if let Some(mut subscription) = slot.subscription.try_lock()
                    && let Some(taken) = subscription.take()
                {
                    // In a callback, a call on another poller may still be running.
                    taken.handle.unsubscribe();
                }
            }
            _ => {}
        }
    })
}

fn subscribe(common: &Arc<Common>, number: usize, dice: &mut Dice) {
    let name = topic(number);
    let listener = recorder(common, dice);
    let ended = Arc::clone(&listener.ended);
    if is_contested(number) {
        match common.instance.subscribe(&name, listener) {
            Ok(handle) => {
                let before =
                    common.slots[number].subscription.lock().replace(Listening { handle, ended });
                drop(before);
            }
            Err(SubscribeError::InUse { .. }) => {}
            Err(error) => common.findings.report(|| format!("{name}: subscribing: {error}")),
        }
        return;
    }
    let mut slot = common.slots[number].subscription.lock();
    if slot.is_none() {
        match common.instance.subscribe(&name, listener) {
            Ok(handle) => *slot = Some(Listening { handle, ended }),
            Err(error) => common.findings.report(|| format!("{name}: subscribing: {error}")),
        }
    }
}

fn unsubscribe(common: &Common, number: usize, is_dropped: bool) {
    let mut slot = common.slots[number].subscription.lock();
    if let Some(Listening { handle, ended }) = slot.take() {
        if is_dropped {
            drop(handle);
        } else {
            handle.unsubscribe();
            ended.store(true, Ordering::SeqCst);
        }
    }
}

fn pattern(common: &Arc<Common>, dice: &mut Dice) {
    let which = dice.below(PATTERNS.len());
    let listener = recorder(common, dice);
    let ended = Arc::clone(&listener.ended);
    let mut slot = common.patterns[which].lock();
    if let Some(Listening { handle, ended }) = slot.take() {
        handle.unsubscribe();
        ended.store(true, Ordering::SeqCst);
        return;
    }
    let pattern = TopicPattern::filter(PATTERNS[which]).unwrap();
    match common.instance.subscribe_pattern(pattern, listener) {
        Ok(handle) => *slot = Some(Listening { handle, ended }),
        Err(error) => common.findings.report(|| format!("{}: {error}", PATTERNS[which])),
    }
}

fn heartbeats(common: &Common, number: usize, dice: &mut Dice) {
    let is_on = dice.below(2) == 0;
    let activate = |publisher: &mut Publisher| {
        if !is_on {
            publisher.deactivate_heartbeats();
        } else if let Err(error) = publisher.activate_heartbeats((), BEATS) {
            common.findings.report(|| format!("{}: {error}", topic(number)));
        }
    };
    if let Some(publisher) = common.slots[number].publisher.lock().as_mut() {
        activate(publisher);
    }
}

fn look(common: &Common, number: usize, dice: &mut Dice) {
    match dice.below(6) {
        0 => drop(common.instance.peers()),
        1 => drop(common.instance.adverts()),
        2 => drop(common.instance.counters()),
        3 => match HostCounters::read(&common.config) {
            Ok(host) => {
                for (file, error) in host.unreadable() {
                    common.findings.report(|| format!("{}: {error}", file.display()));
                }
            }
            Err(error) => common.findings.report(|| error.to_string()),
        },
        4 => {
            if let Some(publisher) = common.slots[number].publisher.lock().as_ref() {
                let _ = publisher.wait_for_subscribers(1, MOMENT);
                let _ = publisher.connected_subscribers();
            }
        }
        _ => {
            if let Some(it) = common.slots[number].subscription.lock().as_ref() {
                let _ = it.handle.wait_for_publishers(1, MOMENT);
            }
        }
    }
}

/// An instance that starts, does a little, and is closed or just dropped, before its handles or after.
fn another_instance(common: &Arc<Common>, dice: &mut Dice) {
    if common.extra.fetch_add(1, Ordering::Relaxed) < MOST_EXTRA {
        match Instance::builder().name("extra").config(common.config.clone()).start() {
            Ok(instance) => live_a_little(common, &instance, dice),
            Err(error) => common.findings.report(|| format!("starting: {error}")),
        }
    }
    common.extra.fetch_sub(1, Ordering::Relaxed);
}

fn live_a_little(common: &Arc<Common>, instance: &Instance, dice: &mut Dice) {
    let mut kept = Vec::new();
    for _ in 0..3 {
        let number = dice.below(TOPICS);
        let name = topic(number);
        let listener = recorder(common, dice);
        let subscription = instance.subscribe(&name, listener);
        let publisher = instance.publisher(&name);
        match (subscription, publisher) {
            (Ok(subscription), Ok(mut publisher)) => {
                let _ = publisher.wait_for_subscribers(1, MOMENT);
                for _ in 0..dice.below(20) {
                    check_send(common, number, publisher.send(&common.payload(number, 200)));
                }
                kept.push((subscription, publisher));
            }
            // A name may be drawn twice.
            (Err(SubscribeError::InUse { .. }), Err(PublishError::InUse { .. })) => {}
            (one, other) => {
                let errors = (one.err(), other.err());
                common.findings.report(|| format!("{name}: a new instance: {errors:?}"));
            }
        }
    }
    std::thread::sleep(dice.up_to_millis(50));
    match dice.below(3) {
        0 => kept.clear(),
        1 => {
            if let Err(error) = instance.close() {
                common.findings.report(|| format!("closing: {error}"));
            }
        }
        _ => {}
    }
}
